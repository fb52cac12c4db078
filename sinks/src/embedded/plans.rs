//! The loader's plans in `tombola.db`: [`PlanStore`] of the embedded database.
//!
//! ```text
//!   BEGIN IMMEDIATE · is the generation ours? · plan, attempt, or positions and done · COMMIT
//! ```
//!
//! Only the last batch is kept: those before it are done, and their ends are the positions. The tables are made
//! when a loader first runs; a program that doesn't load leaves them alone.

use super::db::{Db, decided, newest_generation};
use super::error::{EmbeddedError, Result};
use crate::clickhouse::{Batch, PlanState, PlanStore};
use runtime::sink::SinkError;
use runtime::{Epoch, Generation};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::path::Path;

const NAME: &str = "loader";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS loader (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  id  TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS loader_positions (
  topic     TEXT NOT NULL,
  partition INTEGER NOT NULL,
  next      INTEGER NOT NULL,            -- everything before it is in ClickHouse
  PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS loader_batch (
  one     INTEGER PRIMARY KEY CHECK (one = 1),
  number  INTEGER NOT NULL,
  batch   TEXT NOT NULL,                 -- JSON
  pending INTEGER NOT NULL
);
INSERT OR IGNORE INTO loader VALUES (1, lower(hex(randomblob(16))));
INSERT OR IGNORE INTO frontiers VALUES ('published', 0, 0);
";

/// Plans of the one loader of a pipeline.
#[derive(Debug)]
pub struct EmbeddedPlans {
    db: Db,
    generation: Generation,
}

impl EmbeddedPlans {
    /// Opens the plans of a data directory for one generation of the pipeline.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn open(dir: &Path, generation: Generation) -> Result<Self> {
        let plans = EmbeddedPlans { db: Db::open(dir)?, generation };
        let made = plans.db.write()?;
        let made = made.execute_batch(TABLES).and_then(|()| made.commit());
        made.map_err(|e| plans.db.failed("make the loader's tables", e))?;
        Ok(plans)
    }

    /// One transaction of the newest generation.
    fn change(
        &mut self,
        doing: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> std::result::Result<(), SinkError> {
        let failed = |e| self.db.failed(doing, e).into_sink(NAME);
        let tx = self.db.write().map_err(|e| e.into_sink(NAME))?;
        let (ours, theirs) = (self.generation, newest_generation(&tx).map_err(failed)?);
        if theirs != ours {
            return Err(SinkError::Fenced { sink: NAME, ours, theirs });
        }
        change(&tx).and_then(|()| tx.commit()).map_err(failed)
    }

    fn read<T>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> std::result::Result<T, SinkError> {
        read(&self.db.conn).map_err(|e| self.db.failed(doing, e).into_sink(NAME))
    }

    /// The batch as recorded. What we wrote and can't read is damage.
    fn parse(&self, json: &str) -> std::result::Result<Batch, SinkError> {
        let damaged = |e: serde_json::Error| EmbeddedError::Damaged {
            file: self.db.file.clone(),
            problem: format!("the loader's batch can't be read: {e}"),
        };
        serde_json::from_str(json).map_err(|e| damaged(e).into_sink(NAME))
    }
}

impl PlanStore for EmbeddedPlans {
    fn decided(&mut self) -> std::result::Result<Epoch, SinkError> {
        self.read("read the decided frontier", decided).map(|(epoch, _)| epoch)
    }

    fn published(&mut self) -> std::result::Result<Epoch, SinkError> {
        let sql = "SELECT epoch FROM frontiers WHERE name = 'published'";
        self.read("read the published frontier", |conn| {
            conn.query_row(sql, [], |row| Ok(Epoch(row.get::<_, i64>(0)? as u64)))
        })
    }

    fn state(&mut self) -> std::result::Result<PlanState, SinkError> {
        let (loader_id, positions, last) = self.read("read plans", |conn| {
            // One state of all three.
            let snapshot = conn.unchecked_transaction()?;
            let id = snapshot.query_row("SELECT id FROM loader", [], |row| row.get(0))?;
            Ok((id, positions(&snapshot)?, last_batch(&snapshot)?))
        })?;
        let (last, pending) = match last {
            None => (0, None),
            Some((number, _, false)) => (number as u64, None),
            Some((number, json, true)) => (number as u64, Some(self.parse(&json)?)),
        };
        Ok(PlanState { loader_id, last, positions, pending })
    }

    fn record(&mut self, batch: &Batch) -> std::result::Result<(), SinkError> {
        let json = serde_json::to_string(batch).expect("a batch is plain data");
        self.change("record a batch", |tx| {
            let (last, pending) =
                last_batch(tx)?.map_or((0, false), |(number, _, pending)| (number, pending));
            assert!(!pending, "batch {last} is pending: {} is not to be recorded", batch.number);
            assert_eq!(batch.number, last as u64 + 1, "batches are numbered without gaps");
            let record = "INSERT OR REPLACE INTO loader_batch VALUES (1, ?1, ?2, 1)";
            tx.execute(record, params![batch.number as i64, json]).map(drop)
        })
    }

    fn record_attempt(&mut self, attempt: u32) -> std::result::Result<(), SinkError> {
        self.change("record an attempt", |tx| {
            let raise = "UPDATE loader_batch SET batch = json_set(batch, '$.attempt', ?1) WHERE pending = 1";
            assert_eq!(tx.execute(raise, [attempt])?, 1, "an attempt is of a pending batch");
            Ok(())
        })
    }

    fn done(&mut self) -> std::result::Result<(), SinkError> {
        self.change("record that a batch is done", |tx| {
            // SQLite reads the ranges itself: what moves is what was recorded.
            let advance = "INSERT OR REPLACE INTO loader_positions
                SELECT value ->> 'topic', value ->> 'partition', value ->> 'to'
                FROM loader_batch, json_each(batch, '$.ranges') WHERE pending = 1";
            tx.execute(advance, [])?;
            let done = tx.execute("UPDATE loader_batch SET pending = 0 WHERE pending = 1", [])?;
            assert_eq!(done, 1, "what is done was pending");
            Ok(())
        })
    }

    fn set_published(&mut self, epoch: Epoch) -> std::result::Result<(), SinkError> {
        self.change("move the published frontier", |tx| {
            let sql = "UPDATE frontiers SET epoch = max(epoch, ?1) WHERE name = 'published'";
            tx.execute(sql, [epoch.0 as i64]).map(drop)
        })
    }
}

fn positions(conn: &Connection) -> rusqlite::Result<Vec<(String, u32, u64)>> {
    let sql = "SELECT topic, partition, next FROM loader_positions ORDER BY topic, partition";
    let mut select = conn.prepare_cached(sql)?;
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? as u64)))?.collect()
}

/// Number, JSON, and whether it is pending.
fn last_batch(conn: &Connection) -> rusqlite::Result<Option<(i64, String, bool)>> {
    let mut select = conn.prepare_cached("SELECT number, batch, pending FROM loader_batch")?;
    select.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::BatchRange;
    use crate::embedded::BindingsDb;
    use runtime::bindings::BindingStore;

    fn begin(dir: &Path) -> Generation {
        BindingsDb::open(dir).unwrap().begin_generation("1.0", "{}", 1, 0).unwrap().generation
    }

    fn open(dir: &Path) -> EmbeddedPlans {
        EmbeddedPlans::open(dir, begin(dir)).unwrap()
    }

    fn batch(number: u64, from: u64, to: u64) -> Batch {
        let range = |partition| BatchRange {
            topic: "facts.orders".to_owned(),
            partition,
            from,
            to,
            rows: to - from,
            insert: None,
        };
        Batch { number, through: Epoch(to), attempt: 1, ranges: vec![range(0), range(1)] }
    }

    #[test]
    fn a_batch_is_pending_until_it_is_done_and_then_its_ends_are_the_positions() {
        let dir = tempfile::tempdir().unwrap();
        let mut plans = open(dir.path());
        let fresh = plans.state().unwrap();
        assert_eq!(
            (fresh.last, fresh.positions.len(), fresh.pending, fresh.loader_id.len()),
            (0, 0, None, 32)
        );
        plans.record(&batch(1, 0, 5)).unwrap();
        plans.record_attempt(2).unwrap();
        let mut plans = open(dir.path());
        let pending = plans.state().unwrap().pending.unwrap();
        assert_eq!(pending, Batch { attempt: 2, ..batch(1, 0, 5) });
        plans.done().unwrap();
        let state = open(dir.path()).state().unwrap();
        let position = |partition| ("facts.orders".to_owned(), partition, 5);
        assert_eq!((state.last, state.pending), (1, None));
        assert_eq!(state.positions, [position(0), position(1)]);
        assert_eq!(state.loader_id, fresh.loader_id);
    }

    #[test]
    #[should_panic(expected = "batch 1 is pending")]
    fn a_second_batch_is_not_recorded_while_one_is_pending() {
        let dir = tempfile::tempdir().unwrap();
        let mut plans = open(dir.path());
        plans.record(&batch(1, 0, 5)).unwrap();
        let _ = plans.record(&batch(2, 5, 6));
    }

    #[test]
    fn the_published_frontier_never_moves_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut plans = open(dir.path());
        assert_eq!(plans.published().unwrap(), Epoch(0));
        for (set, expected) in [(7, 7), (3, 7), (9, 9)] {
            plans.set_published(Epoch(set)).unwrap();
            assert_eq!(plans.published().unwrap(), Epoch(expected));
        }
    }

    #[test]
    fn a_loader_of_an_older_generation_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut zombie = open(dir.path());
        zombie.record(&batch(1, 0, 5)).unwrap();
        let mut plans = open(dir.path());
        let before = plans.state().unwrap();
        let refused = [
            zombie.record_attempt(2),
            zombie.done(),
            zombie.set_published(Epoch(5)),
            zombie.record(&batch(2, 5, 6)),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(SinkError::Fenced { .. })), "{refused:?}");
        }
        assert_eq!((plans.state().unwrap(), plans.published().unwrap()), (before, Epoch(0)));
    }
}
