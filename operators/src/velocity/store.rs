//! Every key's series on this worker, dropped when nothing happens to them.
//!
//! ```text
//!   (route, check, metric, currency) ─> Series, when it was last touched, when that is looked at
//! ```
//!
//! A series forgets what lies more than its history behind its newest event, as it goes; all of it goes
//! when now is as far beyond that event, and nothing has happened to it for as long. What a shop does in a minute bounds its memory.
//!
//! Invariants: the moment at which a series is looked at is state, so that it goes at the same moment in
//! every run; a series that snapshots know leaves tombstones when it goes, any other no trace (see
//! [`super::saved`], which writes them, slice by slice, while this goes on).

use super::saved::{Place, encode, minute_of};
use super::series::{Event, Series};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use runtime::{Entries, Millis, Timers};
use rustc_hash::FxBuildHasher;
use schemas::velocity::VelocityMetric;
use std::collections::BTreeMap;

/// Timers go off at whole multiples, so that many share one.
const TICK_MS: Millis = 1024;
/// Fewer changed series than this are listed without looking whether they are still there.
const LISTED: usize = 1024;

/// Which series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// By which its key is routed.
    pub route: u64,
    pub check: u64,
    pub metric: VelocityMetric,
    /// Of an amount; 0 of all else.
    pub currency: u32,
}

/// How an event is taken.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Record time. No event counts as newer: it would push out what still counts.
    pub now: Millis,
    pub history_ms: Millis,
    /// Whose rules say how long the series is kept.
    pub owner: u64,
}

/// A series as it is kept.
#[derive(Debug)]
pub struct Kept {
    pub series: Series,
    pub owner: u64,
    /// Record time at which something last happened to it.
    pub touched_ms: Millis,
    /// When it is looked at.
    pub due_ms: Millis,
    /// Round in which it was last changed; 0 when a snapshot has it as it is.
    pub changed: u32,
    /// Whether a snapshot has anything of it.
    pub saved: bool,
    /// Events before it are as the last snapshot has them.
    pub changed_from_ms: Millis,
}

/// See the module.
pub struct SeriesStore {
    pub(super) map: HashMap<SeriesKey, Kept, FxBuildHasher>,
    pub(super) timers: Timers<SeriesKey>,
    /// Whether snapshots are taken.
    pub(super) tracked: bool,
    pub(super) round: u32,
    pub(super) dirty: Vec<SeriesKey>,
    /// What snapshots have to forget.
    pub(super) gone: Vec<Place>,
    pub(super) frozen: Vec<SeriesKey>,
    pub(super) frozen_gone: Vec<Place>,
    /// Old values of frozen series that were changed before they were written.
    pub(super) copied: Entries,
    /// What was loaded, until all of it has been.
    pub(super) loaded: BTreeMap<Place, Vec<u8>>,
}

impl Default for SeriesStore {
    fn default() -> Self {
        SeriesStore {
            map: HashMap::default(),
            timers: Timers::default(),
            tracked: true,
            round: 1,
            dirty: Vec::new(),
            gone: Vec::new(),
            frozen: Vec::new(),
            frozen_gone: Vec::new(),
            copied: Entries::default(),
            loaded: BTreeMap::new(),
        }
    }
}

impl SeriesStore {
    /// Takes an event of a key: the series, and what its newest event time was before; −1 where there was none.
    pub fn add(&mut self, key: SeriesKey, event: Event, keep: Keep) -> (&mut Series, Millis) {
        if self.dirty.len() > LISTED + 2 * self.map.len() {
            self.unlist_dropped();
        }
        let kept = match self.map.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let kept = opened(key, keep);
                self.timers.set(kept.due_ms, key);
                free.insert(kept)
            }
        };
        if self.tracked {
            touch(key, kept, self.round, &mut self.dirty, &mut self.copied);
        }
        kept.owner = keep.owner;
        kept.touched_ms = kept.touched_ms.max(keep.now);
        let before = kept.series.newest_ms;
        if event.time > kept.series.floor_ms {
            kept.changed_from_ms = kept.changed_from_ms.min(event.time);
            kept.series.insert(event);
        }
        kept.series.newest_ms = before.max(event.time.min(keep.now));
        evict(key, kept, keep.history_ms, &mut self.gone);
        (&mut kept.series, before)
    }

    /// The series of a key, if there is one, to look at.
    pub fn look(&mut self, key: &SeriesKey) -> Option<&mut Series> {
        self.map.get_mut(key).map(|kept| &mut kept.series)
    }

    /// Reads what an event of a key will need, so that it is near. What it says means nothing.
    pub fn glance(&self, key: &SeriesKey) -> u64 {
        self.map.get(key).map_or(0, |kept| kept.series.glance())
    }

    /// Most series of a busy shop come and go between two snapshots.
    fn unlist_dropped(&mut self) {
        let (map, round) = (&self.map, self.round);
        self.dirty.retain(|key| map.get(key).is_some_and(|kept| kept.changed == round));
        self.dirty.sort_unstable();
        self.dirty.dedup();
    }

    /// When the next series is looked at.
    pub fn next_timer(&self) -> Option<Millis> {
        self.timers.next()
    }

    /// Drops the series due at `due`, but those to which something has happened since. `history_of` says
    /// for how long an owner's series of a metric is kept; `dropped` hears of each, its owner and newest event time.
    pub fn on_timer(
        &mut self,
        due: Millis,
        history_of: impl Fn(u64, VelocityMetric) -> Millis,
        mut dropped: impl FnMut(SeriesKey, u64, Millis),
    ) {
        // One that was set twice is looked at once: after the first time it is due later, or gone.
        for key in self.timers.take_unsorted(due) {
            let Some(kept) = self.map.get_mut(&key).filter(|kept| kept.due_ms == due) else { continue };
            // Events ahead of their record times among them.
            let last_ms = kept.touched_ms.max(kept.series.last_ms());
            let until = last_ms.saturating_add(history_of(kept.owner, key.metric));
            if self.tracked {
                touch(key, kept, self.round, &mut self.dirty, &mut self.copied);
            }
            if until > due {
                kept.due_ms = tick_after(until);
                self.timers.set(kept.due_ms, key);
            } else {
                dropped(key, kept.owner, kept.series.newest_ms);
                self.drop_series(key);
            }
        }
    }

    fn drop_series(&mut self, key: SeriesKey) {
        let kept = self.map.remove(&key).expect("found by the caller");
        if kept.saved {
            let mut minutes: Vec<i64> = kept.series.events().map(|event| minute_of(event.time)).collect();
            minutes.dedup();
            self.gone.push((key, None));
            self.gone.extend(minutes.into_iter().map(|minute| (key, Some(minute))));
        }
    }
}

fn opened(key: SeriesKey, keep: Keep) -> Kept {
    Kept {
        series: Series::new(key.metric, keep.now.saturating_sub(keep.history_ms)),
        owner: keep.owner,
        touched_ms: keep.now,
        due_ms: tick_after(keep.now.saturating_add(keep.history_ms)),
        changed: 0,
        saved: false,
        changed_from_ms: Millis::MAX,
    }
}

/// Marks a series as changed; what a snapshot in progress has yet to write of it is copied first.
fn touch(key: SeriesKey, kept: &mut Kept, round: u32, dirty: &mut Vec<SeriesKey>, copied: &mut Entries) {
    if kept.changed == round {
        return;
    }
    if kept.changed != 0 {
        encode(key, kept, copied);
    }
    (kept.changed, kept.changed_from_ms) = (round, Millis::MAX);
    dirty.push(key);
}

/// Lets go of what lies a history behind the newest, and has snapshots forget the minutes that are gone.
fn evict(key: SeriesKey, kept: &mut Kept, history_ms: Millis, gone: &mut Vec<Place>) {
    let floor_ms = kept.series.newest_ms.saturating_sub(history_ms);
    let (saved, before) = (kept.saved, gone.len());
    kept.series.evict(floor_ms, |time| {
        let place = (key, Some(minute_of(time)));
        if saved && (gone.len() == before || gone.last() != Some(&place)) {
            gone.push(place);
        }
    });
    let begun = kept.series.oldest().map(|event| (key, Some(minute_of(event.time))));
    if gone.len() > before && gone.last() == begun.as_ref() {
        gone.pop();
    }
}

/// The first tick after `time`.
fn tick_after(time: Millis) -> Millis {
    time.div_euclid(TICK_MS).saturating_add(1).saturating_mul(TICK_MS)
}
