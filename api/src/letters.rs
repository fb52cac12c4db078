//! Dead letters: sent in again by hand, and found by the command that became one.
//!
//! A letter is named by its record's place, so those of a partition lie together in the table, and a command and its
//! retries lie in one partition. The letter of a command is looked for there alone, a page at a time; that takes the
//! longer the more letters there are, and is done for retries only.

use crate::app::{Answering, App, Call};
use crate::backend::{Place, Select};
use crate::problem::Problem;
use schemas::rows::Value as Cell;
use schemas::tables::DEAD_LETTERS;
use schemas::{Command, Decoder, Text};
use serde_json::json;
use std::sync::Arc;

/// What a record is longer by than the body it was made of, at most.
const RECORD_BYTES: usize = 4_096;
/// Letters looked at with one question.
const PAGE: usize = 500;

/// What became of a command nothing could be done with.
pub struct Letter {
    /// Of the record that became the letter.
    pub id: Text,
    pub reason: Text,
    pub epoch: u64,
}

impl Letter {
    /// As whoever sent the command is told of it.
    pub fn problem(&self, command: &Command) -> Problem {
        Problem::new("dead-letter", self.reason.as_str())
            .with("id", self.id.as_str())
            .with("epoch", self.epoch)
            .with("command_id", command.command_id().as_str())
    }
}

/// The letter that a command became when it was sent before, of which `place` is a retry.
///
/// # Errors
/// Where the table can't be read.
pub async fn of_command(app: &App, command: &Command, place: Place) -> Result<Option<Letter>, Problem> {
    let decoder = Decoder::with_own(|record| app.ids.of(record));
    let prefix = format!("{}/{}/", place.topic, place.partition);
    let mut after: Text = prefix.as_str().into();
    loop {
        let after_it = Some(vec![Cell::Text(after)]);
        // No command that came by this API is longer.
        let bytes_max = app.settings.body_bytes_max + RECORD_BYTES;
        let select =
            Select { after: after_it, limit: PAGE, bytes_max, ..Select::of(&DEAD_LETTERS, Vec::new()) };
        let page = app.readers.select(select).await?;
        let letters =
            page.rows.iter().map_while(|row| read(row).filter(|(letter, _)| letter.id.starts_with(&prefix)));
        let letters: Vec<(Letter, &[u8])> = letters.collect();
        let (count, last) = (letters.len(), letters.last().map(|(letter, _)| letter.id.clone()));
        if let Some((letter, _)) = letters.into_iter().find(|(_, payload)| is_of(&decoder, command, payload))
        {
            return Ok(Some(letter));
        }
        match last {
            Some(last) if page.more && count == page.rows.len() => after = last,
            _ => return Ok(None),
        }
    }
}

/// A row of the table, and the bytes of its record.
fn read(row: &[Cell]) -> Option<(Letter, &[u8])> {
    let at = |name: &str| DEAD_LETTERS.columns.iter().position(|column| column.name == name);
    match (&row[at("id")?], &row[at("reason")?], &row[at("payload")?], row.last()?) {
        (Cell::Text(id), Cell::Text(reason), Cell::Bytes(payload), Cell::Int(epoch)) => {
            let epoch = u64::try_from(*epoch).ok()?;
            Some((Letter { id: id.clone(), reason: reason.clone(), epoch }, payload))
        }
        _ => None,
    }
}

/// Whether a record is that command, as it was sent before.
fn is_of(decoder: &Decoder, command: &Command, payload: &[u8]) -> bool {
    decoder.decode_command(payload).is_ok_and(|letter| {
        (letter.tenant(), letter.command_id()) == (command.tenant(), command.command_id())
    })
}

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
