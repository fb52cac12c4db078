//! Dead letters sent in again by hand.

use crate::app::{Answering, App, Call};
use crate::problem::Problem;
use serde_json::json;
use std::sync::Arc;

/// `POST /v1/dead-letters/retry`.
pub fn retry(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        if call.principal.tenant.is_some() {
            return Err(Problem::new("forbidden", "dead letters are for operators of every tenant"));
        }
        let (backend, ids) = (Arc::clone(&app.backend), call.body.texts("ids"));
        let retried = tokio::task::spawn_blocking(move || backend.retry(&ids)).await;
        let gone = |_| Problem::new("unavailable", "the retry was not finished; send it again");
        Ok(crate::reads::json_answer(&json!({"items": retried.map_err(gone)??})))
    })
}
