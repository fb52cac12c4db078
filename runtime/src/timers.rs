//! Timers of one operator on one worker: by due time, then key. They follow from state and are never stored.
//!
//! There is no cancel: the owner looks at its state when a timer fires and ignores one that no longer
//! says what the state says. Cost is a push and a pop per timer.

use crate::types::Millis;
use std::collections::BTreeMap;

/// Due times and the keys that wait for them.
#[derive(Debug)]
pub struct Timers<K> {
    /// But for `last`, where that is kept outside.
    due: BTreeMap<Millis, Vec<K>>,
    /// Those of a due time that was set several times in a row: the next one is often the same.
    last: (Millis, Vec<K>),
    /// The due time set last that is in the map.
    missed: Millis,
    /// The earliest of all; `NEVER` where there is none.
    next: Millis,
}

const NEVER: Millis = Millis::MAX;

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { due: BTreeMap::new(), last: (NEVER, Vec::new()), missed: NEVER, next: NEVER }
    }
}

impl<K: Ord> Timers<K> {
    /// Fires `key` at `due`; never, where that is the end of time.
    pub fn set(&mut self, due: Millis, key: K) {
        if due == self.last.0 {
            return self.last.1.push(key);
        }
        self.next = self.next.min(due);
        if due != self.missed {
            self.missed = due;
            return self.due.entry(due).or_default().push(key);
        }
        let keys = self.due.remove(&due).unwrap_or_default();
        let (before, were) = std::mem::replace(&mut self.last, (due, keys));
        if !were.is_empty() {
            self.due.insert(before, were);
        }
        self.last.1.push(key);
    }

    /// The earliest due time.
    pub fn next(&self) -> Option<Millis> {
        (self.next != NEVER).then_some(self.next)
    }

    /// Takes the keys due at exactly `due` as they were set, for whom their order makes no difference.
    pub fn take_unsorted(&mut self, due: Millis) -> Vec<K> {
        let keys = if self.last.0 == due {
            std::mem::replace(&mut self.last, (NEVER, Vec::new())).1
        } else {
            self.due.remove(&due).unwrap_or_default()
        };
        self.next = self.due.first_key_value().map_or(NEVER, |(due, _)| *due).min(self.last.0);
        keys
    }

    /// Takes the keys due at exactly `due`, sorted, each once.
    pub fn take(&mut self, due: Millis) -> Vec<K> {
        let mut keys = self.take_unsorted(due);
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain map, however often one due time follows another.
        #[test]
        fn what_is_set_fires_once_at_its_time(
            steps in proptest::collection::vec((any::<bool>(), 0i64..5, 0u32..9), 0..60),
        ) {
            let (mut timers, mut plain) = (Timers::default(), BTreeMap::<Millis, Vec<u32>>::new());
            for (take, due, key) in steps {
                if take {
                    let mut keys = plain.remove(&due).unwrap_or_default();
                    keys.sort_unstable();
                    keys.dedup();
                    prop_assert_eq!(timers.take(due), keys);
                } else {
                    timers.set(due, key);
                    plain.entry(due).or_default().push(key);
                }
                prop_assert_eq!(timers.next(), plain.keys().next().copied());
            }
        }
    }
}
