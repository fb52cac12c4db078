//! The published frontier: every analytical store has the epochs up to it.
//!
//! One statement per move, fenced by generation. It never goes back, and moving it where it stands or behind
//! does nothing, so a lost answer is simply asked again.

use super::error::Result;
use super::frontier::{self, DECIDED, PUBLISHED, epoch};
use super::migrate::{MigrationSet, check_migrated};
use super::session::Session;
use super::settings::PostgresSettings;
use runtime::sink::SinkError;
use runtime::{Epoch, Generation};

const NAME: &str = "published";

/// Moves the published frontier for one generation of the pipeline.
pub struct PostgresPublished {
    settings: PostgresSettings,
    generation: Generation,
    session: Option<Session>,
}

impl PostgresPublished {
    /// Opens the frontier of a schema.
    ///
    /// # Errors
    /// See [`super::PostgresError`].
    pub fn open(settings: &PostgresSettings, generation: Generation) -> Result<Self> {
        let mut published = PostgresPublished { settings: settings.clone(), generation, session: None };
        published.connected()?;
        Ok(published)
    }

    /// The last epoch every analytical store has.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub fn published(&mut self) -> std::result::Result<Epoch, SinkError> {
        let read = self.read(PUBLISHED);
        self.giving_up(read).map(|(epoch, _)| epoch)
    }

    /// The last epoch whose rows can be seen, read anew.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub fn decided(&mut self) -> std::result::Result<Epoch, SinkError> {
        let read = self.read(DECIDED);
        self.giving_up(read).map(|(epoch, _)| epoch)
    }

    /// Moves it up to an epoch that is decided; where it stands there or beyond already, nothing happens.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub fn set_published(&mut self, to: Epoch) -> std::result::Result<(), SinkError> {
        let moved = self.advance(to);
        if self.giving_up(moved)? == 1 {
            return Ok(());
        }
        let read = self.read(PUBLISHED);
        let (stands, theirs) = self.giving_up(read)?;
        if theirs != self.generation {
            return Err(SinkError::Fenced { sink: NAME, ours: self.generation, theirs });
        }
        assert!(stands >= to, "a frontier of ours that stands before {to} is moved");
        Ok(())
    }

    fn connected(&mut self) -> Result<&Session> {
        if self.session.is_none() {
            let session = Session::open(&self.settings, NAME)?;
            check_migrated(&session, MigrationSet::Serving)?;
            self.session = Some(session);
        }
        Ok(self.session.as_ref().expect("it has just been opened"))
    }

    fn advance(&mut self, to: Epoch) -> Result<u64> {
        let (to, generation) = (to.0 as i64, self.generation.0 as i64);
        let session = self.connected()?;
        let sql = "UPDATE frontiers SET epoch = $1,
                       now_ms = coalesce((SELECT now_ms FROM bindings WHERE epoch = $1), now_ms)
                   WHERE name = 'published' AND generation = $2 AND epoch < $1";
        session.execute("move the published frontier", sql, &[&to, &generation])
    }

    fn read(&mut self, name: &str) -> Result<(Epoch, Generation)> {
        let session = self.connected()?;
        let sql = "SELECT epoch, generation FROM frontiers WHERE name = $1";
        let found = session.rows("read a frontier", sql, &[&name])?;
        let row = found.first().ok_or_else(|| frontier::damaged(session, "a frontier's row is missing"))?;
        Ok((epoch(row, 0), Generation(row.get::<_, i64>(1) as u64)))
    }

    fn giving_up<T>(&mut self, outcome: Result<T>) -> std::result::Result<T, SinkError> {
        outcome.map_err(|error| {
            self.session = None;
            error.into_sink(NAME)
        })
    }
}
