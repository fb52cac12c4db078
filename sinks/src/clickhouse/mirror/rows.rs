//! A batch as inserts: rows of one range that fill the same columns of their table go in one block.
//!
//! The version by which the newest row of a key wins has two parts: the newest snapshot that its partition had brought
//! before it, then its own place in the source. A row that was read by a snapshot stands at the snapshot's head, before every
//! change that came after it, even one whose place is lower: a transaction that was open while the snapshot was taken
//! is told afterwards.

use super::binary::Writer;
use super::gather::Taken;
use super::names::quoted_name;
use super::state::{Position, Range, Table};
use super::untold::Found;
use runtime::source::Fetched;
use schemas::captured::{Captured, Cell, Column, ColumnType, RowChange, TableSchema};
use std::sync::Arc;

/// What a row has besides the source's columns, in this order.
const OWN_COLUMNS: &str = "__version, __deleted, __lsn, __partition, __offset, __changed_at";
/// The same for its rows of truncations and of records nobody can read.
pub(super) const TRUNCATIONS: &str = "mirror_truncations";
pub(super) const REJECTED: &str = "mirror_rejected";

/// One insert.
#[derive(Debug)]
pub(super) struct Piece {
    /// Quoted.
    pub table: String,
    pub columns: String,
    pub bytes: Vec<u8>,
    pub rows: u64,
    /// Of its rows.
    pub offsets: Vec<u64>,
    /// Within its range.
    pub number: usize,
}

/// Everything of one range.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub all: Vec<Piece>,
    pub clamped: u64,
    pub rejected: u64,
}

/// A row in its place.
pub(super) struct RowAt<'a> {
    pub schema: &'a Arc<TableSchema>,
    pub row: &'a RowChange,
    pub offset: u64,
    /// Among the rows of its offset.
    pub nth: usize,
    pub version: u128,
}

/// The rows of a range with their versions, and where its snapshots stand after it.
pub(super) fn rows_of<'a>(taken: &'a Taken, from: Position) -> (Vec<RowAt<'a>>, Position) {
    let mut snapshot = from.snapshot;
    let mut all = Vec::new();
    for record in &taken.records {
        let Captured::Rows { schema, rows } = &record.body else { continue };
        for (nth, row) in rows.iter().enumerate() {
            let version = match row.snapshot_read {
                true => {
                    snapshot = snapshot.max(row.position);
                    u128::from(row.position) << 64
                }
                false => u128::from(snapshot) << 64 | u128::from(row.position),
            };
            all.push(RowAt { schema, row, offset: record.offset.0, nth, version });
        }
    }
    (all, Position { next: taken.range.to, snapshot })
}

/// One way to fill a table's columns.
struct Way {
    schema: *const TableSchema,
    /// How many of the table's columns the row is too old for.
    too_old: usize,
    /// Places in the record and in the table.
    places: Vec<(usize, usize)>,
    writer: Writer,
    rows: u64,
    offsets: Vec<u64>,
}

/// The inserts of a range's rows.
pub(super) fn pieces(
    taken: &Taken,
    table: Option<&Table>,
    rows: &[RowAt<'_>],
    found: &Found,
) -> Result<Pieces, String> {
    let mut ways: Vec<Way> = Vec::new();
    for at in rows {
        let table = table.ok_or("a range with rows has a table")?;
        let place = |why: String| format!("offset {}: {why}", at.offset);
        let way = way_of(&mut ways, table, at);
        write_row(way, table, at, found).map_err(place)?;
        write_own(&mut way.writer, &taken.range, at);
        way.rows += 1;
        way.offsets.push(at.offset);
    }
    let mut pieces = Pieces::default();
    for way in ways {
        let table = table.ok_or("a range with rows has a table")?;
        pieces.clamped += way.writer.clamped;
        let columns = columns_of(table, &way.places);
        pieces.add(quoted_name(&table.name), columns, way.writer.bytes, way.rows, way.offsets);
    }
    add_truncations(&mut pieces, taken);
    add_rejected(&mut pieces, taken);
    Ok(pieces)
}

fn way_of<'a>(ways: &'a mut Vec<Way>, table: &Table, at: &RowAt<'_>) -> &'a mut Way {
    let schema = Arc::as_ptr(at.schema);
    let too_old = table.columns.iter().filter(|column| column.since > at.row.position).count();
    if let Some(n) = ways.iter().position(|way| way.schema == schema && way.too_old == too_old) {
        return &mut ways[n];
    }
    let here = |(n, column): (usize, &Column)| {
        let is_it =
            |ours: &super::state::TableColumn| ours.name == column.name && ours.since <= at.row.position;
        Some((n, table.columns.iter().position(is_it)?))
    };
    let places = at.schema.columns.iter().enumerate().filter_map(here).collect();
    ways.push(Way { schema, too_old, places, writer: Writer::default(), rows: 0, offsets: Vec::new() });
    ways.last_mut().expect("pushed just now")
}

fn write_row(way: &mut Way, table: &Table, at: &RowAt<'_>, found: &Found) -> Result<(), String> {
    for (from, to) in &way.places {
        let (cell, column) = (&at.row.cells[*from], &table.columns[*to]);
        let from_type = &at.schema.columns[*from].ty;
        let named = |why: String| format!("`{}`: {why}", column.name);
        if *cell == Cell::Unavailable
            && let Some(bytes) = found.of(at.offset, at.nth, &column.name)
        {
            way.writer.bytes.extend_from_slice(bytes);
        } else {
            write_cell(&mut way.writer, table, *to, cell, from_type).map_err(named)?;
        }
    }
    Ok(())
}

/// A cell as its column is kept: a key is never NULL, an array says apart whether it is.
fn write_cell(
    writer: &mut Writer,
    table: &Table,
    to: usize,
    cell: &Cell,
    from: &ColumnType,
) -> Result<(), String> {
    let column = &table.columns[to];
    if table.is_key(&column.name) {
        return writer.value(cell, from, &key_type(&column.ty));
    }
    if !matches!(column.ty, ColumnType::Array(_)) {
        return writer.nullable(cell, from, &column.ty);
    }
    let is_null = matches!(cell, Cell::Null | Cell::Unavailable);
    match is_null {
        true => writer.length(0),
        false => writer.value(cell, from, &column.ty)?,
    }
    writer.bytes.push(u8::from(is_null));
    Ok(())
}

/// The key of a row, as it is compared and looked up.
pub(super) fn write_key(writer: &mut Writer, table: &Table, at: &RowAt<'_>) -> Result<(), String> {
    for name in &table.key {
        let from = at.schema.columns.iter().position(|column| column.name == *name);
        let to = table.columns.iter().position(|column| column.name == *name);
        let (from, to) = from.zip(to).ok_or_else(|| format!("the key's column `{name}` is missing"))?;
        let ty = key_type(&table.columns[to].ty);
        writer.value(&at.row.cells[from], &at.schema.columns[from].ty, &ty)?;
    }
    Ok(())
}

/// A key can't be widened later, so whole numbers have room from the start.
pub(super) fn key_type(ty: &ColumnType) -> ColumnType {
    match ty {
        ColumnType::Int16 | ColumnType::Int32 => ColumnType::Int64,
        other => other.clone(),
    }
}

fn write_own(writer: &mut Writer, range: &Range, at: &RowAt<'_>) {
    let out = &mut writer.bytes;
    out.extend_from_slice(&at.version.to_le_bytes());
    out.push(u8::from(at.row.deleted));
    out.extend_from_slice(&at.row.position.to_le_bytes());
    out.extend_from_slice(&range.partition.to_le_bytes());
    out.extend_from_slice(&at.offset.to_le_bytes());
    out.extend_from_slice(&at.row.ts_ms.to_le_bytes());
}

/// The columns that a row fills.
fn columns_of(table: &Table, places: &[(usize, usize)]) -> String {
    let mut names: Vec<String> = Vec::new();
    for (_, to) in places {
        let column = &table.columns[*to];
        names.push(quoted_name(&column.stored));
        if matches!(column.ty, ColumnType::Array(_)) {
            names.push(quoted_name(&is_null_name(&column.stored)));
        }
    }
    names.push(OWN_COLUMNS.to_owned());
    names.join(", ")
}

/// Whether an array is NULL, which it can't be itself.
pub(super) fn is_null_name(column: &str) -> String {
    format!("{column}_is_null")
}

impl Pieces {
    fn add(&mut self, table: String, columns: String, bytes: Vec<u8>, rows: u64, offsets: Vec<u64>) {
        let number = self.all.len();
        self.all.push(Piece { table, columns, bytes, rows, offsets, number });
    }
}

fn write_place(writer: &mut Writer, range: &Range, record: &Fetched<Captured>) {
    writer.string(range.topic.as_bytes());
    writer.bytes.extend_from_slice(&range.partition.to_le_bytes());
    writer.bytes.extend_from_slice(&record.offset.0.to_le_bytes());
}

fn add_truncations(pieces: &mut Pieces, taken: &Taken) {
    let (mut writer, mut rows, mut offsets) = (Writer::default(), 0, Vec::new());
    for record in &taken.records {
        if let Captured::Truncate { position } = &record.body {
            write_place(&mut writer, &taken.range, record);
            writer.bytes.extend_from_slice(&position.to_le_bytes());
            rows += 1;
            offsets.push(record.offset.0);
        }
    }
    if rows > 0 {
        let columns = "topic, __partition, __offset, lsn".to_owned();
        pieces.add(TRUNCATIONS.to_owned(), columns, writer.bytes, rows, offsets);
    }
}

fn add_rejected(pieces: &mut Pieces, taken: &Taken) {
    let (mut writer, mut offsets) = (Writer::default(), Vec::new());
    for record in &taken.records {
        if let Captured::Unreadable { reason, key, value } = &record.body {
            write_place(&mut writer, &taken.range, record);
            writer.string(reason.as_bytes());
            writer.string(key.as_deref().unwrap_or_default());
            writer.string(value.as_deref().unwrap_or_default());
            pieces.rejected += 1;
            offsets.push(record.offset.0);
        }
    }
    if pieces.rejected > 0 {
        let columns = "topic, __partition, __offset, reason, `key`, value".to_owned();
        pieces.add(REJECTED.to_owned(), columns, writer.bytes, pieces.rejected, offsets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::source::Claim;
    use runtime::{Class, Offset};

    /// Rows as they come: `r100` read by a snapshot at 100, `90` a change at 90. The order in which they win, by offset.
    fn check(text: &str, expected: &[u64]) {
        let column = Column { name: "id".to_owned(), ty: ColumnType::Int32, default: None };
        let schema = Arc::new(TableSchema { columns: vec![column], key: vec![0] });
        let record = |(offset, word): (usize, &str)| {
            let position = word.trim_start_matches('r').parse().unwrap();
            let row = RowChange {
                position,
                snapshot_read: word.starts_with('r'),
                deleted: false,
                moves: false,
                ts_ms: 0,
                cells: vec![Cell::Int(1)],
            };
            let body = Captured::Rows { schema: Arc::clone(&schema), rows: vec![row] };
            Fetched { offset: Offset(offset as u64), claim: Claim::Nothing, class: Class::Reference, body }
        };
        let records: Vec<_> = text.split(' ').enumerate().map(record).collect();
        let range =
            Range { topic: "t".to_owned(), partition: 0, from: 0, to: 9, records: records.len() as u64 };
        let taken = Taken { range, records };
        let (mut rows, _) = rows_of(&taken, Position::default());
        rows.sort_by_key(|at| at.version);
        assert_eq!(rows.iter().map(|at| at.offset).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn a_change_wins_over_the_snapshot_it_came_after_wherever_its_transaction_began() {
        check("r100 90 95 120", &[0, 1, 2, 3]);
    }

    #[test]
    fn a_later_snapshot_wins_over_what_came_before_and_loses_to_what_comes_after() {
        check("r100 120 r150 140 160", &[0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_is_told_again_has_the_version_it_had() {
        check("120 130 120", &[0, 2, 1]);
    }
}
