//! A publisher's ledger in a schema of Postgres.
//!
//! ```text
//!   BEGIN · lock `published` ─ is the generation mine? ─ changes · COMMIT
//! ```
//!
//! The row of `published` is the fence of what follows decided facts: loader and publisher take turns behind it,
//! and no decision waits for either. Changes may be made twice, so that a COMMIT without an answer is made again.

use super::error::Result;
use super::frontier::{self, PUBLISHED};
use super::migrate::{MigrationSet, check_migrated};
use super::session::{Answer, Session};
use super::settings::PostgresSettings;
use crate::publishing::{Change, Ledger, Recorded, Step, StepKey, StepState};
use runtime::Generation;
use runtime::sink::SinkError;
use tokio_postgres::Row;

const NAME: &str = "publisher";

/// The ledger of the one publisher of a pipeline, for one generation.
pub struct PostgresLedger {
    settings: PostgresSettings,
    generation: Generation,
    session: Option<Session>,
}

impl PostgresLedger {
    /// Opens the ledger of a schema.
    ///
    /// # Errors
    /// See [`super::PostgresError`].
    pub fn open(settings: &PostgresSettings, generation: Generation) -> Result<Self> {
        let mut ledger = PostgresLedger { settings: settings.clone(), generation, session: None };
        ledger.connect()?;
        Ok(ledger)
    }

    fn connect(&mut self) -> Result<&Session> {
        if self.session.is_none() {
            let session = Session::open(&self.settings, NAME)?;
            check_migrated(&session, MigrationSet::Serving)?;
            self.session = Some(session);
        }
        Ok(self.session.as_ref().expect("it has just been opened"))
    }

    /// One transaction of the newest generation.
    fn transaction<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Session) -> Result<T>,
    ) -> std::result::Result<T, SinkError> {
        let done = self.attempt(doing, work);
        if done.is_err() {
            self.session = None;
        }
        done
    }

    fn attempt<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Session) -> Result<T>,
    ) -> std::result::Result<T, SinkError> {
        let ours = self.generation;
        let session = self.connect().map_err(|e| e.into_sink(NAME))?;
        let locked = session.run(doing, "BEGIN").and_then(|()| {
            let rows = session.rows(doing, &frontier::lock_sql(PUBLISHED), &[])?;
            frontier::locked(session, Answer::Rows(rows))
        });
        let theirs = locked.map_err(|e| e.into_sink(NAME))?.generation;
        if theirs != ours {
            return Err(SinkError::Fenced { sink: NAME, ours, theirs });
        }
        let done = work(session).and_then(|done| session.run(doing, "COMMIT").map(|()| done));
        done.map_err(|e| e.into_sink(NAME))
    }
}

impl Ledger for PostgresLedger {
    fn recorded(&mut self) -> std::result::Result<Recorded, SinkError> {
        self.transaction("read the publisher's steps", |session| {
            let sql = "SELECT step, round, request, state, attempts, first_call_ms, outcome
                       FROM publisher_steps ORDER BY number";
            let rows = session.rows("read the publisher's steps", sql, &[])?;
            let steps: Option<Vec<Step>> = rows.iter().map(step).collect();
            let sql = "SELECT topic, partition, next FROM publisher_positions";
            let positions = session.rows("read the publisher's positions", sql, &[])?;
            let position = |row: &Row| (row.get(0), row.get::<_, i64>(1) as u32, row.get::<_, i64>(2) as u64);
            let unknown = || frontier::damaged(session, "a step of the publisher is in a state nobody knows");
            Ok(Recorded {
                steps: steps.ok_or_else(unknown)?,
                positions: positions.iter().map(position).collect(),
            })
        })
    }

    fn apply(&mut self, changes: &[Change]) -> std::result::Result<Vec<bool>, SinkError> {
        self.transaction("record what a publisher does", |session| {
            changes.iter().map(|change| make(session, change).map(|rows| rows > 0)).collect()
        })
    }
}

/// A row; none where its state isn't known.
fn step(row: &Row) -> Option<Step> {
    Some(Step {
        key: StepKey { step: row.get(0), round: row.get(1) },
        request: row.get(2),
        state: StepState::parse(row.get(3))?,
        attempts: row.get(4),
        first_call_ms: row.get(5),
        outcome: row.get(6),
    })
}

fn make(session: &Session, change: &Change) -> Result<u64> {
    let doing = "record what a publisher does";
    match change {
        Change::Add { key, request } => {
            let sql = "INSERT INTO publisher_steps (step, round, request, state, attempts, first_call_ms)
                       VALUES ($1, $2, $3, 'open', 0, 0) ON CONFLICT (step, round) DO NOTHING";
            session.execute(doing, sql, &[&key.step, &key.round, request])
        }
        Change::Begin { key, attempts, now_ms } => {
            let sql = "UPDATE publisher_steps SET state = 'calling', attempts = $3,
                           first_call_ms = CASE first_call_ms WHEN 0 THEN $4 ELSE first_call_ms END
                       WHERE step = $1 AND round = $2 AND state IN ('open', 'calling')";
            session.execute(doing, sql, &[&key.step, &key.round, attempts, now_ms])
        }
        Change::Failed { key } => {
            let gone = "DELETE FROM publisher_steps WHERE step = $1 AND round = $2 AND state = 'withdrawn'";
            let open = "UPDATE publisher_steps SET state = 'open'
                        WHERE step = $1 AND round = $2 AND state = 'calling'";
            let gone = session.execute(doing, gone, &[&key.step, &key.round])?;
            Ok(gone + session.execute(doing, open, &[&key.step, &key.round])?)
        }
        Change::Done { key, outcome } => {
            let sql = "UPDATE publisher_steps SET state = 'done', outcome = $3
                       WHERE step = $1 AND round = $2 AND (state IN ('open', 'calling', 'withdrawn') OR outcome = $3)";
            session.execute(doing, sql, &[&key.step, &key.round, outcome])
        }
        Change::Told { key } => {
            let sql = "DELETE FROM publisher_steps WHERE step = $1 AND round = $2 AND state = 'done'";
            session.execute(doing, sql, &[&key.step, &key.round])
        }
        Change::Cancel { step } => {
            let gone = "DELETE FROM publisher_steps WHERE step = $1 AND state = 'open'";
            let withdrawn =
                "UPDATE publisher_steps SET state = 'withdrawn' WHERE step = $1 AND state = 'calling'";
            let gone = session.execute(doing, gone, &[step])?;
            Ok(gone + session.execute(doing, withdrawn, &[step])?)
        }
        Change::Position { topic, partition, next } => {
            let sql = "INSERT INTO publisher_positions VALUES ($1, $2, $3)
                       ON CONFLICT (topic, partition) DO UPDATE SET next = EXCLUDED.next";
            session.execute(doing, sql, &[topic, &i64::from(*partition), &(*next as i64)])
        }
    }
}
