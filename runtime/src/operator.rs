//! The stateful operator: pure logic over its own state, called in the one order of things.
//!
//! ```text
//!   records of epoch e, sorted by At ─┐
//!                                     ├─ merged by time ─> on_record / on_timer ─> ctx.emit
//!   timers due at or before now(e)  ──┘                    (a timer before a record of its time)
//! ```
//!
//! Invariants the runtime keeps: epochs come in order and whole; within one, records come by [`At`],
//! and every timer that is due (the epoch's now has reached it) fires before any record of its time.
//! Invariants the operator keeps: no clock, no randomness, no I/O, no hash-map iteration order in what it
//! emits; timers follow from state, so that [`Operator::states`] loaded again gives the same timers.

use crate::state::State;
use crate::types::{At, Envelope, Epoch, Millis};

/// Where an input goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the owner of this hash's slot.
    Key(u64),
    /// To every worker: the state it makes is replicated (see [`State::replicated`]).
    All,
}

/// A deterministic state machine over keyed input.
pub trait Operator: 'static {
    type In;
    type Out;

    /// Name in metrics, snapshots and errors: stable across versions.
    const NAME: &'static str;

    /// Takes the settings in force from the next epoch on, as recorded with their generation (JSON).
    /// Called before the first epoch of every generation, also in a replay, and before a snapshot is
    /// loaded with those under which it was written. What is derived from state and settings together is
    /// derived anew here, so that it is the same whether a run went on or was restored.
    fn configure(&mut self, _settings: &str) {}

    /// Where an input goes.
    fn route(input: &Self::In) -> Route;

    /// What is about to be handled, in this order, so that memory can be fetched for all of it at once. Changes no
    /// state, and may not be called.
    fn foresee(&mut self, _coming: &[Envelope<Self::In>]) {}

    /// Handles one record.
    fn on_record(&mut self, at: At, input: Self::In, ctx: &mut Ctx<Self::Out>);

    /// When the next timer is due. Called between any two records: must be cheap.
    fn next_timer(&self) -> Option<Millis> {
        None
    }

    /// Fires every timer due at exactly `due` (what [`Operator::next_timer`] said), ordered by key.
    fn on_timer(&mut self, _due: Millis, _ctx: &mut Ctx<Self::Out>) {}

    /// After the last record and timer of an epoch in which this worker saw any.
    fn on_epoch_end(&mut self, _ctx: &mut Ctx<Self::Out>) {}

    /// Every piece of state, in a fixed order.
    fn states(&mut self) -> Vec<&mut dyn State>;

    /// After all states are loaded from a snapshot: rebuild timers and whatever else follows from state.
    fn on_restored(&mut self) {}

    /// After [`Operator::on_restored`], once: what a relation downstream is made of. Relations are in no
    /// snapshot; they are built again from this, at the epoch of the snapshot. Operators and sinks
    /// downstream know the outcome already, and get nothing of that epoch.
    fn restored_output(&mut self, _emit: &mut dyn FnMut(Self::Out)) {}
}

/// What an operator may know and do while it handles something.
pub struct Ctx<'a, Out> {
    epoch: Epoch,
    now: Millis,
    out: &'a mut Vec<Envelope<Out>>,
}

impl<'a, Out> Ctx<'a, Out> {
    /// `now` is the later of the previous epoch's now and the time of what is being handled.
    pub fn new(epoch: Epoch, now: Millis, out: &'a mut Vec<Envelope<Out>>) -> Self {
        Ctx { epoch, now, out }
    }

    /// The epoch being handled. Never let it reach a decision: epochs may be cut anywhere.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The moment at which this is handled: deadlines count from here, so that a producer whose clock is
    /// behind doesn't get holds that have expired before they began. In a log that is complete before
    /// the run starts it equals the time of what is handled, however epochs are cut.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Sends `body` on, at this place in the order. Messages of one `at` keep the order of their emission.
    pub fn emit(&mut self, at: At, body: Out) {
        self.out.push(Envelope { at, body });
    }
}
