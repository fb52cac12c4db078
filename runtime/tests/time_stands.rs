//! A reader that hangs, as in a call to a broker that stands still: it neither fails nor finds anything, and time goes no further
//! than the log was read, so that no deadline passes for which the log may hold an answer.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

use runtime::bindings::BindingStore as _;
use runtime::memory::{MemoryBindings, MemoryLog, MemorySink};
use runtime::run::{Job, Mode, Options, Stores, run};
use runtime::shared::Shared;
use runtime::source::{Claim, Fetch, LogError, LogReader};
use runtime::{
    At, Class, Ctx, Flow, Messages, Millis, Offset, Operator, PartitionId, Position, Route, State, Timers,
    TopicId,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PARTITIONS: [PartitionId; 2] =
    [PartitionId { topic: TopicId(0), partition: 0 }, PartitionId { topic: TopicId(0), partition: 1 }];
/// From a record to its deadline.
const DEADLINE_MS: Millis = 300;

/// Passes records on; the deadline of an even one passes, too, unless the odd one behind it came before.
#[derive(Default)]
struct Deadlines {
    waiting: Vec<u64>,
    timers: Timers<u64>,
}

impl Operator for Deadlines {
    type In = u64;
    type Out = String;
    const NAME: &'static str = "deadlines";

    fn route(_: &u64) -> Route {
        Route::Key(0)
    }

    fn on_record(&mut self, at: At, n: u64, ctx: &mut Ctx<String>) {
        ctx.emit(at, format!("record {n}"));
        if n.is_multiple_of(2) {
            self.waiting.push(n);
            self.timers.set(ctx.now() + DEADLINE_MS, n);
        }
        self.waiting.retain(|waiting| waiting + 1 != n);
    }

    fn next_timer(&self) -> Option<Millis> {
        self.timers.next()
    }

    fn on_timer(&mut self, due: Millis, ctx: &mut Ctx<String>) {
        for n in self.timers.take(due) {
            if self.waiting.contains(&n) {
                ctx.emit(At::record(Position::timer(due, 1, n)), format!("deadline {n}"));
            }
        }
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        Vec::new()
    }
}

struct Waiting;

impl Job for Waiting {
    type Record = u64;
    type Item = String;

    fn build<'s>(&self, flow: &mut Flow<'s, String>, source: Messages<'s, u64>) {
        let out = flow.stateful(Deadlines::default(), source);
        flow.deliver(0, out);
    }
}

/// Hangs in every fetch of the second partition while it is told to, or can't be read at all.
#[derive(Clone)]
struct Hanging {
    log: MemoryLog<u64>,
    hangs: Arc<AtomicBool>,
    away: Arc<AtomicBool>,
}

impl Hanging {
    /// One that reads as it should, so far.
    fn on(log: &MemoryLog<u64>) -> Self {
        Hanging { log: log.clone(), hangs: Arc::default(), away: Arc::default() }
    }
}

impl LogReader for Hanging {
    type Record = u64;

    fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
        self.log.partitions()
    }

    fn fetch(&mut self, id: PartitionId, from: Offset, max: usize) -> Result<Fetch<u64>, LogError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(LogError::Retry("it is away".into()));
        }
        while id == PARTITIONS[1] && self.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.log.fetch(id, from, max)
    }

    fn wait(&mut self, timeout_ms: u64) {
        self.log.wait(timeout_ms);
    }
}

/// A live run on it, until `watch` has seen enough.
fn live(workers: usize, world: &Hanging, sink: &MemorySink<String>, watch: impl FnOnce() + Send) {
    let mut bindings = MemoryBindings::default();
    let generation = bindings.begin_generation("test", "{}", workers, 0).unwrap();
    let options = Options {
        workers,
        epoch_ms: 1,
        idle_epoch_ms: 5,
        epoch_records_max: 50,
        epochs_in_flight_max: 4,
        snapshot_every_ms: 1_000_000,
        claim_ahead_ms_max: 300_000,
        until_drained: false,
    };
    let stores = Stores {
        readers: vec![world.clone(); workers],
        bindings: Box::new(bindings),
        sinks: vec![Box::new(sink.clone())],
        snapshots: None,
    };
    let shared = Arc::new(Shared::default());
    std::thread::scope(|scope| {
        let watched = Arc::clone(&shared);
        scope.spawn(move || {
            let ending = std::panic::catch_unwind(std::panic::AssertUnwindSafe(watch));
            watched.stop();
            ending.unwrap();
        });
        run(Arc::new(Waiting), &options, Mode::Live { generation }, stores, &shared, &Arc::default())
            .unwrap();
    });
}

fn said(sink: &MemorySink<String>) -> Vec<String> {
    sink.items().into_iter().map(|item| item.body).collect()
}

fn wait_for(sink: &MemorySink<String>, what: &str) {
    let began = Instant::now();
    while !said(sink).iter().any(|said| said == what) {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: {:?}", said(sink));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_run_whose_log_is_away_stops_when_it_is_told_to() {
    for workers in [1, 2] {
        let log = MemoryLog::new(PARTITIONS);
        let world = Hanging::on(&log);
        let sink = MemorySink::new(true);
        let (away, back, seen) = (Arc::clone(&world.away), Arc::clone(&world.away), sink.clone());
        let released = Arc::new(AtomicBool::new(false));
        let releases = Arc::clone(&released);
        live(workers, &world, &sink, move || {
            log.append(PARTITIONS[0], [(Claim::At(Shared::default().clock()), Class::Command, 1)]);
            wait_for(&seen, "record 1");
            away.store(true, Ordering::SeqCst);
            // Until nothing is reported any more.
            std::thread::sleep(Duration::from_millis(500));
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(10));
                releases.store(true, Ordering::SeqCst);
                back.store(false, Ordering::SeqCst);
            });
        });
        assert!(!released.load(Ordering::SeqCst), "{workers} workers: it stopped only once the log was back");
    }
}

#[test]
fn no_deadline_passes_while_a_reader_hangs_and_what_it_had_to_find_comes_in_time() {
    for workers in [1, 2] {
        let log = MemoryLog::new(PARTITIONS);
        let world = Hanging::on(&log);
        let sink = MemorySink::new(true);
        let (hangs, seen) = (Arc::clone(&world.hangs), sink.clone());
        live(workers, &world, &sink, move || {
            let clock = || Shared::default().clock();
            let told = |n| [(Claim::At(clock()), Class::Command, n)];
            log.append(PARTITIONS[0], told(0));
            wait_for(&seen, "record 0");
            hangs.store(true, Ordering::SeqCst);
            // In time, and unread.
            log.append(PARTITIONS[1], told(1));
            std::thread::sleep(Duration::from_millis(3 * DEADLINE_MS as u64));
            hangs.store(false, Ordering::SeqCst);
            wait_for(&seen, "record 1");
            // Time goes on.
            log.append(PARTITIONS[0], told(2));
            wait_for(&seen, "deadline 2");
        });
        let said = said(&sink);
        assert!(!said.contains(&"deadline 0".to_owned()), "{workers} workers: {said:?}");
    }
}
