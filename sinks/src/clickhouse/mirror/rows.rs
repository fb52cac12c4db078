//! A batch as inserts: rows of one range that fill the same columns of their table go in one block.
//!
//! The version by which the newest row of a key wins has two parts: the newest snapshot that its partition had brought
//! before it, then its own place in the source. A row that was read by a snapshot stands at the snapshot's head, before every
//! change that came after it, even one whose place is lower: a transaction that was open while the snapshot was taken
//! is told afterwards.

use super::binary::Writer;
use super::gather::Taken;
use super::names::quoted_name;
use super::notes::add_truncations;
use super::state::{Position, Range, Table};
use super::untold::Found;
use schemas::captured::{Captured, Cell, Column, ColumnType, RowChange, TableSchema};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a row has besides the source's columns, in this order.
const OWN_COLUMNS: &str = "__version, __deleted, __lsn, __partition, __offset, __changed_at";
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
    /// Within its range: with the range's, it names the insert for good.
    pub name: String,
    pub kind: Kind,
}

/// What an insert brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Rows of a table, of which this is the number: it may be cut.
    Rows(usize),
    /// What the mirror notes for itself.
    Note,
    /// A record that the server refused, which is known for good once everything else was taken.
    Refused,
}

/// Everything of one range.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub all: Vec<Piece>,
    pub clamped: u64,
    pub rejected: u64,
    /// By offset: records that no row can be made of, and why.
    pub unfit: BTreeMap<u64, String>,
    /// How many inserts there are, those of no rows among them.
    count: usize,
}

impl Pieces {
    /// Rows of the table among them.
    pub fn has_rows(&self) -> bool {
        self.all.iter().any(|piece| matches!(piece.kind, Kind::Rows(_)))
    }
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
    /// Of each row: its record's offset, and where its bytes end.
    offsets: Vec<u64>,
    ends: Vec<usize>,
}

/// The inserts of a range's rows. A record that no row can be made of is left out whole.
pub(super) fn pieces(
    taken: &Taken,
    table: Option<&Table>,
    rows: &[RowAt<'_>],
    found: &Found,
) -> Result<Pieces, String> {
    let (mut ways, mut pieces) = (Vec::new(), Pieces::default());
    for at in rows {
        let table = table.ok_or("a range with rows has a table")?;
        let way = way_of(&mut ways, table, at);
        if taken.range.refused.contains_key(&at.offset) || pieces.unfit.contains_key(&at.offset) {
            continue;
        }
        match write_row(way, table, at, found) {
            Ok(()) => way.end_row(&taken.range, at),
            Err(why) => {
                way.forget(at.offset);
                pieces.unfit.insert(at.offset, why);
            }
        }
    }
    for way in ways {
        let table = table.ok_or("a range with rows has a table")?;
        pieces.clamped += way.writer.clamped;
        pieces.add_rows(taken, table, way);
    }
    add_truncations(&mut pieces, taken);
    Ok(pieces)
}

impl Way {
    fn end_row(&mut self, range: &Range, at: &RowAt<'_>) {
        write_own(&mut self.writer, range, at);
        self.offsets.push(at.offset);
        self.ends.push(self.writer.bytes.len());
    }

    /// Takes back what was written of a record.
    fn forget(&mut self, offset: u64) {
        while self.offsets.last() == Some(&offset) {
            self.offsets.pop();
            self.ends.pop();
        }
        self.writer.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }
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
    let (writer, offsets, ends) = Default::default();
    ways.push(Way { schema, too_old, places, writer, offsets, ends });
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
    /// One way's rows, in the parts that its range says.
    fn add_rows(&mut self, taken: &Taken, table: &Table, way: Way) {
        let (number, parts) = (self.count, taken.range.parts(self.count));
        self.count += 1;
        let (table, columns) = (quoted_name(&table.name), columns_of(table, &way.places));
        let Way { offsets, ends, writer: Writer { bytes, .. }, .. } = way;
        if parts.len() == 1 {
            let (name, rows) = (number.to_string(), offsets.len() as u64);
            if rows > 0 {
                self.all.push(Piece { table, columns, bytes, rows, offsets, name, kind: Kind::Rows(number) });
            }
            return;
        }
        for (from, to) in parts {
            let [first, end] = [from, to].map(|bound| offsets.partition_point(|offset| *offset < bound));
            if first == end {
                continue;
            }
            let begin = if first == 0 { 0 } else { ends[first - 1] };
            self.all.push(Piece {
                table: table.clone(),
                columns: columns.clone(),
                bytes: bytes[begin..ends[end - 1]].to_vec(),
                rows: (end - first) as u64,
                offsets: offsets[first..end].to_vec(),
                name: format!("{number}:{from}-{to}"),
                kind: Kind::Rows(number),
            });
        }
    }

    pub fn note(&mut self, table: &str, columns: &str, bytes: Vec<u8>, offsets: Vec<u64>) {
        let name = self.count.to_string();
        self.count += 1;
        let (table, columns, rows) = (table.to_owned(), columns.to_owned(), offsets.len() as u64);
        self.all.push(Piece { table, columns, bytes, rows, offsets, name, kind: Kind::Note });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test: what fails here fails the test
mod tests {
    use super::super::notes::add_rejected;
    use super::*;
    use runtime::source::{Claim, Fetched};
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
            Fetched {
                offset: Offset(offset as u64),
                claim: Claim::Nothing,
                class: Class::Reference,
                body,
                unread: None,
            }
        };
        let records: Vec<_> = text.split(' ').enumerate().map(record).collect();
        let records_in = records.len() as u64;
        let range = Range { topic: "t".to_owned(), to: 9, records: records_in, ..Range::default() };
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

    /// A row of table `t (id, n)` as `id:n`, its number NULL where there is none; one word for each record.
    fn record(offset: u64, word: &str) -> Fetched<Captured> {
        let columns =
            ["id", "n"].map(|name| Column { name: name.to_owned(), ty: ColumnType::Int32, default: None });
        let schema = Arc::new(TableSchema { columns: columns.into(), key: vec![0] });
        let row = |text: &str| {
            let (id, n) = text.split_once(':').unwrap();
            let cell = |text: &str| text.parse().map_or(Cell::Null, Cell::Int);
            let cells = vec![cell(id), cell(n)];
            RowChange { position: 9, snapshot_read: false, deleted: false, moves: false, ts_ms: 0, cells }
        };
        let body = Captured::Rows { schema, rows: word.split('+').map(row).collect() };
        Fetched { offset: Offset(offset), claim: Claim::Nothing, class: Class::Reference, body, unread: None }
    }

    /// The pieces of some records, from offset 5 on, of one writer's schema.
    fn made(words: &str, range: Range) -> (Taken, Pieces) {
        let mut records: Vec<_> =
            words.split(' ').enumerate().map(|(n, word)| record(5 + n as u64, word)).collect();
        let Captured::Rows { schema: first, .. } = records[0].body.clone() else { unreachable!() };
        for record in &mut records {
            if let Captured::Rows { schema, .. } = &mut record.body {
                *schema = Arc::clone(&first);
            }
        }
        let (from, to) = (5, 5 + records.len() as u64);
        let range = Range { topic: "x.t".to_owned(), from, to, records: to - from, ..range };
        let taken = Taken { range, records };
        let table = super::super::evolve::first("t".to_owned(), &first, 1);
        let (rows, _) = rows_of(&taken, Position::default());
        let mut pieces = pieces(&taken, Some(&table), &rows, &Found::default()).unwrap();
        drop(rows);
        let wanted: Vec<u64> = pieces.unfit.keys().chain(taken.range.refused.keys()).copied().collect();
        let bytes = |offset: u64| Captured::Unreadable {
            reason: String::new(),
            key: Some(format!("key {offset}").into_bytes().into()),
            value: Some(format!("value {offset}").into_bytes().into()),
        };
        add_rejected(
            &mut pieces,
            &taken,
            &wanted.into_iter().map(|offset| (offset, bytes(offset))).collect(),
        );
        (taken, pieces)
    }

    fn shown(pieces: &Pieces) -> Vec<String> {
        let piece = |piece: &Piece| format!("{} {} {:?}", piece.table, piece.name, piece.offsets);
        pieces.all.iter().map(piece).collect()
    }

    #[test]
    fn a_record_that_no_row_can_be_made_of_is_rejected_whole_and_the_others_are_written() {
        let (_, all) = made("1:1 :2 3:3", Range::default());
        assert_eq!(shown(&all), ["`t` 0 [5, 7]", "mirror_rejected 1 [6]"]);
        assert_eq!((all.rejected, all.all[0].rows), (1, 2));
        let (_, without) = made("1:1 3:3", Range::default());
        assert_eq!(all.all[0].bytes.len(), without.all[0].bytes.len(), "nothing is left of it");
        let text = String::from_utf8_lossy(&all.all[1].bytes).into_owned();
        for part in ["x.t", "`id`: Null", "key 6", "value 6"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let (_, moved) = made("1:1 2:2+:2 3:3", Range::default());
        assert_eq!(shown(&moved), ["`t` 0 [5, 7]", "mirror_rejected 1 [6]"], "both rows of a moved key");
        let (_, none) = made(":1", Range::default());
        assert_eq!(shown(&none), ["mirror_rejected 1 [5]"]);
    }

    #[test]
    fn an_insert_that_was_cut_comes_in_parts_and_without_what_was_refused() {
        let mut range = Range { refused: [(7, "no".to_owned())].into(), ..Range::default() };
        range.cuts.insert(0, [7, 8].into());
        let (_, all) = made("1:1 2:2 3:3 4:4", range);
        let expected = ["`t` 0:5-7 [5, 6]", "`t` 0:8-9 [8]", "mirror_rejected refused:7 [7]"];
        assert_eq!(shown(&all), expected);
        let (_, whole) = made("1:1 2:2 3:3 4:4", Range::default());
        let row = whole.all[0].bytes.len() / 4;
        assert_eq!(all.all[0].bytes, whole.all[0].bytes[..2 * row]);
        assert_eq!(all.all[1].bytes, whole.all[0].bytes[3 * row..]);
    }
}
