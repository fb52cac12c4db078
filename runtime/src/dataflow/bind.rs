//! The bind operator: worker 0 makes each epoch's binding durable before anything of it may be seen.
//!
//! When every worker has reported on an epoch, its row goes to the binding thread, which appends all
//! rows waiting (group commit); the epoch's capability is held until that is durable. The operator's only
//! output carries no data: sinks watch its frontier. Replayed epochs have their rows already: they are
//! compared with the reports and let through.
//!
//! A crash before the append: the epoch never was. After it: recovery replays it.

use super::mint_op::MintCell;
use super::{Report, StatusMessage, Take, Tick, passed};
use crate::bindings::{Binding, BindingError, BindingStore, PartitionEnd, Unread};
use crate::committer::Wakers;
use crate::shared::Shared;
use crate::types::{Epoch, EpochTs, Offset, PartitionId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Antichain;
use timely::scheduling::activate::SyncActivator;

struct Begun {
    binding: Binding,
    /// What a replayed epoch's reports must add up to.
    recorded: Option<Vec<PartitionEnd>>,
    snapshot: bool,
    capability: Capability<EpochTs>,
}

/// What binding needs to know of the run; `cell` and `store` are there on worker 0 only.
pub struct BindPlan {
    pub cell: Option<Rc<RefCell<MintCell>>>,
    pub store: Option<Box<dyn BindingStore>>,
    pub shared: Arc<Shared>,
    pub wakers: Arc<Wakers>,
}

/// Builds the operator.
pub fn bind<'s>(
    scope: Scope<'s, EpochTs>,
    ticks: StreamVec<'s, EpochTs, Tick>,
    reports: StreamVec<'s, EpochTs, Report>,
    status: StreamVec<'s, EpochTs, StatusMessage>,
    plan: BindPlan,
) -> StreamVec<'s, EpochTs, ()> {
    let mut builder = OperatorBuilder::new("bind".into(), scope);
    let (_output, stream) = builder.new_output::<Vec<()>>();
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut reports = builder.new_input(reports, Exchange::new(|_: &Report| 0));
    // Status is outside the order of epochs: it must not hold the output's frontier.
    let unconnected: Vec<(usize, Antichain<EpochTs>)> = Vec::new();
    let mut status = builder.new_input_connection(status, Exchange::new(|_: &StatusMessage| 0), unconnected);
    let wake = scope.worker().sync_activator_for(builder.operator_info().address.to_vec());
    builder.build(move |capabilities| {
        drop(capabilities);
        let BindPlan { cell, store, shared, wakers } = plan;
        let mut binder = cell.map(|cell| Binder::new(cell, store, shared, wakers, wake));
        move |frontiers| {
            ticks.for_each(|capability, data| {
                if let Some(binder) = &mut binder {
                    data.drain(..).for_each(|tick| binder.begin(tick, capability.retain(0)));
                }
            });
            reports.for_each(|_, data| {
                if let Some(binder) = &mut binder {
                    data.drain(..).for_each(|report| binder.add(report));
                }
            });
            status.for_each(|_, data| {
                if let Some(binder) = &mut binder {
                    data.drain(..).for_each(|status| binder.cell.borrow_mut().mint.report(status));
                    binder.cell.borrow().wake();
                }
            });
            if let Some(binder) = &mut binder {
                binder.advance(|epoch| passed(&frontiers[0], epoch) && passed(&frontiers[1], epoch));
            }
        }
    });
    stream
}

struct Binder {
    cell: Rc<RefCell<MintCell>>,
    shared: Arc<Shared>,
    wakers: Arc<Wakers>,
    rows: Option<Sender<Binding>>,
    begun: BTreeMap<Epoch, Begun>,
    /// Reports may come before worker 0's own tick.
    reports: BTreeMap<Epoch, Vec<Report>>,
    /// Handed to the thread, waiting for it.
    held: BTreeMap<Epoch, Capability<EpochTs>>,
}

impl Binder {
    fn new(
        cell: Rc<RefCell<MintCell>>,
        store: Option<Box<dyn BindingStore>>,
        shared: Arc<Shared>,
        wakers: Arc<Wakers>,
        wake: SyncActivator,
    ) -> Self {
        shared.bound.fetch_max(cell.borrow().replay_through.0, Ordering::SeqCst);
        let rows = store.map(|store| start_thread(store, Arc::clone(&shared), wake));
        Binder {
            cell,
            shared,
            wakers,
            rows,
            begun: BTreeMap::new(),
            reports: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    fn begin(&mut self, tick: Tick, capability: Capability<EpochTs>) {
        let (epoch, generation, now, snapshot) = (tick.epoch, tick.generation, tick.now, tick.snapshot);
        let (bound, recorded) = match tick.take {
            Take::Upto { bound } => (Some(bound), None),
            Take::Reported { .. } => (None, None),
            Take::Recorded { ends, .. } => (None, Some(ends)),
        };
        let (ends, clamps, unread) = (Vec::new(), Vec::new(), Some(Vec::new()));
        let binding = Binding { epoch, generation, now, bound, ends, clamps, unread };
        self.begun.insert(epoch, Begun { binding, recorded, snapshot, capability });
    }

    fn add(&mut self, report: Report) {
        self.reports.entry(report.epoch).or_default().push(report);
    }

    fn advance(&mut self, complete: impl Fn(Epoch) -> bool) {
        while let Some(entry) = self.begun.first_entry() {
            let epoch = *entry.key();
            if !complete(epoch) {
                break;
            }
            let begun = entry.remove();
            let reports = self.reports.remove(&epoch).unwrap_or_default();
            let binding = complete_binding(begun.binding, reports);
            self.held.insert(epoch, begun.capability);
            self.wakers.note_ends(epoch, &binding.ends);
            self.note_cut(&binding, begun.snapshot);
            match (begun.recorded, &self.rows) {
                (Some(recorded), _) => {
                    assert_eq!(binding.ends, recorded, "epoch {epoch}: a replay takes what was recorded");
                }
                // The thread ends only after a failure it has reported.
                (None, Some(rows)) => drop(rows.send(binding)),
                (None, None) => self.shared.fail(format!("epoch {epoch}: minted without a bindings store")),
            }
        }
        let bound = Epoch(self.shared.bound.load(Ordering::SeqCst));
        self.held = self.held.split_off(&bound.next());
    }
}

impl Binder {
    fn note_cut(&self, binding: &Binding, snapshot: bool) {
        let mut cell = self.cell.borrow_mut();
        cell.positions.extend(binding.ends.iter().map(|end| (end.partition, *end)));
        if snapshot {
            let positions = cell.positions.values().copied().collect();
            cell.cuts.insert(binding.epoch, (binding.now, positions));
        }
    }
}

fn complete_binding(mut binding: Binding, reports: Vec<Report>) -> Binding {
    let mut unread: BTreeMap<String, Vec<(PartitionId, Offset)>> = BTreeMap::new();
    for report in reports {
        binding.ends.extend(report.ends);
        binding.clamps.extend(report.clamps);
        for (partition, offset, why) in report.unread {
            unread.entry(why.into()).or_default().push((partition, offset));
        }
    }
    binding.ends.sort_by_key(|end| end.partition);
    binding.clamps.sort_by_key(|clamp| (clamp.partition, clamp.offset));
    unread.values_mut().for_each(|records| records.sort());
    binding.unread = Some(unread.into_iter().map(|(why, records)| Unread { why, records }).collect());
    binding
}

/// The binding thread: group-commits whatever rows wait.
fn start_thread(store: Box<dyn BindingStore>, shared: Arc<Shared>, wake: SyncActivator) -> Sender<Binding> {
    let (send, receive) = channel();
    let on_failure = Arc::clone(&shared);
    let thread = std::thread::Builder::new().name("bindings".into());
    if let Err(error) = thread.spawn(move || append_all(store, receive, &shared, &wake)) {
        on_failure.fail(format!("the binding thread can't be started: {error}"));
    }
    send
}

fn append_all(
    mut store: Box<dyn BindingStore>,
    rows: Receiver<Binding>,
    shared: &Shared,
    wake: &SyncActivator,
) {
    while let Ok(first) = rows.recv() {
        let mut batch = vec![first];
        batch.extend(rows.try_iter());
        let through = batch.last().expect("it has the first").epoch;
        if !append_until_done(store.as_mut(), &batch, shared) {
            return;
        }
        shared.bound.fetch_max(through.0, Ordering::SeqCst);
        if wake.activate().is_err() {
            return;
        }
    }
}

/// False where the run has to stop.
fn append_until_done(store: &mut dyn BindingStore, batch: &[Binding], shared: &Shared) -> bool {
    while !shared.failed() {
        match store.append(batch) {
            Ok(()) => return true,
            Err(error @ BindingError::Retry(_)) => {
                tracing::warn!(%error, "appending bindings failed, trying again");
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => shared.fail(error.to_string()),
        }
    }
    false
}
