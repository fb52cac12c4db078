//! The source operator: on each tick, takes what belongs to the epoch from this worker's partitions.
//!
//! Outputs: records (at the epoch), ticks for the operators of this worker (at the epoch), a report to
//! worker 0 (at the epoch), and status to worker 0 outside the order of epochs: that output is connected to
//! no input, and its capability is held until the run closes.
//!
//! Ticks are handled in order; a recorded one waits until its ends have been read.

use super::outlets::{Outlet, Outlets};
use super::{Report, StatusMessage, Take, Tick};
use crate::bindings::PartitionEnd;
use crate::feed::{Arrival, Ask, Feed};
use crate::mint::Status;
use crate::partition::{Partition, Taken};
use crate::shared::Shared;
use crate::types::{Envelope, Epoch, EpochTs, Offset, PartitionId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Antichain;
use timely::scheduling::activate::SyncActivator;

/// What a source needs to know of the run.
pub struct SourcePlan {
    pub worker: usize,
    /// The epoch the run resumes from.
    pub resume: Epoch,
    /// Where each partition stands at the epoch the run resumes from.
    pub starts: BTreeMap<PartitionId, PartitionEnd>,
    pub ahead_ms_max: i64,
    /// Records of an epoch over all partitions (soft).
    pub epoch_records_max: usize,
    /// True where no binding has to be replayed.
    pub live: bool,
    pub shared: Arc<Shared>,
}

/// The streams a source gives.
pub struct Sourced<'s, R: 'static> {
    pub records: StreamVec<'s, EpochTs, Envelope<R>>,
    pub ticks: StreamVec<'s, EpochTs, Tick>,
    pub reports: StreamVec<'s, EpochTs, Report>,
    pub status: StreamVec<'s, EpochTs, StatusMessage>,
}

struct Source<R> {
    plan: SourcePlan,
    feed: Feed<R>,
    partitions: BTreeMap<PartitionId, Partition<R>>,
    partitions_all: usize,
    ready: bool,
    taken: Epoch,
    seq: u64,
    /// Whether something changed that the mint should know.
    news: bool,
}

struct Pending {
    tick: Tick,
    records: Capability<EpochTs>,
    ticks: Capability<EpochTs>,
    report: Capability<EpochTs>,
}

/// Builds the operator. `feed` starts the fetch thread, given what wakes the operator.
pub fn source<'s, R: Clone + Send + 'static>(
    scope: Scope<'s, EpochTs>,
    ticks: StreamVec<'s, EpochTs, Tick>,
    plan: SourcePlan,
    feed: impl FnOnce(SyncActivator) -> Feed<R>,
) -> Sourced<'s, R> {
    let mut builder = OperatorBuilder::new("source".into(), scope);
    let mut input = builder.new_input(ticks, Exchange::new(|tick: &Tick| tick.target as u64));
    let (mut records, records_stream) = Outlet::new(&mut builder);
    let (tick_out, ticks_stream) = builder.new_output::<Vec<Tick>>();
    let (report_out, reports_stream) = builder.new_output::<Vec<Report>>();
    let unconnected: Vec<(usize, Antichain<EpochTs>)> = Vec::new();
    let (status_out, status_stream) = builder.new_output_connection::<Vec<StatusMessage>, _>(unconnected);
    let mut tick_out = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(tick_out);
    let mut report_out = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(report_out);
    let mut status_out = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(status_out);
    let address = builder.operator_info().address;
    let feed = feed(scope.worker().sync_activator_for(address.to_vec()));

    builder.build(move |mut capabilities| {
        let mut status_capability = capabilities.pop();
        capabilities.clear();
        let mut source = Source::new(plan, feed);
        let mut pending: VecDeque<Pending> = VecDeque::new();
        let mut taken_records = Vec::new();
        move |frontiers| {
            input.for_each(|capability, data| {
                for tick in data.drain(..) {
                    let (records, ticks) = (capability.retain(0), capability.retain(1));
                    pending.push_back(Pending { tick, records, ticks, report: capability.retain(2) });
                }
            });
            source.receive();
            while let Some(front) = pending.front() {
                let Some(report) = source.take(&front.tick, &mut taken_records) else { break };
                let front = pending.pop_front().expect("front was seen");
                records.send(&[front.records], &mut taken_records);
                tick_out.activate().session(&front.ticks).give(front.tick);
                report_out.activate().session(&front.report).give(report);
            }
            if frontiers[0].is_empty() && pending.is_empty() {
                status_capability = None;
            }
            if let (Some(status), Some(capability)) = (source.status(), &status_capability) {
                status_out.activate().session(capability).give(status);
            }
        }
    });
    Sourced { records: records_stream, ticks: ticks_stream, reports: reports_stream, status: status_stream }
}

impl<R> Source<R> {
    fn new(plan: SourcePlan, feed: Feed<R>) -> Self {
        Source {
            taken: plan.resume,
            plan,
            feed,
            partitions: BTreeMap::new(),
            partitions_all: 0,
            ready: false,
            seq: 0,
            news: true,
        }
    }

    /// Records of one partition that fill its share of an epoch.
    fn share(&self) -> usize {
        (self.plan.epoch_records_max / self.partitions_all.max(1)).max(1)
    }

    /// Takes in whatever the fetch thread has brought.
    fn receive(&mut self) {
        while let Ok(arrival) = self.feed.arrivals.try_recv() {
            self.news = true;
            match arrival {
                Arrival::Partitions(fresh, all) => {
                    self.ready = true;
                    self.partitions_all = all;
                    for id in fresh {
                        let nothing = PartitionEnd { partition: id, end: Offset(0), time_max: 0 };
                        let start = self.plan.starts.get(&id).copied().unwrap_or(nothing);
                        let partition = Partition::new(start, self.plan.ahead_ms_max, self.plan.live);
                        self.partitions.insert(id, partition);
                    }
                }
                Arrival::Records { partition, records, clock, drained_as_of, said_upto } => {
                    let p = self.partitions.get_mut(&partition).expect("the thread names partitions first");
                    p.arrived(records, clock, drained_as_of, said_upto);
                    self.make_room_past_ties(partition);
                }
            }
        }
    }

    /// A full buffer of one single time has no rung: read on until the time changes.
    fn make_room_past_ties(&self, id: PartitionId) {
        let share = self.share();
        let p = &self.partitions[&id];
        if self.plan.live && p.lacks_rung(share) && p.buffered() >= room(self.plan.epoch_records_max) {
            let _ = self.feed.asks.send(Ask::Room(id, share.max(1024)));
        }
    }

    /// Takes a tick's records into `out`; `None` while a recorded end has not been read.
    fn take(&mut self, tick: &Tick, out: &mut Vec<Envelope<R>>) -> Option<Report> {
        assert!(tick.epoch > self.taken, "epochs come in order");
        let (ends, clamps, unread) = (Vec::new(), Vec::new(), Vec::new());
        let mut report = Report { epoch: tick.epoch, ends, clamps, unread, records: 0 };
        match &tick.take {
            Take::Upto { bound } => {
                for p in self.partitions.values_mut() {
                    report.add(p.take_upto(*bound, out), &self.feed, p.id);
                }
            }
            Take::Reported { upto } => {
                for (id, end) in upto {
                    if let Some(p) = self.partitions.get_mut(id) {
                        report.add(p.take_below(*end, out), &self.feed, p.id);
                    }
                }
            }
            Take::Recorded { ends, clamps, last } => {
                if !self.has_read(ends) {
                    return None;
                }
                for end in ends {
                    if let Some(p) = self.partitions.get_mut(&end.partition) {
                        report.add(p.take_recorded(end, clamps, out), &self.feed, p.id);
                    }
                }
                if *last {
                    self.plan.live = true;
                    self.partitions.values_mut().for_each(Partition::go_live);
                    // A buffer that filled up with one time during the replay asks only now.
                    self.partitions.keys().for_each(|id| self.make_room_past_ties(*id));
                }
            }
        }
        self.taken = tick.epoch;
        self.news = true;
        self.plan.shared.records_in.fetch_add(report.records as u64, Ordering::Relaxed);
        self.plan.shared.clamped.fetch_add(report.clamps.len() as u64, Ordering::Relaxed);
        Some(report)
    }

    /// Whether everything recorded for this worker's partitions has been read; asks for it if not.
    fn has_read(&self, ends: &[PartitionEnd]) -> bool {
        let mut all = self.ready;
        for end in ends {
            if let Some(p) = self.partitions.get(&end.partition)
                && !p.has_upto(end)
            {
                let _ = self.feed.asks.send(Ask::Expect(end.partition, end.end));
                all = false;
            }
        }
        all
    }

    /// What to tell the mint, if anything changed. While replaying there is nothing to decide.
    fn status(&mut self) -> Option<Status> {
        if !std::mem::take(&mut self.news) || !self.plan.live {
            return None;
        }
        self.seq += 1;
        let share = self.share();
        Some(Status {
            worker: self.plan.worker,
            seq: self.seq,
            taken: self.taken,
            ready: self.ready,
            partitions: self.partitions.values().map(|p| p.status(share)).collect(),
        })
    }
}

impl Report {
    fn add<R>(&mut self, taken: Taken, feed: &Feed<R>, partition: PartitionId) {
        self.ends.extend(taken.end);
        self.clamps.extend(taken.clamps);
        self.unread.extend(taken.unread);
        self.records += taken.records;
        if taken.records > 0 {
            // A fetch thread that has ended says so itself.
            let _ = feed.asks.send(Ask::Room(partition, taken.records));
        }
    }
}

/// How many records of a partition are read ahead.
pub fn room(epoch_records_max: usize) -> usize {
    (epoch_records_max * 4).max(4096)
}
