//! A publisher's ledger in `tombola.db`: [`Ledger`] of the embedded database.
//!
//! ```text
//!   BEGIN IMMEDIATE · is the generation ours? · changes · COMMIT
//! ```
//!
//! The tables are made when a publisher first runs.

use super::db::{Db, newest_generation};
use super::error::{EmbeddedError, Result};
use crate::publishing::{Change, Ledger, Recorded, Step, StepKey, StepState};
use runtime::Generation;
use runtime::sink::SinkError;
use rusqlite::{Row, Transaction, params};
use std::path::Path;

const NAME: &str = "publisher";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS publisher_positions (
  topic     TEXT NOT NULL,
  partition INTEGER NOT NULL,
  next      INTEGER NOT NULL,            -- facts before it are taken
  PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS publisher_steps (
  number        INTEGER PRIMARY KEY,     -- the order in which they were asked for
  step          TEXT NOT NULL,
  round         INTEGER NOT NULL,
  request       TEXT NOT NULL,           -- the fact, JSON
  state         TEXT NOT NULL,
  attempts      INTEGER NOT NULL,
  first_call_ms INTEGER NOT NULL,
  outcome       TEXT,                    -- the command, JSON
  UNIQUE (step, round)
);
";

/// The ledger of the one publisher of a pipeline.
#[derive(Debug)]
pub struct EmbeddedLedger {
    db: Db,
    generation: Generation,
}

impl EmbeddedLedger {
    /// Opens the ledger of a data directory for one generation of the pipeline.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn open(dir: &Path, generation: Generation) -> Result<Self> {
        let ledger = EmbeddedLedger { db: Db::open(dir)?, generation };
        let made = ledger.db.write()?;
        let made = made.execute_batch(TABLES).and_then(|()| made.commit());
        made.map_err(|e| ledger.db.failed("make the publisher's tables", e))?;
        Ok(ledger)
    }

    /// One transaction of the newest generation.
    fn transaction<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> std::result::Result<T, SinkError> {
        let failed = |e| self.db.failed(doing, e).into_sink(NAME);
        let tx = self.db.write().map_err(|e| e.into_sink(NAME))?;
        let (ours, theirs) = (self.generation, newest_generation(&tx).map_err(failed)?);
        if theirs != ours {
            return Err(SinkError::Fenced { sink: NAME, ours, theirs });
        }
        let done = work(&tx).map_err(failed)?;
        tx.commit().map_err(failed)?;
        Ok(done)
    }
}

impl Ledger for EmbeddedLedger {
    fn recorded(&mut self) -> std::result::Result<Recorded, SinkError> {
        let (steps, positions) = self.transaction("read the publisher's steps", |tx| {
            let sql = "SELECT step, round, request, state, attempts, first_call_ms, outcome
                       FROM publisher_steps ORDER BY number";
            let steps: Vec<Option<Step>> =
                tx.prepare_cached(sql)?.query_map([], step)?.collect::<rusqlite::Result<_>>()?;
            let sql = "SELECT topic, partition, next FROM publisher_positions";
            let position = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? as u64));
            let positions: Vec<_> =
                tx.prepare_cached(sql)?.query_map([], position)?.collect::<rusqlite::Result<_>>()?;
            Ok((steps, positions))
        })?;
        let steps = steps.into_iter().collect::<Option<Vec<Step>>>().ok_or_else(|| {
            let problem = "a step of the publisher is in a state nobody knows".to_owned();
            EmbeddedError::Damaged { file: self.db.file.clone(), problem }.into_sink(NAME)
        })?;
        Ok(Recorded { steps, positions })
    }

    fn apply(&mut self, changes: &[Change]) -> std::result::Result<Vec<bool>, SinkError> {
        self.transaction("record what a publisher does", |tx| {
            changes.iter().map(|change| make(tx, change).map(|rows| rows > 0)).collect()
        })
    }
}

/// A row; none where its state isn't known.
fn step(row: &Row<'_>) -> rusqlite::Result<Option<Step>> {
    let Some(state) = StepState::parse(&row.get::<_, String>(3)?) else { return Ok(None) };
    Ok(Some(Step {
        key: StepKey { step: row.get(0)?, round: row.get(1)? },
        request: row.get(2)?,
        state,
        attempts: row.get(4)?,
        first_call_ms: row.get(5)?,
        outcome: row.get(6)?,
    }))
}

fn make(tx: &Transaction<'_>, change: &Change) -> rusqlite::Result<usize> {
    let execute = |sql: &str, params: &[&dyn rusqlite::ToSql]| tx.prepare_cached(sql)?.execute(params);
    match change {
        Change::Add { key, request } => execute(
            "INSERT OR IGNORE INTO publisher_steps (step, round, request, state, attempts, first_call_ms)
             VALUES (?1, ?2, ?3, 'open', 0, 0)",
            params![key.step, key.round, request],
        ),
        Change::Begin { key, attempts, now_ms } => execute(
            "UPDATE publisher_steps SET state = 'calling', attempts = ?3,
                 first_call_ms = CASE first_call_ms WHEN 0 THEN ?4 ELSE first_call_ms END
             WHERE step = ?1 AND round = ?2 AND state IN ('open', 'calling')",
            params![key.step, key.round, attempts, now_ms],
        ),
        Change::Failed { key } => {
            let gone = "DELETE FROM publisher_steps WHERE step = ?1 AND round = ?2 AND state = 'withdrawn'";
            let open = "UPDATE publisher_steps SET state = 'open' WHERE step = ?1 AND round = ?2 AND state = 'calling'";
            let params = params![key.step, key.round];
            Ok(execute(gone, params)? + execute(open, params)?)
        }
        Change::Done { key, outcome } => execute(
            "UPDATE publisher_steps SET state = 'done', outcome = ?3
             WHERE step = ?1 AND round = ?2 AND (state IN ('open', 'calling', 'withdrawn') OR outcome = ?3)",
            params![key.step, key.round, outcome],
        ),
        Change::Told { key } => execute(
            "DELETE FROM publisher_steps WHERE step = ?1 AND round = ?2 AND state = 'done'",
            params![key.step, key.round],
        ),
        Change::Cancel { step } => {
            let gone = "DELETE FROM publisher_steps WHERE step = ?1 AND state = 'open'";
            let withdrawn =
                "UPDATE publisher_steps SET state = 'withdrawn' WHERE step = ?1 AND state = 'calling'";
            Ok(execute(gone, params![step])? + execute(withdrawn, params![step])?)
        }
        Change::Position { topic, partition, next } => execute(
            "INSERT OR REPLACE INTO publisher_positions VALUES (?1, ?2, ?3)",
            params![topic, partition, *next as i64],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::BindingsDb;
    use crate::publishing::conformance;
    use runtime::bindings::BindingStore;

    fn begin(dir: &Path) -> Generation {
        BindingsDb::open(dir).unwrap().begin_generation("1.0", "{}", 1, 0).unwrap().generation
    }

    #[test]
    fn steps_live_as_every_ledger_has_them() {
        let dir = tempfile::tempdir().unwrap();
        conformance::check(&mut EmbeddedLedger::open(dir.path(), begin(dir.path())).unwrap());
    }

    #[test]
    fn an_older_generation_records_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut older = EmbeddedLedger::open(dir.path(), begin(dir.path())).unwrap();
        begin(dir.path());
        let refused = older.apply(&[Change::Cancel { step: "a".to_owned() }]);
        assert!(matches!(refused, Err(SinkError::Fenced { .. })), "{refused:?}");
        assert!(matches!(older.recorded(), Err(SinkError::Fenced { .. })));
    }
}
