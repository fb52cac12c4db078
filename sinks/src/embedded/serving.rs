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
use super::digest::{digest_at, fold_rows};
use super::error::{EmbeddedError, classify};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use runtime::digest::RunningDigest;
use runtime::sink::{EpochItems, Sink, SinkError};
use runtime::{Epoch, Generation, killpoint};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Transaction, params};
use rustc_hash::FxBuildHasher;
use schemas::rows::{Row, TableSpec};
use schemas::tables::{Cell, RowKey};
use std::hash::BuildHasher;
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

/// An epoch applied twice could put an old row over a new one: nothing but a fault in the runtime asks for it.
fn assert_new<I>(done: Epoch, run: &[EpochItems<I>]) {
    assert!(run.iter().is_sorted_by(|a, b| a.epoch < b.epoch), "epochs come in order, each once");
    assert!(run.iter().all(|e| e.epoch > done), "epochs up to {done} are in the serving tables already");
}

/// A row, and the epoch that wrote it.
type Written<'a> = (&'a Row, Epoch);

/// The rows of one table.
struct TableRows<'a> {
    table: &'static TableSpec,
    rows: Vec<Written<'a>>,
}

/// A row found by its key: its key's hash, the number of its table, its place in it.
struct Found {
    hash: u64,
    table: u32,
    at: u32,
}

/// The last row of the run for each key, by table; within one, in the order in which keys first came, so
/// that ids that grow are written side by side.
fn newest_rows<I>(run: &[EpochItems<I>], row_of: fn(&I) -> Option<&Row>) -> Vec<TableRows<'_>> {
    let items = run.iter().flat_map(|e| e.items.iter().map(|item| (&item.body, e.epoch)));
    let mut tables: Vec<TableRows<'_>> = Vec::new();
    // About every other item is a row. Growing would mean looking at all of them again.
    let mut seen: HashTable<Found> =
        HashTable::with_capacity(run.iter().map(|epoch| epoch.items.len()).sum::<usize>() / 2);
    for (row, epoch) in items.filter_map(|(body, epoch)| Some((row_of(body)?, epoch))) {
        let (key, table) = (row.key(), table_of(&mut tables, row.table()) as u32);
        let hash = hash(&key);
        let rows = &tables[table as usize].rows;
        let same = |known: &Found| {
            known.hash == hash && known.table == table && rows[known.at as usize].0.key() == key
        };
        match seen.entry(hash, same, |known| known.hash) {
            Entry::Occupied(known) => {
                let at = known.get().at as usize;
                tables[table as usize].rows[at] = (row, epoch);
            }
            Entry::Vacant(free) => {
                free.insert(Found { hash, table, at: rows.len() as u32 });
                tables[table as usize].rows.push((row, epoch));
            }
        }
    }
    tables
}

/// For this run only: it needn't be stable, but fast.
fn hash(key: &RowKey<'_>) -> u64 {
    FxBuildHasher.hash_one(key.parts)
}

/// The number of a table: there are a handful.
fn table_of(tables: &mut Vec<TableRows<'_>>, table: &'static TableSpec) -> usize {
    tables.iter().position(|t| std::ptr::eq(t.table, table)).unwrap_or_else(|| {
        tables.push(TableRows { table, rows: Vec::new() });
        tables.len() - 1
    })
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
    let mut running = RunningDigest::resume(digest_at(tx, last.epoch)?);
    let mut add = tx.prepare_cached("INSERT INTO epoch_digests (epoch, digest) VALUES (?1, ?2)")?;
    for epoch in run {
        let rows = epoch.items.iter().filter_map(|item| row_of(&item.body));
        if let Some(digest) = fold_rows(&mut running, epoch.epoch, rows) {
            add.execute(params![epoch.epoch.0 as i64, digest])?;
        }
    }
    let mut advance =
        tx.prepare_cached("UPDATE frontiers SET epoch = ?1, now_ms = ?2 WHERE name = 'decided'")?;
    let moved = advance.execute(params![last.epoch.0 as i64, last.now])?;
    assert_eq!(moved, 1, "the decided frontier has a row since the file was made");
    Ok(())
}
