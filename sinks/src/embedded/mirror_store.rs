//! The mirror's document in `tombola.db`: [`MirrorStore`] of the embedded database.
//!
//! ```text
//!   BEGIN IMMEDIATE · is the generation ours? · document · COMMIT
//! ```
//!
//! The table is made when a mirror first runs; a program that doesn't mirror leaves it alone.

use super::db::{Db, newest_generation};
use super::error::Result;
use crate::clickhouse::mirror::MirrorStore;
use runtime::Generation;
use runtime::sink::SinkError;
use rusqlite::OptionalExtension;
use std::path::Path;

const NAME: &str = "mirror";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS mirror (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  document TEXT NOT NULL                 -- JSON
)";

/// The document of a pipeline's mirror, for one generation.
#[derive(Debug)]
pub struct EmbeddedMirror {
    db: Db,
    generation: Generation,
}

impl EmbeddedMirror {
    /// Opens the document of a data directory.
    ///
    /// # Errors
    /// See [`super::EmbeddedError`].
    pub fn open(dir: &Path, generation: Generation) -> Result<Self> {
        let mirror = EmbeddedMirror { db: Db::open(dir)?, generation };
        let made = mirror.db.write()?;
        let made = made.execute_batch(TABLE).and_then(|()| made.commit());
        made.map_err(|e| mirror.db.failed("make the mirror's table", e))?;
        Ok(mirror)
    }
}

impl MirrorStore for EmbeddedMirror {
    fn read(&mut self) -> std::result::Result<Option<String>, SinkError> {
        let read = self.db.conn.query_row("SELECT document FROM mirror", [], |row| row.get(0)).optional();
        read.map_err(|e| self.db.failed("read the mirror's document", e).into_sink(NAME))
    }

    fn write(&mut self, document: &str) -> std::result::Result<(), SinkError> {
        let failed = |e| self.db.failed("write the mirror's document", e).into_sink(NAME);
        let tx = self.db.write().map_err(|e| e.into_sink(NAME))?;
        let (ours, theirs) = (self.generation, newest_generation(&tx).map_err(failed)?);
        if theirs != ours {
            return Err(SinkError::Fenced { sink: NAME, ours, theirs });
        }
        let written = tx.execute("INSERT OR REPLACE INTO mirror VALUES (1, ?1)", [document]);
        written.and_then(|_| tx.commit()).map_err(failed)
    }

    fn check(&mut self) -> std::result::Result<(), SinkError> {
        let newest = newest_generation(&self.db.conn);
        let theirs = newest.map_err(|e| self.db.failed("read the newest generation", e).into_sink(NAME))?;
        let ours = self.generation;
        if ours == theirs { Ok(()) } else { Err(SinkError::Fenced { sink: NAME, ours, theirs }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::BindingsDb;
    use runtime::bindings::BindingStore;

    fn begin(dir: &Path) -> EmbeddedMirror {
        let generation =
            BindingsDb::open(dir).unwrap().begin_generation("1.0", "{}", 1, 0).unwrap().generation;
        EmbeddedMirror::open(dir, generation).unwrap()
    }

    #[test]
    fn a_document_is_replaced_whole_and_only_by_the_newest_generation() {
        let dir = tempfile::tempdir().unwrap();
        let mut older = begin(dir.path());
        assert_eq!(older.read().unwrap(), None);
        older.write("{}").unwrap();
        older.write("{\"a\":1}").unwrap();
        older.check().unwrap();
        let mut newer = begin(dir.path());
        assert_eq!(newer.read().unwrap().as_deref(), Some("{\"a\":1}"));
        assert!(matches!(older.write("{}"), Err(SinkError::Fenced { .. })));
        assert!(matches!(older.check(), Err(SinkError::Fenced { .. })), "it must not change a table, either");
        newer.check().unwrap();
        newer.write("{\"a\":2}").unwrap();
        assert_eq!(older.read().unwrap().as_deref(), Some("{\"a\":2}"));
    }
}
