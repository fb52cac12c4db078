//! [`MirrorStore`] of a schema in Postgres: the document in one row, its fence in `frontiers`.
//!
//! One statement per write: whoever writes holds the row of its generation, so an older process waits for the newer
//! one and then changes nothing. A lost answer is simply asked again, as the same document twice is one.

use super::error::Result;
use super::frontier;
use super::migrate::{MigrationSet, check_migrated};
use super::session::Session;
use super::settings::PostgresSettings;
use crate::clickhouse::mirror::MirrorStore;
use runtime::Generation;
use runtime::sink::SinkError;

const NAME: &str = "mirror";

/// The document of a pipeline's mirror, for one generation.
pub struct PostgresMirror {
    settings: PostgresSettings,
    generation: Generation,
    session: Option<Session>,
}

impl PostgresMirror {
    /// Opens the document of a schema.
    ///
    /// # Errors
    /// See [`super::PostgresError`].
    pub fn open(settings: &PostgresSettings, generation: Generation) -> Result<Self> {
        let mut mirror = PostgresMirror { settings: settings.clone(), generation, session: None };
        mirror.connected()?;
        Ok(mirror)
    }

    fn connected(&mut self) -> Result<&Session> {
        if self.session.is_none() {
            let session = Session::open(&self.settings, NAME)?;
            check_migrated(&session, MigrationSet::Serving)?;
            self.session = Some(session);
        }
        Ok(self.session.as_ref().expect("it has just been opened"))
    }

    fn document(&mut self) -> Result<Option<String>> {
        let session = self.connected()?;
        let found = session.rows("read the mirror's document", "SELECT document FROM mirror", &[])?;
        let row = found.first().ok_or_else(|| frontier::damaged(session, "the mirror's row is missing"))?;
        Ok(row.get(0))
    }

    fn replace(&mut self, document: &str) -> Result<u64> {
        let generation = self.generation.0 as i64;
        let sql = "WITH fence AS (SELECT generation FROM frontiers WHERE name = 'published' FOR UPDATE)
                   UPDATE mirror SET document = $1 FROM fence WHERE fence.generation = $2";
        self.connected()?.execute("write the mirror's document", sql, &[&document, &generation])
    }

    fn newest(&mut self) -> Result<Generation> {
        let sql = "SELECT generation FROM frontiers WHERE name = 'published'";
        let row = self.connected()?.row("read the newest generation", sql, &[])?;
        Ok(Generation(row.get::<_, i64>(0) as u64))
    }

    fn giving_up<T>(&mut self, outcome: Result<T>) -> std::result::Result<T, SinkError> {
        outcome.map_err(|error| {
            self.session = None;
            error.into_sink(NAME)
        })
    }
}

impl MirrorStore for PostgresMirror {
    fn read(&mut self) -> std::result::Result<Option<String>, SinkError> {
        let read = self.document();
        self.giving_up(read)
    }

    fn write(&mut self, document: &str) -> std::result::Result<(), SinkError> {
        let replaced = self.replace(document);
        if self.giving_up(replaced)? == 1 {
            return Ok(());
        }
        let theirs = self.newest();
        let (ours, theirs) = (self.generation, self.giving_up(theirs)?);
        Err(SinkError::Fenced { sink: NAME, ours, theirs })
    }

    fn check(&mut self) -> std::result::Result<(), SinkError> {
        let theirs = self.newest();
        let (ours, theirs) = (self.generation, self.giving_up(theirs)?);
        if ours == theirs { Ok(()) } else { Err(SinkError::Fenced { sink: NAME, ours, theirs }) }
    }
}
