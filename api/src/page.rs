//! The live page: its files, built in.

use crate::app::{Answering, App, Call};
use crate::problem::{Answer, Problem};
use std::sync::Arc;
use warp::http::Response;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

/// Every file by its name: its type and its bytes.
const FILES: &[(&str, &str, &[u8])] = &[
    ("index.html", "text/html; charset=utf-8", include_bytes!("../page/index.html")),
    ("app.js", "text/javascript; charset=utf-8", include_bytes!("../page/app.js")),
    ("figures.js", "text/javascript; charset=utf-8", include_bytes!("../page/figures.js")),
    ("live.js", "text/javascript; charset=utf-8", include_bytes!("../page/live.js")),
    ("panels.js", "text/javascript; charset=utf-8", include_bytes!("../page/panels.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../page/icon.svg")),
    ("style.css", "text/css; charset=utf-8", include_bytes!("../page/style.css")),
];

/// The types of all of them, as the OpenAPI document names them.
pub const KINDS: [&str; 4] = ["text/html", "text/javascript", "image/svg+xml", "text/css"];

/// `GET /`.
pub fn index(_app: Arc<App>, _call: Call) -> Answering {
    named("index.html")
}

/// `GET /{file}`.
pub fn file(_app: Arc<App>, call: Call) -> Answering {
    named(call.path.first().map(String::as_str).unwrap_or_default())
}

fn named(name: &str) -> Answering {
    let Some((_, kind, bytes)) = FILES.iter().find(|(known, ..)| *known == name) else {
        let unknown = Problem::new("not-found", "/openapi.json lists what there is");
        return Box::pin(async move { Err(unknown) });
    };
    let mut answer: Answer = Response::new((*bytes).into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Box::pin(async move { Ok(answer) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_every_file_is_described() {
        let plain = |kind: &str| kind.split(';').next().unwrap_or_default().to_owned();
        for (name, kind, _) in FILES {
            assert!(KINDS.contains(&plain(kind).as_str()), "{name}");
        }
    }
}
