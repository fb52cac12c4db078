//! What a loader says of itself, to metrics and to whoever waits for it.

use runtime::Epoch;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoaderState {
    /// Asking the server what it has.
    #[default]
    Opening,
    /// Facts are being sent.
    Loading,
    /// Everything decided is published.
    Idle,
    /// The server, the log or the store is away: it tries again.
    Waiting,
    /// An operator is needed; sales go on.
    Stopped,
}

/// Figures of a loader since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoaderFigures {
    pub state: LoaderState,
    pub decided: Epoch,
    pub published: Epoch,
    /// Facts that are in ClickHouse for good.
    pub rows: u64,
    pub batches: u64,
    /// Batches that had to be sent again.
    pub resent: u64,
    /// Tries that failed.
    pub retries: u64,
    /// Facts read and not loaded yet: at most a batch.
    pub in_hand: u64,
    /// What went wrong last, while it does.
    pub problem: Option<String>,
}

/// Shared by the loader and whoever watches it.
#[derive(Debug, Default)]
pub struct LoaderStatus {
    figures: Mutex<LoaderFigures>,
    moved: Condvar,
}

impl LoaderStatus {
    /// The figures as they are.
    pub fn get(&self) -> LoaderFigures {
        self.lock().clone()
    }

    /// Waits until an epoch is published, the loader has stopped, or time is up: whether it is published.
    pub fn wait_published(&self, epoch: Epoch, timeout: Duration) -> bool {
        let (deadline, mut figures) = (Instant::now() + timeout, self.lock());
        while figures.published < epoch && figures.state != LoaderState::Stopped {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.moved.wait_timeout(figures, left);
            figures = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        figures.published >= epoch
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut LoaderFigures)) {
        change(&mut self.lock());
        self.moved.notify_all();
    }

    /// Figures have no invariant that a panic could break.
    fn lock(&self) -> MutexGuard<'_, LoaderFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
