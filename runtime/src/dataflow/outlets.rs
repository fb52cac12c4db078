//! Where messages leave an operator: as one stream, or parted into two on the way out.
//!
//! ```text
//!   produced ─┬─ Outlet ──────────────── pieces ──> stream
//!             └─ Parted ─ part(message) ─ pieces ──> first, second
//! ```
//!
//! They leave in pieces that stay in a core's own cache until who comes next reads them, and not one by one: what
//! timely does for each would be a good part of what a message costs.

use super::Messages;
use crate::types::{At, Envelope, EpochTs};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, CapabilityTrait};

/// Messages of a piece.
const PIECE: usize = 256;

/// One stream out of an operator.
pub struct Outlet<B: Clone + 'static> {
    output: OutputBuilder<EpochTs, CapacityContainerBuilder<Vec<Envelope<B>>>>,
    piece: Vec<Envelope<B>>,
}

impl<B: Clone + 'static> Outlet<B> {
    /// Another output of the operator that is being built.
    pub fn new<'s>(builder: &mut OperatorBuilder<'s, EpochTs>) -> (Self, Messages<'s, B>) {
        let (output, stream) = builder.new_output();
        (Outlet { output: OutputBuilder::from(output), piece: Vec::new() }, stream)
    }

    /// Gives a message. It may wait for the next ones, until [`Outlet::flush`].
    pub fn give(&mut self, capability: &impl CapabilityTrait<EpochTs>, message: Envelope<B>) {
        self.piece.push(message);
        if self.piece.len() >= PIECE {
            self.flush(capability);
        }
    }

    /// Lets go of what waits. Due before anything of another epoch is given.
    pub fn flush(&mut self, capability: &impl CapabilityTrait<EpochTs>) {
        if self.piece.is_empty() {
            return;
        }
        let usual = self.piece.len();
        self.output.activate().session(capability).give_container(&mut self.piece);
        // What comes back is memory that somebody has emptied, or none. The next piece is about as large.
        self.piece.clear();
        self.piece.reserve(usual);
    }
}

/// All that an operator's messages leave by.
pub trait Outlets<Out, const STREAMS: usize>: 'static {
    /// Sends all of it, with a capability for each stream.
    fn send(&mut self, capabilities: &[Capability<EpochTs>; STREAMS], produced: &mut Vec<Envelope<Out>>);
}

impl<Out: Clone + 'static> Outlets<Out, 1> for Outlet<Out> {
    fn send(&mut self, [capability]: &[Capability<EpochTs>; 1], produced: &mut Vec<Envelope<Out>>) {
        produced.drain(..).for_each(|message| self.give(capability, message));
        self.flush(capability);
    }
}

/// One stream of what `map` makes of messages.
pub struct Mapped<B: Clone + 'static, M> {
    pub outlet: Outlet<B>,
    pub map: M,
}

impl<Out, B, M> Outlets<Out, 1> for Mapped<B, M>
where
    Out: 'static,
    B: Clone + 'static,
    M: FnMut(&At, Out) -> Option<B> + 'static,
{
    fn send(&mut self, [capability]: &[Capability<EpochTs>; 1], produced: &mut Vec<Envelope<Out>>) {
        for Envelope { at, body } in produced.drain(..) {
            if let Some(body) = (self.map)(&at, body) {
                self.outlet.give(capability, Envelope { at, body });
            }
        }
        self.outlet.flush(capability);
    }
}

/// Two streams: what `part` makes of a message goes on in the first, the second, or both.
pub struct Parted<B: Clone + 'static, C: Clone + 'static, P> {
    pub first: Outlet<B>,
    pub second: Outlet<C>,
    pub part: P,
}

impl<B: Clone + 'static, C: Clone + 'static, P> Parted<B, C, P> {
    /// Parts messages. What becomes of them may wait for the next ones.
    pub fn give<A>(
        &mut self,
        [one, two]: [&impl CapabilityTrait<EpochTs>; 2],
        messages: impl Iterator<Item = Envelope<A>>,
    ) where
        P: FnMut(&At, A) -> (Option<B>, Option<C>),
    {
        for Envelope { at, body } in messages {
            let (first, second) = (self.part)(&at, body);
            if let Some(body) = first {
                self.first.give(one, Envelope { at, body });
            }
            if let Some(body) = second {
                self.second.give(two, Envelope { at, body });
            }
        }
        self.first.flush(one);
        self.second.flush(two);
    }
}

impl<Out, B, C, P> Outlets<Out, 2> for Parted<B, C, P>
where
    Out: 'static,
    B: Clone + 'static,
    C: Clone + 'static,
    P: FnMut(&At, Out) -> (Option<B>, Option<C>) + 'static,
{
    fn send(&mut self, [one, two]: &[Capability<EpochTs>; 2], produced: &mut Vec<Envelope<Out>>) {
        self.give([one, two], produced.drain(..));
    }
}
