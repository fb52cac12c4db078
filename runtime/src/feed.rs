//! The fetch thread of a worker: reads its partitions ahead, so that no I/O or decoding waits on the dataflow.
//!
//! ```text
//!   source operator ── Ask (budget, expected end) ──> fetch thread ── Arrival (records, drained?) ──> source operator
//! ```
//!
//! A round lets the reader ask for ends and fetches each partition once. A partition is drained as of a clock when
//! reading has come to an end that was asked for after that clock was read. While nothing comes, drained partitions
//! are said to be so again every [`REFRESH_MS`], because the pipeline's time goes no further than the least of these clocks.
//! While the log can't be read nothing counts as drained: time stands still until it is known what it holds.

use crate::bindings::PartitionEnd;
use crate::shared::Shared;
use crate::source::{Fetched, LogError, LogReader};
use crate::types::{Millis, Offset, PartitionId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};
use timely::scheduling::activate::SyncActivator;

/// How often an unchanged drained state is said again.
const REFRESH_MS: u64 = 20;
/// How often partitions are looked for.
const DISCOVER_MS: u64 = 1000;
/// How long one wait for appends may take.
const WAIT_MS: u64 = 10;
/// Records asked for in one fetch.
const FETCH_MAX: usize = 8192;

/// What the source operator asks of its fetch thread.
pub enum Ask {
    /// Room for this many more records of a partition.
    Room(PartitionId, usize),
    /// The log must reach this end, because a binding says so.
    Expect(PartitionId, Offset),
}

/// What the fetch thread brings.
pub enum Arrival<R> {
    /// Every partition of this worker known so far; the first one says that discovery is done.
    Partitions(Vec<PartitionId>, usize),
    Records {
        partition: PartitionId,
        records: Vec<Fetched<R>>,
        clock: Millis,
        /// The clock as of which nothing more was in the log, if so.
        drained_as_of: Option<Millis>,
        /// See [`crate::source::Fetch::said_upto`].
        said_upto: Option<Millis>,
    },
}

/// The source operator's end of the fetch thread. Dropping it ends the thread.
pub struct Feed<R> {
    pub asks: Sender<Ask>,
    pub arrivals: Receiver<Arrival<R>>,
}

struct Cursor {
    next: Offset,
    room: usize,
    expected: Offset,
    drained_said: bool,
    /// What the last fetch said of the pipeline that is followed.
    said_upto: Option<Millis>,
}

struct Fetcher<L: LogReader> {
    reader: L,
    asks: Receiver<Ask>,
    arrivals: Sender<Arrival<L::Record>>,
    wake: SyncActivator,
    shared: Arc<Shared>,
    mine: Box<dyn Fn(PartitionId) -> bool + Send>,
    starts: BTreeMap<PartitionId, PartitionEnd>,
    room: usize,
    cursors: BTreeMap<PartitionId, Cursor>,
}

/// Starts a worker's fetch thread. `mine` says which partitions are the worker's; `room` is how many
/// records of each may be read ahead.
pub fn start<L: LogReader>(
    reader: L,
    starts: BTreeMap<PartitionId, PartitionEnd>,
    mine: impl Fn(PartitionId) -> bool + Send + 'static,
    room: usize,
    wake: SyncActivator,
    shared: Arc<Shared>,
) -> Feed<L::Record> {
    let (asks, asked) = channel();
    let (arrive, arrivals) = channel();
    let fetcher = Fetcher {
        reader,
        asks: asked,
        arrivals: arrive,
        wake,
        shared: Arc::clone(&shared),
        mine: Box::new(mine),
        starts,
        room,
        cursors: BTreeMap::new(),
    };
    let spawned = std::thread::Builder::new().name("fetch".into()).spawn(move || fetcher.run());
    if let Err(error) = spawned {
        shared.fail(format!("the fetch thread can't be started: {error}"));
    }
    Feed { asks, arrivals }
}

/// The operator is gone: end quietly.
struct Gone;

impl<L: LogReader> Fetcher<L> {
    fn run(mut self) {
        let mut discovered: Option<Instant> = None;
        let mut refreshed = Instant::now();
        loop {
            if discovered.is_none_or(|at| at.elapsed() >= Duration::from_millis(DISCOVER_MS)) {
                match self.discover() {
                    Ok(Ok(())) => discovered = Some(Instant::now()),
                    Ok(Err(Gone)) => return,
                    Err(error) => self.failed(error),
                }
            }
            let refresh = refreshed.elapsed() >= Duration::from_millis(REFRESH_MS);
            if refresh {
                refreshed = Instant::now();
            }
            match self.round(refresh) {
                Ok(0) => self.reader.wait(WAIT_MS),
                Ok(_) => {}
                Err(Gone) => return,
            }
            if self.shared.failed() {
                return;
            }
        }
    }

    fn failed(&mut self, error: LogError) {
        match error {
            LogError::Retry(_) => {
                tracing::warn!(%error, "reading the log failed, trying again");
                std::thread::sleep(Duration::from_millis(200));
            }
            LogError::Stop { .. } => self.shared.fail(error.to_string()),
        }
    }

    fn discover(&mut self) -> Result<Result<(), Gone>, LogError> {
        let all = self.reader.partitions()?;
        let mut fresh = Vec::new();
        for id in all.iter().copied().filter(|id| (self.mine)(*id)) {
            if !self.cursors.contains_key(&id) {
                let next = self.starts.get(&id).map_or(Offset(0), |start| start.end);
                let (room, expected) = (self.room, Offset(0));
                let cursor = Cursor { next, room, expected, drained_said: false, said_upto: None };
                self.cursors.insert(id, cursor);
                fresh.push(id);
            }
        }
        Ok(self.send(Arrival::Partitions(fresh, all.len())))
    }

    fn send(&mut self, arrival: Arrival<L::Record>) -> Result<(), Gone> {
        self.arrivals.send(arrival).map_err(|_| Gone)?;
        self.wake.activate().map_err(|_| Gone)
    }

    fn take_asks(&mut self) -> Result<(), Gone> {
        loop {
            match self.asks.try_recv() {
                Ok(Ask::Room(id, more)) => {
                    if let Some(cursor) = self.cursors.get_mut(&id) {
                        cursor.room += more;
                    }
                }
                Ok(Ask::Expect(id, end)) => {
                    if let Some(cursor) = self.cursors.get_mut(&id) {
                        cursor.expected = cursor.expected.max(end);
                        cursor.room = cursor.room.max((end.0.saturating_sub(cursor.next.0)) as usize);
                    }
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Gone),
            }
        }
    }

    /// One fetch per partition with room; how many records came.
    fn round(&mut self, refresh: bool) -> Result<usize, Gone> {
        self.take_asks()?;
        let ids: Vec<PartitionId> = self.cursors.keys().copied().collect();
        let clock = self.shared.clock();
        if let Err(error) = self.reader.begin_round(clock) {
            ids.into_iter().try_for_each(|id| self.not_drained(id, clock))?;
            self.failed(error);
            return Ok(0);
        }
        let mut brought = 0;
        for id in ids {
            brought += self.fetch(id, refresh)?;
        }
        Ok(brought)
    }

    /// Takes back that a partition is drained: while it can't or mustn't be read, nobody knows.
    fn not_drained(&mut self, partition: PartitionId, clock: Millis) -> Result<(), Gone> {
        let cursor = self.cursors.get_mut(&partition).expect("ids are the cursors' keys");
        if !std::mem::replace(&mut cursor.drained_said, false) {
            return Ok(());
        }
        let (said_upto, records) = (cursor.said_upto, Vec::new());
        self.send(Arrival::Records { partition, records, clock, drained_as_of: None, said_upto })
    }

    fn fetch(&mut self, id: PartitionId, refresh: bool) -> Result<usize, Gone> {
        let cursor = self.cursors.get(&id).expect("ids are the cursors' keys");
        let (next, room) = (cursor.next, cursor.room.min(FETCH_MAX));
        if room == 0 {
            // Nobody looks, so nobody knows whether there is more.
            self.not_drained(id, self.shared.clock())?;
            return Ok(0);
        }
        let clock = self.shared.clock();
        let fetch = match self.reader.fetch(id, next, room) {
            Ok(fetch) => fetch,
            Err(error) => {
                self.not_drained(id, clock)?;
                self.failed(error);
                return Ok(0);
            }
        };
        assert!(fetch.next >= next, "reading never goes back");
        let cursor = self.cursors.get_mut(&id).expect("ids are the cursors' keys");
        let brought = fetch.records.len();
        cursor.next = fetch.next;
        cursor.said_upto = fetch.said_upto;
        cursor.room -= brought.min(cursor.room);
        let drained = cursor.next >= fetch.end;
        if drained && cursor.next < cursor.expected {
            let (end, expected) = (fetch.end.0, cursor.expected.0);
            let place = self.reader.place(id);
            self.shared.fail(format!(
                "{place}: the log ends at {end}, but a binding says that offsets below {expected} were \
                 processed: it was cut or replaced; restore it, or start over with a new data directory"
            ));
        }
        let news = brought > 0 || drained != cursor.drained_said || (drained && refresh);
        cursor.drained_said = drained;
        if news {
            let (records, said_upto) = (fetch.records, fetch.said_upto);
            let drained_as_of = drained.then_some(fetch.as_of.unwrap_or(clock));
            self.send(Arrival::Records { partition: id, records, clock, drained_as_of, said_upto })?;
        }
        Ok(brought)
    }
}
