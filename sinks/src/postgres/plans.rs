//! The plans of a loader into an analytical store: the batch it is about to send, and what those before took.
//!
//! ```text
//!   BEGIN · lock `published` ─ is the generation mine? ─ plan, attempt, or positions and done · COMMIT
//! ```
//!
//! Only the last batch is kept: those before it are done, and their ends are the positions. A batch is JSON with an
//! `attempt` and `ranges` of `topic`, `partition` and `to`; its other fields are the loader's own.
//!
//! A COMMIT whose answer is lost gives `Retry`. The same call again waits behind the lock for what became of it,
//! and does nothing where it is in.

use super::error::Result;
use super::frontier::{self, PUBLISHED};
use super::migrate::{MigrationSet, check_migrated};
use super::session::{Answer, Session};
use super::settings::PostgresSettings;
use runtime::Generation;
use runtime::sink::SinkError;

const NAME: &str = "loader";

/// The last batch recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedBatch {
    /// 1, 2, 3 and so on.
    pub number: u64,
    /// As it was recorded, with its attempt as of now.
    pub json: String,
    /// Not done.
    pub pending: bool,
}

/// Everything that is recorded, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plans {
    /// Random, made with the tables.
    pub loader_id: String,
    /// Topic, partition and the next offset.
    pub positions: Vec<(String, u32, u64)>,
    pub last: Option<PlannedBatch>,
}

/// Plans of the one loader of a pipeline, for one generation.
pub struct PostgresPlans {
    settings: PostgresSettings,
    generation: Generation,
    session: Option<Session>,
    /// The last call's COMMIT was sent and not answered.
    in_doubt: bool,
}

impl PostgresPlans {
    /// Opens the plans of a schema.
    ///
    /// # Errors
    /// See [`super::PostgresError`].
    pub fn open(settings: &PostgresSettings, generation: Generation) -> Result<Self> {
        let mut plans =
            PostgresPlans { settings: settings.clone(), generation, session: None, in_doubt: false };
        plans.connect()?;
        Ok(plans)
    }

    /// What is recorded.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub fn state(&mut self) -> std::result::Result<Plans, SinkError> {
        self.change("read plans", |session, _| {
            let id = session.row("read plans", "SELECT id FROM loader", &[])?.get(0);
            let sql = "SELECT topic, partition, next FROM loader_positions ORDER BY topic, partition";
            let rows = session.rows("read plans", sql, &[])?;
            let position = |row: &tokio_postgres::Row| {
                (row.get(0), row.get::<_, i64>(1) as u32, row.get::<_, i64>(2) as u64)
            };
            Ok(Plans { loader_id: id, positions: rows.iter().map(position).collect(), last: last(session)? })
        })
    }

    /// Records a batch that is about to be sent: it is pending then. None may be, and its number is the next one.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub fn record(&mut self, number: u64, json: &str) -> std::result::Result<(), SinkError> {
        self.change("record a batch", |session, in_doubt| {
            let last = last(session)?;
            if in_doubt && last.as_ref().is_some_and(|last| last.number == number && last.json == json) {
                return Ok(());
            }
            let pending = last.as_ref().is_some_and(|last| last.pending);
            assert!(!pending, "a batch is pending: {number} is not to be recorded");
            let next = last.map_or(0, |last| last.number) + 1;
            assert_eq!(number, next, "batches are numbered without gaps");
            let sql = "INSERT INTO loader_batch (number, batch, pending) VALUES ($1, $2, true)
                       ON CONFLICT (one) DO UPDATE SET number = $1, batch = $2, pending = true";
            session.execute("record a batch", sql, &[&(number as i64), &json]).map(drop)
        })
    }

    /// Raises the attempt of the pending batch.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub fn record_attempt(&mut self, attempt: u32) -> std::result::Result<(), SinkError> {
        self.change("record an attempt", |session, _| {
            let sql = "UPDATE loader_batch
                       SET batch = jsonb_set(batch::jsonb, '{attempt}', to_jsonb($1::bigint))::text WHERE pending";
            let raised = session.execute("record an attempt", sql, &[&i64::from(attempt)])?;
            assert_eq!(raised, 1, "an attempt is of a pending batch");
            Ok(())
        })
    }

    /// The pending batch is where it was sent: its ranges' ends become the positions, and nothing is pending.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub fn done(&mut self) -> std::result::Result<(), SinkError> {
        self.change("record that a batch is done", |session, in_doubt| {
            let pending = last(session)?.is_some_and(|last| last.pending);
            if in_doubt && !pending {
                return Ok(());
            }
            assert!(pending, "what is done was pending");
            // The server reads the ranges itself: what moves is what was recorded.
            let advance = "INSERT INTO loader_positions (topic, partition, next)
                SELECT range ->> 'topic', (range ->> 'partition')::bigint, (range ->> 'to')::bigint
                FROM loader_batch, jsonb_array_elements(batch::jsonb -> 'ranges') AS range
                ON CONFLICT (topic, partition) DO UPDATE SET next = EXCLUDED.next";
            session.execute("move the positions", advance, &[])?;
            session.run("record that a batch is done", "UPDATE loader_batch SET pending = false")
        })
    }

    fn connect(&mut self) -> Result<&Session> {
        if self.session.is_none() {
            let session = Session::open(&self.settings, NAME)?;
            check_migrated(&session, MigrationSet::Serving)?;
            self.session = Some(session);
        }
        Ok(self.session.as_ref().expect("it has just been opened"))
    }

    /// One transaction of the newest generation. `change` is told whether the last one's end is in doubt.
    fn change<T>(
        &mut self,
        doing: &'static str,
        change: impl FnOnce(&Session, bool) -> Result<T>,
    ) -> std::result::Result<T, SinkError> {
        let in_doubt = self.in_doubt;
        let changed = self.transaction(doing, change, in_doubt);
        match &changed {
            Ok(_) => self.in_doubt = false,
            Err(_) => self.session = None,
        }
        changed
    }

    fn transaction<T>(
        &mut self,
        doing: &'static str,
        change: impl FnOnce(&Session, bool) -> Result<T>,
        in_doubt: bool,
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
        let changed = change(session, in_doubt).map_err(|e| e.into_sink(NAME))?;
        let committed = session.run(doing, "COMMIT");
        if committed.is_err() {
            self.in_doubt = true;
        }
        committed.map_err(|e| e.into_sink(NAME))?;
        Ok(changed)
    }
}

fn last(session: &Session) -> Result<Option<PlannedBatch>> {
    let rows = session.rows("read the last batch", "SELECT number, batch, pending FROM loader_batch", &[])?;
    let batch = |row: &tokio_postgres::Row| PlannedBatch {
        number: row.get::<_, i64>(0) as u64,
        json: row.get(1),
        pending: row.get(2),
    };
    Ok(rows.first().map(batch))
}
