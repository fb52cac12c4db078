//! Rows of reference tables by way of the API, where no database is their source: the embedded log.
//!
//! ```text
//!   {"row": {…}} | {"delete": {…}} ─> a Debezium message at the next position ─> oltp.public.<table>
//! ```
//!
//! The newest position wins. A change is named by tenant, principal and `Idempotency-Key`, as commands are, and the log
//! remembers which names it has: one that is sent again, to any instance, is not appended again, so it undoes
//! nothing that was changed after it. Another change under the same name is a conflict.

use crate::app::{Answering, App, Call};
use crate::backend::{Changed, NewChange};
use crate::commands::{clock_ms, idempotency_key, ids};
use crate::fields::invalid;
use crate::problem::Problem;
use crate::shapes::misfit;
use schemas::debezium::{decode_change, key_of};
use schemas::reference::{Change, ReferenceTable};
use serde_json::{Value, json};
use std::sync::Arc;

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
        let idempotency_key = idempotency_key(&call.headers)?;
        let asked = Asked::of(&call)?;
        asked.check(table)?;
        // Whatever its position is going to be, it is this row.
        let decoded = decode_change(table, None, Some(&asked.message(1, clock_ms())));
        let decoded = decoded.map_err(|problem| Problem::new("invalid", problem.to_string()))?;
        let key = match decoded.changes.into_iter().next() {
            Some(Change::Upsert { row, .. }) => row.key(),
            Some(Change::Delete { key, .. }) => key,
            _ => return Err(Problem::new("invalid", "the message changes no row")),
        };
        let tenant = call.principal.tenant(Some(key.parts().0.clone()))?;
        let id = ids(&tenant, &call.principal.name, &idempotency_key).command;
        let change = NewChange {
            id: id.to_string(),
            hash: asked.hash(),
            topic: table.topic(),
            key: key_of(&key).into_bytes(),
            value: Box::new(move |position| asked.message(position, clock_ms())),
        };
        let Changed::At(place) = app.changes.ask(move |changes| changes.change(change)).await? else {
            let problem = "this Idempotency-Key was used for another change; what that one asked for stands. Use a new key";
            return Err(Problem::new("idempotency-conflict", problem).with("command_id", id.as_str()));
        };
        let body = json!({
            "command_id": id,
            "tenant": tenant,
            "status": "accepted",
            "record": {"topic": place.topic, "partition": place.partition, "offset": place.offset},
        });
        let mut answer = crate::reads::json_answer(&body);
        *answer.status_mut() = warp::http::StatusCode::ACCEPTED;
        Ok(answer)
    })
}

/// What is to become of a row.
struct Asked {
    table: String,
    row: Value,
    deleted: bool,
}

impl Asked {
    fn of(call: &Call) -> Result<Asked, Problem> {
        let table = call.path.first().cloned().unwrap_or_default();
        match (call.body.value("row"), call.body.value("delete")) {
            (Some(row), None) => Ok(Asked { table, row: row.clone(), deleted: false }),
            (None, Some(row)) => Ok(Asked { table, row: row.clone(), deleted: true }),
            _ => Err(Problem::new("invalid", "send either `row` or `delete`")),
        }
    }

    /// Whether its columns are the table's.
    fn check(&self, table: ReferenceTable) -> Result<(), Problem> {
        let row = self.row.as_object().cloned().unwrap_or_default();
        match misfit(table, &row, !self.deleted) {
            Some((column, problem)) => Err(invalid(&column, &problem)),
            None => Ok(()),
        }
    }

    /// Of what was sent, in whatever order its fields were.
    fn hash(&self) -> u64 {
        let whole = json!({"table": self.table, "row": self.row, "deleted": self.deleted});
        xxhash_rust::xxh3::xxh3_64(whole.to_string().as_bytes())
    }

    /// As Debezium says it. Positions are microseconds since 1970, and grow.
    fn message(&self, position: u64, now_ms: i64) -> Vec<u8> {
        let source = json!({
            "connector": "postgresql", "name": "api", "ts_ms": now_ms, "snapshot": "false", "db": "api",
            "schema": "public", "table": self.table, "lsn": position,
        });
        let (before, after, op) = match self.deleted {
            false => (&Value::Null, &self.row, "u"),
            true => (&self.row, &Value::Null, "d"),
        };
        let message = json!({"before": before, "after": after, "source": source, "op": op, "ts_ms": now_ms});
        message.to_string().into_bytes()
    }
}
