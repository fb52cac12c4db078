//! Statements kept by increments equal those of a plain program, after every prefix of a random history.
//!
//! The job runs on the runtime with stores in memory: at 1 to 4 workers, epochs cut anywhere, struck down at any
//! moment and restarted from snapshots at another number of workers. After every epoch, whatever it took, the
//! rows must be those of the plain program after the same events, and the deltas told must add up to them.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "commissions/model.rs"]
mod model;

use model::{Event, Key, RateKey, Row};
use operators::commission::tiers::commission;
use operators::commission::{Sale, StatementKey};
use operators::messages::{Output, TableChange};
use operators::settings::Settings;
use pipelines::jobs::commissions;
use proptest::prelude::*;
use runtime::bindings::BindingStore as _;
use runtime::memory::{MemoryBindings, MemoryLog};
use runtime::run::{Job, Mode, Options, Stores, run};
use runtime::shared::Shared;
use runtime::sink::{EpochItems, Sink, SinkError};
use runtime::snapshot::store::SnapshotStore;
use runtime::source::Claim;
use runtime::{Class, Epoch, Flow, Messages, PartitionId, TopicId};
use schemas::facts::{Cause, CommissionFact, DeadLetter};
use schemas::reference::{CommissionPeriod, CommissionRate, OfferKind, Partner, PeriodStatus, Standing};
use schemas::rows::CommissionRow;
use schemas::{Fact, Month, Reference, ReferenceKey, Text};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const FIRST_MONTH: i32 = 570;

/// A record of the log, and its event's number.
#[derive(Clone, Debug)]
enum Record {
    Sale(usize, Box<Sale>),
    Changes(usize, Vec<TableChange>),
}

/// The commissions job alone; it also tells, in order, which events it took.
struct Commissions;

impl Job for Commissions {
    type Record = Record;
    type Item = Output;

    fn build<'s>(&self, flow: &mut Flow<'s, Output>, source: Messages<'s, Record>) {
        let taken = flow.flat_map(source.clone(), |_, record| Some(taken(&record)));
        flow.deliver(0, taken);
        let sales = flow.flat_map(source.clone(), |_, record| match record {
            Record::Sale(_, sale) => Some(sale),
            Record::Changes(..) => None,
        });
        let changes = flow.flat_map(source, |_, record| match record {
            Record::Changes(_, changes) => changes,
            Record::Sale(..) => Vec::new(),
        });
        commissions::wire(flow, &settings(), sales, changes);
    }
}

fn settings() -> Settings {
    Settings {
        topics: ["rates", "partners", "periods", "sales"].map(String::from).into(),
        ..Settings::default()
    }
}

/// A dead letter serves as the note that an event was taken.
fn taken(record: &Record) -> Output {
    let (Record::Sale(number, _) | Record::Changes(number, _)) = record;
    Output::DeadLetter(Box::new(DeadLetter {
        id: Text::default(),
        topic: Text::default(),
        partition: 0,
        offset: *number as i64,
        reason: String::new(),
        payload: Vec::new(),
        key: None,
        record_time_ms: 0,
    }))
}

fn partner(partner: u8) -> Text {
    Text::from(format!("p{partner}"))
}

fn currency(currency: u8) -> Text {
    Text::const_new(["EUR", "BRL"][usize::from(currency)])
}

fn month(month: u8) -> Month {
    Month(FIRST_MONTH + i32::from(month))
}

fn statement((of, money, kind, when): Key) -> StatementKey {
    StatementKey {
        tenant: "t".into(),
        partner: partner(of),
        currency: currency(money),
        kind: OfferKind::ALL[usize::from(kind)],
        month: month(when),
    }
}

fn rate((plan, money, kind, when, floor): RateKey, rate_bps: i32) -> Reference {
    Reference::CommissionRate(Box::new(CommissionRate {
        tenant: "t".into(),
        plan: format!("plan{plan}").into(),
        offer_kind: OfferKind::ALL[usize::from(kind)],
        currency: currency(money),
        tier_floor_minor: floor,
        rate_bps,
        valid_from: format!("{}-01", month(when)).into(),
    }))
}

fn upsert(row: Reference) -> TableChange {
    TableChange { key: row.key(), row: Some(row) }
}

fn delete(key: ReferenceKey) -> TableChange {
    TableChange { key, row: None }
}

fn changes(event: &Event) -> Vec<TableChange> {
    match event {
        Event::Trade(..) => Vec::new(),
        Event::Rate(key, Some(bps)) => vec![upsert(rate(*key, *bps))],
        Event::Rate(key, None) => vec![delete(rate(*key, 0).key())],
        Event::MoveRate(old, new, bps) => vec![delete(rate(*old, 0).key()), upsert(rate(*new, *bps))],
        Event::Plan(of, plan) => {
            let row = Reference::Partner(Box::new(Partner {
                tenant: "t".into(),
                partner_id: partner(*of),
                status: Standing::Active,
                plan: format!("plan{}", plan.unwrap_or_default()).into(),
            }));
            vec![if plan.is_some() { upsert(row) } else { delete(row.key()) }]
        }
        Event::Period(when, closed) => {
            let status = if *closed { PeriodStatus::Closed } else { PeriodStatus::Open };
            let row = CommissionPeriod { tenant: "t".into(), month: month(*when).text(), status };
            vec![upsert(Reference::CommissionPeriod(Box::new(row)))]
        }
    }
}

fn partition(topic: u16, partition: u32) -> PartitionId {
    PartitionId { topic: TopicId(topic), partition }
}

/// Where an event's record lies; `lane` keeps a refund behind its sale.
fn place(event: &Event, lane: u32) -> PartitionId {
    match event {
        Event::Rate(..) | Event::MoveRate(..) => partition(0, 0),
        Event::Plan(..) => partition(1, 0),
        Event::Period(..) => partition(2, 0),
        Event::Trade(..) => partition(3, lane),
    }
}

/// An event, its time and its lane.
type Timed = (Event, i64, u32);

fn log(history: &[Timed]) -> MemoryLog<Record> {
    let ids = [partition(0, 0), partition(1, 0), partition(2, 0), partition(3, 0), partition(3, 1)];
    let log = MemoryLog::new(ids);
    for (number, (event, time, lane)) in history.iter().enumerate() {
        let (class, record) = match event {
            Event::Trade(key, amount) => {
                (Class::Command, Record::Sale(number, Box::new(sale(number, *key, *amount, *time))))
            }
            event => (Class::Reference, Record::Changes(number, changes(event))),
        };
        log.append(place(event, *lane), [(Claim::At(*time), class, record)]);
    }
    log
}

fn sale(number: usize, key: Key, amount: i64, at_ms: i64) -> Sale {
    let cause = Cause {
        command_id: "c".into(),
        topic: "sales".into(),
        partition: 0,
        offset: number as i64,
        record_time_ms: at_ms,
    };
    Sale { key: statement(key), amount_minor: amount.abs(), refund: amount < 0, at_ms, cause }
}

/// Keeps whole epochs.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<EpochItems<Output>>>>);

impl Sink<Output> for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn committed(&mut self) -> Result<Epoch, SinkError> {
        Ok(self.0.lock().unwrap().last().map_or(Epoch(0), |last| last.epoch))
    }

    fn commit(&mut self, run: &[EpochItems<Output>]) -> Result<(), SinkError> {
        self.0.lock().unwrap().extend_from_slice(run);
        Ok(())
    }
}

/// How to run: workers, records an epoch takes, and when it is struck down, one after the other; then once more.
#[derive(Clone, Debug)]
struct Course {
    runs: Vec<(usize, usize, Option<u64>)>,
}

fn one_run(
    log: &MemoryLog<Record>,
    bindings: &MemoryBindings,
    sink: &Recorder,
    folder: &Path,
    (workers, epoch_records_max, strike_us): (usize, usize, Option<u64>),
) -> Result<(), String> {
    let mut bindings = bindings.clone();
    let recorded = settings().to_recorded();
    let generation = bindings.begin_generation("test", &recorded, workers, 0).unwrap();
    let options = Options {
        workers,
        epoch_ms: 1,
        idle_epoch_ms: 2,
        epoch_records_max,
        epochs_in_flight_max: 8,
        snapshot_every_ms: 2,
        claim_ahead_ms_max: 300_000,
        until_drained: true,
    };
    let stores = Stores {
        readers: vec![log.clone(); workers],
        bindings: Box::new(bindings),
        sinks: vec![Box::new(sink.clone())],
        snapshots: Some(SnapshotStore::local(folder).unwrap()),
    };
    let shared = Arc::new(Shared::default());
    if let Some(after) = strike_us {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(after));
            shared.fail("struck by the test".into());
        });
    }
    run(Arc::new(Commissions), &options, Mode::Live { generation }, stores, &shared, &Arc::default())
        .map_err(|error| error.to_string())
}

fn epochs(history: &[Timed], course: &Course) -> Vec<EpochItems<Output>> {
    let (log, bindings, sink) = (log(history), MemoryBindings::default(), Recorder::default());
    let folder = tempfile::tempdir().unwrap();
    for (index, setting) in course.runs.iter().enumerate() {
        match one_run(&log, &bindings, &sink, folder.path(), *setting) {
            Ok(()) => break,
            Err(error) => assert!(error.contains("struck"), "{error}"),
        }
        assert!(index + 1 < course.runs.len(), "the last run isn't struck down");
    }
    let epochs = sink.0.lock().unwrap();
    epochs.clone()
}

/// The statements as their rows say, and as the sum of the deltas told.
#[derive(Default)]
struct Books {
    rows: BTreeMap<StatementKey, Row>,
    told: BTreeMap<StatementKey, [i64; 3]>,
    taken: Vec<usize>,
}

impl Books {
    fn take(&mut self, epoch: &EpochItems<Output>) {
        let mut changed = Vec::new();
        for item in &epoch.items {
            match &item.body {
                Output::DeadLetter(note) => self.taken.push(note.offset as usize),
                Output::Row(schemas::Row::Commission(row)) => {
                    self.rows.insert(
                        key_of_row(row),
                        (
                            row.base_minor.into(),
                            row.commission_minor.into(),
                            row.adjustment_minor.into(),
                            row.status == PeriodStatus::Closed,
                        ),
                    );
                }
                Output::Fact(Fact::Commission(fact)) => {
                    let key = key_of_fact(fact);
                    assert!(!changed.contains(&key), "one delta for each statement and epoch: {key:?}");
                    self.add(&key, fact);
                    changed.push(key);
                }
                other => panic!("{other:?}"),
            }
        }
        for (key, sums) in &self.told {
            let (base, commission, adjustment, _) = self.rows[key];
            assert_eq!(sums.map(i128::from), [base, commission, adjustment], "deltas add up: {key:?}");
        }
    }

    fn add(&mut self, key: &StatementKey, fact: &CommissionFact) {
        let sums = self.told.entry(key.clone()).or_default();
        sums[0] += fact.base_delta_minor;
        sums[1] += fact.commission_delta_minor;
        sums[2] += fact.adjustment_delta_minor;
        assert_eq!(*sums, [fact.base_minor, fact.commission_minor, fact.adjustment_minor]);
        let effects: i64 = fact.causes.iter().map(|cause| cause.effect_minor).sum();
        assert_eq!(effects, fact.commission_delta_minor + fact.adjustment_delta_minor, "{fact:?}");
        let follows = commission(fact.commission_base_minor.into(), &fact.tiers);
        assert_eq!(follows, fact.commission_minor.into(), "a fact says what its commission follows from");
        assert!(fact.status == PeriodStatus::Closed || fact.computed_minor == fact.commission_minor);
    }
}

fn key_of_row(row: &CommissionRow) -> StatementKey {
    StatementKey {
        tenant: row.tenant.clone(),
        partner: row.partner_id.clone(),
        currency: row.currency.clone(),
        kind: row.offer_kind,
        month: Month::parse(&row.month).unwrap(),
    }
}

fn key_of_fact(fact: &CommissionFact) -> StatementKey {
    StatementKey {
        tenant: fact.tenant.clone(),
        partner: fact.partner_id.clone(),
        currency: fact.currency.clone(),
        kind: fact.offer_kind,
        month: Month::parse(&fact.month).unwrap(),
    }
}

/// Runs the history and compares with the plain program after every epoch.
fn check(history: &[Timed], course: &Course) {
    let epochs = epochs(history, course);
    let mut books = Books::default();
    let mut stands = Vec::new();
    for epoch in &epochs {
        books.take(epoch);
        stands.push((books.taken.len(), books.rows.clone()));
    }
    assert_eq!(books.taken.len(), history.len(), "every event was taken");
    let ordered: Vec<Event> = books.taken.iter().map(|number| history[*number].0.clone()).collect();
    let expected = model::after_each(&ordered);
    for (taken, rows) in stands {
        let Some(expected) = taken.checked_sub(1).map(|last| &expected[last]) else { continue };
        let expected: BTreeMap<StatementKey, Row> =
            expected.iter().map(|(key, row)| (statement(*key), *row)).collect();
        assert_eq!(rows, expected, "after {taken} of {ordered:#?}");
    }
}

/// One step of a random history, as numbers: `events` makes sense of them.
type Raw = (u8, (u8, u8, u8, u8), (u8, u8, u8), i64, i64);

fn raw() -> impl Strategy<Value = Raw> {
    let key = (0..3_u8, 0..2_u8, 0..2_u8, 0..4_u8);
    (0..20_u8, key, (0..2_u8, 0..3_u8, 0..7_u8), 1..60_i64, 0..3_i64)
}

const RATES_BPS: [i32; 7] = [0, 333, 500, 1_000, 1_250, 3_333, 10_000];
const FLOORS: [i64; 3] = [0, 20, 50];

/// A well-formed history: a refund follows its sale, once; times never go back.
fn events(raw: &[Raw]) -> Vec<Timed> {
    let mut time = 1_000;
    let mut unrefunded: Vec<(Key, i64, u32)> = Vec::new();
    let mut history = Vec::new();
    for (number, (what, key, (plan, floor, bps), amount, pause)) in raw.iter().copied().enumerate() {
        time += pause;
        let rate_key = (plan, key.1, key.2, key.3, FLOORS[usize::from(floor)]);
        let bps = RATES_BPS[usize::from(bps)];
        let mut lane = (number % 2) as u32;
        let event = match what {
            0..=7 => {
                unrefunded.push((key, amount, lane));
                Event::Trade(key, amount)
            }
            8..=10 if !unrefunded.is_empty() => {
                let (key, amount, of) = unrefunded.swap_remove(number % unrefunded.len());
                lane = of;
                Event::Trade(key, -amount)
            }
            8..=12 => Event::Rate(rate_key, Some(bps)),
            13 => Event::Rate(rate_key, None),
            14 => Event::MoveRate(rate_key, (rate_key.0, rate_key.1, rate_key.2, (key.3 + 1) % 4, 0), bps),
            15 => Event::Plan(key.0, None),
            16 => Event::Plan(key.0, Some(plan)),
            17 | 18 => Event::Period(key.3, true),
            _ => Event::Period(key.3, false),
        };
        history.push((event, time, lane));
    }
    history
}

/// Plans and rates from the beginning, so that random histories soon have figures.
fn with_beginning(raw: &[Raw]) -> Vec<Timed> {
    let mut history: Vec<Timed> = Vec::new();
    for of in 0..3 {
        history.push((Event::Plan(of, Some(of % 2)), 1, 0));
    }
    for plan in 0..2 {
        for kind in 0..2 {
            history.push((Event::Rate((plan, 0, kind, 0, 0), Some(1_000 + i32::from(plan) * 250)), 1, 0));
        }
    }
    history.extend(events(raw));
    history
}

fn course() -> impl Strategy<Value = Course> {
    let strike = proptest::collection::vec((1..5_usize, 1..30_usize, (500..40_000_u64).prop_map(Some)), 0..3);
    (strike, 1..5_usize, 1..40_usize).prop_map(|(mut runs, workers, cap)| {
        runs.push((workers, cap, None));
        Course { runs }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn increments_equal_recomputation_after_every_prefix(
        raw in proptest::collection::vec(raw(), 1..60),
        course in course(),
    ) {
        check(&with_beginning(&raw), &course);
    }
}
