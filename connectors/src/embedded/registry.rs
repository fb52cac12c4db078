//! The embedded schema registry: which Avro schema an id in a record's first five bytes stands for.
//!
//! Rows are only ever added, and an id never changes its meaning: records live as long as the log.

use super::db::Db;
use super::error::{EmbeddedError, Result};
use rusqlite::{OptionalExtension, params};
use std::path::Path;

/// One registered schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryRow {
    pub id: i32,
    /// `<topic>-<record>`, as the registry's callers choose.
    pub subject: String,
    pub version: i32,
    pub schema: String,
}

/// The table `schemas` of `log.db`.
#[derive(Debug)]
pub struct Registry {
    db: Db,
}

impl Registry {
    /// Opens the registry of a data directory.
    ///
    /// # Errors
    /// As [`super::Log::open`].
    pub fn open(dir: &Path) -> Result<Registry> {
        Ok(Registry { db: Db::open(dir)? })
    }

    /// Adds the rows that are missing, in one transaction.
    ///
    /// # Errors
    /// [`EmbeddedError::Registry`] where an id already stands for another schema.
    pub fn register(&mut self, rows: &[RegistryRow]) -> Result<()> {
        let file = self.db.file.clone();
        let tx = self.db.write()?;
        for row in rows {
            let known =
                find(&tx, row.id).map_err(|e| super::error::classify(&file, "read its schemas", e))?;
            match known {
                Some(known) if known == *row => {}
                Some(known) => return Err(other_meaning(&file, &known)),
                None => add(&tx, row).map_err(|e| super::error::classify(&file, "register a schema", e))?,
            }
        }
        tx.commit().map_err(|e| super::error::classify(&file, "register schemas", e))
    }

    /// The schema with this id.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn get(&self, id: i32) -> Result<Option<RegistryRow>> {
        find(&self.db.conn, id).map_err(|e| self.db.failed("read its schemas", e))
    }

    /// Every schema, by id.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn all(&self) -> Result<Vec<RegistryRow>> {
        let sql = "SELECT id, subject, version, schema FROM schemas ORDER BY id";
        let rows = self.db.conn.prepare_cached(sql).and_then(|mut s| s.query_map([], row_of)?.collect());
        rows.map_err(|e| self.db.failed("read its schemas", e))
    }
}

fn find(conn: &rusqlite::Connection, id: i32) -> rusqlite::Result<Option<RegistryRow>> {
    let sql = "SELECT id, subject, version, schema FROM schemas WHERE id = ?1";
    conn.query_row(sql, [id], row_of).optional()
}

fn row_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<RegistryRow> {
    Ok(RegistryRow { id: row.get(0)?, subject: row.get(1)?, version: row.get(2)?, schema: row.get(3)? })
}

fn add(conn: &rusqlite::Connection, row: &RegistryRow) -> rusqlite::Result<()> {
    let sql = "INSERT INTO schemas (id, subject, version, schema) VALUES (?1, ?2, ?3, ?4)";
    conn.execute(sql, params![row.id, row.subject, row.version, row.schema]).map(|_| ())
}

fn other_meaning(file: &str, known: &RegistryRow) -> EmbeddedError {
    let problem = format!("it stands for {} version {}", known.subject, known.version);
    EmbeddedError::Registry { file: file.to_owned(), id: i64::from(known.id), problem }
}
