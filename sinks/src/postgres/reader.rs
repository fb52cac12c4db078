//! Looking at the tables from outside the pipeline: read-only, one snapshot for each answer.
//!
//! A transaction of REPEATABLE READ sees one moment of the database, so whole epochs and the frontier that goes
//! with them, however many statements it takes. A lost connection is opened again for the next question.

use super::bindings::generations;
use super::columns::{names, unescaped};
use super::error::{PostgresError, Result};
use super::frontier::epoch;
use super::session::Session;
use super::settings::PostgresSettings;
use crate::answers::Progress;
use crate::digest::{TableDigest, TableHasher};
use runtime::Epoch;
use runtime::bindings::GenerationInfo;
use runtime::digest::{Digest, NOTHING_SAID};
use schemas::rows::{Column, ColumnType, TableSpec};
use schemas::tables::{ALL_TABLES, Cell};
use tokio_postgres::{Row, Statement};

/// Rows of a long answer that are fetched at once.
const FETCHED: usize = 10_000;

/// Reads a pipeline's schema; never writes.
pub struct PostgresReader {
    settings: PostgresSettings,
    session: Option<Session>,
}

impl PostgresReader {
    /// Opens a schema.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub fn open(settings: &PostgresSettings) -> Result<Self> {
        let session = Some(Session::open(settings, "reader")?);
        Ok(PostgresReader { settings: settings.clone(), session })
    }

    /// Where the pipeline stands.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub fn progress(&mut self) -> Result<Progress> {
        self.answer(|session| {
            let (bound, _) = frontier(session, "bound")?;
            let (decided, decided_now) = frontier(session, "decided")?;
            Ok(Progress { bound, decided, decided_now })
        })
    }

    /// The last epoch every analytical store has.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub fn published(&mut self) -> Result<Epoch> {
        self.answer(|session| Ok(frontier(session, "published")?.0))
    }

    /// Every generation, oldest first.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub fn generations(&mut self) -> Result<Vec<GenerationInfo>> {
        self.answer(generations)
    }

    /// Rows and SHA-256 of a serving table.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub fn digest(&mut self, table: &TableSpec) -> Result<TableDigest> {
        self.answer(|session| digest(session, table))
    }

    /// The same of every serving table, as of one moment.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub fn digests(&mut self) -> Result<Vec<TableDigest>> {
        self.answer(|session| ALL_TABLES.iter().map(|table| digest(session, table)).collect())
    }

    /// Running digests of the epochs after `after` that have rows, at most `max`.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub fn epoch_digests(&mut self, after: Epoch, max: usize) -> Result<Vec<(Epoch, Digest)>> {
        let (after, max) = (after.0 as i64, i64::try_from(max).unwrap_or(i64::MAX));
        self.answer(|session| {
            let sql = "SELECT epoch, digest FROM epoch_digests WHERE epoch > $1 ORDER BY epoch LIMIT $2";
            let rows = session.rows("read digests", sql, &[&after, &max])?;
            rows.iter().map(|row| Ok((epoch(row, 0), digest_of(session, row, 1)?))).collect()
        })
    }

    /// The running digest of the rows as of `epoch`: where a replay from its snapshot goes on.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub fn epoch_digest_at(&mut self, epoch: Epoch) -> Result<Digest> {
        let at = epoch.0 as i64;
        self.answer(|session| {
            let sql = "SELECT digest FROM epoch_digests WHERE epoch <= $1 ORDER BY epoch DESC LIMIT 1";
            let found = session.rows("read a digest", sql, &[&at])?;
            found.first().map_or(Ok(NOTHING_SAID), |row| digest_of(session, row, 0))
        })
    }

    /// Answers one question out of one snapshot.
    pub(super) fn answer<T>(&mut self, ask: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
        let session = match self.session.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => Session::open(&self.settings, "reader")?,
        };
        session.run("begin a reading", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        let answer = ask(&session);
        // What was asked may have failed in the database and left the transaction useless, not the connection.
        if session.run("end a reading", "ROLLBACK").is_ok() {
            self.session = Some(session);
        }
        answer
    }
}

/// A frontier as of the reading.
pub(super) fn frontier(session: &Session, name: &str) -> Result<(Epoch, i64)> {
    let sql = "SELECT epoch, now_ms FROM progress WHERE name = $1";
    let found = session.rows("read progress", sql, &[&name])?;
    let row =
        found.first().ok_or_else(|| super::frontier::damaged(session, "a frontier's row is missing"))?;
    Ok((epoch(row, 0), row.get(1)))
}

fn digest_of(session: &Session, row: &Row, at: usize) -> Result<Digest> {
    let bytes: &[u8] = row.get(at);
    bytes.try_into().map_err(|_| super::frontier::damaged(session, "a digest has not 32 bytes"))
}

/// Counts and digests a table, in key order.
fn digest(session: &Session, table: &TableSpec) -> Result<TableDigest> {
    let mut hasher = TableHasher::default();
    let sql = format!("SELECT {} FROM {}", names(table.columns), table.name);
    let ordered = format!("{sql} ORDER BY {}", names(&table.columns[..table.key]));
    let mut rows = Cursor::open(session, "digest a table", &ordered)?;
    while let Some(row) = rows.next()? {
        for (at, column) in table.columns.iter().enumerate() {
            with_cell(&row, at, column, |cell| hasher.add(cell));
        }
        hasher.end_row();
    }
    rows.close()?;
    Ok(hasher.finish(table))
}

/// An answer of any length, fetched so many rows at a time.
pub(super) struct Cursor<'a> {
    session: &'a Session,
    fetch: Statement,
    ready: std::vec::IntoIter<Row>,
    doing: &'static str,
}

impl<'a> Cursor<'a> {
    /// One at a time in a transaction.
    pub fn open(session: &'a Session, doing: &'static str, sql: &str) -> Result<Self> {
        session.run(doing, &format!("DECLARE answer NO SCROLL CURSOR FOR {sql}"))?;
        let fetch = session.wait(doing, session.client.prepare(&format!("FETCH {FETCHED} FROM answer")))?;
        Ok(Cursor { session, fetch, ready: Vec::new().into_iter(), doing })
    }

    /// The next row; none after the last.
    pub fn next(&mut self) -> Result<Option<Row>> {
        if let Some(row) = self.ready.next() {
            return Ok(Some(row));
        }
        self.ready = self.session.wait(self.doing, self.session.client.query(&self.fetch, &[]))?.into_iter();
        Ok(self.ready.next())
    }

    pub fn close(self) -> Result<()> {
        self.session.run(self.doing, "CLOSE answer")
    }
}

/// A serving column's value as its row had it.
pub(super) fn with_cell<T>(row: &Row, at: usize, column: &Column, take: impl FnOnce(Cell<'_>) -> T) -> T {
    match column.ty {
        ColumnType::Int => take(row.get::<_, Option<i64>>(at).map_or(Cell::Null, Cell::Int)),
        ColumnType::Text => match row.get::<_, Option<&str>>(at) {
            Some(text) => take(Cell::Text(&unescaped(text))),
            None => take(Cell::Null),
        },
        ColumnType::Bytes => take(row.get::<_, Option<&[u8]>>(at).map_or(Cell::Null, Cell::Bytes)),
    }
}

/// What a question is refused with where it is the question's fault.
pub(super) fn refused(problem: impl Into<String>) -> PostgresError {
    PostgresError::Refused { problem: problem.into() }
}
