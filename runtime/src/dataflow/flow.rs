//! What a job sees of the runtime while it wires its operators. Timely stays behind this wall.
//!
//! ```text
//!   let sales = flow.map("commands", source, ...);
//!   let judged = flow.stateful(Desk::new(settings), sales);
//!   flow.deliver(stage, outputs);
//! ```

use super::snapshot_op::Chunk;
use super::stateful::{self, StatefulPlan};
use super::{Messages, Tick};
use crate::entries::Entries;
use crate::operator::Operator;
use crate::shared::Shared;
use crate::sink::Item;
use crate::types::{Envelope, Epoch, EpochTs, Millis};
use std::collections::HashMap;
use std::sync::Arc;
use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::{Branch, Map, ToStream};
use timely::dataflow::{Scope, StreamVec};

/// State entries of a snapshot, by operator: (state, entries) oldest first.
pub type Restored = HashMap<String, Vec<(String, Entries)>>;

/// What a job builds on. One per worker; every worker makes the same calls in the same order.
pub struct Flow<'s, I: 'static> {
    pub(crate) scope: Scope<'s, EpochTs>,
    pub(crate) ticks: StreamVec<'s, EpochTs, Tick>,
    pub(crate) restored: Arc<Restored>,
    pub(crate) resume: Epoch,
    pub(crate) resume_now: Millis,
    /// The settings under which the snapshot was written, where there is one.
    pub(crate) resume_settings: Option<String>,
    /// Whether snapshots are taken.
    pub(crate) snapshots: bool,
    pub(crate) shared: Arc<Shared>,
    pub(crate) changelogs: Vec<StreamVec<'s, EpochTs, Chunk>>,
    pub(crate) items: Vec<StreamVec<'s, EpochTs, Item<I>>>,
    pub(crate) operators: Vec<&'static str>,
}

impl<'s, I: Clone + 'static> Flow<'s, I> {
    /// Runs an operator, with its state as the snapshot has it.
    pub fn stateful<O>(&mut self, mut operator: O, input: Messages<'s, O::In>) -> Messages<'s, O::Out>
    where
        O: Operator,
        O::In: ExchangeData + Clone,
        O::Out: ExchangeData + Clone,
    {
        assert!(!self.operators.contains(&O::NAME), "operator {} is wired once", O::NAME);
        self.operators.push(O::NAME);
        let (worker, peers) = (self.scope.index(), self.scope.peers());
        // What an operator derives from its state may depend on settings: they are those of the time.
        self.resume_settings.iter().for_each(|settings| operator.configure(settings));
        let chunks = self.restored.get(O::NAME).cloned().unwrap_or_default();
        if let Err(error) = stateful::load(&mut operator, chunks, worker, peers) {
            self.shared.fail(error);
        }
        let plan = StatefulPlan {
            worker,
            peers,
            resume: self.resume,
            resume_now: self.resume_now,
            snapshots: self.snapshots,
            shared: Arc::clone(&self.shared),
        };
        let (out, changelog) = stateful::stateful(self.scope, operator, input, self.ticks.clone(), plan);
        self.changelogs.push(changelog);
        out
    }

    /// Turns every message into any number of messages of the same place in the order.
    pub fn flat_map<A, B, M>(
        &self,
        input: Messages<'s, A>,
        mut map: impl FnMut(&crate::types::At, A) -> M + 'static,
    ) -> Messages<'s, B>
    where
        A: Clone + 'static,
        B: Clone + 'static,
        M: IntoIterator<Item = B> + 'static,
        M::IntoIter: 'static,
    {
        input.flat_map(move |message: Envelope<A>| {
            let at = message.at;
            map(&at, message.body).into_iter().map(move |body| Envelope { at, body })
        })
    }

    /// Parts messages in one pass: what `part` makes of each goes on in the first stream, the second, or both.
    pub fn split<A, B, C>(
        &self,
        input: Messages<'s, A>,
        mut part: impl FnMut(&crate::types::At, A) -> (Option<B>, Option<C>) + 'static,
    ) -> (Messages<'s, B>, Messages<'s, C>)
    where
        A: Clone + 'static,
        B: Clone + 'static,
        C: Clone + 'static,
    {
        let mut builder = OperatorBuilder::new("split".into(), self.scope);
        let mut input = builder.new_input(input, Pipeline);
        let (first, first_stream) = builder.new_output::<Vec<Envelope<B>>>();
        let (second, second_stream) = builder.new_output::<Vec<Envelope<C>>>();
        let mut first = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(first);
        let mut second = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(second);
        builder.build(move |capabilities| {
            drop(capabilities);
            move |_frontiers| {
                let (mut first, mut second) = (first.activate(), second.activate());
                input.for_each(|capability, data| {
                    let (one, two) = (capability.retain(0), capability.retain(1));
                    let (mut one, mut two) = (first.session(&one), second.session(&two));
                    for Envelope { at, body } in data.drain(..) {
                        let (left, right) = part(&at, body);
                        left.into_iter().for_each(|body| one.give(Envelope { at, body }));
                        right.into_iter().for_each(|body| two.give(Envelope { at, body }));
                    }
                });
            }
        });
        (first_stream, second_stream)
    }

    /// Parts messages: those for which `right` holds come second.
    pub fn branch<A: Clone + 'static>(
        &self,
        input: Messages<'s, A>,
        right: impl Fn(&A) -> bool + 'static,
    ) -> (Messages<'s, A>, Messages<'s, A>) {
        input.branch(move |_, message| right(&message.body))
    }

    /// Lets messages through as they are, and gives what `pick` makes of some of them besides.
    pub fn tap<A: Clone + 'static, B: Clone + 'static>(
        &self,
        input: Messages<'s, A>,
        pick: impl Fn(&A) -> Option<B> + 'static,
    ) -> (Messages<'s, A>, Messages<'s, B>) {
        let mut builder = OperatorBuilder::new("tap".into(), self.scope);
        let mut input = builder.new_input(input, Pipeline);
        let (through, through_stream) = builder.new_output::<Vec<Envelope<A>>>();
        let (picked, picked_stream) = builder.new_output::<Vec<Envelope<B>>>();
        let mut through = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(through);
        let mut picked = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(picked);
        builder.build(move |capabilities| {
            drop(capabilities);
            move |_frontiers| {
                input.for_each(|capability, data| {
                    let (on, aside) = (capability.retain(0), capability.retain(1));
                    let some = data.iter().filter_map(|message| {
                        pick(&message.body).map(|body| Envelope { at: message.at, body })
                    });
                    picked.activate().session(&aside).give_iterator(some);
                    through.activate().session(&on).give_container(data);
                });
            }
        });
        (through_stream, picked_stream)
    }

    /// Gives every message the place it says it has. The caller answers for it that the place is one of the
    /// epoch the message is in: that its time is the record's, and the same in all that tie with it.
    pub fn put_in_turn<A: Clone + 'static, B: Clone + 'static>(
        &self,
        input: Messages<'s, A>,
        turn: impl Fn(&crate::types::At, A) -> (crate::types::At, B) + 'static,
    ) -> Messages<'s, B> {
        input.map(move |Envelope { at, body }| {
            let (at, body) = turn(&at, body);
            Envelope { at, body }
        })
    }

    /// Joins streams; order within an epoch is restored by whoever handles them.
    pub fn merge<A: Clone + 'static>(&self, streams: Vec<Messages<'s, A>>) -> Messages<'s, A> {
        self.scope.concatenate(streams)
    }

    /// Hands messages to the sinks. `stage` orders items of the same cause from different operators.
    pub fn deliver(&mut self, stage: u8, input: Messages<'s, I>) {
        self.items.push(input.map(move |message| Item { at: message.at, stage, body: message.body }));
    }

    /// A stream without messages.
    pub fn nothing<A: Clone + 'static>(&self) -> Messages<'s, A> {
        None.to_stream(self.scope)
    }
}
