//! The messages of one epoch for one operator, in the order in which they are handled, without sorting them.
//!
//! ```text
//!   what comes of a stream ── in order, nearly always ──> a run      runs ── the least head ──> handled next
//! ```
//!
//! Whoever writes a stream handles an epoch in order, so what comes of it is nearly in order too (what a timer brings
//! about stands before the records of its time), and on one worker streams come one after the other: there are as many runs
//! as streams. Merging two costs a comparison a message, and moves it once. Where several workers send, their pieces
//! alternate, and what comes is sorted.
//!
//! Invariant: the order is that of a stable sort by `At` of all that came, in the order in which it came.

use crate::types::Envelope;
use std::vec::Drain;

/// More runs than this are sorted instead: every message would be compared with the head of each.
const RUNS_MAX: usize = 8;
/// A message that belongs further back in its run than this begins another one.
const NEAR: usize = 64;

/// Messages, as they came. Reused from epoch to epoch: the memory stays.
pub struct Gathered<B> {
    /// In the order in which they began; none is empty.
    runs: Vec<Vec<Envelope<B>>>,
    spare: Vec<Vec<Envelope<B>>>,
}

impl<B> Default for Gathered<B> {
    fn default() -> Self {
        Gathered { runs: Vec::new(), spare: Vec::new() }
    }
}

impl<B> From<Vec<Envelope<B>>> for Gathered<B> {
    fn from(mut messages: Vec<Envelope<B>>) -> Self {
        let mut gathered = Gathered::default();
        gathered.append(&mut messages);
        gathered
    }
}

impl<B> Gathered<B> {
    /// Takes what came next, and leaves `data` empty.
    pub fn append(&mut self, data: &mut Vec<Envelope<B>>) {
        let Some(first) = data.first() else { return };
        let goes_on = |run: &&mut Vec<Envelope<B>>| run.last().is_some_and(|last| last.at <= first.at);
        let in_order = data.is_sorted_by(|a, b| a.at <= b.at);
        match self.runs.last_mut().filter(goes_on) {
            Some(run) if in_order => run.append(data),
            _ => data.drain(..).for_each(|message| self.put(message)),
        }
    }

    /// Puts a message into the last run, or begins another.
    fn put(&mut self, message: Envelope<B>) {
        if let Some(run) = self.runs.last_mut() {
            if run.last().is_some_and(|last| last.at <= message.at) {
                return run.push(message);
            }
            let near = run.len().saturating_sub(NEAR);
            let place = near + run[near..].partition_point(|before| before.at <= message.at);
            if place > near || near == 0 {
                return run.insert(place, message);
            }
        }
        let mut run = self.spare.pop().unwrap_or_default();
        run.push(message);
        self.runs.push(run);
    }

    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Takes all of it, in order.
    pub fn drain(&mut self) -> Merged<'_, B> {
        if self.runs.len() > RUNS_MAX {
            let (first, others) = self.runs.split_first_mut().expect("there are more than a few");
            others.iter_mut().for_each(|run| first.append(run));
            first.sort_by_key(|message| message.at);
            self.spare.extend(self.runs.drain(1..));
        }
        // Emptied they are the next epoch's, the first run's memory again the first run's.
        let known = self.spare.len();
        self.spare.extend(self.runs.drain(..).rev());
        Merged { heads: self.spare[known..].iter_mut().rev().map(|run| run.drain(..)).collect() }
    }
}

/// What was gathered, in order.
pub struct Merged<'a, B> {
    /// What is left of each run. Where there are several, something is left of each.
    heads: Vec<Drain<'a, Envelope<B>>>,
}

impl<B> Merged<'_, B> {
    /// Moves the next messages into `next`, until it holds `len` or there are no more.
    pub fn fill(&mut self, next: &mut Vec<Envelope<B>>, len: usize) {
        while next.len() < len {
            let [first, others @ ..] = self.heads.as_mut_slice() else { return };
            if others.is_empty() {
                return next.extend(first.take(len - next.len()));
            }
            let least = self.least();
            next.push(self.heads[least].next().expect("each of several runs has something left"));
            if self.heads[least].as_slice().is_empty() {
                drop(self.heads.remove(least));
            }
        }
    }

    /// The run whose head is handled next: of several, the one that began first.
    fn least(&self) -> usize {
        let head = |run: usize| self.heads[run].as_slice()[0].at;
        (1..self.heads.len()).fold(0, |least, run| if head(run) < head(least) { run } else { least })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{At, Class, Offset, PartitionId, Position, TopicId};
    use proptest::prelude::*;

    fn at(time: i64) -> At {
        let partition = PartitionId { topic: TopicId(0), partition: 0 };
        At::record(Position::record(time, Class::Command, partition, Offset(0)))
    }

    proptest! {
        /// Whatever comes, over several epochs: batches in order, out of order, many of one time.
        #[test]
        fn what_came_is_handled_as_if_it_had_been_sorted(
            epochs in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(0i64..300, 0..90), 0..14), 1..4),
            sorted in any::<bool>(),
            len in 1usize..20,
        ) {
            let mut gathered = Gathered::default();
            for batches in epochs {
                let mut expected = Vec::new();
                for mut batch in batches {
                    if sorted {
                        batch.sort_unstable();
                    }
                    let body = |nth: usize| expected.len() + nth;
                    let mut data: Vec<_> = batch.iter().enumerate()
                        .map(|(nth, time)| Envelope { at: at(*time), body: body(nth) }).collect();
                    expected.extend(data.iter().map(|message| (message.at, message.body)));
                    gathered.append(&mut data);
                    prop_assert!(data.is_empty());
                }
                prop_assert_eq!(gathered.is_empty(), expected.is_empty());
                expected.sort_by_key(|(at, _)| *at);
                let (mut handled, mut next) = (Vec::new(), Vec::new());
                let mut merged = gathered.drain();
                loop {
                    merged.fill(&mut next, len);
                    prop_assert!(next.len() == len || handled.len() + next.len() == expected.len());
                    if next.is_empty() {
                        break;
                    }
                    handled.extend(next.drain(..).map(|message| (message.at, message.body)));
                }
                drop(merged);
                prop_assert_eq!(handled, expected);
            }
        }
    }
}
