//! Looking at `tombola.db` from outside the pipeline: read-only, and for a bounded time.
//!
//! A reader that stayed in one transaction would keep the WAL from being moved into the file, and it would
//! grow without end: so every question is its own transaction, and a query is stopped at its time limit.

use super::bindings::{generations, last};
use super::db::{Db, columns_list, decided};
use super::digest::{digest_at, table_digest};
use super::error::{EmbeddedError, Result};
use crate::answers::{Found, Progress};
use crate::digest::TableDigest;
use runtime::Epoch;
use runtime::bindings::GenerationInfo;
use runtime::digest::Digest;
use rusqlite::{ErrorCode, params};
use schemas::rows::{TableSpec, Value};
use std::path::Path;
use std::time::{Duration, Instant};

/// Reads `tombola.db`; never writes.
#[derive(Debug)]
pub struct Reader {
    db: Db,
}

impl Reader {
    /// Opens the database of a data directory.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn open(dir: &Path) -> Result<Reader> {
        Ok(Reader { db: Db::open_read_only(dir)? })
    }

    /// Where the pipeline stands.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn progress(&self) -> Result<Progress> {
        let read = || -> rusqlite::Result<Progress> {
            let (decided, decided_now) = decided(&self.db.conn)?;
            Ok(Progress { bound: last(&self.db.conn)?, decided, decided_now })
        };
        read().map_err(|e| self.db.failed("read progress", e))
    }

    /// Every generation, oldest first.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn generations(&self) -> Result<Vec<GenerationInfo>> {
        generations(&self.db.conn).map_err(|e| self.db.failed("read generations", e))
    }

    /// Rows and SHA-256 of a serving table.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn digest(&self, table: &TableSpec) -> Result<TableDigest> {
        table_digest(&self.db, table)
    }

    /// Running digests of the epochs after `after` that have rows, at most `max`.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn epoch_digests(&self, after: Epoch, max: usize) -> Result<Vec<(Epoch, Digest)>> {
        let sql = "SELECT epoch, digest FROM epoch_digests WHERE epoch > ?1 ORDER BY epoch LIMIT ?2";
        let rows = self.db.conn.prepare_cached(sql).and_then(|mut select| {
            let rows = select.query_map(params![after.0 as i64, max as i64], |row| {
                Ok((Epoch(row.get::<_, i64>(0)? as u64), row.get(1)?))
            })?;
            rows.collect()
        });
        rows.map_err(|e| self.db.failed("read digests", e))
    }

    /// The running digest of the rows as of `epoch`: where a replay from its snapshot goes on.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn epoch_digest_at(&self, epoch: Epoch) -> Result<Digest> {
        digest_at(&self.db.conn, epoch).map_err(|e| self.db.failed("read a digest", e))
    }

    /// Asks one question in SQL: at most `rows_max` rows, for at most `timeout_ms`.
    ///
    /// # Errors
    /// [`EmbeddedError::Refused`] where it isn't a single statement that only reads, or isn't SQL;
    /// [`EmbeddedError::TooLong`] where time ran out.
    pub fn query(&mut self, sql: &str, rows_max: usize, timeout_ms: u64) -> Result<Found> {
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        let stop = move || Instant::now() >= deadline;
        let armed = self.db.conn.progress_handler(1_000, Some(stop));
        armed.map_err(|e| self.db.failed("begin a query", e))?;
        let found = self.run(sql, rows_max);
        let disarmed = self.db.conn.progress_handler(0, None::<fn() -> bool>);
        disarmed.map_err(|e| self.db.failed("end a query", e))?;
        found.map_err(|e| match e.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => EmbeddedError::TooLong { timeout_ms },
            Some(ErrorCode::Unknown | ErrorCode::ReadOnly | ErrorCode::AuthorizationForStatementDenied)
            | None => EmbeddedError::Refused { problem: e.to_string() },
            _ => self.db.failed("query", e),
        })
    }

    /// The same, and the decided epoch that the answer is as of.
    ///
    /// # Errors
    /// As [`Reader::query`].
    pub fn query_at(&mut self, sql: &str, rows_max: usize, timeout_ms: u64) -> Result<(Epoch, Found)> {
        self.db.conn.execute_batch("BEGIN").map_err(|e| self.db.failed("begin a reading", e))?;
        let at = decided(&self.db.conn).map_err(|e| self.db.failed("read progress", e));
        let answer = at.and_then(|(epoch, _)| Ok((epoch, self.query(sql, rows_max, timeout_ms)?)));
        self.db.conn.execute_batch("ROLLBACK").map_err(|e| self.db.failed("end a reading", e))?;
        answer
    }

    fn run(&self, sql: &str, rows_max: usize) -> rusqlite::Result<Found> {
        let mut select = self.db.conn.prepare(sql)?;
        if !select.readonly() || select.column_count() == 0 {
            return Err(rusqlite::Error::InvalidQuery);
        }
        let columns: Vec<String> = select.column_names().map(str::to_owned).collect();
        let mut found = Found { columns, rows: Vec::new(), more: false };
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            if found.rows.len() == rows_max {
                found.more = true;
                break;
            }
            let values = (0..found.columns.len()).map(|n| row.get_ref(n).map(value_of));
            found.rows.push(values.collect::<rusqlite::Result<_>>()?);
        }
        Ok(found)
    }
}

/// Calls `each` with every row of a table of a data directory, in key order, its `epoch` last.
pub(crate) fn each_row<E: From<EmbeddedError>>(
    dir: &Path,
    table: &TableSpec,
    mut each: impl FnMut(Vec<Value>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let db = Db::open_read_only(dir)?;
    let failed = |e| E::from(db.failed("read a table", e));
    let (columns, key) = (columns_list(table.columns), columns_list(&table.columns[..table.key]));
    let sql = format!("SELECT {columns}, epoch FROM {} ORDER BY {key}", table.name);
    let mut select = db.conn.prepare(&sql).map_err(failed)?;
    let mut rows = select.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let values = (0..=table.columns.len()).map(|n| row.get_ref(n).map(value_of));
        each(values.collect::<rusqlite::Result<_>>().map_err(failed)?)?;
    }
    Ok(())
}

fn value_of(value: rusqlite::types::ValueRef<'_>) -> Value {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        ValueRef::Real(real) => Value::Text(real.to_string().into()),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).as_ref().into()),
        ValueRef::Blob(blob) => Value::Bytes(blob.to_vec()),
    }
}
