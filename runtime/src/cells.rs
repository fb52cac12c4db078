//! Where keyed state lies in memory: cells that never move, found by the hash of their key.
//!
//! ```text
//!   hash ─> index (4 + 4 bytes a key) ─> chunk ─> cell
//! ```
//!
//! A growing hash table that held the cells themselves would copy all of them, into memory the machine has
//! yet to find, at a moment of its own choosing. Here only the index grows by copying; cells come in chunks,
//! in the order in which keys first came, so what is used together lies together. The place of a cell that
//! was given up is used again.

use hashbrown::HashTable;
use std::cell::Cell;

/// Cells of one chunk.
const CHUNK: usize = 1024;
/// Places remembered.
const LAST: usize = 32;

/// The number of a cell, for as long as it isn't given up.
pub type Place = u32;

/// Cells, and the index over them.
pub struct Cells<C> {
    index: HashTable<Found>,
    chunks: Vec<Vec<C>>,
    used: usize,
    free: Vec<Place>,
    /// What was found last, by some bits of its hash: whoever handles a message asks for the same few keys a
    /// dozen times. A cell that was given up is never among them.
    last: [Cell<Option<Found>>; LAST],
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Found {
    hash: u32,
    place: Place,
}

impl<C> Default for Cells<C> {
    fn default() -> Self {
        let last = std::array::from_fn(|_| Cell::new(None));
        Cells { index: HashTable::new(), chunks: Vec::new(), used: 0, free: Vec::new(), last }
    }
}

impl<C> Cells<C> {
    /// The place of the cell with this hash for which `is` holds.
    pub fn find(&self, hash: u64, mut is: impl FnMut(&C) -> bool) -> Option<Place> {
        let short = shorten(hash);
        let mut same = |found: &Found| found.hash == short && is(self.at(found.place));
        let last = self.last(short);
        if let Some(found) = last.get().filter(&mut same) {
            return Some(found.place);
        }
        let found = self.index.find(spread(short), same)?;
        last.set(Some(*found));
        Some(found.place)
    }

    /// Where what was found under a hash is remembered.
    fn last(&self, hash: u32) -> &Cell<Option<Found>> {
        &self.last[(spread(hash) >> 32) as usize % LAST]
    }

    /// The cell at a place.
    pub fn at(&self, place: Place) -> &C {
        &self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    /// The cell at a place, to change it.
    pub fn at_mut(&mut self, place: Place) -> &mut C {
        &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    /// Takes a cell whose key isn't there.
    pub fn insert(&mut self, hash: u64, cell: C) -> Place {
        let place = match self.free.pop() {
            Some(place) => {
                *self.at_mut(place) = cell;
                place
            }
            None => self.push(cell),
        };
        let hash = shorten(hash);
        self.index.insert_unique(spread(hash), Found { hash, place }, |found| spread(found.hash));
        self.last(hash).set(Some(Found { hash, place }));
        place
    }

    fn push(&mut self, cell: C) -> Place {
        let place = Place::try_from(self.used).expect("fewer than 2^32 keys of one state on one worker");
        if self.used.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut().expect("there is one with room").push(cell);
        self.used += 1;
        place
    }

    /// Gives a cell up: it is found no more. What it holds stays until its place is used again.
    pub fn give_up(&mut self, hash: u64, place: Place) {
        let hash = shorten(hash);
        let entry = self.index.find_entry(spread(hash), |found| found.place == place);
        entry.ok().expect("what is given up was there").remove();
        self.last(hash).take();
        self.free.push(place);
    }

    /// Every cell, given up or not.
    pub fn iter(&self) -> impl Iterator<Item = &C> {
        self.chunks.iter().flatten()
    }
}

fn shorten(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

/// The table wants good bits at both ends.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key's hash is its remainder by 40: some are remembered in one place, and some share a hash.
    #[test]
    fn what_was_given_up_is_found_no_more_nor_taken_for_what_came_into_its_place() {
        let hash = |key: u64| key % 40;
        let mut cells: Cells<u64> = Cells::default();
        let find = |cells: &Cells<u64>, key| cells.find(hash(key), |cell| *cell == key);
        for key in 0..120 {
            assert_eq!(find(&cells, key), None);
            let place = cells.insert(hash(key), key);
            assert_eq!([find(&cells, key), find(&cells, key)], [Some(place); 2]);
        }
        for key in 0..120 {
            let place = find(&cells, key).unwrap();
            cells.give_up(hash(key), place);
            assert_eq!(find(&cells, key), None);
            assert_eq!(cells.insert(hash(key + 120), key + 120), place);
            assert_eq!([find(&cells, key), find(&cells, key + 120)], [None, Some(place)]);
        }
    }
}
