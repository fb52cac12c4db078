//! Moves the WAL into the file behind the writers' backs, so that no commit is held up for long.
//!
//! ```text
//!   every 50 ms: pages not yet moved ≥ 1,000, or the same ones as last time ──> passive checkpoint
//! ```
//!
//! A passive checkpoint waits for nobody and stops nobody. Under steady commits it never quite reaches
//! the WAL's end, so the WAL would never start over: for that, a writer whose WAL has grown to
//! `WAL_PAGES` (see `db.rs`) makes a checkpoint of its own, and finds almost nothing left to do.
//! A crash in here loses nothing: pages are in the WAL until they are safe in the file.

use super::db::Db;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Enough to be worth two syncs, little enough not to crowd the disk.
const PAGES_MIN: i64 = 1_000;

/// A thread that checkpoints; it stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts one on a connection of its own.
    pub fn start(db: Db) -> Self {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let mut waiting = 0;
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                waiting = look(&db, waiting).unwrap_or_else(|error| {
                    // Not fatal here: a full or failing disk makes the next commit fail, and that one tells.
                    tracing::debug!(file = %db.file, %error, "no checkpoint");
                    0
                });
            }
        });
        Checkpointer { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Checkpoints if it is time to; the pages that still wait.
fn look(db: &Db, waited_before: i64) -> rusqlite::Result<i64> {
    let waiting = pages_waiting(db, "PRAGMA wal_checkpoint(NOOP)")?;
    let idle = waiting > 0 && waiting == waited_before;
    if waiting >= PAGES_MIN || idle {
        pages_waiting(db, "PRAGMA wal_checkpoint(PASSIVE)")
    } else {
        Ok(waiting)
    }
}

/// Pages in the WAL that aren't in the file yet, after the pragma.
fn pages_waiting(db: &Db, pragma: &str) -> rusqlite::Result<i64> {
    let (in_wal, moved): (i64, i64) =
        db.conn.prepare_cached(pragma)?.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))?;
    Ok(in_wal - moved)
}
