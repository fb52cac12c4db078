//! How far one partition has been read, and as of when that was all there was: pure bookkeeping.
//!
//! ```text
//!   clock c ─ ask for the end ─> (c, end) … waits … ─ reading reaches end ─> everything as of c is handed over
//! ```
//!
//! The last stable offset is asked for now and then and not with each fetch, so questions wait for reading to come
//! up to them: under steady traffic reading is always a little behind the newest end, and yet never more than
//! some milliseconds behind the clock. Invariant: an answer "as of c" is only given once every offset below an end
//! that was asked for after c has been handed over or is known to hold nothing. That stays true for ever, so
//! an old answer can only delay.

use runtime::{Millis, Offset};
use std::collections::VecDeque;

/// Without an answer as fresh as this, a partition with questions open doesn't count as drained: it has a backlog, which
/// is taken by record time.
pub(crate) const FRESH_MS: i64 = 100;
/// Questions kept open; more would say little more.
const OPEN_MAX: usize = 32;

/// An end, and the clock it was asked for after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub clock: Millis,
    pub end: u64,
    /// The last stable offset, asked for with it: librdkafka's end of a partition proves no more than this.
    pub stable: u64,
    /// How far the pipeline that is followed had come, read before the end was asked for.
    pub said_upto: Option<Millis>,
}

/// What is known of one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    next: u64,
    open: VecDeque<Asked>,
    answered: Option<Asked>,
    newest: Option<Asked>,
}

impl Standing {
    /// Nothing is known but where reading begins.
    pub fn at(next: u64) -> Self {
        Standing { next, ..Standing::default() }
    }

    /// Where reading goes on.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What librdkafka's end of the partition, seen from now on, would prove to be read.
    pub fn provable(&self) -> Option<u64> {
        self.newest.map(|asked| asked.stable).filter(|stable| self.is_short() && *stable > self.next)
    }

    /// Whether some question has not been answered.
    pub fn is_short(&self) -> bool {
        !self.open.is_empty()
    }

    /// Takes in an end. Ends come in the order of their clocks.
    pub fn ask(&mut self, asked: Asked) {
        if self.open.len() == OPEN_MAX {
            self.open.pop_back();
        }
        self.newest = Some(asked);
        self.open.push_back(asked);
        self.reached(self.next);
    }

    /// Everything below `next` was handed over or holds nothing.
    pub fn reached(&mut self, next: u64) {
        self.next = self.next.max(next);
        while let Some(asked) = self.open.pop_front_if(|asked| asked.end <= self.next) {
            self.answered = Some(asked);
        }
    }

    /// The end to report at `clock`: one that was reached, where that says enough.
    pub fn report(&self, clock: Millis) -> (Offset, Option<Asked>) {
        let fresh = |asked: &Asked| {
            // What follows another pipeline counts with how far that one has come: an old answer can't mislead.
            !self.is_short() || asked.said_upto.is_some() || clock - asked.clock <= FRESH_MS
        };
        match self.answered.filter(fresh) {
            Some(asked) => (Offset(asked.end), Some(asked)),
            None => (Offset::MAX, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(clock: Millis, end: u64) -> Asked {
        Asked { clock, end, stable: end, said_upto: None }
    }

    /// `a10:5` asks at clock 10 with end 5, `r5` reads up to 5; what is then said at `clock`.
    fn check(steps: &str, clock: Millis) -> Option<Millis> {
        let mut standing = Standing::at(0);
        for step in steps.split(' ') {
            match step.split_at(1) {
                ("a", rest) => {
                    let (clock, end) = rest.split_once(':').unwrap();
                    standing.ask(asked(clock.parse().unwrap(), end.parse().unwrap()));
                }
                (_, next) => standing.reached(next.parse().unwrap()),
            }
        }
        standing.report(clock).1.map(|asked| asked.clock)
    }

    #[test]
    fn an_answer_is_as_of_the_clock_of_the_end_that_was_reached() {
        for (steps, clock, as_of) in [
            ("r5", 50, None),
            ("a10:5 r4", 50, None),
            ("a10:5 r5", 50, Some(10)),
            ("r5 a10:5", 50, Some(10)),
            ("a10:0", 50, Some(10)),
            ("a10:5 a20:9 r5", 50, Some(10)),
            ("a10:5 a20:9 r8", 50, Some(10)),
            ("a10:5 a20:9 r9", 50, Some(20)),
            ("a10:5 a20:9 r5", 111, None),
            ("a10:5 a20:9 r9", 1000, Some(20)),
        ] {
            assert_eq!(check(steps, clock), as_of, "{steps} at {clock}");
        }
    }

    #[test]
    fn an_old_answer_still_counts_where_another_pipeline_is_followed() {
        let mut standing = Standing::at(5);
        standing.ask(Asked { clock: 10, end: 5, stable: 5, said_upto: Some(7) });
        standing.ask(Asked { clock: 20, end: 9, stable: 7, said_upto: Some(8) });
        let (end, answer) = standing.report(10_000);
        assert_eq!((end, answer.and_then(|a| a.said_upto)), (Offset(5), Some(7)));
        assert_eq!(standing.provable(), Some(7), "what is not decided yet can't be proved to be nothing");
    }

    #[test]
    fn many_open_questions_are_bounded_and_the_oldest_are_kept() {
        let mut standing = Standing::at(0);
        (1..1_000).for_each(|n| standing.ask(asked(n, n as u64)));
        assert!(standing.open.len() <= OPEN_MAX);
        standing.reached(1);
        assert_eq!(standing.report(2).1, Some(asked(1, 1)));
        standing.reached(999);
        assert_eq!(standing.report(1_000).1, Some(asked(999, 999)));
    }
}
