//! When the next epoch begins and what it may take: a pure state machine over reports and a clock.
//!
//! ```text
//!   status of every partition ──> next(clock) ──> Wait | Mint { bound, now } | Finished
//!   decided frontier (credit)  ──┘
//! ```
//!
//! Live, every partition is drained and what is buffered fits into one epoch: the epoch takes what was reported, no
//! matter what has arrived since, and `now` is the clock as of which nothing else was in the log. With
//! a backlog the partitions advance together in record time: the bound is the least over all partitions
//! of the first *rung* above the last bound (a rung is the time at which a further share of the epoch's
//! record cap is full, never above the partition's horizon). A partition without a rung holds everything
//! back while it is not drained, because slow is not drained; once drained it counts with the clock as
//! of which that was so. Horizons and as-of clocks only grow, so a stale status can only delay. Where all is drained and the
//! bound can't move (it is ahead of the clock, or what is left claims to be), an epoch takes a share of each partition, and time stays. Until
//! drained, what is drained holds nothing back, and time is the log's own: no bound lies beyond its last record.
//! A partition that another pipeline writes counts, drained, with how far that pipeline has come, and keeps the
//! bound there: what happened earlier is still to be said.
//!
//! Invariant: bounds and `now` never go back. What a crash does: nothing here is stored; recovery replays
//! recorded epochs and then starts this machine above the last one.

use crate::types::{Epoch, Millis, Offset, PartitionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rungs reported per partition: epochs that may be minted ahead of the next report.
pub const RUNGS_MAX: usize = 8;

/// Epochs that the operators may be handling at once. Every operator handles whatever has reached it before the
/// next one gets its turn: with many epochs at once the sinks would have nothing to do until the last
/// operator is reached, and then the operators nothing while the sinks catch up.
const COMPUTING_MAX: u64 = 3;

/// What is known of one partition, as its worker last said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionStatus {
    pub partition: PartitionId,
    /// Times at which a further share of the cap is full, ascending, each at most `horizon`.
    pub rungs: Vec<Millis>,
    /// Running maximum of what was read, whether taken or not.
    pub time_max: Millis,
    /// The clock as of which nothing more was in the log, if so.
    pub drained_as_of: Option<Millis>,
    /// Another pipeline writes it, and `drained_as_of` is how far that one has come.
    pub follows: bool,
    /// Records read and not yet taken.
    pub buffered: usize,
    /// Where the first record stands that wasn't read yet.
    pub read_upto: Offset,
    /// Where the first record stands behind a share of the cap; `read_upto` where less was read.
    pub share_upto: Offset,
}

/// One worker's report on its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub worker: usize,
    /// Numbered per worker: a lower one than seen is stale.
    pub seq: u64,
    /// The last epoch whose records this worker had taken when it said this.
    pub taken: Epoch,
    /// False until the worker knows its partitions.
    pub ready: bool,
    pub partitions: Vec<PartitionStatus>,
}

/// How the run is paced.
#[derive(Clone, Debug)]
pub struct Pace {
    pub epoch_ms: i64,
    pub idle_epoch_ms: i64,
    pub epochs_in_flight_max: u64,
    /// Absent where nothing takes snapshots: operators then write none.
    pub snapshot_every_ms: Option<i64>,
    /// Stop once the log as it is has been taken; `now` then never leaves record time.
    pub until_drained: bool,
    /// Records that an epoch takes, live. With a backlog it is shared out among partitions, as rungs.
    pub epoch_records_max: usize,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing before this clock, unless a report or credit comes first.
    WaitUntil(Millis),
    /// Nothing until a report or credit comes.
    WaitForReport,
    /// Mint the next epoch. `bound` absent: take what was reported, see [`Mint::upto`].
    Mint { now: Millis, bound: Option<Millis>, snapshot: bool },
    /// Everything has been taken and a last epoch with a snapshot was minted: close the source.
    Finished,
}

/// How far one partition lets the bound go.
enum Reach {
    Upto(Millis),
    /// Not drained, and all its rungs lie at or below the last bound.
    Late,
    /// Not drained, and not a share of it read yet.
    Unknown,
}

/// The minting state of worker 0.
#[derive(Debug)]
pub struct Mint {
    pace: Pace,
    workers: usize,
    statuses: BTreeMap<usize, Status>,
    minted: Epoch,
    decided: Epoch,
    computed: Epoch,
    now: Millis,
    bound: Millis,
    minted_at: Millis,
    snapshot_at: Millis,
    snapshot_pending: Option<Epoch>,
    stopping: bool,
    last_minted: bool,
    /// Whether the epoch decided on last takes no more than a share of each partition.
    shares: bool,
}

impl Mint {
    /// Starts above `last`, the last epoch bound, whose now and bound are given.
    pub fn new(pace: Pace, workers: usize, last: Epoch, now: Millis, clock: Millis) -> Self {
        Mint {
            pace,
            workers,
            statuses: BTreeMap::new(),
            minted: last,
            decided: last,
            computed: last,
            now,
            bound: now,
            minted_at: 0,
            snapshot_at: clock,
            snapshot_pending: None,
            stopping: false,
            last_minted: false,
            shares: false,
        }
    }

    /// The last epoch minted.
    pub fn minted(&self) -> Epoch {
        self.minted
    }

    /// An epoch replayed from its binding: minting goes on above it.
    pub fn replayed(&mut self, epoch: Epoch, now: Millis) {
        assert!(epoch > self.minted && now >= self.now, "recorded epochs ascend in number and in now");
        self.minted = epoch;
        self.now = now;
        self.bound = now;
    }

    /// Takes a worker's report; a stale one is dropped.
    pub fn report(&mut self, status: Status) {
        match self.statuses.get(&status.worker) {
            Some(known) if known.seq >= status.seq => {}
            _ => {
                self.statuses.insert(status.worker, status);
            }
        }
    }

    /// Takes credit: everything up to `decided` is delivered.
    pub fn decided(&mut self, decided: Epoch) {
        self.decided = self.decided.max(decided);
        self.computed = self.computed.max(decided);
    }

    /// Takes credit: the operators have handled everything up to `computed`. Whether that is news.
    pub fn computed(&mut self, computed: Epoch) -> bool {
        let news = computed > self.computed;
        self.computed = self.computed.max(computed);
        news
    }

    /// The snapshot asked for last is complete (or given up): the next may follow.
    pub fn snapshot_done(&mut self, epoch: Epoch) {
        if self.snapshot_pending.is_some_and(|pending| pending <= epoch) {
            self.snapshot_pending = None;
        }
    }

    /// Asks for an orderly end: one last epoch with a snapshot, then [`Decision::Finished`].
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether fewer epochs are in flight, and fewer of them still in the operators, than may be.
    pub fn has_credit(&self) -> bool {
        let since = |epoch: Epoch| self.minted.0.saturating_sub(epoch.0);
        since(self.decided) < self.pace.epochs_in_flight_max && since(self.computed) < COMPUTING_MAX
    }

    /// Decides what to do at `clock`, and remembers it.
    pub fn next(&mut self, clock: Millis) -> Decision {
        let decision = self.decide(clock);
        if let Decision::Mint { now, bound, snapshot } = &decision {
            assert!(*now >= self.now, "now never goes back");
            self.minted = self.minted.next();
            self.now = *now;
            self.minted_at = clock;
            if let Some(bound) = bound {
                assert!(*bound >= self.bound, "a bound never goes back");
                self.bound = *bound;
            } else {
                // The epoch takes them: until the next report nothing is known to wait.
                let reported = self.statuses.values_mut().flat_map(|status| &mut status.partitions);
                reported.for_each(|p| p.buffered = 0);
            }
            if *snapshot {
                self.snapshot_at = clock;
                self.snapshot_pending = Some(self.minted);
            }
        }
        decision
    }

    fn decide(&mut self, clock: Millis) -> Decision {
        if self.last_minted {
            return Decision::Finished;
        }
        if !self.has_credit() {
            return Decision::WaitForReport;
        }
        if self.stopping {
            return self.last_epoch(self.now);
        }
        if self.statuses.len() < self.workers || self.statuses.values().any(|s| !s.ready) {
            return Decision::WaitForReport;
        }
        self.shares = !self.is_live();
        if !self.shares {
            return self.decide_live(clock);
        }
        self.decide_behind(clock)
    }

    /// What an epoch without a bound takes of every partition, by the reports that it was decided on: all, or a share. What
    /// arrived later is in no report that `now` or the size of the epoch could have been decided on.
    pub fn upto(&self) -> Vec<(PartitionId, Offset)> {
        let upto = |p: &PartitionStatus| if self.shares { p.share_upto } else { p.read_upto };
        self.partitions().map(|p| (p.partition, upto(p))).collect()
    }

    fn partitions(&self) -> impl Iterator<Item = &PartitionStatus> {
        self.statuses.values().flat_map(|s| s.partitions.iter())
    }

    /// All is drained, and what is buffered fits into one epoch. What follows another pipeline is never ahead of it:
    /// the bound stays where that one is.
    fn is_live(&self) -> bool {
        let open = |p: &PartitionStatus| self.pace.until_drained || !p.follows;
        let buffered: usize = self.partitions().map(|p| p.buffered).sum();
        self.all_is_drained() && self.partitions().all(open) && buffered <= self.pace.epoch_records_max
    }

    fn decide_live(&mut self, clock: Millis) -> Decision {
        let buffered = self.partitions().any(|p| p.buffered > 0);
        if self.pace.until_drained {
            return self.decide_draining(buffered);
        }
        let period = if buffered { self.pace.epoch_ms } else { self.pace.idle_epoch_ms };
        let due = self.minted_at + period;
        if clock < due {
            // An empty buffer may fill sooner: the report that says so asks again.
            return Decision::WaitUntil(due);
        }
        // No further than what is known of the log: a hold doesn't expire while its payment may be there, unread.
        let as_of = self.partitions().filter_map(|p| p.drained_as_of).min().unwrap_or(clock);
        let now = self.now.max(as_of.min(clock));
        Decision::Mint { now, bound: None, snapshot: self.snapshot_due(clock) }
    }

    /// Until drained: one open epoch takes the rest, and once that is seen to be taken the run ends.
    fn decide_draining(&mut self, buffered: bool) -> Decision {
        let record_time = self.record_time().unwrap_or(self.now);
        let now = self.now.max(record_time);
        let all_taken = self.statuses.values().all(|s| s.taken >= self.minted);
        match (buffered, all_taken) {
            (true, true) => Decision::Mint { now, bound: None, snapshot: false },
            (false, true) => self.last_epoch(now),
            (_, false) => Decision::WaitForReport,
        }
    }

    fn last_epoch(&mut self, now: Millis) -> Decision {
        if self.snapshot_pending.is_some() {
            return Decision::WaitForReport;
        }
        self.last_minted = true;
        Decision::Mint { now, bound: Some(self.bound), snapshot: self.pace.snapshot_every_ms.is_some() }
    }

    fn decide_behind(&mut self, clock: Millis) -> Decision {
        let record_time = self.record_time().unwrap_or(self.bound);
        let mut least: Option<Millis> = None;
        for status in self.statuses.values() {
            for p in &status.partitions {
                let reach = match self.reach(p, record_time) {
                    Reach::Upto(time) => time,
                    // What came too late for the bounds passed so far goes into an epoch of its own.
                    Reach::Late if status.taken >= self.minted => return self.behind(self.bound, clock),
                    Reach::Late | Reach::Unknown => return Decision::WaitForReport,
                };
                least = Some(least.map_or(reach, |l| l.min(reach)));
            }
        }
        let all_taken = self.statuses.values().all(|s| s.taken >= self.minted);
        match least {
            Some(bound) if bound > self.bound => self.behind(bound, clock),
            // All is drained, and the rest of it came too late for the bounds passed so far.
            Some(_) if self.pace.until_drained && all_taken => self.behind(self.bound, clock),
            Some(_) if self.follows() => self.idle(clock),
            // Nothing that is left may keep a timer from firing: it came too late, or claims to be later than the bound.
            Some(_) if all_taken && self.all_is_drained() => {
                Decision::Mint { now: self.now, bound: None, snapshot: self.snapshot_due(clock) }
            }
            _ => Decision::WaitForReport,
        }
    }

    fn all_is_drained(&self) -> bool {
        self.partitions().all(|p| p.drained_as_of.is_some())
    }

    fn follows(&self) -> bool {
        !self.pace.until_drained && self.partitions().any(|p| p.follows)
    }

    /// The pipeline that is followed hasn't come further: an epoch now and then takes what came late, and lets
    /// progress be written and snapshots be taken.
    fn idle(&self, clock: Millis) -> Decision {
        let due = self.minted_at + self.pace.idle_epoch_ms;
        if clock < due { Decision::WaitUntil(due) } else { self.behind(self.bound, clock) }
    }

    /// The latest record time read.
    fn record_time(&self) -> Option<Millis> {
        self.partitions().map(|p| p.time_max).max()
    }

    fn behind(&self, bound: Millis, clock: Millis) -> Decision {
        Decision::Mint { now: self.now.max(bound), bound: Some(bound), snapshot: self.snapshot_due(clock) }
    }

    /// How far a partition lets the bound go.
    fn reach(&self, p: &PartitionStatus, record_time: Millis) -> Reach {
        match (p.rungs.iter().find(|rung| **rung > self.bound), p.drained_as_of) {
            (Some(rung), _) => Reach::Upto(*rung),
            (None, Some(_)) if self.pace.until_drained => Reach::Upto(record_time),
            (None, Some(as_of)) => Reach::Upto(as_of),
            (None, None) if p.rungs.is_empty() => Reach::Unknown,
            (None, None) => Reach::Late,
        }
    }

    fn snapshot_due(&self, clock: Millis) -> bool {
        let due = self.pace.snapshot_every_ms.is_some_and(|every| clock - self.snapshot_at >= every);
        due && self.snapshot_pending.is_none()
    }
}
