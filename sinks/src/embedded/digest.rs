//! Digests as `tombola.db` holds them: the running one, and those of its tables.

use super::db::{Db, columns_list};
use super::error::EmbeddedError;
use crate::digest::{TableDigest, TableHasher};
use runtime::Epoch;
use runtime::digest::{Digest, NOTHING_SAID};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};
use schemas::rows::TableSpec;
use schemas::tables::Cell;

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
    let mut hasher = TableHasher::default();
    while let Some(row) = rows.next()? {
        for column in 0..table.columns.len() {
            add_value(&mut hasher, row.get_ref(column)?);
        }
        hasher.end_row();
    }
    Ok(hasher.finish(table))
}

fn add_value(hasher: &mut TableHasher, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => hasher.add(Cell::Null),
        ValueRef::Integer(int) => hasher.add(Cell::Int(int)),
        // Sinks write none; it tells of a table that was changed by hand.
        ValueRef::Real(real) => hasher.add_sized(2, &real.to_le_bytes()),
        ValueRef::Text(text) => hasher.add_sized(3, text),
        ValueRef::Blob(blob) => hasher.add(Cell::Bytes(blob)),
    }
}
