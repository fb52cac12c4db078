//! Which commands have been seen: 24 bytes each, at a load of 0.71 to 0.9, so at most 34 bytes all in.
//!
//! ```text
//!   slot (256) ─ 2 tables of entries       one look-up in one of them, whatever the horizon
//!              ─ hour → live, chunks       what an hour holds, so that its end costs no search
//!              ─ clock                     the latest record time at which the slot remembered anything
//!              ─ forgotten                 the last hour of that clock that no longer counts
//! ```
//!
//! A command counts as seen if it lies within the horizon of the one remembered, in record time, to the
//! millisecond: that is looked at with every look-up. Beyond that, an entry is forgotten when the slot's
//! clock is more than the horizon's hours past the hour it was at when the entry was made. Usually that says
//! nothing new; where one producer's records lag days behind another's, it is what keeps theirs for as long
//! as the others'. When cells are actually cleared makes no difference to any answer: an hour that was forgotten
//! stays so, also where a longer horizon would reach back to it.
//!
//! Invariants: answers depend on the slot's own commands only; a call does at most one rebuild of one
//! table (at 50 M commands 100,000 entries, a millisecond or two); tables begin at different sizes, so
//! that they don't all grow at once. A crash: see [`super::chunks`]; everything here is rebuilt from them.

use super::chunks::{Chunk, Chunks, Gone};
use super::entry::{Entry, KeyHash};
use super::table::{Place, Table};
use runtime::state::DecodeError;
use runtime::{Entries, Millis, SLOTS, State, StateEntry};
use std::collections::BTreeMap;

const HOUR_MS: Millis = 3_600_000;
/// A table is rebuilt at least this often, so that no cleared-out entry's hour is ever taken for a new one.
const REBUILD_HOURS_MAX: i64 = 4_000;
/// Tables of a slot: more of them make a rebuild shorter, but small ones waste what allocators round up.
const PARTS: usize = 2;
const NAME: &str = "commands.v1";

/// What the store says of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not within the horizon: remembered from now on.
    Fresh,
    /// With the same payload.
    Duplicate,
    /// With another payload.
    Conflict,
}

/// What one slot remembers of one hour of its clock.
#[derive(Clone, Copy, Debug, Default)]
struct Hour {
    live: usize,
    /// Sequence of the next chunk.
    chunks: u32,
}

#[derive(Debug)]
struct Slot {
    tables: [Table; PARTS],
    clock: i64,
    forgotten: i64,
    hours: BTreeMap<i64, Hour>,
    /// Entries that aren't forgotten.
    live: usize,
    /// Clock at the last rebuild.
    rebuilt_at: i64,
    /// What was forgotten when a table was last rebuilt: it holds nothing of that any more.
    rid_of: [i64; PARTS],
}

impl Default for Slot {
    fn default() -> Self {
        Slot {
            tables: Default::default(),
            clock: 0,
            forgotten: i64::MIN,
            hours: BTreeMap::new(),
            live: 0,
            rebuilt_at: 0,
            rid_of: [i64::MIN; PARTS],
        }
    }
}

/// The state. See the module.
pub struct Store {
    horizon_ms: Millis,
    slots: Vec<Slot>,
    chunks: Chunks,
    /// Which table is looked at next for cells to give back.
    turn: usize,
}

impl Store {
    /// Remembers nothing yet.
    pub fn new(horizon_ms: Millis) -> Self {
        let slots = (0..SLOTS).map(|_| Slot::default()).collect();
        Store { horizon_ms, slots, chunks: Chunks::default(), turn: 0 }
    }

    /// Another horizon from now on: what is remembered is judged by it, and what it forgets stays forgotten.
    pub fn set_horizon(&mut self, horizon_ms: Millis) {
        self.horizon_ms = horizon_ms;
        let hours = hours_of(horizon_ms);
        for (slot, state) in (0..=u8::MAX).zip(&mut self.slots) {
            state.forget_before(slot, state.clock - hours, &mut self.chunks);
        }
    }

    /// Reads where a command belongs, so that it is near when it is looked for. What it reads means nothing.
    pub fn glance(&self, slot: u8, key: KeyHash) -> u64 {
        self.slots[usize::from(slot)].tables[part_of(key)].glance(key)
    }

    /// Whether a command was seen before; if not, it is now.
    pub fn see(&mut self, slot: u8, key: KeyHash, payload: u64, time: Millis) -> Seen {
        let hours = hours_of(self.horizon_ms);
        let state = &mut self.slots[usize::from(slot)];
        let clock = state.clock.max(time.div_euclid(HOUR_MS));
        let entry = Entry::new(key, payload, time, clock);
        let table = &state.tables[part_of(key)];
        let place = table.find(key);
        if let Place::Held(held) = place {
            let known = table.get(held);
            let hour = known.hour(state.clock);
            let remembered = hour > state.forgotten && clock - hour <= hours;
            if remembered && entry.time() - known.time() <= self.horizon_ms {
                return if known.same_payload(&entry) { Seen::Duplicate } else { Seen::Conflict };
            }
        }
        self.remember(slot, place, clock, entry);
        Seen::Fresh
    }

    fn remember(&mut self, slot: u8, place: Place, clock: i64, entry: Entry) {
        let hours = hours_of(self.horizon_ms);
        let state = &mut self.slots[usize::from(slot)];
        let mut place = place;
        if clock > state.clock {
            state.advance(slot, clock, hours, &mut self.chunks);
            place = state.tables[part_of(entry.key())].find(entry.key());
        }
        match place {
            Place::Held(held) => state.replace(held, entry),
            Place::Free(free) => state.add(slot, free, entry),
        }
        state.live += 1;
        let hour = state.hours.entry(clock).or_default();
        hour.live += 1;
        self.chunks.push(slot, clock, entry, || {
            hour.chunks += 1;
            hour.chunks - 1
        });
    }

    /// Gives memory back where much is forgotten: looks at one table, so call it often.
    pub fn tidy(&mut self) {
        self.turn = (self.turn + 1) % (self.slots.len() * PARTS);
        let slot = &mut self.slots[self.turn / PARTS];
        if slot.is_wasteful(self.turn % PARTS) {
            slot.rebuild(self.turn % PARTS, 0);
        }
    }

    /// After loading: counts what each hour holds, and forgets what is over.
    pub fn on_restored(&mut self) {
        let hours = hours_of(self.horizon_ms);
        for (slot, state) in (0..=u8::MAX).zip(&mut self.slots) {
            state.clock = state.hours.last_key_value().map_or(0, |(hour, _)| *hour);
            state.rebuilt_at = state.clock;
            state.hours.values_mut().for_each(|hour| hour.live = 0);
            for entry in state.tables.iter().flat_map(Table::iter) {
                state.hours.entry(entry.hour(state.clock)).or_default().live += 1;
            }
            state.live = state.tables.iter().map(Table::len).sum();
            state.forget_before(slot, state.clock - hours, &mut self.chunks);
        }
    }

    fn load_chunk(&mut self, entry: &StateEntry, value: &[u8]) -> Option<()> {
        let (hour, sequence) = Chunk::place(&entry.key)?;
        let state = &mut self.slots[usize::from(entry.slot)];
        let known = state.hours.entry(hour).or_default();
        known.chunks = known.chunks.max(sequence + 1);
        for loaded in Chunk::entries(value)? {
            state.load(entry.slot, loaded, hour);
        }
        Some(())
    }
}

/// Hours of the clock that may lie between two commands of one horizon.
fn hours_of(horizon_ms: Millis) -> i64 {
    (horizon_ms + HOUR_MS - 1).div_euclid(HOUR_MS)
}

/// Which of a slot's tables holds a key.
fn part_of(key: KeyHash) -> usize {
    key.low as usize % PARTS
}

impl Slot {
    /// Puts an entry where it belongs, into a larger table if need be.
    fn add(&mut self, slot: u8, free: usize, entry: Entry) {
        let part = part_of(entry.key());
        if self.tables[part].has_room() && self.tables[part].insert(free, entry) {
            return;
        }
        let mut homes = 16 + usize::from(slot) % 16;
        loop {
            self.rebuild(part, homes);
            let Place::Free(free) = self.tables[part].find(entry.key()) else {
                unreachable!("a rebuild adds no key");
            };
            if self.tables[part].insert(free, entry) {
                return;
            }
            homes = self.tables[part].homes() * 9 / 8;
        }
    }

    fn replace(&mut self, held: usize, entry: Entry) {
        let table = &mut self.tables[part_of(entry.key())];
        let old = table.get(held).hour(self.clock);
        // An hour that is forgotten isn't counted any more.
        if let Some(hour) = self.hours.get_mut(&old) {
            hour.live -= 1;
            self.live -= 1;
        }
        table.set(held, entry);
    }

    /// Moves the clock. What that forgets goes while the old clock tells its hours: they are told apart within 16,384.
    fn advance(&mut self, slot: u8, clock: i64, hours: i64, chunks: &mut Chunks) {
        self.forget_before(slot, clock - hours, chunks);
        if clock - self.rebuilt_at > REBUILD_HOURS_MAX {
            (0..PARTS).for_each(|part| self.rebuild(part, 0));
            self.rebuilt_at = clock;
        }
        self.clock = clock;
    }

    fn forget_before(&mut self, slot: u8, first: i64, chunks: &mut Chunks) {
        self.forgotten = self.forgotten.max(first - 1);
        while let Some(first) = self.hours.first_entry().filter(|first| *first.key() <= self.forgotten) {
            let (hour, held) = first.remove_entry();
            self.live -= held.live;
            chunks.forget(Gone { slot, hour, sequences: 0..held.chunks });
        }
    }

    /// Drops what is forgotten of a table, and gives it room for a quarter more than is left, `homes` at least.
    fn rebuild(&mut self, part: usize, homes: usize) {
        let (clock, forgotten) = (self.clock, self.forgotten);
        let homes = homes.max((self.live_in(part) + 1) * 5 / 4 + 1);
        let table = &self.tables[part];
        self.tables[part] = if self.rid_of[part] == forgotten {
            table.rebuilt(homes, |_| true)
        } else {
            table.rebuilt(homes, |entry| entry.hour(clock) > forgotten)
        };
        self.rid_of[part] = forgotten;
    }

    /// Entries of a table that aren't forgotten.
    fn live_in(&self, part: usize) -> usize {
        if self.rid_of[part] == self.forgotten {
            return self.tables[part].len();
        }
        self.tables[part].iter().filter(|entry| entry.hour(self.clock) > self.forgotten).count()
    }

    /// Whether a rebuild would give back a tenth and more. Guessed first, since counting takes a look at all.
    fn is_wasteful(&self, part: usize) -> bool {
        let homes = self.tables[part].homes();
        homes > 64 && homes > self.live / PARTS * 4 / 3 && homes > self.live_in(part) * 7 / 5
    }

    /// An entry of a snapshot: of two with one key, the one remembered last stays.
    fn load(&mut self, slot: u8, entry: Entry, hour: i64) {
        self.clock = self.clock.max(hour);
        let table = &mut self.tables[part_of(entry.key())];
        match table.find(entry.key()) {
            Place::Held(held) => {
                let known = table.get(held);
                if (hour, entry.time()) > (known.hour(self.clock), known.time()) {
                    table.set(held, entry);
                }
            }
            Place::Free(free) => {
                self.live += 1;
                self.add(slot, free, entry);
            }
        }
    }
}

impl State for Store {
    fn name(&self) -> &'static str {
        NAME
    }

    fn without_snapshots(&mut self) {
        self.chunks.without_snapshots();
    }

    fn freeze(&mut self) {
        self.chunks.freeze();
    }

    fn write_slice(&mut self, budget: usize, out: &mut Entries) -> bool {
        self.chunks.write_slice(budget, out)
    }

    /// A forgotten chunk needs no unloading: what it held is known by its hour.
    fn load(&mut self, entry: &StateEntry) -> Result<(), DecodeError> {
        let damaged = DecodeError { state: NAME, source: postcard::Error::DeserializeBadEncoding };
        entry.value.as_deref().map_or(Some(()), |value| self.load_chunk(entry, value)).ok_or(damaged)
    }

    fn len(&self) -> usize {
        self.slots.iter().map(|slot| slot.live).sum()
    }
}
