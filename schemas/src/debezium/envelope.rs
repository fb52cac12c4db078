//! Any table's messages: what kind they are, and the envelope of a change.

use super::connect;
use super::datum::Datum;
use super::hints::Hints;
use serde_json::{Map, Value};

/// A row: its columns' names and values, in the schema's order where there is one.
pub type Cells = Vec<(String, Datum)>;

/// What a Debezium topic can carry.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Follows a delete, so that compaction may forget the key.
    Tombstone,
    /// Says nothing about a row.
    Notice(Notice),
    Change(Box<Envelope>),
}

/// A message about something else than a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A transaction began or ended.
    Transaction,
    /// A table's definition changed.
    SchemaChange,
    /// The connector is alive.
    Heartbeat,
    /// A schema without a payload.
    SchemaOnly,
}

/// What happened to the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    Create,
    Update,
    Delete,
    /// A snapshot read.
    Read,
    /// Every row of the table went.
    Truncate,
    /// `pg_logical_emit_message`: about no row.
    Message,
}

/// One change as the connector saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub op: Op,
    /// When the connector handled it.
    pub ts_ms: Option<i64>,
    pub source: Source,
    pub before: Option<Cells>,
    pub after: Option<Cells>,
}

/// Where in the source database the change was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    pub connector: String,
    pub db: String,
    pub schema: String,
    pub table: String,
    /// When the source database made it.
    pub ts_ms: Option<i64>,
    /// As the connector says: true, first, last, incremental, false … Empty where it doesn't.
    pub snapshot: String,
    /// Grows with the source's log: the LSN, or a binary log's file and position as one number.
    pub position: Option<u64>,
}

impl Op {
    /// The letter Debezium writes.
    pub const fn letter(self) -> &'static str {
        match self {
            Op::Create => "c",
            Op::Update => "u",
            Op::Delete => "d",
            Op::Read => "r",
            Op::Truncate => "t",
            Op::Message => "m",
        }
    }

    fn parse(letter: &str) -> Result<Self, String> {
        [Op::Create, Op::Update, Op::Delete, Op::Read, Op::Truncate, Op::Message]
            .into_iter()
            .find(|op| op.letter() == letter)
            .ok_or_else(|| format!("`op` is {letter:?}, not one of c, u, d, r, t, m"))
    }
}

impl Envelope {
    /// Whether the row was read rather than changed: a snapshot, at the start or on demand. Connectors
    /// before 1.2 mark their snapshot reads only in the source.
    pub fn is_snapshot_read(&self) -> bool {
        let marked = !matches!(self.source.snapshot.as_str(), "" | "false");
        self.op == Op::Read || (self.op == Op::Create && marked)
    }
}

/// Reads the JSON value of a Debezium message, bare or wrapped.
///
/// # Errors
/// It is neither a change nor a notice, or a column does not fit its schema.
pub fn message(bytes: &[u8], hints: &Hints) -> Result<Message, String> {
    if bytes.is_empty() {
        return Ok(Message::Tombstone);
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|e| format!("not JSON: {e}"))?;
    of_json(&value, hints)
}

/// As [`message`], of JSON already parsed.
pub(super) fn of_json(value: &Value, hints: &Hints) -> Result<Message, String> {
    let (schema, payload) = unwrap(value);
    let fields = match payload {
        Value::Null => return Ok(Message::Tombstone),
        Value::Object(fields) => fields,
        _ => return Err("no JSON object; a Debezium change is one".into()),
    };
    let Some(op) = fields.get("op").and_then(Value::as_str) else {
        return without_op(fields).map(Message::Notice);
    };
    let source = source(&fields.get("source").cloned().unwrap_or_default());
    let row = |side: &str| {
        let value = fields.get(side).unwrap_or(&Value::Null);
        cells(value, field_schema(schema, side), &source.table, hints)
            .map_err(|why| format!("`{side}`: {why}"))
    };
    let (before, after) = (row("before")?, row("after")?);
    let ts_ms = fields.get("ts_ms").and_then(Value::as_i64);
    Ok(Message::Change(Box::new(Envelope { op: Op::parse(op)?, ts_ms, source, before, after })))
}

/// Reads the JSON key of a Debezium message, bare or wrapped.
///
/// # Errors
/// It is no JSON object, or a column does not fit its schema.
pub fn key(bytes: &[u8], table: &str, hints: &Hints) -> Result<Cells, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| format!("key: not JSON: {e}"))?;
    let (schema, payload) = unwrap(&value);
    cells(payload, schema, table, hints)?.ok_or_else(|| "key: null".into())
}

/// Splits `{"schema", "payload"}`; anything else is a bare payload.
fn unwrap(value: &Value) -> (Option<&Value>, &Value) {
    match value.as_object() {
        Some(fields) if fields.len() == 2 => match (fields.get("schema"), fields.get("payload")) {
            (Some(schema), Some(payload)) => (Some(schema).filter(|s| s.is_object()), payload),
            _ => (None, value),
        },
        _ => (None, value),
    }
}

fn field_schema<'a>(schema: Option<&'a Value>, field: &str) -> Option<&'a Value> {
    schema?["fields"].as_array()?.iter().find(|f| f["field"] == field)
}

fn cells(row: &Value, schema: Option<&Value>, table: &str, hints: &Hints) -> Result<Option<Cells>, String> {
    if row.is_null() {
        return Ok(None);
    }
    let Some(fields) = row.as_object() else { return Err("no row: neither null nor a JSON object".into()) };
    if let Some(schema) = schema {
        return match connect::by_schema(row, Some(schema))? {
            Datum::Struct(cells) => Ok(Some(cells)),
            other => Err(format!("{other} is no row")),
        };
    }
    let cell = |(name, value): (&String, &Value)| {
        let datum = match hints.of(table, name) {
            Some(semantic) => connect::by_semantic(value, semantic),
            None => connect::by_schema(value, None),
        };
        Ok((name.clone(), datum.map_err(|why| format!("`{name}`: {why}"))?))
    };
    fields.iter().map(cell).collect::<Result<_, String>>().map(Some)
}

/// A message without `op` is a notice, or nothing of ours.
fn without_op(fields: &Map<String, Value>) -> Result<Notice, String> {
    let has = |name: &str| fields.contains_key(name);
    if has("status") && has("id") && has("event_count") {
        return Ok(Notice::Transaction);
    }
    if has("ddl") || has("tableChanges") {
        return Ok(Notice::SchemaChange);
    }
    if has("type") && has("fields") {
        return Ok(Notice::SchemaOnly);
    }
    if fields.keys().all(|name| matches!(name.as_str(), "ts_ms" | "ts_us" | "ts_ns")) {
        return Ok(Notice::Heartbeat);
    }
    if fields.keys().any(|name| name.starts_with("__")) {
        return Err(
            "the row was flattened by the ExtractNewRecordState transform, which loses its position; \
             remove the transform (`unwrap`) from the connector"
                .into(),
        );
    }
    let names: Vec<&str> = fields.keys().take(6).map(String::as_str).collect();
    Err(format!("no Debezium change: it has no `op`, but {}", names.join(", ")))
}

fn source(value: &Value) -> Source {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let snapshot = match &value["snapshot"] {
        Value::Bool(flag) => flag.to_string(),
        _ => text("snapshot"),
    };
    Source {
        connector: text("connector"),
        db: text("db"),
        schema: text("schema"),
        table: text("table"),
        ts_ms: value["ts_ms"].as_i64(),
        snapshot,
        position: position(value),
    }
}

/// A number that grows with the source's log.
///
/// PostgreSQL: the LSN. MySQL and MariaDB: file number (24 bits), position in the file (32), row within
/// the event (8, saturating: rows of one event have different keys). It starts anew when the server's
/// log is reset; the topic has to be read anew then, too.
fn position(source: &Value) -> Option<u64> {
    if let Some(lsn) = source["lsn"].as_u64() {
        return Some(lsn);
    }
    let pos = source["pos"].as_u64()?;
    let file = source["file"].as_str()?.rsplit('.').next()?.parse().unwrap_or(0_u64);
    let row = source["row"].as_u64().unwrap_or(0);
    Some(binlog_position(file, pos, row))
}

/// A place in a binary log as one number.
pub fn binlog_position(file: u64, pos: u64, row: u64) -> u64 {
    file.min(0xff_ffff) << 40 | pos.min(0xffff_ffff) << 8 | row.min(0xff)
}
