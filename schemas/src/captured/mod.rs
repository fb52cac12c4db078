//! Captured tables: rows of any table as Debezium tells them, each message by the schema its writer used.
//!
//! ```text
//!   key, value ── Avro, or JSON {"schema","payload"} ──> TableSchema (columns, key) ┐
//!                                                   └──> cells, in its order ───────┴──> Captured
//! ```
//!
//! Unlike [`debezium`](crate::debezium), which knows our own reference tables, nothing is known here of a table
//! beforehand: names, types, precision and defaults come with its messages. Bare JSON brings none of that and is
//! refused. What a column holds stays exact: decimals as digits, times in their own unit.
//!
//! What it does not do: tables without a key (their changes can't be told apart), and rows that were flattened.

mod cell;
mod decode;
mod envelope;
mod types;

pub use cell::{Cell, date_text};
pub use decode::TableDecoder;
pub use types::{Column, ColumnType, TableSchema};

use std::sync::Arc;

/// What a record of a table's topic says.
#[derive(Clone, Debug, PartialEq)]
pub enum Captured {
    /// One row; two where a change moved its key: the old one's end comes first.
    Rows { schema: Arc<TableSchema>, rows: Vec<RowChange> },
    /// Every row went.
    Truncate { position: u64 },
    /// Nothing about a row: a tombstone, a notice.
    Nothing,
    /// It can't be understood, and why.
    Unreadable { reason: String, key: Option<Box<[u8]>>, value: Option<Box<[u8]>> },
}

/// The header of a delete that a row's new key made necessary: a record with the rest of that change follows.
pub const MOVES_HEADER: &str = "__debezium.newkey";

impl Captured {
    /// The record has the header [`MOVES_HEADER`].
    pub fn set_moves(&mut self) {
        if let Captured::Rows { rows, .. } = self {
            rows.iter_mut().for_each(|row| row.moves = row.deleted);
        }
    }
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowChange {
    /// Grows with the source's log: the LSN.
    pub position: u64,
    /// It was read, not changed: as it stood at `position`.
    pub snapshot_read: bool,
    /// It is gone: only the cells of its key count.
    pub deleted: bool,
    /// It goes on under another key, in a record that follows.
    pub moves: bool,
    /// When the source made the change, by its clock.
    pub ts_ms: i64,
    /// In the order of the schema's columns.
    pub cells: Vec<Cell>,
}
