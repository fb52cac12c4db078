//! The store and the operator against a plain map.

use super::Dedup;
use super::chunks::CHUNK_LEN;
use super::entry::KeyHash;
use super::store::{Seen, Store};
use crate::fixtures::{cancel, order, place, record, settings};
use crate::harness::Course;
use crate::messages::{CommandMsg, DedupOut, Output};
use crate::settings::Settings;
use proptest::prelude::*;
use runtime::{Class, Entries, Millis, State};
use schemas::Fact;
use std::collections::HashMap;

const HOUR_MS: Millis = 3_600_000;
/// Entries hold times up to the year 2109.
const TIME_MS_MAX: Millis = (1 << 42) - 1;

/// What the store is held to: the first command within the horizon, by key, and the clock of each slot.
#[derive(Default)]
struct Model {
    first: HashMap<u64, (u64, Millis, i64)>,
    clocks: HashMap<u8, i64>,
    /// The last hour of each slot's clock that some horizon has forgotten.
    forgotten: HashMap<u8, i64>,
}

impl Model {
    fn see(&mut self, id: u64, payload: u64, time: Millis, horizon_ms: Millis) -> Seen {
        let held = self.clocks.entry(slot_of_id(id)).or_default();
        let forgotten = self.forgotten.entry(slot_of_id(id)).or_insert(i64::MIN);
        let clock = (*held).max(time.div_euclid(HOUR_MS));
        let remembered = (horizon_ms + HOUR_MS - 1) / HOUR_MS;
        match self.first.get(&id) {
            Some((known, first, hour))
                if time - first <= horizon_ms && clock - hour <= remembered && hour > forgotten =>
            {
                if *known == payload { Seen::Duplicate } else { Seen::Conflict }
            }
            _ => {
                *held = clock;
                *forgotten = clock.saturating_sub(remembered + 1).max(*forgotten);
                self.first.insert(id, (payload, time, clock));
                Seen::Fresh
            }
        }
    }

    fn set_horizon(&mut self, horizon_ms: Millis) {
        let remembered = (horizon_ms + HOUR_MS - 1) / HOUR_MS;
        for (slot, clock) in &self.clocks {
            let forgotten = self.forgotten.entry(*slot).or_insert(i64::MIN);
            *forgotten = (clock - remembered - 1).max(*forgotten);
        }
    }
}

fn slot_of_id(id: u64) -> u8 {
    (id % 3) as u8
}

fn key_of_id(id: u64) -> KeyHash {
    KeyHash::new(u128::from(id.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(id))
}

fn see(store: &mut Store, id: u64, payload: u64, time: Millis) -> Seen {
    store.see(slot_of_id(id), key_of_id(id), payload, time)
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    /// A command; the clock moves on before it by so much (or lags behind by `late_ms`).
    See {
        id: u64,
        payload: u64,
        after_ms: Millis,
        late_ms: Millis,
    },
    Tidy(u16),
    /// The settings change to this part of the longest horizon, in percent.
    Horizon(i64),
    Freeze,
    Write(usize),
    /// Crash back to the last complete snapshot; the model is asked to go back too.
    Crash,
}

fn step(ids: u64, horizon_ms: Millis) -> impl Strategy<Value = Step> {
    let after = prop_oneof![
        8 => 0..2 * HOUR_MS,
        2 => Just(0),
        1 => Just(horizon_ms),
        1 => Just(horizon_ms + 1),
        1 => Just(20_000 * HOUR_MS),
        1 => 16_384 * HOUR_MS..16_400 * HOUR_MS,
    ];
    let late = prop_oneof![6 => Just(0), 1 => 0..3 * horizon_ms];
    prop_oneof![
        20 => (0..ids, 0..2u64, after, late)
            .prop_map(|(id, payload, after_ms, late_ms)| Step::See { id, payload, after_ms, late_ms }),
        2 => (0..600u16).prop_map(Step::Tidy),
        1 => prop_oneof![Just(100), 1..300i64].prop_map(Step::Horizon),
        1 => Just(Step::Freeze),
        3 => (1..40usize).prop_map(Step::Write),
        1 => Just(Step::Crash),
    ]
}

/// A store with the snapshot it would be restored from.
struct Run {
    store: Store,
    /// Newest value of every key, as a snapshot store holds it.
    saved: HashMap<(u8, Vec<u8>), Option<Vec<u8>>>,
    /// Entries of the snapshot being written, and everything seen after a freeze: replayed after a crash.
    writing: Option<Entries>,
    since_freeze: Vec<Event>,
    since_saved: Vec<Event>,
    /// Horizons: now, when the snapshot being written was frozen, and of the last complete one.
    horizon_ms: Millis,
    frozen_horizon_ms: Millis,
    saved_horizon_ms: Millis,
}

/// What is done again after a crash.
#[derive(Clone, Copy)]
enum Event {
    See(u64, u64, Millis),
    Horizon(Millis),
}

impl Run {
    fn new(horizon_ms: Millis) -> Self {
        Run {
            store: Store::new(horizon_ms),
            saved: HashMap::new(),
            writing: None,
            since_freeze: Vec::new(),
            since_saved: Vec::new(),
            horizon_ms,
            frozen_horizon_ms: horizon_ms,
            saved_horizon_ms: horizon_ms,
        }
    }

    fn freeze(&mut self) {
        if self.writing.is_none() {
            self.store.freeze();
            self.writing = Some(Entries::default());
            self.since_freeze.clear();
            self.frozen_horizon_ms = self.horizon_ms;
        }
    }

    fn write(&mut self, budget: usize) {
        let Some(writing) = &mut self.writing else { return };
        if self.store.write_slice(budget, writing) {
            let complete = self.writing.take().unwrap().unpack().unwrap();
            self.saved.extend(complete.into_iter().map(|entry| ((entry.slot, entry.key), entry.value)));
            self.since_saved = self.since_freeze.clone();
            self.saved_horizon_ms = self.frozen_horizon_ms;
        }
    }

    /// Restores the last complete snapshot, chunks in any order, and replays what came after it.
    fn crash(&mut self) {
        self.store = Store::new(self.saved_horizon_ms);
        self.writing = None;
        for ((slot, key), value) in &self.saved {
            let entry = runtime::StateEntry { slot: *slot, key: key.clone(), value: value.clone() };
            self.store.load(&entry).unwrap();
        }
        self.store.on_restored();
        for event in self.since_saved.clone() {
            match event {
                Event::See(id, payload, time) => drop(see(&mut self.store, id, payload, time)),
                Event::Horizon(horizon_ms) => self.store.set_horizon(horizon_ms),
            }
        }
        self.since_freeze = self.since_saved.clone();
    }

    fn see(&mut self, id: u64, payload: u64, time: Millis) -> Seen {
        self.note(Event::See(id, payload, time));
        see(&mut self.store, id, payload, time)
    }

    fn set_horizon(&mut self, horizon_ms: Millis) {
        self.note(Event::Horizon(horizon_ms));
        self.horizon_ms = horizon_ms;
        self.store.set_horizon(horizon_ms);
    }

    fn note(&mut self, event: Event) {
        self.since_freeze.push(event);
        self.since_saved.push(event);
    }
}

fn check_history(horizon_ms: Millis, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut run, mut model, mut now) = (Run::new(horizon_ms), Model::default(), 1_000 * HOUR_MS);
    for step in steps {
        match step {
            Step::See { id, payload, after_ms, late_ms } => {
                now = (now + after_ms).min(TIME_MS_MAX);
                let time = (now - late_ms).max(0);
                let said = run.see(id, payload, time);
                prop_assert_eq!(said, model.see(id, payload, time, run.horizon_ms), "{} at {}", id, time);
            }
            Step::Tidy(times) => (0..times).for_each(|_| run.store.tidy()),
            Step::Horizon(percent) => {
                run.set_horizon(horizon_ms * percent / 100);
                model.set_horizon(horizon_ms * percent / 100);
            }
            Step::Freeze => run.freeze(),
            Step::Write(budget) => run.write(budget),
            Step::Crash => run.crash(),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_store_says_what_a_plain_map_says_through_sweeps_lateness_snapshots_and_crashes(
        steps in proptest::collection::vec(step(12, 24 * HOUR_MS), 1..400)
    ) {
        check_history(24 * HOUR_MS, steps)?;
    }

    #[test]
    fn with_many_commands_and_a_short_horizon_too(
        steps in proptest::collection::vec(step(3_000, 90 * 60_000), 1..1_500)
    ) {
        check_history(90 * 60_000, steps)?;
    }
}

/// Ids of `n` commands, one after another, in slot 0.
fn fill(store: &mut Store, from: u64, n: u64, time: Millis) {
    for id in from..from + n {
        assert_eq!(see(store, id * 3, 0, time), Seen::Fresh);
    }
}

#[test]
fn the_horizon_is_exact_and_a_repetition_does_not_extend_it() {
    let day = 24 * HOUR_MS;
    let mut store = Store::new(day);
    let start = 7 * HOUR_MS + 3_599_999;
    let table = [
        (start, 1, Seen::Fresh),
        (start, 1, Seen::Duplicate),
        (start + day - 1, 2, Seen::Conflict),
        (start + day, 1, Seen::Duplicate),
        (start + day + 1, 2, Seen::Fresh),
        (start + day + 2, 2, Seen::Duplicate),
        (start + day + 2, 1, Seen::Conflict),
        (start + 2 * day + 1, 2, Seen::Duplicate),
        (start + 2 * day + 2, 2, Seen::Fresh),
    ];
    for (time, payload, expected) in table {
        assert_eq!(see(&mut store, 5, payload, time), expected, "at {time}");
    }
}

#[test]
fn a_producer_whose_records_lag_by_days_is_remembered_as_long_as_the_others() {
    let mut store = Store::new(24 * HOUR_MS);
    assert_eq!(see(&mut store, 0, 0, 1_000 * HOUR_MS), Seen::Fresh);
    assert_eq!(see(&mut store, 3, 0, 100 * HOUR_MS), Seen::Fresh);
    assert_eq!(see(&mut store, 6, 0, 1_010 * HOUR_MS), Seen::Fresh);
    assert_eq!(see(&mut store, 3, 0, 110 * HOUR_MS), Seen::Duplicate);
    assert_eq!(see(&mut store, 3, 0, 125 * HOUR_MS), Seen::Fresh);
}

#[test]
fn each_entry_is_written_once_and_a_forgotten_hour_costs_a_tombstone_a_chunk() {
    let mut store = Store::new(HOUR_MS);
    let count = |store: &mut Store| {
        let mut out = Entries::default();
        store.freeze();
        while !store.write_slice(20, &mut out) {}
        let out = out.unpack().unwrap();
        let gone = out.iter().filter(|entry| entry.value.is_none()).count();
        (out.len() - gone, gone)
    };
    fill(&mut store, 0, 10 * CHUNK_LEN as u64, 0);
    assert_eq!(count(&mut store), (10, 0));
    assert_eq!(count(&mut store), (0, 0));
    fill(&mut store, 10_000, 1, 1);
    assert_eq!(count(&mut store), (1, 0));
    fill(&mut store, 20_000, 1, 3 * HOUR_MS);
    assert_eq!(store.len(), 1);
    assert_eq!(count(&mut store), (1, 11));
    fill(&mut store, 30_000, 1, 9 * HOUR_MS);
    fill(&mut store, 40_000, 1, 19 * HOUR_MS);
    assert_eq!(count(&mut store), (1, 2), "what no snapshot has heard of needs no chunk");
}

#[test]
fn a_damaged_chunk_is_refused() {
    let mut store = Store::new(HOUR_MS);
    let entry = |key: Vec<u8>, value| runtime::StateEntry { slot: 0, key, value: Some(value) };
    assert!(store.load(&entry(vec![0; 12], vec![1; 23])).is_err());
    assert!(store.load(&entry(vec![0; 11], vec![1; 24])).is_err());
    assert!(store.load(&entry(vec![0; 12], vec![1; 24])).is_ok());
}

fn dedup() -> Dedup {
    Dedup::new(Settings { idempotency_horizon_ms: 50, ..settings() })
}

fn tell(out: &DedupOut) -> String {
    match out {
        DedupOut::Fresh(message) => format!("fresh {}", message.command.command_id()),
        DedupOut::Out(Output::Fact(Fact::Order(fact))) => {
            let event = serde_json::to_value(fact.event).unwrap();
            format!("{} {} {}", event.as_str().unwrap(), fact.cause.command_id, fact.order_id)
        }
        DedupOut::Out(other) => panic!("dedup doesn't say {other:?}"),
    }
}

#[test]
fn commands_of_every_kind_pass_once_within_their_tenant() {
    let log = [
        (10, place(order("acme", "A", "O")), "fresh place-A"),
        (11, place(order("other", "A", "O")), "fresh place-A"),
        (12, place(order("acme", "A", "O")), "duplicate place-A A"),
        (
            13,
            CommandMsg { payload_hash: 9, ..place(order("acme", "A", "O")) },
            "idempotency_conflict place-A A",
        ),
        (14, cancel("acme", "A"), "fresh cancel-A"),
        (20, cancel("acme", "A"), "duplicate cancel-A A"),
        (60, place(order("acme", "A", "O")), "duplicate place-A A"),
        (61, place(order("acme", "A", "O")), "fresh place-A"),
    ];
    let records = log.iter().map(|(time, message, _)| record(*time, Class::Command, 0, message.clone()));
    let records: Vec<_> = records.collect();
    let expected: Vec<&str> = log.iter().map(|(_, _, said)| *said).collect();
    for workers in 1..4 {
        let crashes = [(1, 3), (3, 2)].into();
        let course = Course { cuts: vec![11, 12, 13, 20, 60], crashes, workers, end_ms: 100 };
        let said: Vec<String> = course.run(dedup, &records).iter().map(|out| tell(&out.body)).collect();
        assert_eq!(said, expected, "on {workers} workers");
    }
}
