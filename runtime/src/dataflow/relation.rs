//! How a job uses differential dataflow: relations that keep themselves up to date, step by step.
//!
//! ```text
//!   operator ── Stepped{step, data, diff} ──> [ join, reduce, … at (epoch, step) ] ── Stepped ──> operator
//! ```
//!
//! A relation is a collection of records with amounts: an amount counts a record, or is a sum of money that
//! lies in it, so that a relation stays as small as its keys. Inside the region time is (epoch, step), ordered
//! first by epoch, then by step: steps part an epoch where something happened in its midst before which
//! figures must be known (a month was closed, a rate changed). What a relation says at a step follows from
//! all that went in up to that step.
//!
//! Invariants: results of an epoch leave with that epoch; among them, those of a step by their step. The
//! step of a change must be the same on every worker (see [`Steps`]).
//!
//! A crash loses everything here, on purpose: no arrangement is in a snapshot. The operators that feed a
//! relation hold what it is made of, and give it again when they are restored
//! ([`crate::Operator::restored_output`]); what comes out of that, at or before the epoch of the snapshot, is
//! known to everyone downstream and dropped there.
//!
//! It doesn't promise an order of records within a step, nor any [`At`]: what leaves stands before
//! everything, and who takes it sorts by step.

use super::Messages;
use super::flow::Flow;
use crate::types::{At, Envelope, EpochTs, Position};
use differential_dataflow::lattice::Lattice;
use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use serde::{Deserialize, Serialize};
use std::hash::Hash;
use timely::PartialOrder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator as _;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Enter, Leave};
use timely::order::TotalOrder;
use timely::progress::timestamp::{PathSummary, Refines, Timestamp};

/// How often a record is in a relation, or how much lies in it. Wide enough that no sum of money overflows.
pub type Amount = i128;

/// Where within its epoch a change stands.
pub type Step = u32;

/// A change of a relation: so much more of a record (less, where negative) from a step on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stepped<D> {
    pub step: Step,
    pub data: D,
    pub diff: Amount,
}

/// Counts the marks of an epoch: the changes before which figures must be known.
///
/// Marks are sent to every worker and handled in the order of [`At`], so that each worker gives every message
/// the same step. Marks of one record (the halves of a change that moves a key, all rows of a truncate) are one.
#[derive(Debug, Default)]
pub struct Steps {
    marks: Vec<At>,
}

impl Steps {
    /// Takes a mark; its number, from 1.
    pub fn mark(&mut self, at: At) -> Step {
        let at = At::record(at.cause);
        if self.marks.last() != Some(&at) {
            assert!(self.marks.last().is_none_or(|last| *last < at), "marks come in the order of At");
            self.marks.push(at);
        }
        self.passed()
    }

    /// The number of the mark that stands, or is about to come, at the record of `at`.
    pub fn of_mark(&self, at: At) -> Step {
        self.passed() + Step::from(self.marks.last() != Some(&At::record(at.cause)))
    }

    /// How many marks have come.
    pub fn passed(&self) -> Step {
        Step::try_from(self.marks.len()).expect("an epoch has fewer than 2^32 records")
    }

    /// How many of them stand at or before `time`.
    pub fn upto(&self, time: crate::Millis) -> Step {
        self.marks.partition_point(|mark| mark.time() <= time) as Step
    }

    /// Begins a new epoch.
    pub fn clear(&mut self) {
        self.marks.clear();
    }
}

/// Time inside the region: epoch, then step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct StepTime {
    pub epoch: EpochTs,
    pub step: Step,
}

impl PartialOrder for StepTime {
    fn less_equal(&self, other: &Self) -> bool {
        self <= other
    }
}

impl TotalOrder for StepTime {}

/// There are no loops in the region, so nothing on its paths changes a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Unchanged;

impl PartialOrder for Unchanged {
    fn less_equal(&self, _: &Self) -> bool {
        true
    }
}

impl PathSummary<StepTime> for Unchanged {
    fn results_in(&self, time: &StepTime) -> Option<StepTime> {
        Some(*time)
    }

    fn followed_by(&self, _: &Self) -> Option<Self> {
        Some(Unchanged)
    }
}

impl Timestamp for StepTime {
    type Summary = Unchanged;

    fn minimum() -> Self {
        StepTime::default()
    }
}

impl Refines<EpochTs> for StepTime {
    fn to_inner(epoch: EpochTs) -> Self {
        StepTime { epoch, step: 0 }
    }

    fn to_outer(self) -> EpochTs {
        self.epoch
    }

    fn summarize(_: Unchanged) -> EpochTs {
        0 // the outer summary that adds nothing
    }
}

/// Times are totally ordered, so the least time after two is the later one.
impl Lattice for StepTime {
    fn join(&self, other: &Self) -> Self {
        *self.max(other)
    }

    fn meet(&self, other: &Self) -> Self {
        *self.min(other)
    }
}

/// A relation while it is being defined.
pub struct Relation<'r, D: Clone + 'static> {
    collection: VecCollection<'r, StepTime, D, Amount>,
}

impl<D: Clone + 'static> Clone for Relation<'_, D> {
    fn clone(&self) -> Self {
        Relation { collection: self.collection.clone() }
    }
}

impl<'r, D: Clone + 'static> Relation<'r, D> {
    /// Turns each record into any number of records, each with its amount.
    pub fn flat_map<B, M>(self, map: impl FnMut(D) -> M + 'static) -> Relation<'r, B>
    where
        B: Clone + 'static,
        M: IntoIterator<Item = B> + 'static,
    {
        Relation { collection: self.collection.flat_map(map) }
    }

    /// Turns each record into one.
    pub fn map<B: Clone + 'static>(self, map: impl FnMut(D) -> B + 'static) -> Relation<'r, B> {
        Relation { collection: self.collection.map(map) }
    }
}

impl<'r, K: ExchangeData + Hash> Relation<'r, K> {
    /// The records whose amount is above zero, each once.
    pub fn distinct(self) -> Relation<'r, K> {
        Relation { collection: self.collection.distinct_core() }
    }
}

impl<'r, K: ExchangeData + Hash, V: ExchangeData> Relation<'r, (K, V)> {
    /// Every pair of records of one key; the amounts are multiplied.
    pub fn join<W: ExchangeData, B: ExchangeData>(
        self,
        other: Relation<'r, (K, W)>,
        pair: impl FnMut(&K, &V, &W) -> B + 'static,
    ) -> Relation<'r, B> {
        Relation { collection: self.collection.join_map(other.collection, pair) }
    }

    /// What follows from all records of a key: `logic` is given them in order, with their amounts, none of
    /// them zero, and says what follows, with amounts. A key without records has nothing that follows.
    pub fn reduce<W: ExchangeData>(
        self,
        name: &str,
        logic: impl FnMut(&K, &[(&V, Amount)], &mut Vec<(W, Amount)>) + 'static,
    ) -> Relation<'r, (K, W)> {
        Relation { collection: self.collection.reduce_named(name, logic) }
    }
}

type Updates<'r, D> = StreamVec<'r, StepTime, (D, StepTime, Amount)>;

/// Sends each change at its own epoch: where the frontier jumps over several, differential sends the changes
/// of all of them at the first.
fn at_own_epoch<D: Clone + 'static>(changes: Updates<'_, D>) -> Updates<'_, D> {
    changes.unary(Pipeline, "epochs", |_, _| {
        |input, output| {
            input.for_each(|capability, data: &mut Vec<(D, StepTime, Amount)>| {
                data.sort_by_key(|(_, time, _)| time.epoch);
                while let Some((_, StepTime { epoch, .. }, _)) = data.first() {
                    let epoch = *epoch;
                    let rest = data.split_off(data.partition_point(|(_, time, _)| time.epoch == epoch));
                    let own = capability.delayed(capability.time().max(&StepTime::to_inner(epoch)), 0);
                    output.session(&own).give_container(&mut std::mem::replace(data, rest));
                }
            });
        }
    })
}

/// Where what leaves a relation stands: before everything. Its step says more.
fn nowhere() -> At {
    At::record(Position::timer(0, 0, 0))
}

impl<'s, I: Clone + 'static> Flow<'s, I> {
    /// Defines a relation on what operators say changes, and gives the changes of what follows.
    pub fn relation<A, B>(
        &self,
        name: &str,
        input: Messages<'s, Stepped<A>>,
        define: impl for<'r> FnOnce(Relation<'r, A>) -> Relation<'r, B>,
    ) -> Messages<'s, Stepped<B>>
    where
        A: ExchangeData,
        B: ExchangeData,
    {
        let outer = self.scope;
        let changes = outer.scoped::<StepTime, _, _>(name, |region| {
            let updates = input.enter(region).unary(Pipeline, "steps", |_, _| {
                |input, output| {
                    input.for_each(|capability, data: &mut Vec<Envelope<Stepped<A>>>| {
                        let epoch = capability.time().epoch;
                        let updates = data.drain(..).map(|message| {
                            let Stepped { step, data, diff } = message.body;
                            (data, StepTime { epoch, step }, diff)
                        });
                        output.session(&capability).give_iterator(updates);
                    });
                }
            });
            let defined = define(Relation { collection: updates.as_collection() });
            at_own_epoch(defined.collection.inner).leave(outer)
        });
        changes.map(|(data, time, diff)| Envelope {
            at: nowhere(),
            body: Stepped { step: time.step, data, diff },
        })
    }
}

#[cfg(test)]
#[path = "relation_tests.rs"]
mod tests;
