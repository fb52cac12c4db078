//! Operator state that can be snapshotted while it is being changed.
//!
//! ```text
//!   get_mut(k) ── marks k dirty in the current round
//!   freeze()   ── the dirty keys of this round become the snapshot's; a new round begins
//!   write_slice(budget) ── encodes frozen keys, a slice at a time, between epochs
//!   get_mut(k) of a frozen, unwritten key ── encodes its old value first (copy on write)
//! ```
//!
//! A snapshot is the set of keys that changed since the one before, as of `freeze`; the values of
//! newer snapshots win over older ones. A key that comes and goes between two of them leaves no trace. Timers
//! and indexes are never stored: they follow from state.

use crate::cells::{Cells, Place};
use crate::entries::{Entries, StateEntry};
use hashbrown::Equivalent;
use rustc_hash::FxBuildHasher;
use serde::{Serialize, de::DeserializeOwned};
use std::hash::{BuildHasher, Hash};

/// What the runtime needs of any state.
pub trait State {
    /// Name within its operator, with its encoding's version, e.g. `orders.v1`. Stable.
    fn name(&self) -> &'static str;

    /// True where every worker holds all of it (fed by [`crate::operator::Route::All`]): worker 0 writes it, all load it.
    fn replicated(&self) -> bool {
        false
    }

    /// Says, before anything is handled, that no snapshot will be taken: what only they need isn't kept.
    fn without_snapshots(&mut self) {}

    /// Begins a snapshot of everything changed since the last one. Never called while one is being written.
    fn freeze(&mut self);

    /// Writes at most about `budget` more entries of the frozen snapshot; true when it is complete.
    fn write_slice(&mut self, budget: usize, out: &mut Entries) -> bool;

    /// Takes an entry of a snapshot, newest snapshot last.
    ///
    /// # Errors
    /// When the bytes aren't what this version of the state writes.
    fn load(&mut self, entry: &StateEntry) -> Result<(), DecodeError>;

    /// Keys held, for metrics.
    fn len(&self) -> usize;

    /// Whether nothing is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A snapshot entry that this code can't read.
#[derive(Debug, thiserror::Error)]
#[error(
    "state {state}: an entry can't be decoded ({source}); it was written by another version, or is damaged"
)]
pub struct DecodeError {
    pub state: &'static str,
    #[source]
    pub source: postcard::Error,
}

/// A keyed, last-write-wins state: the workhorse.
pub struct KeyedState<K, V> {
    name: &'static str,
    replicated: bool,
    slot: fn(&K) -> u8,
    cells: Cells<Cell<K, V>>,
    live: usize,
    /// Whether snapshots are taken.
    tracked: bool,
    round: u32,
    /// Cells changed in this round, and those of the round that is being written.
    dirty: Vec<Place>,
    frozen: Vec<Place>,
    /// Old values of frozen keys that were changed before they were written.
    copied: Entries,
}

struct Cell<K, V> {
    key: K,
    /// Absent: removed, and kept until the snapshot has heard of it.
    value: Option<V>,
    /// Round in which it was last changed; 0 when the snapshot has it.
    changed: u32,
    /// Whether a snapshot has, or is being given, anything of it.
    saved: bool,
}

impl<K, V> KeyedState<K, V>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    /// An empty state. `slot` says which slot a key belongs to: it must agree with the operator's route.
    pub fn new(name: &'static str, slot: fn(&K) -> u8) -> Self {
        KeyedState {
            name,
            replicated: false,
            slot,
            cells: Cells::default(),
            live: 0,
            tracked: true,
            round: 1,
            dirty: Vec::new(),
            frozen: Vec::new(),
            copied: Entries::default(),
        }
    }

    /// A state that every worker holds in full.
    pub fn new_replicated(name: &'static str, slot: fn(&K) -> u8) -> Self {
        KeyedState { replicated: true, ..Self::new(name, slot) }
    }

    fn find<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<Place> {
        self.find_hashed(hash(key), key)
    }

    fn find_hashed<Q: Equivalent<K> + ?Sized>(&self, hash: u64, key: &Q) -> Option<Place> {
        self.cells.find(hash, |cell| key.equivalent(&cell.key))
    }

    /// The value of a key, which may be given in any form equivalent to it (borrowed parts, say).
    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.find(key).and_then(|place| self.cells.at(place).value.as_ref())
    }

    /// Whether a key is held.
    pub fn contains<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> bool {
        self.get(key).is_some()
    }

    /// Reads what a look-up of a key reads, so that it is near when the key is asked for; see
    /// [`crate::Operator::foresee`]. What it says means nothing.
    pub fn glance<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> u64 {
        self.find(key).map_or(0, |place| u64::from(self.cells.at(place).changed))
    }

    /// The value of a key, to change it: the key counts as changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.find(key)?;
        self.cells.at(place).value.as_ref()?;
        self.touch(place).value.as_mut()
    }

    /// Sets a key's value.
    pub fn insert(&mut self, key: K, value: V) {
        let hash = hash(&key);
        match self.find_hashed(hash, &key) {
            Some(place) => drop(self.put(place, Some(value))),
            None => {
                self.live += 1;
                let cell = Cell { value: Some(value), changed: self.round, saved: false, key };
                let place = self.cells.insert(hash, cell);
                if self.tracked {
                    self.dirty.push(place);
                }
            }
        }
    }

    /// The value of a key, set to `default()` first where there is none.
    pub fn get_or_insert_with(&mut self, key: &K, default: impl FnOnce() -> V) -> &mut V {
        if !self.contains(key) {
            self.insert(key.clone(), default());
        }
        self.get_mut(key).expect("inserted above")
    }

    /// Removes a key; the value it had.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.remove_if(key, |_| true)
    }

    /// Removes a key whose value is `wanted`; the value it had.
    pub fn remove_if(&mut self, key: &K, wanted: impl FnOnce(&V) -> bool) -> Option<V> {
        let hash = hash(key);
        let place = self.find_hashed(hash, key)?;
        self.cells.at(place).value.as_ref().filter(|value| wanted(value))?;
        let old = self.put(place, None);
        let cell = self.cells.at_mut(place);
        if !cell.saved || !self.tracked {
            // It came and went between two snapshots, or there are none: none of them has to hear of it.
            cell.changed = 0;
            self.cells.give_up(hash, place);
        }
        old
    }

    fn put(&mut self, place: Place, value: Option<V>) -> Option<V> {
        let is = value.is_some();
        let old = std::mem::replace(&mut self.touch(place).value, value);
        self.live = self.live + usize::from(is) - usize::from(old.is_some());
        old
    }

    /// A cell that is about to change: what a snapshot in progress has yet to write of it is copied.
    fn touch(&mut self, place: Place) -> &mut Cell<K, V> {
        let frozen_round = self.round - 1;
        let cell = self.cells.at_mut(place);
        if cell.changed != self.round {
            if cell.changed == frozen_round && frozen_round != 0 {
                self.copied.add((self.slot)(&cell.key), &cell.key, cell.value.as_ref());
                cell.saved = true;
            }
            cell.changed = self.round;
            if self.tracked {
                self.dirty.push(place);
            }
        }
        cell
    }

    /// Every key and value, in no particular order: never let it reach an output.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.cells.iter().filter_map(|cell| cell.value.as_ref().map(|value| (&cell.key, value)))
    }

    /// Writes one frozen key that is still as it was at the freeze, and forgets it if it was removed.
    fn write_one(&mut self, place: Place, out: &mut Entries) {
        let frozen_round = self.round - 1;
        let cell = self.cells.at_mut(place);
        if cell.changed != frozen_round {
            return; // changed since: its old value is among the copied
        }
        (cell.changed, cell.saved) = (0, true);
        out.add((self.slot)(&cell.key), &cell.key, cell.value.as_ref());
        if cell.value.is_none() {
            let hash = hash(&cell.key);
            self.cells.give_up(hash, place);
        }
    }
}

fn hash<Q: Hash + ?Sized>(key: &Q) -> u64 {
    FxBuildHasher.hash_one(key)
}

impl<K, V> State for KeyedState<K, V>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn replicated(&self) -> bool {
        self.replicated
    }

    fn without_snapshots(&mut self) {
        self.tracked = false;
    }

    fn freeze(&mut self) {
        assert!(self.tracked, "{}: no snapshot was to be taken", self.name);
        assert!(self.frozen.is_empty() && self.copied.is_empty(), "one snapshot at a time");
        self.frozen = std::mem::take(&mut self.dirty);
        self.round += 1;
    }

    fn write_slice(&mut self, budget: usize, out: &mut Entries) -> bool {
        out.append(&mut self.copied);
        for _ in 0..budget {
            let Some(place) = self.frozen.pop() else { return true };
            self.write_one(place, out);
        }
        self.frozen.is_empty()
    }

    fn load(&mut self, entry: &StateEntry) -> Result<(), DecodeError> {
        let err = |source| DecodeError { state: self.name, source };
        let key: K = postcard::from_bytes(&entry.key).map_err(err)?;
        let value = entry.value.as_deref().map(postcard::from_bytes).transpose().map_err(err)?;
        match (self.find(&key), value) {
            (Some(place), Some(value)) => self.cells.at_mut(place).value = Some(value),
            (Some(place), None) => {
                self.cells.at_mut(place).value = None;
                self.cells.give_up(hash(&key), place);
                self.live -= 1;
            }
            (None, Some(value)) => {
                self.cells.insert(hash(&key), Cell { value: Some(value), changed: 0, saved: true, key });
                self.live += 1;
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.live
    }
}
