//! Values that were not told: a large value that a change leaves as it is does not travel with it.
//!
//! What the column held before is looked for in the same batch, then in the table, and written again with the new row.
//! A batch that is sent again may find there what it wrote itself: the same value. Where the key moved, the row lies under
//! its old key, which ended by the same change.

use super::binary::{Writer, width};
use super::names::quoted_name;
use super::rows::{RowAt, is_null_name, key_type, write_key};
use super::state::{Table, TableColumn};
use crate::clickhouse::client::Client;
use crate::clickhouse::error::{ClickHouseError, Result};
use schemas::captured::{Cell, ColumnType};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicBool;

/// Keys asked for at once, and how long they may be together: a statement has 256 KB.
const KEYS_AT_ONCE: usize = 1_000;
const KEY_BYTES_AT_ONCE: usize = 100_000;

/// Values that were found, as their columns hold them.
#[derive(Debug, Default)]
pub(super) struct Found {
    by_place: HashMap<(u64, usize, String), Vec<u8>>,
    /// Values that nobody has: they stay NULL.
    pub missing: u64,
}

impl Found {
    /// What belongs into a column of the row at an offset.
    pub fn of(&self, offset: u64, nth: usize, column: &str) -> Option<&[u8]> {
        if self.by_place.is_empty() {
            return None;
        }
        self.by_place.get(&(offset, nth, column.to_owned())).map(Vec::as_slice)
    }
}

/// A row that lacks values.
struct Lacking<'a> {
    at: &'a RowAt<'a>,
    key: Vec<u8>,
    columns: Vec<&'a str>,
}

/// Finds what rows of a range lack.
pub(super) fn find(client: &Client, stop: &AtomicBool, table: &Table, rows: &[RowAt<'_>]) -> Result<Found> {
    if !rows.iter().any(|at| at.row.cells.contains(&Cell::Unavailable)) {
        return Ok(Found::default());
    }
    let mut search = Search::default();
    for at in rows {
        let mut key = Writer::default();
        // A row whose key or value can't be written is none: its record is rejected, with the reason.
        if write_key(&mut key, table, at).is_err() {
            continue;
        }
        if at.row.deleted {
            search.end(at, key.bytes);
        } else if let Err(why) = search.look(table, at, key.bytes) {
            tracing::debug!(offset = at.offset, why, "a value of this record can't be written");
        }
    }
    let Search { mut found, asked, .. } = search;
    ask(client, stop, table, &asked, &mut found)?;
    Ok(found)
}

/// What is known of a row in this batch.
#[derive(Default)]
struct Known {
    values: HashMap<String, Vec<u8>>,
    /// The key under which the table has it, where that is another one.
    was: Option<Vec<u8>>,
}

/// The search within a batch.
#[derive(Default)]
struct Search<'a> {
    found: Found,
    asked: Vec<Lacking<'a>>,
    known: HashMap<Vec<u8>, Known>,
    /// The last row that ended: its place in the source, its key, and what was known of it.
    ended: Option<(u64, Vec<u8>, Known)>,
}

impl<'a> Search<'a> {
    fn end(&mut self, at: &RowAt<'_>, key: Vec<u8>) {
        let known = self.known.remove(&key).unwrap_or_default();
        self.ended = Some((at.row.position, key, known));
    }

    fn look(&mut self, table: &Table, at: &'a RowAt<'a>, key: Vec<u8>) -> std::result::Result<(), String> {
        let lacks = at.row.cells.contains(&Cell::Unavailable);
        // A row that ended by the same change goes on under this key.
        if lacks
            && let Some((_, old, known)) = self.ended.take_if(|(position, ..)| *position == at.row.position)
        {
            let was = known.was.or(Some(old));
            self.known.insert(key.clone(), Known { was, ..known });
        }
        let known = self.known.entry(key.clone()).or_default();
        let mut columns = Vec::new();
        for (cell, column) in at.row.cells.iter().zip(&at.schema.columns) {
            let Some(ours) = table.columns.iter().find(|c| c.name == column.name) else { continue };
            if *cell != Cell::Unavailable {
                known.values.insert(column.name.clone(), stored(cell, &column.ty, ours)?);
            } else if let Some(bytes) = known.values.get(&column.name) {
                self.found.by_place.insert((at.offset, at.nth, column.name.clone()), bytes.clone());
            } else {
                columns.push(column.name.as_str());
            }
        }
        if !columns.is_empty() {
            let key = known.was.clone().unwrap_or(key);
            self.asked.push(Lacking { at, key, columns });
        }
        Ok(())
    }
}

/// A value as its column holds it.
fn stored(cell: &Cell, from: &ColumnType, column: &TableColumn) -> std::result::Result<Vec<u8>, String> {
    let mut writer = Writer::default();
    match (&column.ty, cell) {
        (ColumnType::Array(_), Cell::Null) => writer.bytes.extend_from_slice(&[0, 1]),
        (ColumnType::Array(_), _) => {
            writer.value(cell, from, &column.ty)?;
            writer.bytes.push(0);
        }
        _ => writer.nullable(cell, from, &column.ty)?,
    }
    Ok(writer.bytes)
}

fn ask(
    client: &Client,
    stop: &AtomicBool,
    table: &Table,
    asked: &[Lacking<'_>],
    found: &mut Found,
) -> Result<()> {
    let names: BTreeSet<&str> = asked.iter().flat_map(|lacking| lacking.columns.iter().copied()).collect();
    let columns: Vec<&TableColumn> =
        table.columns.iter().filter(|column| names.contains(column.name.as_str())).collect();
    let mut rest = asked;
    while !rest.is_empty() {
        let (mut count, mut bytes) = (0, 0);
        while count < rest.len().min(KEYS_AT_ONCE) && (count == 0 || bytes < KEY_BYTES_AT_ONCE) {
            bytes += rest[count].key.len();
            count += 1;
        }
        let (now, later) = rest.split_at(count);
        let values = values_of(client, stop, table, &columns, now)?;
        for lacking in now {
            let of_key = values.get(&lacking.key);
            for name in &lacking.columns {
                let n = columns.iter().position(|column| column.name == **name);
                match n.and_then(|n| of_key.map(|values| values[n].clone())) {
                    Some(value) => {
                        let place = (lacking.at.offset, lacking.at.nth, (*name).to_owned());
                        found.by_place.insert(place, value);
                    }
                    None => found.missing += 1,
                }
            }
        }
        rest = later;
    }
    Ok(())
}

/// What the table holds of some keys, column by column.
fn values_of(
    client: &Client,
    stop: &AtomicBool,
    table: &Table,
    columns: &[&TableColumn],
    asked: &[Lacking<'_>],
) -> Result<HashMap<Vec<u8>, Vec<Vec<u8>>>> {
    let key_types: Vec<ColumnType> = table.key.iter().filter_map(|name| type_of(table, name)).collect();
    let sql = question(table, &key_types, columns, asked);
    let doing = "look up values that did not change";
    let answer = client.bytes(doing, Some(stop), &sql, "RowBinary")?;
    let mut rest = answer.as_slice();
    let mut all = HashMap::new();
    while !rest.is_empty() {
        let row = read_row(&mut rest, &key_types, columns).ok_or_else(|| ClickHouseError::Stop {
            place: format!("{}, table {}", client.place, table.name),
            problem: "an answer is cut short, or the table has other types than the mirror gave it"
                .to_owned(),
            remedy: "compare its columns with the source's".to_owned(),
        })?;
        all.insert(row.0, row.1);
    }
    Ok(all)
}

fn type_of(table: &Table, name: &str) -> Option<ColumnType> {
    table.columns.iter().find(|column| column.name == name).map(|column| key_type(&column.ty))
}

fn question(
    table: &Table,
    key_types: &[ColumnType],
    columns: &[&TableColumn],
    asked: &[Lacking<'_>],
) -> String {
    let key = table.key.iter().map(|name| quoted_name(name)).collect::<Vec<_>>().join(", ");
    let mut wanted = String::new();
    for column in columns {
        wanted += &format!(", {}", quoted_name(&column.stored));
        if matches!(column.ty, ColumnType::Array(_)) {
            wanted += &format!(", {}", quoted_name(&is_null_name(&column.stored)));
        }
    }
    let structure = key_types.iter().enumerate().map(|(n, ty)| format!("k{n} {}", super::ddl::sql_type(ty)));
    let structure = structure.collect::<Vec<_>>().join(", ");
    let hex: String =
        asked.iter().flat_map(|lacking| &lacking.key).map(|byte| format!("{byte:02x}")).collect();
    format!(
        "SELECT {key}{wanted} FROM {} FINAL WHERE ({key}) IN (SELECT * FROM format(RowBinary, {}, unhex('{hex}')))
         SETTINGS select_sequential_consistency = 1",
        quoted_name(&table.name),
        crate::clickhouse::client::quoted(&structure)
    )
}

/// Key and values at the head of an answer.
fn read_row(
    rest: &mut &[u8],
    key: &[ColumnType],
    columns: &[&TableColumn],
) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut key_bytes = Vec::new();
    for ty in key {
        let (head, tail) = rest.split_at_checked(width(rest, ty, false)?)?;
        key_bytes.extend_from_slice(head);
        *rest = tail;
    }
    let mut values = Vec::new();
    for column in columns {
        let is_array = matches!(column.ty, ColumnType::Array(_));
        let bytes = width(rest, &column.ty, !is_array)? + usize::from(is_array);
        let (head, tail) = rest.split_at_checked(bytes)?;
        values.push(head.to_vec());
        *rest = tail;
    }
    Some((key_bytes, values))
}
