//! The decided frontier of a pipeline in this process, told the moment it moves.

use runtime::Epoch;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Where each partition stands: topic, partition, end (exclusive).
type Ends = BTreeMap<(&'static str, u32), u64>;

#[derive(Debug, Default)]
struct State {
    decided: Epoch,
    ends: Ends,
}

/// Told by the engine's committer, waited for by whoever follows.
#[derive(Debug, Default)]
pub struct Pulse {
    state: Mutex<State>,
    moved: Condvar,
}

impl Pulse {
    /// The frontier has moved, and partitions with it.
    pub fn beat(&self, decided: Epoch, ends: &[(&'static str, u32, u64)]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.decided = state.decided.max(decided);
        for (topic, partition, end) in ends {
            let known = state.ends.entry((topic, *partition)).or_default();
            *known = (*known).max(*end);
        }
        drop(state);
        self.moved.notify_all();
    }

    /// Waits until it is past `after`, or for so long: where it stands, and every partition that moved so far.
    pub fn wait(&self, after: Epoch, limit: Duration) -> (Epoch, Ends) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.moved.wait_timeout_while(state, limit, |state| state.decided <= after);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (state.decided, state.ends.clone())
    }
}
