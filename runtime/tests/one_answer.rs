//! One log, one answer: whatever the number of workers, the cuts of the epochs, and the failures in between.
//!
//! The job is a chain of two operators with timers and broadcast changes; its log is complete before the
//! start. Failures here are orderly from the operating system's view (threads leave); the kill tests of the
//! `tombola` package do the same to whole processes.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

use proptest::test_runner::{RngAlgorithm, TestRng};
use runtime::bindings::BindingStore;
use runtime::memory::{MemoryBindings, MemoryLog, MemorySink};
use runtime::run::{Job, Mode, Options, Stores, run};
use runtime::shared::Shared;
use runtime::snapshot::store::SnapshotStore;
use runtime::source::Claim;
use runtime::{
    At, Class, Ctx, Flow, KeyedState, Messages, Millis, Operator, PartitionId, Position, Route, State,
    Timers, TopicId, slot_of, stable_hash,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type Key = u64;

/// A record: a command for a key, or a change of a rate that every worker must know.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
enum Record {
    Command(Key),
    Rate(i64),
}

fn hash(key: &Key) -> u64 {
    stable_hash(&key.to_le_bytes())
}

fn slot(key: &Key) -> u8 {
    slot_of(hash(key))
}

/// Counts commands per key at the rate of the moment; a key that is silent for a second reports and resets.
struct Count {
    counts: KeyedState<Key, (i64, Millis)>,
    rate: KeyedState<u8, i64>,
    timers: Timers<Key>,
}

impl Count {
    fn new() -> Self {
        Count {
            counts: KeyedState::new("counts.v1", slot),
            rate: KeyedState::new_replicated("rate.v1", |_| 0),
            timers: Timers::default(),
        }
    }
}

impl Operator for Count {
    type In = Record;
    type Out = (Key, i64);
    const NAME: &'static str = "count";

    fn route(input: &Record) -> Route {
        match input {
            Record::Command(key) => Route::Key(hash(key)),
            Record::Rate(_) => Route::All,
        }
    }

    fn on_record(&mut self, at: At, input: Record, ctx: &mut Ctx<(Key, i64)>) {
        match input {
            Record::Rate(rate) => self.rate.insert(0, rate),
            Record::Command(key) => {
                let rate = *self.rate.get(&0).unwrap_or(&1);
                let due = ctx.now() + 1000;
                let count = self.counts.get_or_insert_with(&key, || (0, 0));
                *count = (count.0 + rate, due);
                ctx.emit(at, (key, count.0));
                self.timers.set(due, key);
            }
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.timers.next()
    }

    fn on_timer(&mut self, due: Millis, ctx: &mut Ctx<(Key, i64)>) {
        for key in self.timers.take(due) {
            if self.counts.get(&key).is_some_and(|(_, at)| *at == due) {
                let (count, _) = self.counts.remove(&key).unwrap();
                ctx.emit(At::record(Position::timer(due, 1, hash(&key))), (key, -count));
            }
        }
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.counts, &mut self.rate]
    }

    fn on_restored(&mut self) {
        let due: Vec<(Millis, Key)> = self.counts.iter().map(|(key, (_, due))| (*due, *key)).collect();
        due.into_iter().for_each(|(due, key)| self.timers.set(due, key));
    }
}

/// Keyed otherwise: numbers what it sees of each residue, so that order between keys matters.
struct Number {
    seen: KeyedState<u64, u64>,
}

impl Operator for Number {
    type In = (Key, i64);
    type Out = (Key, i64, u64);
    const NAME: &'static str = "number";

    fn route(input: &(Key, i64)) -> Route {
        Route::Key(hash(&(input.0 % 7)))
    }

    fn on_record(&mut self, at: At, (key, count): (Key, i64), ctx: &mut Ctx<(Key, i64, u64)>) {
        let seen = self.seen.get_or_insert_with(&(key % 7), || 0);
        *seen += 1;
        ctx.emit(at, (key, count, *seen));
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.seen]
    }
}

struct Counting;

impl Job for Counting {
    type Record = Record;
    type Item = (Key, i64, u64);

    fn build<'s>(&self, flow: &mut Flow<'s, Self::Item>, source: Messages<'s, Record>) {
        let counted = flow.stateful(Count::new(), source);
        let numbered = flow.stateful(Number { seen: KeyedState::new("seen.v1", slot) }, counted);
        flow.deliver(1, numbered);
    }
}

fn rng(seed: u8) -> TestRng {
    TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32])
}

fn below(rng: &mut TestRng, n: u64) -> u64 {
    use proptest::prelude::Rng;
    rng.next_u64() % n
}

const PARTITIONS: [PartitionId; 4] = [
    PartitionId { topic: TopicId(0), partition: 0 },
    PartitionId { topic: TopicId(0), partition: 1 },
    PartitionId { topic: TopicId(1), partition: 0 },
    PartitionId { topic: TopicId(2), partition: 0 },
];

/// Records over about a minute, each partition with its own pace and some disorder.
fn log(seed: u8, records: usize) -> MemoryLog<Record> {
    let log = MemoryLog::new(PARTITIONS);
    let mut rng = rng(seed);
    for id in PARTITIONS {
        let reference = id.topic == TopicId(2);
        let count = if reference { 50 } else { records / 3 };
        for i in 0..count {
            let time = 1_000_000 + (i * 60_000 / count) as i64 + below(&mut rng, 300) as i64;
            let (class, record) = if reference {
                (Class::Reference, Record::Rate(1 + below(&mut rng, 9) as i64))
            } else {
                (Class::Command, Record::Command(below(&mut rng, 200)))
            };
            let claim = if i == 0 { Claim::BeforeEverything } else { Claim::At(time) };
            log.append(id, [(claim, class, record)]);
        }
    }
    log
}

struct Setting {
    workers: usize,
    epoch_records_max: usize,
    snapshot_every_ms: i64,
}

struct World {
    log: MemoryLog<Record>,
    bindings: MemoryBindings,
    sink: MemorySink<(Key, i64, u64)>,
}

impl World {
    fn new(log: MemoryLog<Record>) -> Self {
        World { log, bindings: MemoryBindings::default(), sink: MemorySink::new(true) }
    }

    /// One run until drained; it fails after `fail_after`, if given.
    fn run(&self, folder: &Path, setting: &Setting, fail_after: Option<Duration>) -> Result<(), String> {
        let mut bindings = self.bindings.clone();
        let generation = bindings.begin_generation("test", "{}", setting.workers, 0).unwrap();
        let options = Options {
            workers: setting.workers,
            epoch_ms: 1,
            idle_epoch_ms: 5,
            epoch_records_max: setting.epoch_records_max,
            epochs_in_flight_max: 8,
            snapshot_every_ms: setting.snapshot_every_ms,
            claim_ahead_ms_max: 300_000,
            until_drained: true,
        };
        let stores = Stores {
            readers: vec![self.log.clone(); setting.workers],
            bindings: Box::new(bindings),
            sinks: vec![Box::new(self.sink.clone())],
            snapshots: Some(SnapshotStore::local(folder).unwrap()),
        };
        let shared = Arc::new(Shared::default());
        if let Some(after) = fail_after {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                std::thread::sleep(after);
                shared.fail("struck by the test".into());
            });
        }
        run(Arc::new(Counting), &options, Mode::Live { generation }, stores, &shared, &Arc::default())
            .map_err(|error| error.to_string())
    }

    fn answer(&self) -> Vec<(At, (Key, i64, u64))> {
        self.sink.items().into_iter().map(|item| (item.at, item.body)).collect()
    }
}

fn undisturbed(seed: u8, records: usize, setting: &Setting) -> Vec<(At, (Key, i64, u64))> {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(log(seed, records));
    world.run(folder.path(), setting, None).unwrap();
    world.answer()
}

#[test]
fn workers_and_cuts_do_not_change_the_answer() {
    let base = Setting { workers: 1, epoch_records_max: 100_000, snapshot_every_ms: 1_000_000 };
    let expected = undisturbed(1, 6000, &base);
    assert!(expected.len() > 6000, "timers fired too: {}", expected.len());
    for (workers, epoch_records_max) in [(1, 7), (1, 500), (2, 31), (3, 1000), (4, 64)] {
        let setting = Setting { workers, epoch_records_max, snapshot_every_ms: 2 };
        let got = undisturbed(1, 6000, &setting);
        assert_eq!(got.len(), expected.len(), "workers {workers}, cap {epoch_records_max}");
        assert!(got == expected, "workers {workers}, cap {epoch_records_max}");
    }
}

#[test]
fn failures_at_any_moment_do_not_change_the_answer() {
    let base = Setting { workers: 1, epoch_records_max: 100_000, snapshot_every_ms: 1_000_000 };
    for seed in 0..6 {
        let expected = undisturbed(seed, 9000, &base);
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(log(seed, 9000));
        let mut rng = rng(100 + seed);
        let mut failures = 0;
        for _ in 0..12 {
            let workers = 1 + below(&mut rng, 4) as usize;
            let cap = 20 + below(&mut rng, 200) as usize;
            let setting = Setting { workers, epoch_records_max: cap, snapshot_every_ms: 3 };
            let after = Duration::from_micros(2000 + below(&mut rng, 60_000));
            match world.run(folder.path(), &setting, Some(after)) {
                Ok(()) => break,
                Err(error) => assert!(error.contains("struck"), "{error}"),
            }
            failures += 1;
        }
        let setting = Setting { workers: 2, epoch_records_max: 333, snapshot_every_ms: 50 };
        world.run(folder.path(), &setting, None).unwrap();
        assert!(world.answer() == expected, "seed {seed} after {failures} failures");
    }
}
