//! The one timely operator around every [`Operator`]: gathers epochs, runs them whole and in order,
//! and writes snapshots in slices between them.
//!
//! ```text
//!   messages (by slot) ─┐
//!   ticks (this worker) ┴─> epoch complete? ─> Driver::run_epoch ─> messages out
//!                                          └─> tick.snapshot: freeze ─> slices ─> changelog out
//! ```
//!
//! Snapshot S is exactly the state after epoch S: it is frozen before anything later is handled, also when
//! the frontier jumps over several epochs. The changelog's capability stays at S until all of it is out.

use super::outlets::Outlets;
use super::snapshot_op::Chunk;
use super::{Messages, Tick, passed};
use crate::driver::Driver;
use crate::entries::Entries;
use crate::gathered::Gathered;
use crate::operator::{Operator, Route};
use crate::shared::Shared;
use crate::state::{DecodeError, State};
use crate::types::{At, Envelope, Epoch, EpochTs, Position, SLOTS, slot_of};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::{Branch, Broadcast};
use timely::dataflow::operators::{Capability, Concat, Exchange};
use timely::dataflow::{Scope, StreamVec};
use timely::{ExchangeData, PartialOrder};

/// Entries encoded in one slice of a snapshot: well below a millisecond of work.
const SLICE_ENTRIES: usize = 512;

/// The worker that owns a slot.
pub fn owner(slot: u8, peers: usize) -> usize {
    usize::from(slot) % peers
}

/// Sends messages for all workers to all of them; with one worker there is nothing to do.
pub fn fan_out<'s, O>(scope: Scope<'s, EpochTs>, input: Messages<'s, O::In>) -> Messages<'s, O::In>
where
    O: Operator,
    O::In: ExchangeData + Clone,
{
    if scope.peers() == 1 {
        return input;
    }
    let (keyed, all) = input.branch(|_, message| O::route(&message.body) == Route::All);
    let keyed = keyed.exchange(|message: &Envelope<O::In>| match O::route(&message.body) {
        Route::Key(hash) => u64::from(slot_of(hash)),
        Route::All => unreachable!("branched off above"),
    });
    keyed.concat(all.broadcast())
}

/// What an operator's shell needs to know of the run.
pub struct StatefulPlan {
    pub worker: usize,
    pub peers: usize,
    /// The operator's number in the job: orders its timers among those of others.
    pub resume: Epoch,
    pub resume_now: i64,
    /// Whether snapshots are taken.
    pub snapshots: bool,
    pub shared: Arc<Shared>,
}

/// Builds the shell around `operator`, whose state has been loaded already. `outlets` makes its outputs: all but the
/// changelog, which is built here.
pub fn stateful<'s, O, W, S, const STREAMS: usize>(
    scope: Scope<'s, EpochTs>,
    mut operator: O,
    input: Messages<'s, O::In>,
    ticks: StreamVec<'s, EpochTs, Tick>,
    plan: StatefulPlan,
    outlets: impl FnOnce(&mut OperatorBuilder<'s, EpochTs>) -> (W, S),
) -> (S, StreamVec<'s, EpochTs, Chunk>)
where
    O: Operator,
    O::In: ExchangeData + Clone,
    W: Outlets<O::Out, STREAMS>,
{
    let input = fan_out::<O>(scope, input);
    let mut builder = OperatorBuilder::new(O::NAME.into(), scope);
    let mut input = builder.new_input(input, Pipeline);
    let mut ticks = builder.new_input(ticks, Pipeline);
    let (mut outlets, streams) = outlets(&mut builder);
    let (changes, changelog) = builder.new_output::<Vec<Chunk>>();
    let mut changes = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(changes);
    let activator = scope.activator_for(builder.operator_info().address);
    builder.build(move |mut capabilities| {
        let mut changelog = Some(capabilities.pop().expect("one for each output"));
        let mut restored: Option<[_; STREAMS]> = capabilities.try_into().ok();
        assert!(restored.is_some(), "{}: {STREAMS} outputs and the changelog", O::NAME);
        if !plan.snapshots {
            operator.states().into_iter().for_each(State::without_snapshots);
        }
        let mut shell = Shell::new(operator, plan);
        let mut produced = Vec::new();
        move |frontiers| {
            if let Some(capabilities) = restored.take() {
                shell.restore(capabilities, &mut produced, |on, produced| outlets.send(on, produced));
            }
            input.for_each(|capability, data| shell.gather(Epoch(*capability.time()), data));
            ticks.for_each(|capability, data| {
                let retained = || std::array::from_fn(|output| capability.retain(output));
                data.drain(..).for_each(|tick| shell.begin(tick, retained()));
            });
            while let Some((tick, capabilities)) =
                shell.next(|e| passed(&frontiers[0], e) && passed(&frontiers[1], e))
            {
                // A snapshot still being written must be whole before the next one freezes.
                if tick.snapshot {
                    shell.write(usize::MAX, &mut changelog, &mut changes);
                }
                shell.run(&tick, &mut produced);
                outlets.send(&capabilities, &mut produced);
                if tick.snapshot {
                    shell.freeze(tick.epoch);
                }
                shell.advance(&mut changelog);
            }
            if shell.write(SLICE_ENTRIES, &mut changelog, &mut changes) {
                activator.activate();
            }
            if frontiers.iter().all(timely::progress::frontier::MutableAntichain::is_empty) && shell.idle() {
                changelog = None;
            }
        }
    });
    (streams, changelog)
}

type Changes = OutputBuilder<EpochTs, CapacityContainerBuilder<Vec<Chunk>>>;

/// An epoch begun, and what its messages are sent with.
type Begun<const STREAMS: usize> = (Tick, [Capability<EpochTs>; STREAMS]);

struct Shell<O: Operator, const STREAMS: usize> {
    driver: Driver<O>,
    plan: StatefulPlan,
    gathered: BTreeMap<Epoch, Gathered<O::In>>,
    /// Emptied buffers of earlier epochs.
    spare: Vec<Gathered<O::In>>,
    begun: BTreeMap<Epoch, Begun<STREAMS>>,
    last: Epoch,
    /// The snapshot being written, and the next of its states to write.
    writing: Option<(Epoch, usize)>,
}

impl<O: Operator, const STREAMS: usize> Shell<O, STREAMS> {
    fn new(operator: O, plan: StatefulPlan) -> Self {
        Shell {
            driver: Driver::new(operator, plan.resume, plan.resume_now),
            last: plan.resume,
            plan,
            gathered: BTreeMap::new(),
            spare: Vec::new(),
            begun: BTreeMap::new(),
            writing: None,
        }
    }

    /// Gives relations downstream what they are made of, at the epoch of the snapshot.
    fn restore(
        &mut self,
        mut capabilities: [Capability<EpochTs>; STREAMS],
        produced: &mut Vec<Envelope<O::Out>>,
        send: impl FnOnce(&[Capability<EpochTs>; STREAMS], &mut Vec<Envelope<O::Out>>),
    ) {
        if self.plan.resume == Epoch(0) {
            return;
        }
        let at = At::record(Position::timer(0, 0, 0));
        self.driver.operator.restored_output(&mut |body| produced.push(Envelope { at, body }));
        if !produced.is_empty() {
            capabilities.iter_mut().for_each(|capability| capability.downgrade(&self.plan.resume.0));
            send(&capabilities, produced);
        }
        produced.clear();
    }

    /// Messages up to the epoch of the snapshot rebuild relations; here their outcome is known.
    fn gather(&mut self, epoch: Epoch, data: &mut Vec<Envelope<O::In>>) {
        if epoch <= self.plan.resume {
            return data.clear();
        }
        let spare = &mut self.spare;
        self.gathered.entry(epoch).or_insert_with(|| spare.pop().unwrap_or_default()).append(data);
    }

    fn begin(&mut self, tick: Tick, capabilities: [Capability<EpochTs>; STREAMS]) {
        self.begun.insert(tick.epoch, (tick, capabilities));
    }

    /// The next epoch, if all of it has come.
    fn next(&mut self, complete: impl Fn(Epoch) -> bool) -> Option<Begun<STREAMS>> {
        let first = self.begun.first_entry()?;
        complete(*first.key()).then(|| first.remove())
    }

    fn run(&mut self, tick: &Tick, out: &mut Vec<Envelope<O::Out>>) {
        if let Some(settings) = &tick.settings {
            self.driver.operator.configure(settings);
        }
        let input = self.gathered.remove(&tick.epoch);
        let mut input = input.or_else(|| self.spare.pop()).unwrap_or_default();
        if let Some((earlier, _)) = self.gathered.first_key_value() {
            assert!(*earlier > tick.epoch, "{}: messages of epoch {earlier} came without a tick", O::NAME);
        }
        self.driver.run_epoch(tick.epoch, tick.now, &mut input, out);
        self.spare.push(input);
        self.last = tick.epoch;
    }

    fn freeze(&mut self, epoch: Epoch) {
        assert!(self.writing.is_none(), "one snapshot at a time");
        let began = Instant::now();
        self.driver.operator.states().into_iter().for_each(|state| state.freeze());
        self.writing = Some((epoch, 0));
        self.note_stall(began);
    }

    fn note_stall(&self, began: Instant) {
        let us = began.elapsed().as_micros() as u64;
        self.plan.shared.snapshot_stall_us_max.fetch_max(us, Ordering::Relaxed);
    }

    /// Writes about `budget` entries of the snapshot in progress; true while there is more to write.
    fn write(
        &mut self,
        budget: usize,
        changelog: &mut Option<Capability<EpochTs>>,
        changes: &mut Changes,
    ) -> bool {
        let (Some((epoch, next)), Some(capability)) = (self.writing.take(), changelog.as_mut()) else {
            return false;
        };
        debug_assert!(capability.time().less_equal(&epoch.0));
        let began = Instant::now();
        let (mut next, mut left) = (next, budget);
        let mut states = self.driver.operator.states();
        while next < states.len() && left > 0 {
            let state = &mut states[next];
            let mut entries = Entries::default();
            let slice = left.min(SLICE_ENTRIES);
            let done = state.write_slice(slice, &mut entries);
            left = left.saturating_sub(slice);
            if !entries.is_empty() && (!state.replicated() || self.plan.worker == 0) {
                let chunk = Chunk { epoch, operator: O::NAME.into(), state: state.name().into(), entries };
                changes.activate().session(capability).give(chunk);
            }
            next += usize::from(done);
        }
        if next < states.len() {
            self.writing = Some((epoch, next));
        }
        if budget != usize::MAX {
            self.note_stall(began);
        }
        self.advance(changelog);
        self.writing.is_some()
    }

    /// Lets the changelog's frontier follow, unless a snapshot is being written.
    fn advance(&self, changelog: &mut Option<Capability<EpochTs>>) {
        if let (None, Some(capability)) = (&self.writing, changelog) {
            capability.downgrade(&self.last.next().0.max(*capability.time()));
        }
    }

    fn idle(&self) -> bool {
        self.begun.is_empty() && self.writing.is_none()
    }
}

/// Loads an operator's share of a snapshot: every entry of a slot it owns, and all of replicated states.
///
/// # Errors
/// When an entry can't be decoded, or names a state the operator doesn't have.
pub fn load<O: Operator>(
    operator: &mut O,
    chunks: Vec<(String, Entries)>,
    worker: usize,
    peers: usize,
) -> Result<(), String> {
    assert!(peers as u64 <= SLOTS, "no more workers than slots");
    for (name, entries) in chunks {
        let mut states = operator.states();
        let state = states.iter_mut().find(|s| s.name() == name).ok_or_else(|| {
            format!("the snapshot holds state {name}, which operator {} doesn't have: it was written by another version", O::NAME)
        })?;
        for entry in entries.iter() {
            let entry = entry.map_err(|source| DecodeError { state: state.name(), source }.to_string())?;
            if state.replicated() || owner(entry.slot, peers) == worker {
                state.load(&entry).map_err(|error| error.to_string())?;
            }
        }
    }
    operator.on_restored();
    Ok(())
}
