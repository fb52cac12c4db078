//! From the bytes of a record to what it says about a table.

use super::cell::Cell;
use super::envelope::{Envelope, EnvelopeSeed, RowSeed, Source};
use super::types::TableSchema;
use super::{Captured, RowChange};
use crate::avro::{MAGIC, split_header};
use crate::debezium::connect_schema_of;
use serde::de::DeserializeSeed;
use serde_avro_fast::Schema;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState, read::SliceRead};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A writer's Avro schema, and the Connect schema it was made from.
#[derive(Debug)]
struct Writer {
    avro: Schema,
    connect: Value,
}

/// Decodes the messages of any table. Feed it with [`TableDecoder::add`]; [`TableDecoder::unknown`] says what it lacks.
#[derive(Debug, Default)]
pub struct TableDecoder {
    writers: BTreeMap<u32, Result<Writer, String>>,
    /// By the ids of key and value.
    tables: BTreeMap<(u32, u32), Result<Arc<TableSchema>, String>>,
    /// The last few that came within JSON messages, with the schemas they were made from.
    inline: Vec<(Value, Value, Arc<TableSchema>)>,
}

/// Tables whose messages alternate; beyond it their schemas are read again.
const INLINE_MAX: usize = 64;

impl TableDecoder {
    /// The schema id that bytes begin with, where it isn't known yet.
    pub fn unknown(&self, bytes: &[u8]) -> Option<u32> {
        let (id, _) = split_header(bytes).ok()?;
        (!self.writers.contains_key(&id)).then_some(id)
    }

    /// Takes in the writer's schema of an id.
    pub fn add(&mut self, id: u32, avsc: &str) {
        self.writers.entry(id).or_insert_with(|| {
            let mut json: Value = serde_json::from_str(avsc).map_err(|e| format!("not JSON: {e}"))?;
            let connect = connect_schema_of(&json);
            // Decimals are wanted as the bytes they are.
            strip_logical_types(&mut json);
            let avro = json.to_string().parse().map_err(|e| format!("not an Avro schema: {e}"))?;
            Ok(Writer { avro, connect })
        });
    }

    /// What a record says. Whatever can't be read is told as [`Captured::Unreadable`].
    pub fn decode(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Captured {
        let key = key.filter(|bytes| !bytes.is_empty());
        let Some(bytes) = value.filter(|bytes| !bytes.is_empty()) else { return Captured::Nothing };
        let read = match bytes {
            [MAGIC, ..] => self.of_avro(key, bytes),
            _ => self.of_json(key, bytes),
        };
        read.unwrap_or_else(|reason| Captured::Unreadable {
            reason,
            key: key.map(Into::into),
            value: Some(bytes.into()),
        })
    }

    fn of_avro(&mut self, key: Option<&[u8]>, value: &[u8]) -> Result<Captured, String> {
        let Some(key) = key else { return self.keyless_avro(value) };
        let (key_id, key_body) = split_header(key).map_err(|e| format!("key: {e}"))?;
        let (id, body) = split_header(value).map_err(|e| e.to_string())?;
        let schema = self.table(key_id, id)?;
        let envelope = read_avro(self.writer(id)?, body, EnvelopeSeed(&schema.columns))?;
        let key = || read_avro(self.writer(key_id)?, key_body, RowSeed(&schema.columns));
        captured(&schema, envelope, key)
    }

    /// Only what is about no row has no key.
    fn keyless_avro(&self, value: &[u8]) -> Result<Captured, String> {
        let (id, body) = split_header(value).map_err(|e| e.to_string())?;
        keyless(read_avro(self.writer(id)?, body, EnvelopeSeed(&[]))?)
    }

    fn writer(&self, id: u32) -> Result<&Writer, String> {
        let known = self.writers.get(&id).ok_or_else(|| format!("schema id {id} is not registered"))?;
        known.as_ref().map_err(|why| format!("schema id {id}: {why}"))
    }

    fn table(&mut self, key: u32, value: u32) -> Result<Arc<TableSchema>, String> {
        if let Some(known) = self.tables.get(&(key, value)) {
            return known.clone();
        }
        let made = TableSchema::of_connect(&self.writer(key)?.connect, &self.writer(value)?.connect);
        let made = made.map(Arc::new);
        self.tables.insert((key, value), made.clone());
        made
    }

    fn of_json(&mut self, key: Option<&[u8]>, value: &[u8]) -> Result<Captured, String> {
        let (schema, payload) = wrapped(value)?;
        let Some(key) = key else { return keyless(read_json(&payload, EnvelopeSeed(&[]))?) };
        let (key_schema, key_payload) = wrapped(key)?;
        let table = self.inline_table(key_schema, schema)?;
        let envelope = read_json(&payload, EnvelopeSeed(&table.columns))?;
        captured(&table, envelope, || read_json(&key_payload, RowSeed(&table.columns)))
    }

    fn inline_table(&mut self, key: Value, value: Value) -> Result<Arc<TableSchema>, String> {
        let known = self.inline.iter().find(|(k, v, _)| *k == key && *v == value);
        if let Some((_, _, table)) = known {
            return Ok(Arc::clone(table));
        }
        let table = Arc::new(TableSchema::of_connect(&key, &value)?);
        if self.inline.len() == INLINE_MAX {
            self.inline.remove(0);
        }
        self.inline.push((key, value, Arc::clone(&table)));
        Ok(table)
    }
}

fn strip_logical_types(avro: &mut Value) {
    match avro {
        Value::Object(fields) => {
            fields.remove("logicalType");
            fields.values_mut().for_each(strip_logical_types);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_logical_types),
        _ => {}
    }
}

fn read_avro<'a, T: DeserializeSeed<'a>>(
    writer: &'a Writer,
    body: &'a [u8],
    seed: T,
) -> Result<T::Value, String> {
    let config = DeserializerConfig::new(&writer.avro);
    let mut state = DeserializerState::with_config(SliceRead::new(body), config);
    seed.deserialize(state.deserializer()).map_err(|e| format!("not as its schema says: {e}"))
}

fn read_json<'a, T: DeserializeSeed<'a>>(payload: &'a Value, seed: T) -> Result<T::Value, String> {
    seed.deserialize(payload).map_err(|e| format!("not as its schema says: {e}"))
}

/// Schema and payload.
fn wrapped(bytes: &[u8]) -> Result<(Value, Value), String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| format!("neither Avro nor JSON: {e}"))?;
    let Value::Object(mut fields) = value else { return Err("no JSON object".to_owned()) };
    match (fields.remove("schema"), fields.remove("payload")) {
        (Some(schema), Some(payload)) if schema.is_object() => Ok((schema, payload)),
        _ => Err(
            "it brings no schema; set `schemas.enable=true` on the connector's JSON converters, or use Avro"
                .to_owned(),
        ),
    }
}

/// A record without a key.
fn keyless(envelope: Envelope) -> Result<Captured, String> {
    match envelope.op.as_deref() {
        Some("t") => Ok(Captured::Truncate { position: position(&envelope.source)? }),
        None | Some("m") => Ok(Captured::Nothing),
        Some(_) => Err(
            "the table has no key, so its rows can't be told apart; give it a primary key, or the connector `message.key.columns`"
                .to_owned(),
        ),
    }
}

fn captured(
    schema: &Arc<TableSchema>,
    envelope: Envelope,
    key: impl FnOnce() -> Result<Option<Vec<Cell>>, String>,
) -> Result<Captured, String> {
    let Envelope { op, before, after, source } = envelope;
    let Some(op) = op else { return Ok(Captured::Nothing) };
    let row = |deleted: bool, cells: Vec<Cell>| -> Result<RowChange, String> {
        let snapshot_read = op == "r" || (op == "c" && source.is_snapshot());
        let position = if snapshot_read { source_position(&source).unwrap_or(0) } else { position(&source)? };
        let cells = settle(schema, cells, deleted)?;
        Ok(RowChange {
            position,
            snapshot_read,
            deleted,
            moves: false,
            ts_ms: source.ts_ms.unwrap_or(0),
            cells,
        })
    };
    let rows = match (op.as_str(), after) {
        ("t", _) => return Ok(Captured::Truncate { position: position(&source)? }),
        ("m", _) => return Ok(Captured::Nothing),
        // The message's key, as the row before may lack what is not in the table's replica identity.
        ("d", _) => vec![row(true, key()?.ok_or("a delete without a key")?)?],
        ("c" | "u" | "r", Some(after)) => {
            let mut after = row(false, after)?;
            let before = before.map(|before| row(false, before)).transpose()?;
            match before.filter(|_| op == "u") {
                None => vec![after],
                Some(before) => {
                    complete(&mut after, &before);
                    moved(schema, before, &after).into_iter().chain([after]).collect()
                }
            }
        }
        (op, _) => return Err(format!("`op` is {op:?}, without a row that it could be about")),
    };
    Ok(Captured::Rows { schema: Arc::clone(schema), rows })
}

/// The row before has what wasn't told again, where it is the whole row.
fn complete(after: &mut RowChange, before: &RowChange) {
    for (after, before) in after.cells.iter_mut().zip(&before.cells) {
        if *after == Cell::Unavailable && *before != Cell::Null {
            *after = before.clone();
        }
    }
}

/// The end of the row under its old key, where the key moved. Where the row before says no key, it is the same.
fn moved(schema: &TableSchema, before: RowChange, after: &RowChange) -> Option<RowChange> {
    let key = |row: &RowChange| schema.key.iter().map(|place| row.cells[*place].clone()).collect::<Vec<_>>();
    let old = key(&before);
    let moved = !old.contains(&Cell::Null) && old != key(after);
    moved.then_some(RowChange { deleted: true, ..before })
}

/// Every cell as its column has it; of a deleted row, those of its key.
fn settle(schema: &TableSchema, cells: Vec<Cell>, key_only: bool) -> Result<Vec<Cell>, String> {
    let settle = |(place, (cell, column)): (usize, (Cell, &super::Column))| {
        if key_only && !schema.key.contains(&place) {
            return Ok(Cell::Null);
        }
        cell.settle(&column.ty).map_err(|why| format!("`{}`: {why}", column.name))
    };
    cells.into_iter().zip(&schema.columns).enumerate().map(settle).collect()
}

fn position(source: &Source) -> Result<u64, String> {
    source_position(source).ok_or_else(|| {
        "`source` has no position (`lsn`, or `file` and `pos`), so it can't be told from a redelivery; leave \
         `source` in the connector's output"
            .to_owned()
    })
}

/// As the changes of our own reference tables have it.
fn source_position(source: &Source) -> Option<u64> {
    if source.lsn.is_some() {
        return source.lsn;
    }
    let file = source.file.as_deref()?.rsplit('.').next()?.parse().unwrap_or(0);
    Some(crate::debezium::binlog_position(file, source.pos?, source.row.unwrap_or(0)))
}
