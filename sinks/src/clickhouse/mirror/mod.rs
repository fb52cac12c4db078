//! The mirror: every table that Debezium captures, in ClickHouse, as it is in its source.
//!
//! ```text
//!   oltp.public.* ──> gather ──> plan, recorded ──> table made, columns added, widened, dropped ──> one insert per range
//!                                (MirrorStore)      values that were not told, looked up            (token: the plan's)
//!                                                                                                       │
//!   `orders_current` <── newest version of each key, not deleted, not truncated <── `orders` <──────────┘
//! ```
//!
//! Two means, each for what it can do alone (docs/decisions/0012):
//! - **The version** (`__version`: the newest snapshot, then the place in the source) makes the table's *current* state the same
//!   however often and in whichever batches a change is delivered: by us, or by a connector that was restarted. So going
//!   back is always safe.
//! - **The plan** (offsets recorded before they are sent, a token for each insert) makes each record one row, so that the table
//!   itself holds no duplicates of ours, and none is left out.
//!
//! Invariants
//! 1. Offsets are recorded before they are sent; inserts, columns and tokens follow from that record and the document.
//! 2. What a partition's rows are versioned by goes forward with its position, in the same write.
//! 3. A table changes before rows are inserted that need the change, and after the change was recorded: no column is ever
//!    dropped, and no type taken back, because the document doesn't know it yet. Statements on tables may be repeated.
//! 4. A row is current where its place in the source isn't before the last TRUNCATE of its table.
//! 5. What isn't told (an unchanged large value) is written as it was.
//! 6. What is one table's fault, or one record's, is nobody else's ([`park`]): the table stands aside with its ranges and their tokens, the record
//!    lies in `mirror_rejected`.
//! 7. Whoever has been replaced by a newer generation records nothing, and changes no table: it asks before each statement.
//!
//! A crash, step by step: before the plan, nothing has happened; after it, tables are brought up to what was recorded with it,
//! and the batch is read, and sent, again under the same tokens and looked for; after the progress is told, only the document is behind. A server that lost what
//! it had says so by its progress, and is brought up again from there.
//!
//! Not promised: rows of one transaction of the source become visible table by table. A key that changes its columns, a
//! renamed column and values that were rewritten without changes (`ALTER ... USING`; a new column whose default is a function or
//! an array) need the table to be snapshotted again. What was deleted while no connector watched stays.

mod batch;
mod binary;
mod ddl;
mod deliver;
mod evolve;
mod fault;
mod gather;
mod names;
mod notes;
mod park;
mod parked;
mod rows;
mod state;
mod status;
mod topics;
mod untold;
mod work;

pub use park::{ParkedTable, parked_tables};
pub use state::MirrorStore;
pub use status::{MirrorFigures, MirrorStatus};

use super::settings::ClickHouseSettings;
use super::status::LoaderState;
use runtime::source::{LogError, LogReader};
use schemas::captured::Captured;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// What helps wherever a table can't be followed. In this order, as a table that is only missing is made again.
const REMEDY_AGAIN: &str = "take a new snapshot of it into an emptied topic (or a new one), then delete its rows from \
                            mirror_progress, then drop its table: it begins anew";

/// What is mirrored, and where to.
#[derive(Clone, Debug)]
pub struct MirrorSettings {
    /// Its database is the mirror's own.
    pub clickhouse: ClickHouseSettings,
    /// Patterns of topics, in which `*` stands for anything.
    pub topics: Vec<String>,
}

/// A log with topics of captured tables.
pub trait MirrorLog: Send {
    /// Every topic there is.
    ///
    /// # Errors
    /// See [`LogError`].
    fn topics(&mut self) -> Result<Vec<String>, LogError>;

    /// A reader of some of them, which are its topics in this order.
    ///
    /// # Errors
    /// See [`LogError`].
    fn reader(&mut self, topics: &[String]) -> Result<Box<dyn LogReader<Record = Captured>>, LogError>;

    /// The same, of records as they are: each comes as [`Captured::Unreadable`], with its bytes.
    ///
    /// # Errors
    /// See [`LogError`].
    fn bytes(&mut self, topics: &[String]) -> Result<Box<dyn LogReader<Record = Captured>>, LogError>;
}

/// What a mirror reads from and records in.
pub struct MirrorSources {
    pub log: Box<dyn MirrorLog>,
    pub store: Box<dyn MirrorStore>,
}

/// A running mirror. Dropped, it stops: what it was sending is sent again by the next one.
#[derive(Debug)]
pub struct Mirror {
    stop: Arc<AtomicBool>,
    status: Arc<MirrorStatus>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    /// Starts the thread, whether ClickHouse is there or not.
    ///
    /// # Errors
    /// Where no thread can be started. Settings that can't be used stop the mirror, as its status says.
    pub fn start(settings: MirrorSettings, sources: MirrorSources) -> std::io::Result<Mirror> {
        let (stop, status) = (Arc::new(AtomicBool::new(false)), Arc::new(MirrorStatus::default()));
        let (its_stop, its_status) = (Arc::clone(&stop), Arc::clone(&status));
        let run = move || match work::Work::new(settings, sources, its_stop, Arc::clone(&its_status)) {
            Ok(work) => work.run(),
            Err(error) => stopped(&its_status, &error),
        };
        let thread = std::thread::Builder::new().name("mirror".to_owned()).spawn(run)?;
        Ok(Mirror { stop, status, thread: Some(thread) })
    }

    /// Its figures, to be watched while it runs.
    pub fn status(&self) -> Arc<MirrorStatus> {
        Arc::clone(&self.status)
    }

    /// Stops it and waits until it has.
    pub fn stop(self) {}
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A mirror that panicked has said so where panics are said.
            let _ = thread.join();
        }
    }
}

fn stopped(status: &MirrorStatus, problem: &impl ToString) {
    let problem = problem.to_string();
    tracing::error!(problem, "the mirror into ClickHouse has stopped; decisions go on");
    status.change(|figures| {
        figures.state = LoaderState::Stopped;
        figures.problem = Some(problem);
    });
}
