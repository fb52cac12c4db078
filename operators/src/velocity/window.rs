//! A window over a series: where it lies, and for a distinct metric who is in it, how often.
//!
//! Events are numbered as they leave the series at its front, so that numbers stay while others are evicted;
//! an insertion moves those behind it by one. A window may lie anywhere: it is moved, event by event, to
//! where it is asked for next, which for orders in order of time is a step or two. Invariant: `members`
//! counts exactly the events numbered `begin..end`. The window of a metric that needs no members stays empty,
//! and `begin` says where the next search starts.

use runtime::Millis;
use rustc_hash::FxHashMap;

/// See the module.
#[derive(Debug)]
pub struct Window {
    pub length_ms: Millis,
    pub begin: u64,
    end: u64,
    members: FxHashMap<u64, u32>,
}

impl Window {
    /// An empty window that lies before the event of this number.
    pub fn new(length_ms: Millis, number: u64) -> Self {
        Window { length_ms, begin: number, end: number, members: FxHashMap::default() }
    }

    /// Lies empty before the event of this number.
    pub fn place(&mut self, number: u64) {
        debug_assert!(self.members.is_empty(), "only a window without members is placed");
        (self.begin, self.end) = (number, number);
    }

    /// How many different members there are.
    pub fn distinct(&self) -> usize {
        self.members.len()
    }

    /// An event was inserted and got this number.
    pub fn inserted(&mut self, number: u64, member: u64) {
        if number < self.begin {
            self.begin += 1;
            self.end += 1;
        } else if number < self.end {
            self.end += 1;
            self.enter(member);
        }
    }

    /// The first event of the series, which has this number, goes.
    pub fn evicted(&mut self, number: u64, member: u64) {
        if self.begin <= number {
            if self.end > number {
                self.leave(member);
            }
            self.begin = number + 1;
            self.end = self.end.max(self.begin);
        }
    }

    /// Moves to the events numbered `begin..end`; `member` says who an event's is.
    pub fn move_to(&mut self, begin: u64, end: u64, member: impl Fn(u64) -> u64) {
        if end <= self.begin || begin >= self.end {
            self.members.clear();
            (self.begin, self.end) = (begin, begin);
        }
        while self.begin > begin {
            self.begin -= 1;
            self.enter(member(self.begin));
        }
        while self.end < end {
            self.enter(member(self.end));
            self.end += 1;
        }
        while self.begin < begin {
            self.leave(member(self.begin));
            self.begin += 1;
        }
        while self.end > end {
            self.end -= 1;
            self.leave(member(self.end));
        }
    }

    fn enter(&mut self, member: u64) {
        *self.members.entry(member).or_insert(0) += 1;
    }

    fn leave(&mut self, member: u64) {
        let count = self.members.get_mut(&member).expect("whoever leaves has entered");
        *count -= 1;
        if *count == 0 {
            self.members.remove(&member);
        }
    }
}
