//! One partition on its worker: what was read and not yet taken, each with its effective time.
//!
//! The effective time is the running maximum, per partition, of what records claim; a claim more than
//! `ahead_ms_max` ahead of the clock as of its fetch is clamped to that clock, and the clamp goes into
//! the binding, so that a replay gives the same time without asking a clock.
//!
//! During recovery the bindings say which records were clamped, so times are given when records are
//! taken; live, when they arrive, because the mint wants rungs.

use crate::bindings::{Clamp, PartitionEnd};
use crate::mint::{PartitionStatus, RUNGS_MAX};
use crate::source::{Claim, Fetched};
use crate::types::{At, BEFORE_EVERYTHING, Envelope, Millis, Offset, PartitionId, Position};
use std::collections::VecDeque;

struct Buffered<R> {
    record: Fetched<R>,
    /// Effective; meaningful for the first `timed` of the buffer.
    time: Millis,
    clock: Millis,
    clamped: bool,
}

/// What an epoch took of a partition.
#[derive(Debug, Default)]
pub struct Taken {
    pub end: Option<PartitionEnd>,
    pub clamps: Vec<Clamp>,
    /// What nobody could read, with the reason.
    pub unread: Vec<(PartitionId, Offset, Box<str>)>,
    pub records: usize,
}

/// The buffer of one partition.
pub struct Partition<R> {
    pub id: PartitionId,
    ahead_ms_max: i64,
    buffer: VecDeque<Buffered<R>>,
    timed: usize,
    /// Running maximum over what was timed.
    time_max: Millis,
    /// Running maximum over what was taken, and where the next one to take stands.
    taken_max: Millis,
    next: Offset,
    drained_as_of: Option<Millis>,
    follows: bool,
    live: bool,
}

impl<R> Partition<R> {
    /// A partition whose records up to `start.end` have been taken. `live` false: times follow bindings.
    pub fn new(start: PartitionEnd, ahead_ms_max: i64, live: bool) -> Self {
        Partition {
            id: start.partition,
            ahead_ms_max,
            buffer: VecDeque::new(),
            timed: 0,
            time_max: start.time_max,
            taken_max: start.time_max,
            next: start.end,
            drained_as_of: None,
            follows: false,
            live,
        }
    }

    /// Takes in what was fetched at `clock`; `drained_as_of` says that everything there was then is among it, and
    /// `said_upto` how far another pipeline had come that writes it.
    pub fn arrived(
        &mut self,
        records: Vec<Fetched<R>>,
        clock: Millis,
        drained_as_of: Option<Millis>,
        said_upto: Option<Millis>,
    ) {
        self.buffer.reserve(records.len());
        for record in records {
            self.buffer.push_back(Buffered { record, time: 0, clock, clamped: false });
        }
        self.drained_as_of = drained_as_of.map(|as_of| said_upto.unwrap_or(as_of));
        self.follows = said_upto.is_some();
        if self.live {
            self.time_all();
        }
    }

    /// From here on times are given on arrival.
    pub fn go_live(&mut self) {
        self.live = true;
        self.time_all();
    }

    fn time_all(&mut self) {
        for i in self.timed..self.buffer.len() {
            let b = &mut self.buffer[i];
            let claim = match b.record.claim {
                Claim::At(time) => time,
                Claim::BeforeEverything => BEFORE_EVERYTHING,
                Claim::Nothing => self.time_max,
            };
            b.clamped = claim > b.clock + self.ahead_ms_max;
            let claim = if b.clamped { b.clock } else { claim };
            self.time_max = self.time_max.max(claim);
            b.time = self.time_max;
        }
        self.timed = self.buffer.len();
    }

    /// Records read and not yet taken.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// What the mint needs to know.
    pub fn status(&self, share: usize) -> PartitionStatus {
        let horizon = self.time_max - 1;
        let rungs = (1..=RUNGS_MAX)
            .map_while(|k| self.buffer.get(k * share - 1))
            .map(|b| b.time)
            .filter(|time| *time <= horizon);
        let mut rungs: Vec<Millis> = rungs.collect();
        rungs.dedup();
        PartitionStatus {
            partition: self.id,
            rungs,
            time_max: self.time_max,
            drained_as_of: self.drained_as_of,
            follows: self.follows,
            buffered: self.buffer.len(),
            read_upto: self.behind(self.buffer.back()),
            share_upto: self.behind(self.buffer.get(share - 1).or(self.buffer.back())),
        }
    }

    /// Where the next record stands behind this one, or behind all that was taken.
    fn behind(&self, buffered: Option<&Buffered<R>>) -> Offset {
        buffered.map_or(self.next, |b| Offset(b.record.offset.0 + 1))
    }

    /// Whether more must be read although the buffer is full: all of it may be of one time.
    pub fn lacks_rung(&self, share: usize) -> bool {
        self.drained_as_of.is_none() && self.status(share).rungs.is_empty()
    }

    /// Takes everything of effective time up to `bound` (inclusive).
    pub fn take_upto(&mut self, bound: Millis, out: &mut Vec<Envelope<R>>) -> Taken {
        self.take_while(|b| b.time <= bound, out)
    }

    /// Takes everything below `end`.
    pub fn take_below(&mut self, end: Offset, out: &mut Vec<Envelope<R>>) -> Taken {
        self.take_while(|b| b.record.offset < end, out)
    }

    fn take_while(&mut self, wanted: impl Fn(&Buffered<R>) -> bool, out: &mut Vec<Envelope<R>>) -> Taken {
        assert!(self.live, "live takes need effective times");
        let mut taken = Taken::default();
        while self.buffer.front().is_some_and(&wanted) {
            let b = self.buffer.pop_front().expect("front was seen");
            self.timed -= 1;
            if b.clamped {
                taken.clamps.push(Clamp { partition: self.id, offset: b.record.offset, time: b.clock });
            }
            self.hand_out(b.record, b.time, &mut taken, out);
        }
        taken
    }

    /// Whether a recorded end has been read.
    pub fn has_upto(&self, end: &PartitionEnd) -> bool {
        self.next >= end.end || self.buffer.back().is_some_and(|b| b.record.offset.0 + 1 >= end.end.0)
    }

    /// Takes exactly what a binding recorded, with the times it had then.
    pub fn take_recorded(
        &mut self,
        end: &PartitionEnd,
        clamps: &[Clamp],
        out: &mut Vec<Envelope<R>>,
    ) -> Taken {
        assert!(!self.live, "recorded takes come before live ones");
        let mut taken = Taken::default();
        while self.buffer.front().is_some_and(|b| b.record.offset < end.end) {
            let b = self.buffer.pop_front().expect("front was seen");
            let offset = b.record.offset;
            let clamp = clamps.iter().find(|c| c.partition == self.id && c.offset == offset);
            let claim = match (clamp, b.record.claim) {
                (Some(clamp), _) => clamp.time,
                (None, Claim::At(time)) => time,
                (None, Claim::BeforeEverything) => BEFORE_EVERYTHING,
                (None, Claim::Nothing) => self.time_max,
            };
            taken.clamps.extend(clamp.copied());
            self.time_max = self.time_max.max(claim);
            self.hand_out(b.record, self.time_max, &mut taken, out);
        }
        assert_eq!(
            self.taken_max, end.time_max,
            "{:?}: replay of a binding gives the recorded time",
            self.id
        );
        taken
    }

    fn hand_out(&mut self, record: Fetched<R>, time: Millis, taken: &mut Taken, out: &mut Vec<Envelope<R>>) {
        assert!(record.offset >= self.next, "{:?}: offsets ascend", self.id);
        assert!(time >= self.taken_max, "{:?}: effective time never goes back", self.id);
        self.next = Offset(record.offset.0 + 1);
        self.taken_max = time;
        taken.records += 1;
        taken.end = Some(PartitionEnd { partition: self.id, end: self.next, time_max: time });
        if let Some(why) = record.unread {
            taken.unread.push((self.id, record.offset, why));
        }
        let position = Position::record(time, record.class, self.id, record.offset);
        out.push(Envelope { at: At::record(position), body: record.body });
    }
}
