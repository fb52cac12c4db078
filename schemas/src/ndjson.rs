//! One record a line, in JSON, with the contracts' field names.
//!
//! ```text
//!   {"type":"place_order","command_id":"…","tenant":"…", …}      on commands.*
//!   {"before":…,"after":…,"source":{…},"op":"c"}                 on oltp.public.<table>: kept as it is
//! ```
//!
//! Optional fields may be absent or null. Unknown fields are refused, unlike in Avro: a line is typed by
//! hand or by a small program, where a field nobody knows is a misspelling.

use crate::Command;
use crate::debezium::decode_change;
use crate::reference::ReferenceTable;
use crate::registry::Record;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A line that is a record of its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NdjsonRecord {
    /// To be encoded as Avro.
    Command(Command),
    /// A Debezium message that decodes; its JSON goes into the log as it is.
    Change { value: Vec<u8>, source_ts_ms: Option<i64> },
}

impl NdjsonRecord {
    /// The moment the record speaks of, which `tombola produce --event-time` stamps it with.
    pub fn event_time_ms(&self) -> Option<i64> {
        match self {
            NdjsonRecord::Command(command) => Some(command.event_time_ms()),
            NdjsonRecord::Change { source_ts_ms, .. } => *source_ts_ms,
        }
    }
}

/// Reads one line as a record of `topic`.
///
/// # Errors
/// What is wrong with it, naming the field, and what to do about it.
pub fn parse_line(topic: &str, line: &str) -> Result<NdjsonRecord, String> {
    if topic.starts_with("commands.") {
        let command = parse_command(line)?;
        let home = command.record().topic();
        if home != topic {
            return Err(format!("`{}` belongs on `{home}`, not on `{topic}`", command.record()));
        }
        return Ok(NdjsonRecord::Command(command));
    }
    let table = topic.starts_with("oltp.").then(|| ReferenceTable::of_topic(topic)).flatten();
    let Some(table) = table else {
        return Err(format!(
            "nothing is produced to `{topic}`; the topics are {}",
            input_topics().join(", ")
        ));
    };
    let value = line.trim().as_bytes();
    let change = decode_change(table, None, Some(value)).map_err(|e| e.to_string())?;
    Ok(NdjsonRecord::Change { value: value.to_vec(), source_ts_ms: change.source_ts_ms })
}

/// The topics a line can be produced to.
pub fn input_topics() -> Vec<&'static str> {
    let mut topics: Vec<&str> = Vec::new();
    for topic in Record::ALL.iter().filter(|record| !record.is_fact()).map(|record| record.topic()) {
        if !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    topics
}

/// Reads one command and checks it.
///
/// # Errors
/// As [`parse_line`].
pub fn parse_command(line: &str) -> Result<Command, String> {
    #[derive(Deserialize)]
    struct Tag<'a> {
        #[serde(borrow)]
        r#type: Option<Cow<'a, str>>,
    }
    let tag: Tag<'_> = serde_json::from_str(line).map_err(|e| format!("not a JSON object: {e}"))?;
    let command = match tag.r#type.as_deref() {
        None => return Err(format!("`type` is missing; say one of {}", command_names())),
        Some("place_order") => Command::PlaceOrder(fields(line)?),
        Some("cancel_order") => Command::CancelOrder(fields(line)?),
        Some("refund_order") => Command::RefundOrder(fields(line)?),
        Some("payment_captured") => Command::PaymentCaptured(fields(line)?),
        Some("payment_declined") => Command::PaymentDeclined(fields(line)?),
        Some("review_decision") => Command::ReviewDecision(fields(line)?),
        Some("report_result") => Command::ReportResult(fields(line)?),
        Some("correct_result") => Command::CorrectResult(fields(line)?),
        Some("republish_draw") => Command::RepublishDraw(fields(line)?),
        Some("image_rendered") => Command::ImageRendered(fields(line)?),
        Some("image_failed") => Command::ImageFailed(fields(line)?),
        Some("post_succeeded") => Command::PostSucceeded(fields(line)?),
        Some("post_failed") => Command::PostFailed(fields(line)?),
        Some(other) => return Err(format!("`type` is {other:?}; say one of {}", command_names())),
    };
    command.check()?;
    Ok(command)
}

fn command_names() -> String {
    let names: Vec<&str> = Record::ALL.iter().filter(|r| r.is_command()).map(|r| r.as_str()).collect();
    names.join(", ")
}

/// Reads the fields of one command; any it does not have, but `type`, is an error.
fn fields<T: DeserializeOwned>(line: &str) -> Result<Box<T>, String> {
    let mut unknown = None;
    let mut json = serde_json::Deserializer::from_str(line);
    let mut note = |path: serde_ignored::Path<'_>| {
        let name = path.to_string();
        if name != "type" {
            unknown.get_or_insert(name);
        }
    };
    let known = serde_ignored::Deserializer::new(&mut json, &mut note);
    let parsed: Result<T, _> = serde_path_to_error::deserialize(known);
    let value = parsed.map_err(|e| explain(&e))?;
    json.end().map_err(|e| e.to_string())?;
    match unknown {
        Some(name) => Err(format!("unknown field `{name}`; leave it out or correct its name")),
        None => Ok(Box::new(value)),
    }
}

/// Names the field a type error is about; other errors name theirs.
fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    match error.path().to_string().as_str() {
        "." => error.inner().to_string(),
        field => format!("`{field}`: {}", error.inner()),
    }
}

/// Writes a command as a line, without its line end.
pub fn to_line(command: &Command) -> String {
    match command {
        Command::PlaceOrder(c) => tagged(command, &**c),
        Command::CancelOrder(c) => tagged(command, &**c),
        Command::RefundOrder(c) => tagged(command, &**c),
        Command::PaymentCaptured(c) => tagged(command, &**c),
        Command::PaymentDeclined(c) => tagged(command, &**c),
        Command::ReviewDecision(c) => tagged(command, &**c),
        Command::ReportResult(c) => tagged(command, &**c),
        Command::CorrectResult(c) => tagged(command, &**c),
        Command::RepublishDraw(c) => tagged(command, &**c),
        Command::ImageRendered(c) => tagged(command, &**c),
        Command::ImageFailed(c) => tagged(command, &**c),
        Command::PostSucceeded(c) => tagged(command, &**c),
        Command::PostFailed(c) => tagged(command, &**c),
    }
}

fn tagged(command: &Command, fields: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Line<'a, T> {
        r#type: &'static str,
        #[serde(flatten)]
        fields: &'a T,
    }
    serde_json::to_string(&Line { r#type: command.record_name(), fields })
        .expect("commands are structs of numbers and texts, which JSON can say")
}
