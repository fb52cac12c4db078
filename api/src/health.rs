//! Whether the process lives, whether the pipeline keeps up, and the figures of both.

use crate::app::{Answering, App, Call};
use crate::problem::{Answer, Problem};
use serde_json::json;
use std::sync::Arc;
use warp::http::Response;
use warp::http::header::{CONTENT_TYPE, HeaderValue};

/// `GET /healthz`: the process answers.
pub fn alive(_app: Arc<App>, _call: Call) -> Answering {
    Box::pin(async { Ok(crate::reads::json_answer(&json!({"status": "alive"}))) })
}

/// `GET /readyz`: the decided frontier moves.
pub fn ready(app: Arc<App>, _call: Call) -> Answering {
    Box::pin(async move {
        match problem(&app) {
            None => Ok(crate::reads::json_answer(&json!({"status": "ready"}))),
            Some(problem) => Err(Problem::new("not-ready", problem)),
        }
    })
}

/// What keeps the API from being of use.
pub fn problem(app: &App) -> Option<String> {
    let frontier = app.decided.standing();
    let max = app.settings.frontier_age_ms_max;
    if app.decided.silent_ms() > max {
        return Some("nothing is heard of the decided frontier: is the pipeline running?".to_owned());
    }
    if !app.decided.moves() {
        return Some("the decided frontier was not seen to move yet: is the pipeline running?".to_owned());
    }
    (frontier.age_ms > max as i64)
        .then(|| format!("the decided frontier has stood still for {} ms, at most {max}", frontier.age_ms))
}

/// `GET /metrics`: the pipeline's and the API's.
pub fn metrics(app: Arc<App>, _call: Call) -> Answering {
    Box::pin(async move {
        let backend = Arc::clone(&app.backend);
        let pipeline = tokio::task::spawn_blocking(move || backend.metrics()).await.unwrap_or_default();
        let pipeline = pipeline.trim_end().trim_end_matches("# EOF");
        let ours = app.counts.text(&app);
        let mut answer: Answer = Response::new(format!("{pipeline}{ours}").into());
        let text = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        answer.headers_mut().insert(CONTENT_TYPE, text);
        Ok(answer)
    })
}
