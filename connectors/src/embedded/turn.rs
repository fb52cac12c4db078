//! Taking turns at the write lock: a writer that never pauses must not keep the others out.
//!
//! ```text
//!   take the turn ─ wait for the write lock ─ give the turn back ─ write ─ commit
//! ```
//!
//! SQLite's lock goes to whoever asks at the right moment, which is nearly always the one that has just
//! given it back. Here that one has to queue for its turn, and the turn belongs to whoever waits already.
//! It is a courtesy and nothing rests on it: after a while one goes ahead without, so a process that was
//! stopped with the turn in its hands holds nobody up for long. A crash gives it back.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_millis(500);

/// The place where one queues.
#[derive(Debug)]
pub(crate) struct Turnstile {
    /// Absent where it can't be made: then nobody queues.
    file: Option<File>,
}

/// One's turn; given back when dropped.
pub(crate) struct Turn<'a> {
    file: Option<&'a File>,
}

impl Turnstile {
    /// The turnstile at a path, shared by every process that names it.
    pub fn at(path: &Path) -> Self {
        let file = File::options().create(true).truncate(false).write(true).open(path);
        Turnstile { file: file.ok() }
    }

    /// None: for a connection that never writes.
    pub fn none() -> Self {
        Turnstile { file: None }
    }

    /// Waits for the turn, or until patience runs out.
    pub fn turn(&self) -> Turn<'_> {
        let Some(file) = &self.file else { return Turn { file: None } };
        let start = Instant::now();
        while file.try_lock().is_err() {
            if start.elapsed() > PATIENCE {
                return Turn { file: None };
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Turn { file: Some(file) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file {
            // A lock that can't be given back ends with its file.
            let _ = file.unlock();
        }
    }
}
