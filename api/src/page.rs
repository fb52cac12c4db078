//! The live page: three files, built in.

use crate::app::{Answering, App, Call};
use crate::problem::Answer;
use std::sync::Arc;
use warp::http::Response;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

/// `GET /`.
pub fn index(_app: Arc<App>, _call: Call) -> Answering {
    file(include_bytes!("../page/index.html"), "text/html; charset=utf-8")
}

/// `GET /app.js`.
pub fn script(_app: Arc<App>, _call: Call) -> Answering {
    file(include_bytes!("../page/app.js"), "text/javascript; charset=utf-8")
}

/// `GET /style.css`.
pub fn style(_app: Arc<App>, _call: Call) -> Answering {
    file(include_bytes!("../page/style.css"), "text/css; charset=utf-8")
}

fn file(bytes: &'static [u8], kind: &'static str) -> Answering {
    let mut answer: Answer = Response::new(bytes.into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Box::pin(async move { Ok(answer) })
}
