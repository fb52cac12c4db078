//! What a mirror says of itself, to metrics and to whoever waits for it.

use crate::clickhouse::status::LoaderState;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Figures of a mirror since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorFigures {
    pub state: LoaderState,
    /// Topics that are mirrored.
    pub topics: u64,
    /// Rows that are in ClickHouse for good.
    pub rows: u64,
    pub batches: u64,
    /// Batches that had to be sent again.
    pub resent: u64,
    /// Tries that failed.
    pub retries: u64,
    /// Tables that stand aside until what is wrong with them is mended.
    pub parked: u64,
    /// Records that can't be read or written, now in `mirror_rejected`.
    pub rejected: u64,
    /// Times beyond what their column holds, kept as the nearest it can.
    pub clamped: u64,
    /// Values that were not told and are nowhere to be found: NULL.
    pub missing: u64,
    /// Records in the log that are not mirrored yet.
    pub lag: u64,
    /// How long after the source made it the last row was there, by two clocks.
    pub behind_ms: i64,
    /// What went wrong last, while it does.
    pub problem: Option<String>,
}

/// Shared by the mirror and whoever watches it.
#[derive(Debug, Default)]
pub struct MirrorStatus {
    figures: Mutex<MirrorFigures>,
}

impl MirrorStatus {
    /// The figures as they are.
    pub fn get(&self) -> MirrorFigures {
        self.lock().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut MirrorFigures)) {
        change(&mut self.lock());
    }

    /// Figures have no invariant that a panic could break.
    fn lock(&self) -> MutexGuard<'_, MirrorFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
