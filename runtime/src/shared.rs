//! What the threads of one run share: the frontiers, the first failure, the clock, the wish to stop.
//!
//! ```text
//!   minted ≥ bound ≥ decided
//! ```
//! Frontier age is how long the decided frontier has stood still while epochs were in flight: the health
//! of a run, because a stopped peer freezes the frontier without any error.

use crate::steady::SteadyClock;
use crate::types::Millis;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// Shared by all threads of a run.
#[derive(Debug, Default)]
pub struct Shared {
    pub minted: AtomicU64,
    pub bound: AtomicU64,
    pub decided: AtomicU64,
    /// Clock of the last move of the decided frontier.
    pub decided_at: AtomicI64,
    /// The pipeline's time, as of the last epoch minted; 0 before the first and in a replay.
    pub now: AtomicI64,
    pub snapshot: AtomicU64,
    pub snapshot_bytes: AtomicU64,
    pub snapshot_ms: AtomicU64,
    /// Writes of snapshots that their store refused, and that were tried again.
    pub snapshot_retries: AtomicU64,
    pub records_in: AtomicU64,
    pub items_out: AtomicU64,
    pub clamped: AtomicU64,
    /// The longest time a worker spent on one slice of a snapshot, in microseconds.
    pub snapshot_stall_us_max: AtomicU64,
    stop: AtomicBool,
    failed: AtomicBool,
    closed: AtomicBool,
    failure: OnceLock<String>,
    wakers: Mutex<Vec<std::thread::Thread>>,
    steady: SteadyClock,
}

impl Shared {
    /// Wall clock, which goes on where the system's is set back. Only the mint and the fetch threads may let it into
    /// anything.
    pub fn clock(&self) -> Millis {
        self.steady.now()
    }

    /// Asks for an orderly end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether an orderly end was asked for.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Records the first failure: every worker leaves, nothing more is committed.
    pub fn fail(&self, message: String) {
        tracing::error!(message, "the run stops");
        let _ = self.failure.set(message);
        self.failed.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// All workers have left: threads that serve them end.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether all workers have left.
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether the run has failed.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// The first failure.
    pub fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    /// A worker thread to be woken by a failure or a wish to stop.
    pub fn register_worker(&self) {
        self.wakers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(std::thread::current());
    }

    fn wake(&self) {
        for thread in self.wakers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
            thread.unpark();
        }
    }

    /// Publishes a move of the decided frontier.
    pub fn publish_decided(&self, epoch: u64) {
        self.decided.fetch_max(epoch, Ordering::SeqCst);
        self.decided_at.store(self.clock(), Ordering::SeqCst);
    }

    /// Milliseconds that the pipeline's time is behind the clock: no timer fires by what is later. It grows while the log
    /// can't be read, and is the age of what is read while there is a backlog.
    pub fn time_behind_ms(&self) -> i64 {
        match self.now.load(Ordering::SeqCst) {
            0 => 0,
            now => (self.clock() - now).max(0),
        }
    }

    /// Milliseconds since the decided frontier moved, 0 where nothing is in flight.
    pub fn frontier_age_ms(&self) -> i64 {
        let idle = self.decided.load(Ordering::SeqCst) >= self.minted.load(Ordering::SeqCst);
        if idle { 0 } else { self.clock() - self.decided_at.load(Ordering::SeqCst) }
    }
}
