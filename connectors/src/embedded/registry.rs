//! The embedded schema registry: which Avro schema the id in a record's first five bytes stands for.
//!
//! Rows are only ever added, and an id never changes its meaning: records live as long as the log. A fresh
//! store numbers our own contracts 1, 2, 3 … in the order of `schemas::registry`.

use super::db::Db;
use super::error::{Result, classify};
use crate::decode::SchemaSource;
use runtime::source::LogError;
use rusqlite::{Connection, OptionalExtension, params};
use schemas::SchemaIds;
use schemas::registry::subjects;
use std::path::Path;

/// One registered schema.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RegistryRow {
    pub id: u32,
    /// Topic and full record name: TopicRecordNameStrategy.
    pub subject: String,
    pub version: u32,
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

    /// Registers every contract of this program that isn't there yet: the ids to encode with.
    ///
    /// # Errors
    /// See [`super::EmbeddedError`].
    pub fn register_own(&mut self) -> Result<SchemaIds> {
        let file = self.db.file.clone();
        let own: Vec<(String, &str)> = subjects().into_iter().map(|s| (s.subject, s.avsc)).collect();
        let tx = self.db.write()?;
        let ids: rusqlite::Result<Vec<u32>> =
            own.iter().map(|(subject, avsc)| find_or_add(&tx, subject, avsc)).collect();
        let ids = ids.and_then(|ids| tx.commit().map(|()| ids));
        let mut ids = ids.map_err(|e| classify(&file, "register schemas", e))?.into_iter();
        let ids = SchemaIds::try_new(|_| ids.next().ok_or(()));
        Ok(ids.expect("subjects() lists every record, in the order in which ids are asked for"))
    }

    /// The id of a schema under a subject; a new one where it isn't there yet.
    ///
    /// # Errors
    /// See [`super::EmbeddedError`].
    pub fn register(&mut self, subject: &str, avsc: &str) -> Result<u32> {
        let file = self.db.file.clone();
        let tx = self.db.write()?;
        let id = find_or_add(&tx, subject, avsc).and_then(|id| tx.commit().map(|()| id));
        id.map_err(|e| classify(&file, "register a schema", e))
    }

    /// The schema with this id.
    ///
    /// # Errors
    /// See [`super::EmbeddedError`].
    pub fn get(&self, id: u32) -> Result<Option<RegistryRow>> {
        let sql = "SELECT id, subject, version, schema FROM schemas WHERE id = ?1";
        let row = self.db.conn.query_row(sql, [id], row_of).optional();
        row.map_err(|e| self.db.failed("read its schemas", e))
    }

    /// Every schema, by id.
    ///
    /// # Errors
    /// See [`super::EmbeddedError`].
    pub fn all(&self) -> Result<Vec<RegistryRow>> {
        let sql = "SELECT id, subject, version, schema FROM schemas ORDER BY id";
        let rows = self.db.conn.prepare_cached(sql).and_then(|mut s| s.query_map([], row_of)?.collect());
        rows.map_err(|e| self.db.failed("read its schemas", e))
    }
}

impl SchemaSource for Registry {
    fn schema(&mut self, id: u32) -> std::result::Result<Option<String>, LogError> {
        Ok(self.get(id)?.map(|row| row.schema))
    }
}

fn row_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<RegistryRow> {
    Ok(RegistryRow { id: row.get(0)?, subject: row.get(1)?, version: row.get(2)?, schema: row.get(3)? })
}

fn find_or_add(conn: &Connection, subject: &str, avsc: &str) -> rusqlite::Result<u32> {
    let known = "SELECT id FROM schemas WHERE subject = ?1 AND schema = ?2";
    if let Some(id) = conn.query_row(known, [subject, avsc], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    let add = "INSERT INTO schemas (id, subject, version, schema) VALUES (
               (SELECT coalesce(max(id), 0) + 1 FROM schemas), ?1,
               (SELECT coalesce(max(version), 0) + 1 FROM schemas WHERE subject = ?1), ?2) RETURNING id";
    conn.query_row(add, params![subject, avsc], |row| row.get(0))
}
