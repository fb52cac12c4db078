//! The file `tombola.db`: its layout, how it is opened, and how long one waits for it.
//!
//! WAL with `synchronous=FULL`: a commit returns when the disk has it. Two connections of the one
//! pipeline write (bindings, serving rows), each in short transactions that take the lock at once.

use super::error::{EmbeddedError, Result, classify};
use super::turn::Turnstile;
use runtime::{Epoch, Generation, Millis};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use schemas::rows::{Column, ColumnType, TableSpec};
use schemas::tables::ALL_TABLES;
use std::path::Path;
use std::time::Duration;

/// What the pipeline's own tables look like. Raise it together with a step in [`bring_up`].
const OWN_LAYOUT: i64 = 1;

/// The layout of the whole file: it rises with every serving table or column that is added (none ever
/// goes), so that an older program doesn't touch what it doesn't know, and a newer one adds what is missing.
fn newest_layout() -> i64 {
    let columns: usize = ALL_TABLES.iter().map(|table| table.columns.len()).sum();
    OWN_LAYOUT * 100_000 + columns as i64
}

const LAYOUT_1: &str = "
CREATE TABLE generations (
  generation   INTEGER PRIMARY KEY,
  code_version TEXT NOT NULL,
  settings     TEXT NOT NULL,            -- the settings that change decisions, JSON
  workers      INTEGER NOT NULL,
  started_ms   INTEGER NOT NULL,
  first_after  INTEGER NOT NULL          -- the last epoch bound before it began
);
CREATE TABLE bindings (
  epoch      INTEGER PRIMARY KEY,
  generation INTEGER NOT NULL,
  now_ms     INTEGER NOT NULL,
  bound_ms   INTEGER,                    -- record-time bound; NULL where it was open
  places     BLOB NOT NULL               -- postcard: partition ends, clamps, what couldn't be read
);
CREATE TABLE frontiers (
  name   TEXT PRIMARY KEY,
  epoch  INTEGER NOT NULL,
  now_ms INTEGER NOT NULL
);
INSERT INTO frontiers VALUES ('decided', 0, 0);
CREATE TABLE epoch_digests (             -- running digest of the serving rows, for epochs that have any
  epoch  INTEGER PRIMARY KEY,
  digest BLOB NOT NULL
);
";

/// How long a writer waits for another before it gives up: many times the longest commit.
const BUSY_MS_MAX: i32 = 30_000;
/// A commit that finds this much in the WAL (64 MB) moves it into the file. The checkpointer has done
/// most of that by then; where none runs, it bounds the WAL.
const WAL_PAGES: i64 = 16_000;

/// A connection, and the name it has in messages.
#[derive(Debug)]
pub(crate) struct Db {
    pub conn: Connection,
    pub file: String,
    turnstile: Turnstile,
}

impl Db {
    /// Opens `tombola.db` in `dir`; creates both where they are missing.
    pub fn open(dir: &Path) -> Result<Db> {
        let path = dir.join("tombola.db");
        let file = path.display().to_string();
        std::fs::create_dir_all(dir).map_err(|source| EmbeddedError::Directory {
            file: file.clone(),
            doing: "create the data directory",
            source,
        })?;
        let conn = Connection::open(&path).map_err(|e| classify(&file, "open", e))?;
        let turnstile = Turnstile::at(&dir.join("tombola.turn"));
        let mut db = Db { conn, file, turnstile };
        db.configure().map_err(|e| classify(&db.file, "open", e))?;
        migrate(&db)?;
        Ok(db)
    }

    /// Opens an existing `tombola.db` for reading only.
    pub fn open_read_only(dir: &Path) -> Result<Db> {
        let path = dir.join("tombola.db");
        let file = path.display().to_string();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&path, flags).map_err(|e| classify(&file, "open", e))?;
        let db = Db { conn, file, turnstile: Turnstile::none() };
        db.conn.busy_timeout(Duration::from_secs(5)).map_err(|e| db.failed("open", e))?;
        keep_plans(&db.conn).map_err(|e| db.failed("open", e))?;
        if db.check_layout()? < newest_layout() {
            // An older program's file: its tables are brought up to date once, then it is only read.
            Db::open(dir)?;
        }
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
        self.conn.pragma_update(None, "cache_size", -65_536)
    }

    fn check_layout(&self) -> Result<i64> {
        let theirs = layout(&self.conn).map_err(|e| self.failed("read its layout", e))?;
        let ours = newest_layout();
        if theirs > ours {
            return Err(EmbeddedError::NewerLayout { file: self.file.clone(), ours, theirs });
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
}

/// A statement's plan stays as it is. Otherwise SQLite looks at what is bound to it, and plans anew whenever that changes.
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
    std::thread::sleep(Duration::from_micros(250));
    attempt < BUSY_MS_MAX * 4
}

fn layout(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the file up to date. Several processes may try at once: the lock lets one do it.
fn migrate(db: &Db) -> Result<()> {
    if db.check_layout()? == newest_layout() {
        return Ok(());
    }
    let tx = db.write()?;
    bring_up(&tx).and_then(|()| tx.commit()).map_err(|e| db.failed("bring its tables up to date", e))
}

fn bring_up(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    if layout(tx)? == 0 {
        tx.execute_batch(LAYOUT_1)?;
    }
    for table in ALL_TABLES {
        let known = known_columns(tx, table.name)?;
        if known.is_empty() {
            tx.execute_batch(&create_table(table))?;
        } else {
            for column in table.columns.iter().filter(|c| !known.iter().any(|name| name == c.name)) {
                tx.execute_batch(&add_column(table, column))?;
            }
        }
    }
    tx.pragma_update(None, "user_version", newest_layout())
}

/// The columns a table has; none where there is no such table.
fn known_columns(tx: &Transaction<'_>, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut select = tx.prepare("SELECT name FROM pragma_table_info(?1)")?;
    select.query_map([table], |row| row.get(0))?.collect()
}

fn sql_type(column: &Column) -> &'static str {
    match column.ty {
        ColumnType::Int => "INTEGER",
        ColumnType::Text => "TEXT",
        ColumnType::Bytes => "BLOB",
    }
}

/// Rows written before the column was there get the empty value of its type, or none where it is nullable.
fn add_column(table: &TableSpec, column: &Column) -> String {
    let empty = match column.ty {
        _ if column.nullable => "",
        ColumnType::Int => " NOT NULL DEFAULT 0",
        ColumnType::Text => " NOT NULL DEFAULT ''",
        ColumnType::Bytes => " NOT NULL DEFAULT x''",
    };
    format!("ALTER TABLE {} ADD COLUMN \"{}\" {}{empty}", table.name, column.name, sql_type(column))
}

/// A serving table. Without rowid: its only access path is the key, and one tree is faster than two.
fn create_table(table: &TableSpec) -> String {
    let column =
        |c: &Column| format!("\"{}\" {}{}, ", c.name, sql_type(c), if c.nullable { "" } else { " NOT NULL" });
    let columns: String = table.columns.iter().map(column).collect();
    let key = columns_list(&table.columns[..table.key]);
    format!(
        "CREATE TABLE {} ({columns}epoch INTEGER NOT NULL, PRIMARY KEY ({key})) WITHOUT ROWID",
        table.name
    )
}

/// Column names, quoted (`offset` is a word of SQL) and joined.
pub(crate) fn columns_list(columns: &[Column]) -> String {
    columns.iter().map(|c| format!("\"{}\"", c.name)).collect::<Vec<_>>().join(", ")
}

/// The newest generation: only its process may write. 0 before the first.
pub(crate) fn newest_generation(conn: &Connection) -> rusqlite::Result<Generation> {
    let mut select = conn.prepare_cached("SELECT coalesce(max(generation), 0) FROM generations")?;
    select.query_row([], |row| Ok(Generation(row.get::<_, i64>(0)? as u64)))
}

/// The decided frontier: every epoch up to it has its rows in the serving tables.
pub(crate) fn decided(conn: &Connection) -> rusqlite::Result<(Epoch, Millis)> {
    let mut select = conn.prepare_cached("SELECT epoch, now_ms FROM frontiers WHERE name = 'decided'")?;
    select.query_row([], |row| Ok((Epoch(row.get::<_, i64>(0)? as u64), row.get(1)?)))
}
