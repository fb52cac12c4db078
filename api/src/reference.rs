//! Rows of reference tables by way of the API, where no database is their source: the embedded log.
//!
//! ```text
//!   {"row": {…}} | {"delete": {…}} ─> a Debezium message at the clock's position ─> oltp.public.<table>
//! ```
//!
//! The newest position wins. A row that is sent again is the same row at a later position, so a retry does no harm.

use crate::app::{Answering, App, Call};
use crate::backend::NewRecord;
use crate::commands::clock_ms;
use crate::problem::Problem;
use schemas::debezium::{decode_change, key_of};
use schemas::reference::{Change, ReferenceTable};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The last position given; positions are microseconds since 1970, and grow.
static POSITION: AtomicU64 = AtomicU64::new(0);

/// `POST /v1/reference/{table}`.
pub fn change(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        if !app.backend.takes_reference() {
            return Err(Problem::new(
                "not-found",
                "reference tables come from their database here; change them there",
            ));
        }
        let name = call.path.first().map(String::as_str).unwrap_or_default();
        let table = ReferenceTable::of_topic(&format!("oltp.public.{name}"));
        let table = table.ok_or_else(|| Problem::new("not-found", format!("there is no table {name}")))?;
        let message = message(&call)?;
        let value = message.to_string().into_bytes();
        let decoded = decode_change(table, None, Some(&value));
        let decoded = decoded.map_err(|problem| Problem::new("invalid", problem.to_string()))?;
        let key = match decoded.changes.into_iter().next() {
            Some(Change::Upsert { row, .. }) => row.key(),
            Some(Change::Delete { key, .. }) => key,
            _ => return Err(Problem::new("invalid", "the message changes no row")),
        };
        call.principal.tenant(Some(key.parts().0.clone()))?;
        let record = NewRecord {
            topic: table.topic(),
            key: Some(key_of(&key).into_bytes()),
            value,
            headers: Vec::new(),
        };
        let place = app.appender.append(record).await?;
        let body = json!({
            "status": "accepted",
            "record": {"topic": place.topic, "partition": place.partition, "offset": place.offset},
        });
        let mut answer = crate::reads::json_answer(&body);
        *answer.status_mut() = warp::http::StatusCode::ACCEPTED;
        Ok(answer)
    })
}

fn message(call: &Call) -> Result<Value, Problem> {
    let now_ms = clock_ms();
    let now_us = u64::try_from(now_ms).unwrap_or(0) * 1_000;
    let last = POSITION.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some((last + 1).max(now_us)));
    let lsn = (last.unwrap_or(0) + 1).max(now_us);
    let source = json!({
        "connector": "postgresql", "name": "api", "ts_ms": now_ms, "snapshot": "false", "db": "api",
        "schema": "public", "table": call.path.first(), "lsn": lsn,
    });
    match (call.body.value("row"), call.body.value("delete")) {
        (Some(row), None) => {
            Ok(json!({"before": null, "after": row, "source": source, "op": "u", "ts_ms": now_ms}))
        }
        (None, Some(row)) => {
            Ok(json!({"before": row, "after": null, "source": source, "op": "d", "ts_ms": now_ms}))
        }
        _ => Err(Problem::new("invalid", "send either `row` or `delete`")),
    }
}
