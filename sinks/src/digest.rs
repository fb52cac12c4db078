//! Digests: of what a serving sink was told, epoch by epoch, and of what its tables hold.
//!
//! They are the same for every store, so that two stores can be compared by them.

use runtime::Epoch;
use runtime::digest::{Digest, RunningDigest};
use runtime::sink::EpochItems;
use schemas::rows::{Row, TableSpec};
use schemas::tables::Cell;
use sha2::{Digest as _, Sha256};

/// One serving table in short.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableDigest {
    pub table: &'static str,
    pub rows: u64,
    /// Hexadecimal SHA-256 over the business columns (all but `epoch`), rows in key order.
    pub sha256: String,
}

/// Folds an epoch's rows into the running digest, in order; `None` where it has none.
pub fn fold_rows<'a>(
    running: &mut RunningDigest,
    epoch: Epoch,
    rows: impl Iterator<Item = &'a Row>,
) -> Option<Digest> {
    let mut rows = rows.peekable();
    rows.peek()?;
    let mut bytes = Vec::new();
    Some(running.fold(epoch, |parts| {
        for row in rows {
            bytes.clear();
            bytes.extend_from_slice(row.table().name.as_bytes());
            row.each_cell(|cell| add_cell(&mut bytes, cell));
            parts.add(&bytes);
        }
    }))
}

/// The running digest after each epoch of a run that has rows.
pub(crate) fn fold_run<I>(
    last: Digest,
    run: &[EpochItems<I>],
    row_of: fn(&I) -> Option<&Row>,
) -> Vec<(Epoch, Digest)> {
    let mut running = RunningDigest::resume(last);
    let rows = |epoch: &EpochItems<I>| {
        let rows = epoch.items.iter().filter_map(|item| row_of(&item.body));
        Some((epoch.epoch, fold_rows(&mut running, epoch.epoch, rows)?))
    };
    run.iter().filter_map(rows).collect()
}

/// Type, length, bytes: no two rows look alike.
fn add_cell(out: &mut Vec<u8>, cell: Cell<'_>) {
    tagged(cell, |tag, bytes| {
        let mut head = [tag; 9];
        head[1..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(bytes);
    });
}

fn tagged(cell: Cell<'_>, put: impl FnOnce(u8, &[u8])) {
    match cell {
        Cell::Null => put(0, &[]),
        Cell::Int(int) => put(1, &int.to_le_bytes()),
        Cell::Text(text) => put(3, text.as_bytes()),
        Cell::Bytes(bytes) => put(4, bytes),
    }
}

/// Hashes a table's rows in key order.
#[derive(Default)]
pub(crate) struct TableHasher {
    hasher: Sha256,
    rows: u64,
}

impl TableHasher {
    /// The next column of the row.
    pub fn add(&mut self, cell: Cell<'_>) {
        tagged(cell, |tag, bytes| self.add_sized(tag, bytes));
    }

    /// The same for a store's own bytes. Type, length, bytes: no two rows look alike.
    pub fn add_sized(&mut self, tag: u8, bytes: &[u8]) {
        self.hasher.update([tag]);
        self.hasher.update((bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    /// Ends a row.
    pub fn end_row(&mut self) {
        self.rows += 1;
    }

    pub fn finish(self, table: &TableSpec) -> TableDigest {
        TableDigest { table: table.name, rows: self.rows, sha256: hex(&self.hasher.finalize()) }
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
