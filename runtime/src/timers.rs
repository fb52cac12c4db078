//! Timers of one operator on one worker: by due time, then key. They follow from state and are never stored.
//!
//! There is no cancel: the owner looks at its state when a timer fires and ignores one that no longer
//! says what the state says. Cost is a push and a pop per timer.

use crate::types::Millis;
use std::collections::BTreeMap;

/// Due times and the keys that wait for them.
#[derive(Debug)]
pub struct Timers<K> {
    due: BTreeMap<Millis, Vec<K>>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { due: BTreeMap::new() }
    }
}

impl<K: Ord> Timers<K> {
    /// Fires `key` at `due`.
    pub fn set(&mut self, due: Millis, key: K) {
        self.due.entry(due).or_default().push(key);
    }

    /// The earliest due time.
    pub fn next(&self) -> Option<Millis> {
        self.due.first_key_value().map(|(due, _)| *due)
    }

    /// Takes the keys due at exactly `due`, sorted, each once.
    pub fn take(&mut self, due: Millis) -> Vec<K> {
        let mut keys = self.due.remove(&due).unwrap_or_default();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}
