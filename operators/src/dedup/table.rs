//! A dense table of entries: linear probing, kept in the order of the keys.
//!
//! ```text
//!   home(key) = key × homes / 2^64            cells:  a c . d e f . . h   (. = empty)
//! ```
//!
//! Since homes rise with keys, the whole array is sorted. So a search stops at the first larger key, which
//! keeps it short (3 to 6 cells) at a load of 0.8 to 0.9, and a rebuild copies front to back in one pass.
//! A few cells behind the last home take what overflows it: nothing wraps around.

use super::entry::{Entry, KeyHash};

/// Cells behind the last home: a sixteenth and a few, up to what a load of 0.9 never fills.
const OVERFLOW_CELLS_MAX: usize = 128;

/// Entries of one slot, each key once.
#[derive(Debug, Default)]
pub struct Table {
    cells: Vec<Entry>,
    homes: usize,
    len: usize,
}

/// Where a key is, or belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Held(usize),
    Free(usize),
}

impl Table {
    /// An empty table with that many homes.
    pub fn new(homes: usize) -> Self {
        let overflow = (homes / 16 + 2).min(OVERFLOW_CELLS_MAX);
        Table { cells: vec![Entry::default(); homes + overflow], homes, len: 0 }
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Cells that an entry can have as its home.
    pub fn homes(&self) -> usize {
        self.homes
    }

    /// Whether one more keeps the load within 0.9.
    pub fn has_room(&self) -> bool {
        (self.len + 1) * 10 <= self.homes * 9
    }

    fn home(&self, key: KeyHash) -> usize {
        ((u128::from(key.high) * self.homes as u128) >> 64) as usize
    }

    /// Reads the first cell a search would look at.
    pub fn glance(&self, key: KeyHash) -> u64 {
        self.cells.get(self.home(key)).map_or(0, |cell| cell.key().high)
    }

    /// Finds a key, or the cell it belongs into.
    pub fn find(&self, key: KeyHash) -> Place {
        let home = self.home(key);
        for (steps, cell) in self.cells[home..].iter().enumerate() {
            if cell.is_empty() || cell.key() > key {
                return Place::Free(home + steps);
            }
            if cell.key() == key {
                return Place::Held(home + steps);
            }
        }
        Place::Free(self.cells.len())
    }

    /// The entry of a cell that [`Table::find`] named.
    pub fn get(&self, held: usize) -> Entry {
        self.cells[held]
    }

    /// Replaces the entry of a cell by another of the same key.
    pub fn set(&mut self, held: usize, entry: Entry) {
        debug_assert_eq!(self.cells[held].key(), entry.key());
        self.cells[held] = entry;
    }

    /// Puts a new entry where [`Table::find`] said it belongs, moving its neighbours up by one cell.
    /// False where the cells behind it are full up to the end: rebuild the table larger.
    #[must_use]
    pub fn insert(&mut self, free: usize, entry: Entry) -> bool {
        let Some(gap) = self.cells[free..].iter().position(Entry::is_empty) else { return false };
        self.cells.copy_within(free..free + gap, free + 1);
        self.cells[free] = entry;
        self.len += 1;
        true
    }

    /// The entries that `keep` wants, in a table of at least `homes` homes.
    pub fn rebuilt(&self, homes: usize, keep: impl Fn(&Entry) -> bool) -> Table {
        let mut homes = homes;
        loop {
            if let Some(table) = self.try_rebuild(homes, &keep) {
                return table;
            }
            homes += homes / 8 + 1;
        }
    }

    fn try_rebuild(&self, homes: usize, keep: impl Fn(&Entry) -> bool) -> Option<Table> {
        let mut table = Table::new(homes);
        let mut next = 0;
        for entry in self.iter().filter(|entry| keep(entry)) {
            next = table.home(entry.key()).max(next);
            *table.cells.get_mut(next)? = *entry;
            next += 1;
            table.len += 1;
        }
        Some(table)
    }

    /// Every entry, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.cells.iter().filter(|cell| !cell.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_where_it_was_put_at_any_load_and_after_rebuilds() {
        let mut table = Table::default();
        let key = |i: u64| KeyHash { high: i.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, low: i as u32 };
        for i in 0..5_000 {
            if !table.has_room() {
                table = table.rebuilt(table.len() * 5 / 4 + 8, |_| true);
            }
            let Place::Free(free) = table.find(key(i)) else { panic!("{i} is new") };
            while !table.insert(free, Entry::new(key(i), i, 0, 0)) {
                table = table.rebuilt(table.homes() * 2, |_| true);
            }
            assert!(table.iter().map(Entry::key).is_sorted());
        }
        let held = |i| matches!(table.find(key(i)), Place::Held(at) if table.get(at).key() == key(i));
        assert!((0..5_000).all(held) && !(5_000..9_000).any(held));
        let odd = table.rebuilt(3_000, |entry| entry.key().low % 2 == 1);
        assert_eq!(odd.len(), 2_500);
    }

    #[test]
    fn a_cluster_at_the_very_end_asks_for_a_larger_table() {
        let mut table = Table::new(2);
        let key = |low| KeyHash { high: u64::MAX, low };
        let put = |table: &mut Table, low| {
            let Place::Free(free) = table.find(key(low)) else { panic!("{low} is new") };
            table.insert(free, Entry::new(key(low), 0, 0, 0))
        };
        assert!(put(&mut table, 5) && put(&mut table, 9) && put(&mut table, 1));
        assert!(!put(&mut table, 7));
        table = table.rebuilt(32, |_| true);
        assert!(put(&mut table, 7));
    }
}
