//! The store's snapshot form: append-only chunks of entries.
//!
//! ```text
//!   key = (slot, hour, sequence)      value = up to 256 entries of 24 bytes, in order of arrival
//!   push ─> open chunk of the slot ─ full, or the hour is over ─> closed ─ freeze ─> frozen ─> file
//!                    └── what it holds at a freeze is written too, and again when it has grown
//! ```
//!
//! So fifty million entries are written once or twice each and never read back before a restart, and an hour
//! that is forgotten costs a tombstone per chunk. In memory there are only the open chunks (6 KiB a slot) and
//! what no snapshot has taken yet. `freeze` copies nothing: it notes how far the open chunks go.

use super::entry::{ENTRY_BYTES, Entry};
use runtime::Entries;
use std::ops::Range;

/// Entries of a chunk.
pub const CHUNK_LEN: usize = 256;
/// A chunk counts as one keyed entry per this many of its own against a slice's budget.
const ENTRIES_PER_BUDGET: usize = 8;

/// Entries of one slot and hour that travel together.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub slot: u8,
    pub hour: i64,
    pub sequence: u32,
    pub entries: Vec<Entry>,
}

impl Chunk {
    /// Its snapshot key within the slot.
    fn key(hour: i64, sequence: u32) -> [u8; 12] {
        let mut key = [0; 12];
        key[..8].copy_from_slice(&hour.to_be_bytes());
        key[8..].copy_from_slice(&sequence.to_be_bytes());
        key
    }

    /// Reads an (hour, sequence) back.
    pub fn place(key: &[u8]) -> Option<(i64, u32)> {
        let (hour, sequence) = key.split_first_chunk()?;
        Some((i64::from_be_bytes(*hour), u32::from_be_bytes(sequence.try_into().ok()?)))
    }

    /// Reads the entries back.
    pub fn entries(value: &[u8]) -> Option<Vec<Entry>> {
        value.chunks(ENTRY_BYTES).map(Entry::from_bytes).collect()
    }

    /// Writes it as a snapshot holds it, up to `len` entries.
    fn write(&self, len: usize, out: &mut Entries) {
        let value: Vec<u8> = self.entries[..len].iter().flat_map(|entry| entry.to_bytes()).collect();
        out.add_bytes(self.slot, &Self::key(self.hour, self.sequence), Some(&value));
    }
}

/// Chunks of an hour that is forgotten.
#[derive(Clone, Debug)]
pub struct Gone {
    pub slot: u8,
    pub hour: i64,
    pub sequences: Range<u32>,
}

/// The chunk a slot is filling.
#[derive(Debug)]
struct Open {
    chunk: Chunk,
    /// Grown since the last freeze.
    dirty: bool,
    /// How far the snapshot being written wants it, where it isn't written yet.
    frozen: Option<usize>,
}

/// What snapshots have yet to hear.
#[derive(Debug)]
pub struct Chunks {
    /// Whether snapshots are taken.
    tracked: bool,
    /// By slot.
    open: Vec<Option<Open>>,
    closed: Vec<Chunk>,
    gone: Vec<Gone>,
    frozen: Vec<Chunk>,
    /// Slots whose open chunk may have a part in the snapshot being written.
    frozen_open: Vec<u8>,
    frozen_gone: Vec<Gone>,
}

impl Default for Chunks {
    fn default() -> Self {
        let open = (0..runtime::SLOTS).map(|_| None).collect();
        Chunks {
            tracked: true,
            open,
            closed: Vec::new(),
            gone: Vec::new(),
            frozen: Vec::new(),
            frozen_open: Vec::new(),
            frozen_gone: Vec::new(),
        }
    }
}

impl Chunks {
    /// Nobody will ask for anything.
    pub fn without_snapshots(&mut self) {
        self.tracked = false;
    }

    /// Appends an entry. `next_sequence` numbers a new chunk of the slot's hour, if one is begun.
    pub fn push(&mut self, slot: u8, hour: i64, entry: Entry, next_sequence: impl FnOnce() -> u32) {
        if !self.tracked {
            return;
        }
        let open = &mut self.open[usize::from(slot)];
        let fits = |open: &Open| open.chunk.hour == hour && open.chunk.entries.len() < CHUNK_LEN;
        if !open.as_ref().is_some_and(fits) {
            let chunk = Chunk { slot, hour, sequence: next_sequence(), entries: Vec::new() };
            if let Some(full) = open.replace(Open { chunk, dirty: true, frozen: None }) {
                self.close(full);
            }
        }
        let open = self.open[usize::from(slot)].as_mut().expect("opened above");
        open.chunk.entries.push(entry);
        open.dirty = true;
    }

    /// Keeps what snapshots still want of a chunk: the one being written its part, the next one all of it.
    fn close(&mut self, open: Open) {
        if let Some(len) = open.frozen {
            self.frozen.push(Chunk { entries: open.chunk.entries[..len].to_vec(), ..open.chunk });
        }
        if open.dirty {
            self.closed.push(open.chunk);
        }
    }

    /// Notes that an hour's chunks may go, those that no snapshot has taken yet at once.
    pub fn forget(&mut self, gone: Gone) {
        let of_it = |chunk: &Chunk| chunk.slot == gone.slot && chunk.hour == gone.hour;
        if let Some(open) = self.open[usize::from(gone.slot)].take_if(|open| of_it(&open.chunk)) {
            self.close(open);
        }
        self.closed.retain(|chunk| !of_it(chunk));
        if !gone.sequences.is_empty() {
            self.gone.push(gone);
        }
    }

    /// Begins a snapshot.
    pub fn freeze(&mut self) {
        assert!(self.tracked, "no snapshot was to be taken");
        let written = self.frozen.is_empty() && self.frozen_open.is_empty() && self.frozen_gone.is_empty();
        assert!(written, "one snapshot at a time");
        self.frozen = std::mem::take(&mut self.closed);
        for open in self.open.iter_mut().flatten().filter(|open| open.dirty) {
            open.frozen = Some(open.chunk.entries.len());
            open.dirty = false;
            self.frozen_open.push(open.chunk.slot);
        }
        self.frozen_gone = std::mem::take(&mut self.gone);
    }

    /// Writes about `budget` entries' worth; true when nothing is left.
    pub fn write_slice(&mut self, budget: usize, out: &mut Entries) -> bool {
        let mut spent = 0;
        while spent < budget.max(1) {
            let Some(written) = self.write_next(out) else { return true };
            spent += 1 + written / ENTRIES_PER_BUDGET;
        }
        self.frozen.is_empty() && self.frozen_open.is_empty() && self.frozen_gone.is_empty()
    }

    /// The number of entries written; absent where nothing was left.
    fn write_next(&mut self, out: &mut Entries) -> Option<usize> {
        if let Some(chunk) = self.frozen.pop() {
            chunk.write(chunk.entries.len(), out);
            return Some(chunk.entries.len());
        }
        while let Some(slot) = self.frozen_open.pop() {
            // Absent where it was closed since: then its part was among the frozen ones.
            let open = self.open[usize::from(slot)].as_mut();
            if let Some((open, len)) = open.and_then(|open| open.frozen.take().map(|len| (open, len))) {
                open.chunk.write(len, out);
                return Some(len);
            }
        }
        self.write_gone(out).then_some(0)
    }

    fn write_gone(&mut self, out: &mut Entries) -> bool {
        let Some(gone) = self.frozen_gone.last_mut() else { return false };
        let sequence = gone.sequences.next_back().expect("ranges are kept only while not empty");
        out.add_bytes(gone.slot, &Chunk::key(gone.hour, sequence), None);
        if gone.sequences.is_empty() {
            self.frozen_gone.pop();
        }
        true
    }
}
