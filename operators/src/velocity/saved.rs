//! How snapshots hold series: a head, and events by the minute.
//!
//! ```text
//!   key                                          value
//!   route, check, metric, currency            │  owner, floor, known from, newest, touched, due
//!   route, check, metric, currency, minute    │  (time since the event before, value), ...
//! ```
//!
//! A minute is written when something was inserted into it or before it, so a key with a million events costs a
//! snapshot its newest minutes. Minutes that are gone get tombstones, which are written before anything
//! else: one that is begun again in the same snapshot wins. Events evicted from a minute that is still
//! there are cut off by the floor when it is loaded.

use super::series::{Event, Series};
use super::store::{Kept, SeriesKey, SeriesStore};
use runtime::state::DecodeError;
use runtime::{Entries, Millis, State, StateEntry, slot_of};
use schemas::velocity::VelocityMetric;
use serde::{Deserialize, Serialize};

const NAME: &str = "series.v1";
const MINUTE_MS: Millis = 60_000;

/// A head (no minute), or a minute of events.
pub type Place = (SeriesKey, Option<i64>);

#[derive(Serialize, Deserialize)]
struct Head {
    owner: u64,
    floor_ms: Millis,
    known_from_ms: Millis,
    newest_ms: Millis,
    touched_ms: Millis,
    due_ms: Millis,
}

/// The minute of an event time.
pub fn minute_of(time: Millis) -> i64 {
    time.div_euclid(MINUTE_MS)
}

/// Writes what changed of a series since the last snapshot.
pub fn encode(key: SeriesKey, kept: &mut Kept, out: &mut Entries) {
    let Kept { ref series, owner, touched_ms, due_ms, changed_from_ms, .. } = *kept;
    let Series { floor_ms, known_from_ms, newest_ms, .. } = *series;
    let head = Head { owner, floor_ms, known_from_ms, newest_ms, touched_ms, due_ms };
    out.push(&entry((key, None), Some(bytes(&head))));
    if changed_from_ms < Millis::MAX {
        let changed: Vec<Event> = series.events_from(minute_of(changed_from_ms) * MINUTE_MS).collect();
        for events in changed.chunk_by(|a, b| minute_of(a.time) == minute_of(b.time)) {
            let minute = minute_of(events[0].time);
            out.push(&entry((key, Some(minute)), Some(bytes(&pack(minute, events)))));
        }
    }
    kept.saved = true;
}

/// Times as distances, which are short.
fn pack(minute: i64, events: &[Event]) -> Vec<(u64, u64)> {
    let mut before = minute * MINUTE_MS;
    let near = events.iter().map(|event| {
        let distance = (event.time - before) as u64;
        before = event.time;
        (distance, event.value)
    });
    near.collect()
}

fn unpack(minute: i64, value: &[u8]) -> Result<Vec<Event>, postcard::Error> {
    let mut time = minute * MINUTE_MS;
    let packed: Vec<(u64, u64)> = postcard::from_bytes(value)?;
    let events = packed.into_iter().map(|(distance, value)| {
        time += distance as i64;
        Event { time, value }
    });
    Ok(events.collect())
}

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data always encodes into memory")
}

fn entry(place: Place, value: Option<Vec<u8>>) -> StateEntry {
    let (series, minute) = place;
    let mut key = Vec::with_capacity(29);
    key.extend(series.route.to_be_bytes());
    key.extend(series.check.to_be_bytes());
    key.push(series.metric as u8);
    key.extend(series.currency.to_be_bytes());
    key.extend(minute.iter().flat_map(|minute| minute.to_be_bytes()));
    StateEntry { slot: slot_of(series.route), key, value }
}

fn place(key: &[u8]) -> Option<Place> {
    let (route, key) = key.split_first_chunk()?;
    let (check, key) = key.split_first_chunk()?;
    let (metric, key) = key.split_first()?;
    let (currency, key) = key.split_first_chunk()?;
    let series = SeriesKey {
        route: u64::from_be_bytes(*route),
        check: u64::from_be_bytes(*check),
        metric: *VelocityMetric::ALL.get(usize::from(*metric))?,
        currency: u32::from_be_bytes(*currency),
    };
    match key {
        [] => Some((series, None)),
        minute => Some((series, Some(i64::from_be_bytes(minute.try_into().ok()?)))),
    }
}

impl SeriesStore {
    /// Puts together what was loaded, and sets the timers.
    ///
    /// # Panics
    /// Where a minute has no head: the snapshot is damaged, and counting on would be wrong in silence.
    pub fn on_restored(&mut self) {
        for ((key, minute), value) in std::mem::take(&mut self.loaded) {
            match minute {
                None => self.load_head(key, &value),
                Some(minute) => self.load_minute(key, minute, &value),
            }
        }
    }

    fn load_head(&mut self, key: SeriesKey, value: &[u8]) {
        let head: Head = postcard::from_bytes(value).expect("checked when it was loaded");
        let mut series = Series::new(key.metric, head.known_from_ms);
        (series.floor_ms, series.newest_ms) = (head.floor_ms, head.newest_ms);
        let Head { owner, touched_ms, due_ms, .. } = head;
        let changed_from_ms = Millis::MAX;
        let kept = Kept { series, owner, touched_ms, due_ms, changed: 0, saved: true, changed_from_ms };
        self.map.insert(key, kept);
        self.timers.set(due_ms, key);
    }

    /// A series' head sorts before its minutes, and those by time.
    fn load_minute(&mut self, key: SeriesKey, minute: i64, value: &[u8]) {
        let kept = self.map.get_mut(&key).expect("a series' minutes are saved with its head");
        let events = unpack(minute, value).expect("checked when it was loaded");
        events.into_iter().for_each(|event| kept.series.insert(event));
    }

    fn check_loaded(&mut self, entry: &StateEntry) -> Result<(), postcard::Error> {
        let place = place(&entry.key).ok_or(postcard::Error::DeserializeBadEncoding)?;
        let Some(value) = &entry.value else {
            self.loaded.remove(&place);
            return Ok(());
        };
        match place.1 {
            None => postcard::from_bytes::<Head>(value).map(|_| ())?,
            Some(minute) => unpack(minute, value).map(|_| ())?,
        }
        self.loaded.insert(place, value.clone());
        Ok(())
    }
}

impl State for SeriesStore {
    fn name(&self) -> &'static str {
        NAME
    }

    fn without_snapshots(&mut self) {
        self.tracked = false;
    }

    fn freeze(&mut self) {
        assert!(self.tracked, "no snapshot was to be taken");
        assert!(self.frozen.is_empty() && self.copied.is_empty(), "one snapshot at a time");
        self.frozen = std::mem::take(&mut self.dirty);
        self.frozen_gone = std::mem::take(&mut self.gone);
        self.round += 1;
    }

    fn write_slice(&mut self, budget: usize, out: &mut Entries) -> bool {
        let tombstones = self.frozen_gone.len().min(budget);
        self.frozen_gone.drain(..tombstones).for_each(|place| out.push(&entry(place, None)));
        if !self.frozen_gone.is_empty() {
            return false;
        }
        out.append(&mut self.copied);
        while out.len() < budget.max(1) {
            let Some(key) = self.frozen.pop() else { return true };
            let frozen = self.round - 1;
            if let Some(kept) = self.map.get_mut(&key).filter(|kept| kept.changed == frozen) {
                encode(key, kept, out);
                kept.changed = 0;
            }
        }
        self.frozen.is_empty()
    }

    fn load(&mut self, entry: &StateEntry) -> Result<(), DecodeError> {
        self.check_loaded(entry).map_err(|source| DecodeError { state: NAME, source })
    }

    fn len(&self) -> usize {
        self.map.len()
    }
}
