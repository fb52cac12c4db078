//! Digests: of what the serving sink was told, epoch by epoch, and of what its tables hold.

use super::db::{Db, columns_list};
use super::error::EmbeddedError;
use runtime::Epoch;
use runtime::digest::{Digest, NOTHING_SAID, RunningDigest};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};
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

/// Type, length, bytes: no two rows look alike.
fn add_cell(out: &mut Vec<u8>, cell: Cell<'_>) {
    let mut sized = |tag: u8, bytes: &[u8]| {
        out.push(tag);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    match cell {
        Cell::Null => sized(0, &[]),
        Cell::Int(int) => sized(1, &int.to_le_bytes()),
        Cell::Text(text) => sized(3, text.as_bytes()),
        Cell::Bytes(bytes) => sized(4, bytes),
    }
}

/// The running digest as of an epoch.
pub(crate) fn digest_at(conn: &Connection, epoch: Epoch) -> rusqlite::Result<Digest> {
    let sql = "SELECT digest FROM epoch_digests WHERE epoch <= ?1 ORDER BY epoch DESC LIMIT 1";
    let found = conn.prepare_cached(sql)?.query_row([epoch.0 as i64], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(NOTHING_SAID))
}

/// Counts and digests one serving table.
pub(crate) fn table_digest(db: &Db, table: &TableSpec) -> Result<TableDigest, EmbeddedError> {
    digest(&db.conn, table).map_err(|e| db.failed("digest a table", e))
}

/// Counts and digests one serving table.
///
/// # Errors
/// Where the table can't be read.
pub fn digest(conn: &Connection, table: &TableSpec) -> rusqlite::Result<TableDigest> {
    let (columns, key) = (columns_list(table.columns), columns_list(&table.columns[..table.key]));
    let mut select = conn.prepare(&format!("SELECT {columns} FROM {} ORDER BY {key}", table.name))?;
    let mut rows = select.query([])?;
    let mut hasher = Sha256::new();
    let mut count = 0;
    while let Some(row) = rows.next()? {
        for column in 0..table.columns.len() {
            add_value(&mut hasher, row.get_ref(column)?);
        }
        count += 1;
    }
    let sha256 = hex(&hasher.finalize());
    Ok(TableDigest { table: table.name, rows: count, sha256 })
}

/// Type, length, bytes: no two rows look alike.
fn add_value(hasher: &mut Sha256, value: ValueRef<'_>) {
    let mut sized = |tag: u8, bytes: &[u8]| {
        hasher.update([tag]);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match value {
        ValueRef::Null => sized(0, &[]),
        ValueRef::Integer(int) => sized(1, &int.to_le_bytes()),
        ValueRef::Real(real) => sized(2, &real.to_le_bytes()),
        ValueRef::Text(text) => sized(3, text),
        ValueRef::Blob(blob) => sized(4, blob),
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
