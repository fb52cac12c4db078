//! Serving rows into `tombola.db`: a run of epochs in one transaction, with its progress.
//!
//! ```text
//!   rows of the run ─ last one per key ─ sorted by key ─┐ (no lock held)
//!                     BEGIN IMMEDIATE · is the generation ours? · upserts · digests · decided = last epoch · COMMIT
//! ```
//!
//! Invariants: a reader sees whole epochs only, and the decided frontier that goes with them; a zombie of an
//! older generation changes nothing. A crash before the commit leaves the run to be committed again; after
//! it, `committed` says so and the runtime drops it.
//!
//! This is the last sink of an epoch: when it has committed, the epoch is decided.

use super::checkpoint::Checkpointer;
use super::db::{Db, columns_list, decided, newest_generation};
use super::digest::digest_at;
use super::error::{EmbeddedError, classify};
use crate::digest::fold_run;
use crate::rows::{TableRows, assert_new, newest_rows};
use runtime::sink::{EpochItems, Sink, SinkError};
use runtime::{Epoch, Generation, killpoint};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Transaction, params};
use schemas::rows::{Row, TableSpec};
use schemas::tables::Cell;
use std::path::Path;

const NAME: &str = "serving";

/// Upserts rows. `row_of` says which items are rows.
#[derive(Debug)]
pub struct ServingSink<I> {
    db: Db,
    generation: Generation,
    row_of: fn(&I) -> Option<&Row>,
    _checkpointer: Checkpointer,
}

impl<I> ServingSink<I> {
    /// Opens the serving tables of a data directory for one generation of the pipeline.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn open(
        dir: &Path,
        generation: Generation,
        row_of: fn(&I) -> Option<&Row>,
    ) -> Result<Self, EmbeddedError> {
        let _checkpointer = Checkpointer::start(Db::open(dir)?);
        Ok(ServingSink { db: Db::open(dir)?, generation, row_of, _checkpointer })
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &rusqlite::Connection {
        &self.db.conn
    }

    fn check_fence(&self, tx: &Transaction<'_>) -> Result<(), SinkError> {
        let theirs = newest_generation(tx);
        let theirs = theirs.map_err(|e| self.db_failed("read the newest generation", e))?;
        if theirs != self.generation {
            return Err(SinkError::Fenced { sink: NAME, ours: self.generation, theirs });
        }
        Ok(())
    }

    fn db_failed(&self, doing: &'static str, error: rusqlite::Error) -> SinkError {
        self.db.failed(doing, error).into_sink(NAME)
    }
}

impl<I: Send> Sink<I> for ServingSink<I> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn committed(&mut self) -> Result<Epoch, SinkError> {
        let read = decided(&self.db.conn).map_err(|e| self.db_failed("read the decided frontier", e));
        read.map(|(epoch, _)| epoch)
    }

    fn commit(&mut self, run: &[EpochItems<I>]) -> Result<(), SinkError> {
        let Some(last) = run.last() else { return Ok(()) };
        let rows = newest_rows(run, self.row_of);
        let file = &self.db.file;
        let failed = |e| classify(file, "commit rows", e).into_sink(NAME);
        let tx = self.db.write().map_err(|e| e.into_sink(NAME))?;
        self.check_fence(&tx)?;
        assert_new(decided(&tx).map_err(failed)?.0, run);
        upsert(&tx, &rows).map_err(failed)?;
        record(&tx, run, self.row_of, last).map_err(failed)?;
        killpoint::reach("serving.before_commit");
        tx.commit().map_err(failed)?;
        killpoint::reach("serving.after_commit");
        Ok(())
    }
}

fn upsert(tx: &Transaction<'_>, tables: &[TableRows<'_>]) -> rusqlite::Result<()> {
    for TableRows { table, rows } in tables {
        let mut statement = tx.prepare_cached(&upsert_sql(table))?;
        for (row, epoch) in rows {
            bind(&mut statement, row, *epoch)?;
            statement.raw_execute()?;
        }
    }
    Ok(())
}

fn bind(statement: &mut CachedStatement<'_>, row: &Row, epoch: Epoch) -> rusqlite::Result<()> {
    let (mut column, mut bound) = (0, Ok(()));
    row.each_cell(|cell| {
        let value = match cell {
            Cell::Null => ValueRef::Null,
            Cell::Int(int) => ValueRef::Integer(int),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Bytes(bytes) => ValueRef::Blob(bytes),
        };
        column += 1;
        if bound.is_ok() {
            bound = statement.raw_bind_parameter(column, ToSqlOutput::Borrowed(value));
        }
    });
    bound.and_then(|()| statement.raw_bind_parameter(column + 1, epoch.0 as i64))
}

fn upsert_sql(table: &TableSpec) -> String {
    let marks = vec!["?"; table.columns.len() + 1].join(", ");
    let columns = columns_list(table.columns);
    format!("INSERT OR REPLACE INTO {} ({columns}, epoch) VALUES ({marks})", table.name)
}

/// Digests of the run's epochs and the decided frontier.
fn record<I>(
    tx: &Transaction<'_>,
    run: &[EpochItems<I>],
    row_of: fn(&I) -> Option<&Row>,
    last: &EpochItems<I>,
) -> rusqlite::Result<()> {
    let mut add = tx.prepare_cached("INSERT INTO epoch_digests (epoch, digest) VALUES (?1, ?2)")?;
    for (epoch, digest) in fold_run(digest_at(tx, last.epoch)?, run, row_of) {
        add.execute(params![epoch.0 as i64, digest])?;
    }
    let mut advance =
        tx.prepare_cached("UPDATE frontiers SET epoch = ?1, now_ms = ?2 WHERE name = 'decided'")?;
    let moved = advance.execute(params![last.epoch.0 as i64, last.now])?;
    assert_eq!(moved, 1, "the decided frontier has a row since the file was made");
    Ok(())
}
