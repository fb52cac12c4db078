//! What a replay gave, in an embedded scratch directory, and what the tables hold.
//!
//! Both sides come in key order and are merged. A pipeline may go on committing while they are compared: rows
//! that it has written after `through` are left out.

use super::columns::names;
use super::error::Result;
use super::reader::{Cursor, PostgresReader, with_cell};
use super::session::Session;
use crate::answers::RowDifference;
use runtime::Epoch;
use schemas::rows::{Column, ColumnType, TableSpec, Value};
use schemas::tables::ALL_TABLES;
use std::cmp::Ordering;
use std::path::Path;

const EPOCH: Column = Column { name: "epoch", ty: ColumnType::Int, nullable: false };

impl PostgresReader {
    /// The first difference of each table, by epoch; none where they agree. `whole`: the replay began with
    /// the log, so that it must have every row; else only its rows are compared.
    ///
    /// # Errors
    /// Where one of the two can't be read.
    pub fn compare(&mut self, replayed: &Path, through: Epoch, whole: bool) -> Result<Vec<RowDifference>> {
        self.answer(|session| {
            let mut found = Vec::new();
            for table in ALL_TABLES {
                found.extend(first(session, table, replayed, through, whole)?);
            }
            found.sort_by_key(|difference: &RowDifference| difference.epoch);
            Ok(found)
        })
    }
}

/// The committed side of one table, and the difference that comes first by epoch.
struct Merge<'a> {
    table: &'static TableSpec,
    committed: Cursor<'a>,
    next: Option<Vec<Value>>,
    through: Epoch,
    whole: bool,
    first: Option<RowDifference>,
}

fn first(
    session: &Session,
    table: &'static TableSpec,
    replayed: &Path,
    through: Epoch,
    whole: bool,
) -> Result<Option<RowDifference>> {
    let key = names(&table.columns[..table.key]);
    let sql = format!("SELECT {}, epoch FROM {} ORDER BY {key}", names(table.columns), table.name);
    let committed = Cursor::open(session, "compare a table", &sql)?;
    let mut merge = Merge { table, committed, next: None, through, whole, first: None };
    merge.step()?;
    crate::embedded::each_row(replayed, table, |row| merge.replayed(&row))?;
    while let Some(row) = merge.next.take() {
        merge.missing(&row);
        merge.step()?;
    }
    merge.committed.close()?;
    Ok(merge.first)
}

impl Merge<'_> {
    /// Reads the next committed row, its `epoch` last.
    fn step(&mut self) -> Result<()> {
        let columns = || self.table.columns.iter().chain([&EPOCH]).enumerate();
        let row = self.committed.next()?;
        self.next = row.map(|row| {
            columns().map(|(at, column)| with_cell(&row, at, column, |cell| Value::from(cell))).collect()
        });
        Ok(())
    }

    /// Takes the next replayed row, and every committed one up to it.
    fn replayed(&mut self, row: &[Value]) -> Result<()> {
        let key = self.table.key;
        while let Some(committed) = self.next.take() {
            match committed[..key].cmp(&row[..key]) {
                Ordering::Less => self.missing(&committed),
                Ordering::Equal => {
                    if committed != row && epoch_of(&committed) <= self.through {
                        self.note(Some(&committed), Some(row));
                    }
                    return self.step();
                }
                Ordering::Greater => {
                    self.next = Some(committed);
                    break;
                }
            }
            self.step()?;
        }
        self.note(None, Some(row));
        Ok(())
    }

    /// A committed row that the replay doesn't have.
    fn missing(&mut self, row: &[Value]) {
        if self.whole && epoch_of(row) <= self.through {
            self.note(Some(row), None);
        }
    }

    fn note(&mut self, committed: Option<&[Value]>, replayed: Option<&[Value]>) {
        let Some(row) = replayed.or(committed) else { return };
        let epoch = epoch_of(row);
        if self.first.as_ref().is_some_and(|first| first.epoch <= epoch) {
            return;
        }
        let key: Vec<String> = row[..self.table.key].iter().map(plain).collect();
        self.first = Some(RowDifference {
            table: self.table.name,
            key: key.join("/"),
            epoch,
            committed: committed.map(|row| shown(self.table, row)),
            replayed: replayed.map(|row| shown(self.table, row)),
        });
    }
}

fn epoch_of(row: &[Value]) -> Epoch {
    match row.last() {
        Some(Value::Int(epoch)) => Epoch(*epoch as u64),
        _ => Epoch(0),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        other => quoted(other),
    }
}

/// As SQL writes it.
fn quoted(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(int) => int.to_string(),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Bytes(bytes) => format!("X'{}'", crate::digest::hex(bytes).to_uppercase()),
    }
}

fn shown(table: &TableSpec, row: &[Value]) -> String {
    let columns = table.columns.iter().chain([&EPOCH]);
    let parts: Vec<String> =
        columns.zip(row).map(|(column, value)| format!("{}={}", column.name, quoted(value))).collect();
    parts.join(" ")
}
