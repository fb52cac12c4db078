//! The live page: a few files, built in.

use crate::app::{Answering, App, Call};
use crate::problem::Answer;
use std::sync::Arc;
use warp::http::Response;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// `GET /`.
pub fn index(_app: Arc<App>, _call: Call) -> Answering {
    file(include_bytes!("../page/index.html"), "text/html; charset=utf-8")
}

/// `GET /style.css`.
pub fn style(_app: Arc<App>, _call: Call) -> Answering {
    file(include_bytes!("../page/style.css"), "text/css; charset=utf-8")
}

/// `GET /icon.svg`.
pub fn icon(_app: Arc<App>, _call: Call) -> Answering {
    file(include_bytes!("../page/icon.svg"), "image/svg+xml")
}

/// `GET /app.js`: asks, listens, and hands over to the others.
pub fn script(_app: Arc<App>, _call: Call) -> Answering {
    file(include_bytes!("../page/app.js"), SCRIPT)
}

/// `GET /figures.js`: what is worked out of counts.
pub fn figures(_app: Arc<App>, _call: Call) -> Answering {
    file(include_bytes!("../page/figures.js"), SCRIPT)
}

/// `GET /live.js`: the stream of events.
pub fn live(_app: Arc<App>, _call: Call) -> Answering {
    file(include_bytes!("../page/live.js"), SCRIPT)
}

/// `GET /panels.js`: what is seen.
pub fn panels(_app: Arc<App>, _call: Call) -> Answering {
    file(include_bytes!("../page/panels.js"), SCRIPT)
}

fn file(bytes: &'static [u8], kind: &'static str) -> Answering {
    let mut answer: Answer = Response::new(bytes.into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Box::pin(async move { Ok(answer) })
}
