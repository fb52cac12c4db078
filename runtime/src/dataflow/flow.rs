//! What a job sees of the runtime while it wires its operators. Timely stays behind this wall.
//!
//! ```text
//!   let sales = flow.map("commands", source, ...);
//!   let judged = flow.stateful(Desk::new(settings), sales);
//!   flow.deliver(stage, outputs);
//! ```

use super::outlets::{Mapped, Outlet, Outlets, Parted};
use super::snapshot_op::Chunk;
use super::stateful::{self, StatefulPlan};
use super::{Messages, Tick};
use crate::entries::Entries;
use crate::operator::Operator;
use crate::shared::Shared;
use crate::types::{At, Envelope, Epoch, EpochTs, Millis};
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

/// Two streams that were one.
type Two<'s, B, C> = (Messages<'s, B>, Messages<'s, C>);

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
    /// What is delivered, each with its stage.
    pub(crate) items: Vec<(u8, Messages<'s, I>)>,
    pub(crate) operators: Vec<&'static str>,
}

impl<'s, I: Clone + 'static> Flow<'s, I> {
    /// Runs an operator, with its state as the snapshot has it.
    pub fn stateful<O>(&mut self, operator: O, input: Messages<'s, O::In>) -> Messages<'s, O::Out>
    where
        O: Operator,
        O::In: ExchangeData + Clone,
        O::Out: Clone,
    {
        self.wire(operator, input, |builder| Outlet::new(builder))
    }

    /// The same, and makes of what the operator says something else, or nothing.
    pub fn stateful_map<O, B>(
        &mut self,
        operator: O,
        input: Messages<'s, O::In>,
        map: impl FnMut(&At, O::Out) -> Option<B> + 'static,
    ) -> Messages<'s, B>
    where
        O: Operator,
        O::In: ExchangeData + Clone,
        B: Clone + 'static,
    {
        self.wire(operator, input, |builder| {
            let (outlet, stream) = Outlet::new(builder);
            (Mapped { outlet, map }, stream)
        })
    }

    /// The same, and parts what the operator says as [`Flow::split`] does.
    pub fn stateful_split<O, B, C>(
        &mut self,
        operator: O,
        input: Messages<'s, O::In>,
        part: impl FnMut(&At, O::Out) -> (Option<B>, Option<C>) + 'static,
    ) -> Two<'s, B, C>
    where
        O: Operator,
        O::In: ExchangeData + Clone,
        B: Clone + 'static,
        C: Clone + 'static,
    {
        self.wire(operator, input, |builder| parted(builder, part))
    }

    fn wire<O, W, S, const STREAMS: usize>(
        &mut self,
        mut operator: O,
        input: Messages<'s, O::In>,
        outlets: impl FnOnce(&mut OperatorBuilder<'s, EpochTs>) -> (W, S),
    ) -> S
    where
        O: Operator,
        O::In: ExchangeData + Clone,
        W: Outlets<O::Out, STREAMS>,
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
        let ticks = self.ticks.clone();
        let (streams, changelog) = stateful::stateful(self.scope, operator, input, ticks, plan, outlets);
        self.changelogs.push(changelog);
        streams
    }

    /// Turns every message into any number of messages of the same place in the order.
    pub fn flat_map<A, B, M>(
        &self,
        input: Messages<'s, A>,
        mut map: impl FnMut(&At, A) -> M + 'static,
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
        part: impl FnMut(&At, A) -> (Option<B>, Option<C>) + 'static,
    ) -> Two<'s, B, C>
    where
        A: Clone + 'static,
        B: Clone + 'static,
        C: Clone + 'static,
    {
        let mut builder = OperatorBuilder::new("split".into(), self.scope);
        let mut input = builder.new_input(input, Pipeline);
        let (mut outlets, streams) = parted(&mut builder, part);
        builder.build(move |capabilities| {
            drop(capabilities);
            move |_frontiers| {
                input.for_each(|capability, data| {
                    let (one, two) = (capability.retain(0), capability.retain(1));
                    outlets.give([&one, &two], data.drain(..));
                });
            }
        });
        streams
    }

    /// Parts messages: those for which `right` holds come second.
    pub fn branch<A: Clone + 'static>(
        &self,
        input: Messages<'s, A>,
        right: impl Fn(&A) -> bool + 'static,
    ) -> Two<'s, A, A> {
        input.branch(move |_, message| right(&message.body))
    }

    /// Lets messages through as they are, and gives what `pick` makes of some of them besides.
    pub fn tap<A: Clone + 'static, B: Clone + 'static>(
        &self,
        input: Messages<'s, A>,
        pick: impl Fn(&A) -> Option<B> + 'static,
    ) -> Two<'s, A, B> {
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

    /// Lets messages through, changed where they lie; what `amend` makes of one besides comes directly behind it. For
    /// changes that are rare: what none is made to is passed on without a look at its size.
    pub fn amend<A: Clone + 'static>(
        &self,
        input: Messages<'s, A>,
        amend: impl Fn(&mut A) -> Option<A> + 'static,
    ) -> Messages<'s, A> {
        let mut builder = OperatorBuilder::new("amend".into(), self.scope);
        let mut input = builder.new_input(input, Pipeline);
        let (amended, stream) = builder.new_output::<Vec<Envelope<A>>>();
        let mut amended = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(amended);
        builder.build(move |capabilities| {
            drop(capabilities);
            move |_frontiers| {
                input.for_each(|capability, data| {
                    let mut behind = Vec::new();
                    for (nth, Envelope { at, body }) in data.iter_mut().enumerate() {
                        behind.extend(amend(body).map(|body| (nth + 1, Envelope { at: *at, body })));
                    }
                    for (place, message) in behind.into_iter().rev() {
                        data.insert(place, message);
                    }
                    amended.activate().session(&capability.retain(0)).give_container(data);
                });
            }
        });
        stream
    }

    /// Gives every message the place it says it has. The caller answers for it that the place is one of the
    /// epoch the message is in: that its time is the record's, and the same in all that tie with it.
    pub fn put_in_turn<A: Clone + 'static, B: Clone + 'static>(
        &self,
        input: Messages<'s, A>,
        turn: impl Fn(&At, A) -> (At, B) + 'static,
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
        self.items.push((stage, input));
    }

    /// A stream without messages.
    pub fn nothing<A: Clone + 'static>(&self) -> Messages<'s, A> {
        None.to_stream(self.scope)
    }
}

/// Two outputs of the operator that is being built.
fn parted<'s, A, B, C, P>(
    builder: &mut OperatorBuilder<'s, EpochTs>,
    part: P,
) -> (Parted<B, C, P>, Two<'s, B, C>)
where
    B: Clone + 'static,
    C: Clone + 'static,
    P: FnMut(&At, A) -> (Option<B>, Option<C>),
{
    let ((first, one), (second, two)) = (Outlet::new(builder), Outlet::new(builder));
    (Parted { first, second, part }, (one, two))
}
