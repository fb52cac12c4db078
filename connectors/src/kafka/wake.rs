//! Waking the fetch thread when librdkafka has something for it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A flag that is raised on any thread and waited for on one.
#[derive(Default)]
pub(crate) struct Wake {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Wake {
    /// Raises it.
    pub fn wake(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Lowers it, once it is raised or the time is over.
    pub fn wait(&self, timeout: Duration) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(raised, timeout, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}
