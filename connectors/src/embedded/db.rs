//! The file `log.db`: its layout, how it is opened, and how long one waits for it.
//!
//! WAL with `synchronous=FULL`: a commit returns when the disk has it. Writers take the lock at the
//! beginning (`BEGIN IMMEDIATE`), so that they wait for each other instead of failing half way.

use super::error::{EmbeddedError, Result, classify};
use super::turn::Turnstile;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

/// Raise it together with a step in [`migrate`].
const LAYOUT: i64 = 4;

/// Layout 1 lacked `raw_length`; layout 2 knew one pipeline; layout 3 lacked changes.
const TABLES: &str = "
CREATE TABLE partitions (
  id         INTEGER PRIMARY KEY,
  topic      TEXT NOT NULL,
  partition  INTEGER NOT NULL,
  end_offset INTEGER NOT NULL,           -- the offset the next record gets
  UNIQUE (topic, partition)
);
CREATE TABLE batches (
  partition   INTEGER NOT NULL REFERENCES partitions (id),
  base_offset INTEGER NOT NULL,          -- offset of the first record
  count       INTEGER NOT NULL,          -- offsets are dense: the next batch begins at base_offset + count
  time_max    INTEGER NOT NULL,          -- largest record timestamp, milliseconds
  checksum    INTEGER NOT NULL,          -- xxh3 of place and bytes
  raw_length  INTEGER,                   -- length of the bytes before LZ4; NULL where they are as they are
  bytes       BLOB NOT NULL,
  PRIMARY KEY (partition, base_offset)
);
CREATE TABLE schemas (                   -- the embedded schema registry
  id      INTEGER PRIMARY KEY,
  subject TEXT NOT NULL,
  version INTEGER NOT NULL,
  schema  TEXT NOT NULL,
  UNIQUE (subject, version)
);
";

/// What pipelines that write facts keep here.
const PIPELINES: &str = "
CREATE TABLE epoch_progress (            -- a pipeline's facts: fence and progress
  pipeline   TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  through    INTEGER NOT NULL,
  now_ms     INTEGER NOT NULL            -- the pipeline's now at `through`
);
CREATE TABLE epoch_digests (             -- running digest of a pipeline's facts, for epochs that have any
  pipeline TEXT NOT NULL,
  epoch    INTEGER NOT NULL,
  digest   BLOB NOT NULL,
  PRIMARY KEY (pipeline, epoch)
) WITHOUT ROWID;
CREATE TABLE writers (                   -- whose a topic of facts is
  topic    TEXT PRIMARY KEY,
  pipeline TEXT NOT NULL
);
";

/// Changes that go in once: see [`super::once`].
const CHANGES: &str = "
CREATE TABLE changes (
  id            TEXT PRIMARY KEY,
  hash          INTEGER NOT NULL,        -- of what was asked for
  position      INTEGER NOT NULL UNIQUE, -- grows with the order of the log
  partition     INTEGER NOT NULL,        -- where its record is
  record_offset INTEGER NOT NULL
) WITHOUT ROWID;
";

/// The one pipeline there was.
const FROM_LAYOUT_2: &str = "
INSERT INTO epoch_progress SELECT 'sales', generation, through, 0 FROM epoch_progress_2;
INSERT INTO epoch_digests SELECT 'sales', epoch, digest FROM epoch_digests_2;
INSERT INTO writers SELECT DISTINCT topic, 'sales' FROM partitions
  WHERE (topic LIKE 'facts.%' OR topic = 'dead-letters') AND end_offset > 0;
DROP TABLE epoch_progress_2;
DROP TABLE epoch_digests_2;
";

/// How long a writer waits for the others before it gives up: many times the longest commit.
const BUSY_MS_MAX: i32 = 30_000;
/// A commit that finds this much in the WAL (64 MB) moves it into the file. The pipeline's checkpointer
/// has done most of that by then; where none runs, it bounds the WAL.
const WAL_PAGES: i64 = 16_000;

/// A connection, and the name it has in messages.
#[derive(Debug)]
pub(crate) struct Db {
    pub conn: Connection,
    pub file: String,
    turnstile: Turnstile,
}

impl Db {
    /// Opens `log.db` in `dir`; creates both where they are missing.
    pub fn open(dir: &Path) -> Result<Db> {
        let path = dir.join("log.db");
        let file = path.display().to_string();
        std::fs::create_dir_all(dir).map_err(|source| EmbeddedError::Directory {
            file: file.clone(),
            doing: "create the data directory",
            source,
        })?;
        let conn = Connection::open(&path).map_err(|e| classify(&file, "open", e))?;
        let turnstile = Turnstile::at(&dir.join("log.turn"));
        let mut db = Db { conn, file, turnstile };
        db.configure().map_err(|e| classify(&db.file, "open", e))?;
        migrate(&db)?;
        Ok(db)
    }

    /// Opens an existing `log.db` for reading only.
    pub fn open_read_only(dir: &Path) -> Result<Db> {
        let path = dir.join("log.db");
        let file = path.display().to_string();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&path, flags).map_err(|e| classify(&file, "open", e))?;
        let db = Db { conn, file, turnstile: Turnstile::none() };
        db.conn.busy_timeout(Duration::from_secs(5)).map_err(|e| db.failed("open", e))?;
        keep_plans(&db.conn).map_err(|e| db.failed("open", e))?;
        db.check_layout()?;
        Ok(db)
    }

    fn configure(&mut self) -> rusqlite::Result<()> {
        self.conn.busy_handler(Some(wait_for_lock))?;
        self.conn.set_prepared_statement_cache_capacity(64);
        keep_plans(&self.conn)?;
        switch_to_wal(&self.conn)?;
        self.conn.pragma_update(None, "synchronous", "FULL")?;
        self.conn.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
        self.conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
        self.conn.pragma_update(None, "cache_size", -16_384)
    }

    fn check_layout(&self) -> Result<i64> {
        let theirs = layout(&self.conn).map_err(|e| self.failed("read its layout", e))?;
        if theirs > LAYOUT {
            return Err(EmbeddedError::NewerLayout { file: self.file.clone(), ours: LAYOUT, theirs });
        }
        Ok(theirs)
    }

    /// The error for what was being done.
    pub fn failed(&self, doing: &'static str, source: rusqlite::Error) -> EmbeddedError {
        classify(&self.file, doing, source)
    }

    /// A transaction that holds the write lock from the start. A connection has one at a time.
    pub fn write(&self) -> Result<Transaction<'_>> {
        let _turn = self.turnstile.turn();
        let begun = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate);
        begun.map_err(|e| self.failed("take the write lock", e))
    }

    /// A read transaction: everything in it sees one state of the log.
    pub fn snapshot(&self) -> Result<Transaction<'_>> {
        self.conn.unchecked_transaction().map_err(|e| self.failed("begin to read", e))
    }
}

/// A statement's plan stays as it is. Otherwise SQLite looks at what is bound to it, and plans anew whenever that changes:
/// with every read, a quarter of what reading a log costs that somebody appends to steadily.
fn keep_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Switching a new file takes it alone, and SQLite gives up at once where another process is at it too.
fn switch_to_wal(conn: &Connection) -> rusqlite::Result<()> {
    let mut attempt = 0;
    loop {
        match conn.pragma_update(None, "journal_mode", "WAL") {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && wait_for_lock(attempt) => {
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// SQLite's own handler sleeps up to 100 ms: too coarse where commits take one.
fn wait_for_lock(attempt: i32) -> bool {
    std::thread::sleep(Duration::from_micros(500));
    attempt < BUSY_MS_MAX * 2
}

fn layout(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the file to [`LAYOUT`]. Several processes may try at once: the lock lets one do it.
fn migrate(db: &Db) -> Result<()> {
    if db.check_layout()? == LAYOUT {
        return Ok(());
    }
    let file = db.file.clone();
    let tx = db.write()?;
    bring_up(&tx).and_then(|()| tx.commit()).map_err(|e| classify(&file, "create its tables", e))
}

fn bring_up(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let theirs = layout(tx)?;
    if theirs == 0 {
        tx.execute_batch(TABLES)?;
        tx.execute_batch(PIPELINES)?;
    }
    if theirs == 1 {
        tx.execute_batch("ALTER TABLE batches ADD COLUMN raw_length INTEGER")?;
    }
    if theirs == 1 || theirs == 2 {
        tx.execute_batch(
            "ALTER TABLE epoch_progress RENAME TO epoch_progress_2;
             ALTER TABLE epoch_digests RENAME TO epoch_digests_2;",
        )?;
        tx.execute_batch(PIPELINES)?;
        tx.execute_batch(FROM_LAYOUT_2)?;
    }
    if theirs < 4 {
        tx.execute_batch(CHANGES)?;
    }
    tx.pragma_update(None, "user_version", LAYOUT)
}
