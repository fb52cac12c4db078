//! The mint operator: worker 0 turns the decisions of [`Mint`] (or recorded bindings) into ticks.
//!
//! It and the fetch threads alone read the clock. While recovering it sends the recorded epochs, as many as there is credit
//! for; then it mints above them. It holds the capability of the next epoch, so closing the run is
//! dropping that capability.

use super::{Take, Tick};
use crate::bindings::{Binding, BindingError, PartitionEnd};
use crate::mint::{Decision, Mint};
use crate::shared::Shared;
use crate::types::{Epoch, EpochTs, Generation, Millis, PartitionId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::Activator;

/// Recorded bindings, read on as the replay goes.
pub type Recorded = Box<dyn FnMut() -> Result<Option<Binding>, BindingError>>;

/// What mint, bind and close share on worker 0.
pub struct MintCell {
    pub mint: Mint,
    pub activator: Option<Activator>,
    /// The last epoch that was bound before this run: up to it nothing is appended.
    pub replay_through: Epoch,
    /// Where every partition stands, as of the last epoch bound.
    pub positions: BTreeMap<PartitionId, PartitionEnd>,
    /// Now and positions at the end of each snapshot epoch whose manifest is still to be written.
    pub cuts: BTreeMap<Epoch, (Millis, Vec<PartitionEnd>)>,
}

impl MintCell {
    /// The last epoch below a frontier; a closed one has everything minted below it.
    pub fn below(&self, frontier: Option<EpochTs>) -> Epoch {
        frontier.map_or(self.mint.minted(), |next| Epoch(next.saturating_sub(1)))
    }

    /// The operators have handled everything below `frontier`.
    pub fn credit_computed(&mut self, frontier: Option<EpochTs>) {
        if self.mint.computed(self.below(frontier)) {
            self.wake();
        }
    }

    /// Lets the mint look again.
    pub fn wake(&self) {
        if let Some(activator) = &self.activator {
            activator.activate();
        }
    }
}

/// What the mint operator needs to know of the run.
pub struct MintPlan {
    pub cell: Rc<RefCell<MintCell>>,
    pub recorded: Recorded,
    pub generation: Generation,
    /// Settings by generation: replayed epochs run with those of their own.
    pub settings: BTreeMap<Generation, String>,
    /// Whether to go on above the recorded epochs (a verification doesn't).
    pub live: bool,
    pub shared: Arc<Shared>,
}

type Ticks<'s> = StreamVec<'s, EpochTs, Tick>;

struct Minter {
    plan: MintPlan,
    peers: usize,
    /// Recorded row read ahead, to know which one is the last.
    ahead: Option<Binding>,
    settings_of: Option<Generation>,
    replaying: bool,
}

/// Builds the operator. `plan` is there on worker 0 only.
pub fn mint<'s>(scope: Scope<'s, EpochTs>, plan: Option<MintPlan>) -> Ticks<'s> {
    let mut builder = OperatorBuilder::new("mint".into(), scope);
    let (output, stream) = builder.new_output::<Vec<Tick>>();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(output);
    let activator = scope.activator_for(builder.operator_info().address);
    let peers = scope.peers();
    builder.build(move |mut capabilities| {
        let mut capability = plan.as_ref().map(|_| capabilities.remove(0));
        capabilities.clear();
        let mut minter = plan.map(|plan| {
            plan.cell.borrow_mut().activator = Some(activator.clone());
            Minter { plan, peers, ahead: None, settings_of: None, replaying: true }
        });
        move |_frontiers| {
            let (Some(minter), Some(held)) = (minter.as_mut(), capability.as_mut()) else { return };
            let mut handle = output.activate();
            let closed = minter.run(&activator, |ticks, epoch| {
                held.downgrade(&epoch.0);
                handle.session(held).give_iterator(ticks.into_iter());
                held.downgrade(&epoch.next().0);
            });
            if closed {
                capability = None;
            }
        }
    });
    stream
}

impl Minter {
    /// Sends what can be sent now; true when the run is over.
    fn run(&mut self, activator: &Activator, mut send: impl FnMut(Vec<Tick>, Epoch)) -> bool {
        let cell = Rc::clone(&self.plan.cell);
        loop {
            let mut cell = cell.borrow_mut();
            let step = if self.replaying { self.replay(&mut cell) } else { self.live(&mut cell, activator) };
            drop(cell);
            match step {
                Step::Send(tick) => {
                    let epoch = tick.epoch;
                    self.plan.shared.minted.store(epoch.0, Ordering::SeqCst);
                    let ticks = (0..self.peers).map(|target| Tick { target, ..tick.clone() }).collect();
                    send(ticks, epoch);
                }
                Step::Again => {}
                Step::Wait => return false,
                Step::Close => return true,
            }
        }
    }

    fn read(&mut self) -> Option<Binding> {
        match (self.plan.recorded)() {
            Ok(row) => row,
            Err(error) => {
                self.plan.shared.fail(error.to_string());
                None
            }
        }
    }

    fn replay(&mut self, cell: &mut MintCell) -> Step {
        if self.ahead.is_none() {
            self.ahead = self.read();
        }
        if self.plan.shared.failed() {
            return Step::Wait;
        }
        let Some(row) = self.ahead.take() else {
            self.replaying = false;
            return if self.plan.live { Step::Again } else { Step::Close };
        };
        if !cell.mint.has_credit() {
            self.ahead = Some(row);
            return Step::Wait;
        }
        self.ahead = self.read();
        cell.mint.replayed(row.epoch, row.now);
        let last = self.ahead.is_none();
        let settings = self.settings_for(row.generation);
        let take = Take::Recorded { ends: row.ends, clamps: row.clamps, last };
        Step::Send(Tick {
            target: 0,
            epoch: row.epoch,
            generation: row.generation,
            now: row.now,
            take,
            snapshot: false,
            settings,
        })
    }

    fn settings_for(&mut self, generation: Generation) -> Option<String> {
        if self.settings_of == Some(generation) {
            return None;
        }
        self.settings_of = Some(generation);
        self.plan.settings.get(&generation).cloned()
    }

    fn live(&mut self, cell: &mut MintCell, activator: &Activator) -> Step {
        if self.plan.shared.stopping() {
            cell.mint.stop();
        }
        let clock = self.plan.shared.clock();
        match cell.mint.next(clock) {
            Decision::Mint { now, bound, snapshot } => {
                self.plan.shared.now.store(now, Ordering::SeqCst);
                let generation = self.plan.generation;
                let settings = self.settings_for(generation);
                let epoch = cell.mint.minted();
                let take = match bound {
                    Some(bound) => Take::Upto { bound },
                    None => Take::Reported { upto: cell.mint.upto() },
                };
                Step::Send(Tick { target: 0, epoch, generation, now, take, snapshot, settings })
            }
            Decision::WaitUntil(at) => {
                activator.activate_after(Duration::from_millis((at - clock).max(1) as u64));
                Step::Wait
            }
            Decision::WaitForReport => Step::Wait,
            Decision::Finished => Step::Close,
        }
    }
}

enum Step {
    Send(Tick),
    Again,
    Wait,
    Close,
}
