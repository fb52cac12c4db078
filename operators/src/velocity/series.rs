//! What is known of one key and metric: events by event time, and what any window holds of them.
//!
//! ```text
//!   events   t0 ≤ t1 ≤ t2 ≤ t3 ≤ ... ≤ newest        16 bytes each
//!   value    count:  –     amount: sum up to and with this event     distinct: who
//!   windows  one per length in use: where the last one began, and for distinct who is in it, how often
//!
//!   count(t − w, t] = position(t) − position(t − w)      amount = the difference of two sums
//! ```
//!
//! An event that comes in order is appended and moves each window's begin forward: amortised O(1),
//! whatever the window's length. One that comes late is inserted where it belongs and costs as much as
//! there are events behind it. A window is a cache: it is found again by searching, and never stored.
//!
//! Invariants: everything above `floor_ms` that was given is here, nothing at or below it is; the floor
//! only rises. Sums are kept modulo 2^64 and never exceed `i64::MAX` over what is here: an amount that
//! would lift them above counts as what is left.

use super::window::Window;
use runtime::Millis;
use schemas::velocity::VelocityMetric;
use std::collections::VecDeque;

/// Below this many events windows are searched for, which is as fast and needs no memory.
const SMALL: usize = 64;
/// Below this many events in a window its members are told apart by comparing them.
const FEW: usize = 16;

/// Room for more events than this is given back once most of it is empty.
const SHRINK: usize = 1024;

/// One event. What `value` means depends on the metric: see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub time: Millis,
    pub value: u64,
}

/// One key's events for one metric.
#[derive(Debug)]
pub struct Series {
    metric: VelocityMetric,
    events: VecDeque<Event>,
    /// How many events were evicted: the number of the first one here.
    first: u64,
    /// The sum up to, and without, the first event here.
    evicted_sum: u64,
    windows: Vec<Window>,
    /// Everything above it is here. −1 as long as nothing was evicted: times begin at 0.
    pub floor_ms: Millis,
    /// Nothing that came before the series began is missing from here on.
    pub known_from_ms: Millis,
    /// The newest event time so far, none of which counts as newer than its record; −1 where there was none.
    pub newest_ms: Millis,
}

impl Series {
    /// A series without events, whose key may have had some before `known_from_ms`.
    pub fn new(metric: VelocityMetric, known_from_ms: Millis) -> Self {
        Series {
            metric,
            events: VecDeque::new(),
            first: 0,
            evicted_sum: 0,
            windows: Vec::new(),
            floor_ms: -1,
            known_from_ms,
            newest_ms: -1,
        }
    }

    /// What is here, in order; an amount as it was given.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = Event> {
        let given = |index: usize| match self.metric {
            VelocityMetric::Amount => self.events[index].value.wrapping_sub(self.sum_before(index)),
            _ => self.events[index].value,
        };
        (0..self.events.len()).map(move |index| Event { time: self.events[index].time, value: given(index) })
    }

    /// What is here from `time` on, in order.
    pub fn events_from(&self, time: Millis) -> impl Iterator<Item = Event> {
        let from = self.events.partition_point(|event| event.time < time);
        self.events().skip(from)
    }

    /// Reads both ends, so that they are near when the next event comes. What it says means nothing.
    pub fn glance(&self) -> u64 {
        let time = |event: Option<&Event>| event.map_or(0, |event| event.time as u64);
        time(self.events.front()) ^ time(self.events.back())
    }

    /// The last event time there is.
    pub fn last_ms(&self) -> Millis {
        self.events.back().map_or(self.newest_ms, |event| event.time.max(self.newest_ms))
    }

    /// The first event that is here.
    pub fn oldest(&self) -> Option<&Event> {
        self.events.front()
    }

    /// Takes an event; an amount is what one order costs. One at or below the floor is not kept.
    pub fn insert(&mut self, mut event: Event) {
        if event.time <= self.floor_ms {
            return;
        }
        let index = self.after(event.time);
        if self.metric == VelocityMetric::Amount {
            let total = self.sum_before(self.events.len()).wrapping_sub(self.evicted_sum);
            event.value = event.value.min(i64::MAX as u64 - total);
            self.events
                .range_mut(index..)
                .for_each(|later| later.value = later.value.wrapping_add(event.value));
            event.value = event.value.wrapping_add(self.sum_before(index));
        }
        self.events.insert(index, event);
        let number = self.first + index as u64;
        self.windows.iter_mut().for_each(|window| window.inserted(number, event.value));
    }

    /// Raises the floor, and says of every event that goes when it was.
    pub fn evict(&mut self, floor_ms: Millis, mut gone: impl FnMut(Millis)) {
        if floor_ms <= self.floor_ms {
            return;
        }
        self.floor_ms = floor_ms;
        while let Some(event) = self.events.pop_front_if(|event| event.time <= floor_ms) {
            for window in &mut self.windows {
                window.evicted(self.first, event.value);
            }
            if self.metric == VelocityMetric::Amount {
                self.evicted_sum = event.value;
            }
            self.first += 1;
            gone(event.time);
        }
        if self.events.capacity() > SHRINK && self.events.len() < self.events.capacity() / 8 {
            self.events.shrink_to(self.events.len() * 2);
        }
    }

    /// The metric over (t − window, t]: of all that is here.
    pub fn measure(&mut self, t: Millis, window_ms: Millis) -> i64 {
        let end = self.after(t);
        let start = self.begin(t - window_ms, window_ms).min(end);
        match self.metric {
            VelocityMetric::Count | VelocityMetric::Declines => (end - start) as i64,
            VelocityMetric::Amount => {
                i64::try_from(self.sum_before(end).wrapping_sub(self.sum_before(start)))
                    .expect("what is here adds up to at most i64::MAX")
            }
            VelocityMetric::DistinctCards | VelocityMetric::DistinctCustomers => {
                self.distinct(start, end, window_ms) as i64
            }
        }
    }

    /// Forgets windows that no rule has. `rules` is how many there are.
    pub fn keep_windows(&mut self, rules: usize, in_use: impl Fn(Millis) -> bool) {
        if self.windows.len() > rules {
            self.windows.retain(|window| in_use(window.length_ms));
        }
    }

    /// The sum of everything before the event at `index`, modulo 2^64.
    fn sum_before(&self, index: usize) -> u64 {
        index.checked_sub(1).map_or(self.evicted_sum, |before| self.events[before].value)
    }

    /// Where an event at `time` belongs: behind all that are not later.
    fn after(&self, time: Millis) -> usize {
        match self.events.back() {
            Some(last) if last.time > time => self.seek(self.events.len(), time),
            _ => self.events.len(),
        }
    }

    /// Where the window that begins after `bound` begins.
    fn begin(&mut self, bound: Millis, length_ms: Millis) -> usize {
        if self.events.len() <= SMALL {
            return self.events.partition_point(|event| event.time <= bound);
        }
        let nth = self.window(length_ms, bound);
        let known = self.windows[nth].begin.saturating_sub(self.first) as usize;
        let index = self.seek(known.min(self.events.len()), bound);
        if !self.tells_members_apart() {
            self.windows[nth].place(self.first + index as u64);
        }
        index
    }

    /// The first event later than `bound`, searched in steps that double, from `from` on.
    fn seek(&self, from: usize, bound: Millis) -> usize {
        let later = |index: usize| self.events[index].time > bound;
        let (mut low, mut high, mut step) = (from, from, 1);
        while low > 0 && later(low - 1) {
            (high, low) = (low - 1, low.saturating_sub(step));
            step *= 2;
        }
        step = 1;
        while high < self.events.len() && !later(high) {
            (low, high) = (high + 1, (high + step).min(self.events.len()));
            step *= 2;
        }
        let (mut low, mut high) = (low.min(high), high);
        while low < high {
            let middle = low + (high - low) / 2;
            if later(middle) { high = middle } else { low = middle + 1 }
        }
        low
    }

    fn distinct(&mut self, start: usize, end: usize, length_ms: Millis) -> usize {
        if end - start <= FEW {
            let among =
                |index: usize| (start..index).any(|i| self.events[i].value == self.events[index].value);
            return (start..end).filter(|index| !among(*index)).count();
        }
        let nth = self.window(length_ms, self.events[start].time);
        let (first, events) = (self.first, &self.events);
        let member = |number: u64| events[(number - first) as usize].value;
        self.windows[nth].move_to(first + start as u64, first + end as u64, member);
        self.windows[nth].distinct()
    }

    fn tells_members_apart(&self) -> bool {
        matches!(self.metric, VelocityMetric::DistinctCards | VelocityMetric::DistinctCustomers)
    }

    /// The window of this length; a new one begins where it is needed.
    fn window(&mut self, length_ms: Millis, bound: Millis) -> usize {
        if let Some(nth) = self.windows.iter().position(|window| window.length_ms == length_ms) {
            return nth;
        }
        let index = self.events.partition_point(|event| event.time <= bound);
        self.windows.push(Window::new(length_ms, self.first + index as u64));
        self.windows.len() - 1
    }
}
