//! Fraud and commissions apart from sales say what they say inside it: the same log, run both ways.
//!
//! ```text
//!            ┌─> sales, fraud and commissions in one ──────────────────────> facts, tables ┐
//!   one log ─┤                                                                             ├─ equal
//!            └─> sales ─> facts.orders, facts.screening ─> fraud, commissions ─> facts, tables ┘
//! ```
//!
//! The log is the one that pipelines are killed over, with cards, devices and rules in it besides: orders that
//! wait for their offers, payments declined before their orders came, rules that change in the millisecond of
//! an order, event times out of order. Facts of fraud are compared record by record; those of commissions,
//! which depend on where epochs are cut, by what they add up to for each statement and each cause.

mod support;

use connectors::embedded::Log;
use pipelines::demo::random::Dice;
use pipelines::demo::record::Body;
use schemas::commands::PlaceOrder;
use schemas::debezium::Op;
use schemas::facts::{CauseKind, Fact};
use schemas::reference::{Partner, Standing};
use schemas::rows::TableSpec;
use schemas::screening::ScreeningEvent;
use schemas::velocity::{FraudAction, FraudEvent, RuleStatus, VelocityKey, VelocityMetric, VelocityRule};
use schemas::{ALL_TABLES, Command, Reference, SchemaIds, Text};
use sinks::embedded::Reader;
use std::collections::BTreeMap;
use std::path::Path;
use support::process::{Ended, Running, end_of, tombola};
use support::workload::{self, START_MS, Timed};
use support::{Folder, Pace, RULES, books, configure};

const ORDERS: u64 = 500;
const LATENESS_MS: i64 = 1_500;
const APART: &str = "fraud,commissions";
const TENANTS: [&str; 3] = ["tenant-0", "tenant-1", "tenant-2"];

/// The workload of a seed, with what velocity looks at.
fn records(seed: u64, actions: &[FraudAction]) -> Vec<Timed> {
    let mut records = workload::records(seed, ORDERS);
    for record in &mut records {
        if let Body::Command(Command::PlaceOrder(order)) = &mut record.body {
            disguise(order);
        }
    }
    let end_ms = records.last().map_or(START_MS, |record| record.at_ms);
    records.extend(rules(seed, actions, end_ms));
    records.sort_by_key(|record| record.at_ms);
    records
}

/// Few of each, by the order's id, so that a repeated command says the same; event times out of order.
fn disguise(order: &mut PlaceOrder) {
    let dice = runtime::stable_hash(order.order_id.as_bytes());
    let pick = |shift: u32, name: &str, of: u64| -> Option<Text> {
        let drawn = dice >> shift & 0xff;
        (!drawn.is_multiple_of(5)).then(|| format!("{name}{}", drawn % of).into())
    };
    order.customer_id = format!("customer-{}", dice % 20).into();
    order.card = pick(8, "card", 6);
    order.device = pick(16, "device", 4);
    order.ip = pick(24, "ip", 3);
    order.placed_at_ms -= [0, 0, 3, 40, 900, 2_500][(dice >> 32) as usize % 6];
}

/// Rules over everything, that change in the midst of it.
fn rules(seed: u64, actions: &[FraudAction], end_ms: i64) -> Vec<Timed> {
    let mut dice = Dice::new(seed);
    let mut lsn = 1_000_000;
    let mut rules = Vec::new();
    for round in 0..60_i64 {
        for (key, metric, threshold) in [
            (VelocityKey::Customer, VelocityMetric::Count, 2),
            (VelocityKey::Card, VelocityMetric::Amount, 3_000),
            (VelocityKey::Device, VelocityMetric::DistinctCards, 2),
            (VelocityKey::Ip, VelocityMetric::DistinctCustomers, 4),
            (VelocityKey::Partner, VelocityMetric::Count, 5),
            (VelocityKey::Customer, VelocityMetric::Declines, 0),
            (VelocityKey::Card, VelocityMetric::Declines, 1),
        ] {
            if round >= 3 && dice.below(5) > 0 {
                continue;
            }
            lsn += 8;
            let rule = VelocityRule {
                tenant: TENANTS[round as usize % 3].into(),
                rule_id: format!("{key}-{metric}").into(),
                key,
                metric,
                window_ms: [1_000, 3_000, 8_000][dice.index(3)],
                threshold: threshold + dice.below(3) as i64,
                action: actions[dice.index(actions.len())],
                status: if dice.below(6) == 0 { RuleStatus::Disabled } else { RuleStatus::Active },
            };
            let after = Box::new(Reference::VelocityRule(Box::new(rule)));
            let (at_ms, op) = match round {
                0..3 => (START_MS, Op::Read),
                round => (START_MS + 1 + (end_ms - START_MS) * round / 60, Op::Update),
            };
            rules.push(Timed { at_ms, body: Body::Change { op, before: None, after, lsn } });
        }
    }
    rules.push(plan_move(START_MS + 4_000, lsn + 8));
    rules
}

fn plan_move(at_ms: i64, lsn: u64) -> Timed {
    let (tenant, partner_id) = (TENANTS[2].into(), "good".into());
    let partner = Partner { tenant, partner_id, status: Standing::Active, plan: "none".into() };
    let after = Box::new(Reference::Partner(Box::new(partner)));
    Timed { at_ms, body: Body::Change { op: Op::Update, before: None, after, lsn } }
}

/// A directory with this log; facts of sales go to so many partitions.
fn directory(records: &[Timed], pace: Pace, partitions: u32) -> Folder {
    let dir = Folder::new();
    let ids = workload::prepare(dir.path());
    workload::append(dir.path(), &ids, records, 0);
    let mut log = Log::open(dir.path()).expect("the log can be opened");
    for topic in ["facts.orders", "facts.screening"] {
        log.ensure_topic(topic, partitions).expect("topics can be made");
    }
    configure(dir.path(), pace, RULES);
    let path = dir.path().join("tombola.toml");
    let settings = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(&path, format!("{settings}[fraud]\nlateness_ms = {LATENESS_MS}\n"))
        .expect("it can be written");
    dir
}

fn run(dir: &Path, jobs: &str, workers: u64) -> Ended {
    let workers = workers.to_string();
    end_of(tombola(dir, &["run", "--until-drained", "--workers", &workers, "--jobs", jobs]))
}

/// A record without its epoch: key, value, timestamp.
type Record = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

/// What fraud and commissions said.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    fraud: Vec<Record>,
    alerts: String,
    statements: String,
    sums: BTreeMap<String, [i64; 3]>,
    causes: BTreeMap<String, [i64; 3]>,
}

fn table(state: &Path, name: &str) -> String {
    let spec: &TableSpec = ALL_TABLES.iter().find(|table| table.name == name).expect("there is such a table");
    format!("{:?}", Reader::open(state).expect("it has run").digest(spec).expect("a digest"))
}

/// By statement: count, amount and effect of everything but sales and refunds, by record; of those, count and
/// amount (their effects depend on what a delta sums up), and the effect of both together.
fn causes(dir: &Path) -> BTreeMap<String, [i64; 3]> {
    let mut sums: BTreeMap<String, [i64; 3]> = BTreeMap::new();
    for fact in books::facts(dir) {
        let Fact::Commission(fact) = fact else { continue };
        let statement = format!("{} {} {} {}", fact.tenant, fact.partner_id, fact.month, fact.offer_kind);
        for cause in &fact.causes {
            let mut add = |what: String, figures: [i64; 3]| {
                let sum = sums.entry(format!("{statement}: {what}")).or_default();
                sum.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
            };
            let (count, amount, effect) = (cause.count, cause.amount_minor, cause.effect_minor);
            if matches!(cause.kind, CauseKind::Sales | CauseKind::Refunds) {
                add(format!("{} of {}", cause.kind, cause.month), [count, amount, 0]);
                add(format!("trade of {}", cause.month), [0, 0, effect]);
            } else {
                let place = format!("{}/{}/{}", cause.topic, cause.partition, cause.offset);
                add(format!("{} of {} by {place}", cause.kind, cause.month), [count, amount, effect]);
            }
        }
    }
    sums
}

fn said(dir: &Path, state: &Path) -> Said {
    let mut outcome = books::outcome(dir);
    let fraud = outcome.facts.remove(&("facts.fraud".to_owned(), 0)).unwrap_or_default();
    Said {
        fraud,
        alerts: table(state, "fraud_alerts"),
        statements: table(state, "commission_statements"),
        sums: outcome.statements,
        causes: causes(dir),
    }
}

/// Everything in one pipeline.
fn together(records: &[Timed], workers: u64) -> Said {
    let dir = directory(records, Pace { epoch_records_max: 150, epochs_in_flight_max: 4 }, 1);
    run(dir.path(), "sales,fraud,commissions", workers).assert(0, &[]);
    said(dir.path(), dir.path())
}

/// Sales first, then the others over what it said.
fn sales_alone(records: &[Timed], workers: u64, partitions: u32) -> Folder {
    let dir = directory(records, Pace { epoch_records_max: 70, epochs_in_flight_max: 2 }, partitions);
    run(dir.path(), "sales", workers).assert(0, &[]);
    dir
}

fn state(dir: &Path) -> std::path::PathBuf {
    dir.join("jobs").join("fraud+commissions")
}

/// What makes order through a topic hard is in there: turns that aren't their records' own, payments declined
/// before their orders, orders that come late.
fn assert_hard(dir: &Path) {
    let (mut turns, mut declines, mut late) = (0, 0, 0);
    for fact in books::facts(dir) {
        match fact {
            Fact::Screening(fact) => {
                turns += usize::from(fact.turn.is_some());
                declines += usize::from(fact.event == ScreeningEvent::PaymentDeclined);
            }
            Fact::Fraud(fact) => late += usize::from(fact.event == FraudEvent::LateOrder),
            _ => {}
        }
    }
    assert!(turns > 10 && declines > 10 && late > 3, "{turns} turns, {declines} declines, {late} late");
}

#[test]
fn together_or_apart_the_digests_are_equal() {
    for (seed, workers, partitions) in [(1, 1, 1), (2, 3, 3)] {
        let records = records(seed, &[FraudAction::Flag]);
        let wanted = together(&records, 1 + seed);
        assert!(wanted.fraud.len() > 300, "rules fire: {}", wanted.fraud.len());
        assert!(wanted.causes.keys().any(|what| what.contains("plan_move")), "plans move");
        let dir = sales_alone(&records, workers, partitions);
        for again in 1..=2 {
            run(dir.path(), APART, again + workers % 2).assert(0, &[]);
            let found = said(dir.path(), &state(dir.path()));
            assert_eq!(found, wanted, "seed {seed}, run {again}");
        }
        assert_hard(dir.path());
    }
}

#[test]
fn alerts_are_equal_whatever_their_rules_do_to_orders() {
    let records = records(3, &[FraudAction::Flag, FraudAction::Review, FraudAction::Block]);
    let wanted = together(&records, 2);
    let dir = sales_alone(&records, 2, 2);
    run(dir.path(), "fraud", 3).assert(0, &[]);
    let state = dir.path().join("jobs").join("fraud");
    assert_eq!(books::outcome(dir.path()).facts[&("facts.fraud".to_owned(), 0)], wanted.fraud);
    assert_eq!(table(&state, "fraud_alerts"), wanted.alerts);
    run(dir.path(), "commissions", 1).assert(0, &[]);
    let apart = table(&dir.path().join("jobs").join("commissions"), "commission_statements");
    assert_ne!(apart, wanted.statements, "alone, rules that block and hold only say so: more is sold");
}

#[test]
fn killed_on_its_way_it_ends_the_same_and_a_replay_agrees() {
    let records = records(4, &[FraudAction::Flag]);
    let wanted = together(&records, 1);
    let dir = sales_alone(&records, 2, 3);
    let mut kills = 0;
    let points =
        ["bindings.after_append", "facts.before_commit", "facts.after_commit", "serving.before_commit"];
    for (n, point) in points.iter().cycle().take(8).enumerate() {
        let workers = (1 + n % 3).to_string();
        let arguments = ["run", "--until-drained", "--jobs", APART, "--workers", &workers];
        let mut command = tombola(dir.path(), &arguments);
        command.env("TOMBOLA_KILL_AT", format!("{point}:{}", 1 + n % 4));
        kills += usize::from(end_of(command).was_killed());
    }
    assert!(kills >= 4, "{kills} kills hit");
    run(dir.path(), APART, 2).assert(0, &[]);
    assert_eq!(said(dir.path(), &state(dir.path())), wanted);
    for jobs in [APART, "sales"] {
        for how in [&[][..], &["--from-snapshot"]] {
            end_of(tombola(dir.path(), &[&["verify", "--workers", "2", "--jobs", jobs], how].concat()))
                .assert(0, &[]);
        }
    }
}

#[test]
fn the_commands_take_the_pipeline_by_its_jobs() {
    let records = records(5, &[FraudAction::Flag]);
    let dir = sales_alone(&records, 1, 1);
    let ask = |arguments: &[&str]| end_of(tombola(dir.path(), arguments));
    ask(&["digest", "--jobs", APART]).assert(2, &["no pipeline has run there", "other --jobs"]);
    run(dir.path(), APART, 1).assert(0, &[]);
    let says = |arguments: &[&str], wanted: &str| {
        let ended = ask(arguments).assert(0, &[]);
        assert!(ended.stdout.contains(wanted), "{arguments:?} doesn't say {wanted:?}: {}", ended.stdout);
    };
    says(&["status", "--jobs", APART], "jobs/fraud+commissions");
    says(&["digest", "--jobs", "commissions,fraud"], "fraud_alerts");
    says(&["query", "--jobs", APART, "SELECT count(*) > 0 AS some FROM fraud_alerts"], "1");
    says(&["query", "SELECT count(*) AS alerts FROM fraud_alerts"], "0");
    says(&["explain", "commission", "good", "2023-11", "--jobs", APART], "because");
    says(&["status", "--jobs", APART, "--metrics"], "facts.fraud");
}

#[test]
fn no_two_pipelines_tell_the_same_facts() {
    let records = records(6, &[FraudAction::Flag]);
    let dir = sales_alone(&records, 1, 1);
    run(dir.path(), "fraud", 1).assert(0, &[]);
    let remedy = "leave that job to `fraud`";
    run(dir.path(), "sales,fraud", 1).assert(2, &["were decided without the job fraud"]);
    run(dir.path(), APART, 1).assert(2, &["facts.fraud is written by the pipeline `fraud`", remedy]);
    run(dir.path(), "commissions", 1).assert(0, &[]);
    run(dir.path(), "sales,commissions", 1).assert(2, &["were decided without the job commissions"]);
    let inside = directory(&records, Pace { epoch_records_max: 500, epochs_in_flight_max: 4 }, 1);
    run(inside.path(), "sales,commissions", 1).assert(0, &[]);
    let refused = ["facts.commissions is written by the pipeline `sales`", "leave that job to `sales`"];
    run(inside.path(), "commissions", 1).assert(2, &refused);
    run(dir.path(), "fraud,commission", 1)
        .assert(2, &["[possible values: sales, fraud, commissions, draws]"]);
    run(dir.path(), "draws", 1).assert(2, &["names draws without sales", "name sales, too"]);
}

#[test]
fn a_job_does_not_begin_in_the_middle() {
    let records = records(8, &[FraudAction::Flag]);
    let (early, late) = records.split_at(records.len() / 2);
    let dir = sales_alone(early, 2, 1);
    let refused = ["were decided without the job fraud", "`--jobs fraud`"];
    run(dir.path(), "sales,fraud", 1).assert(2, &refused);
    // It changed nothing: sales goes on, and the job reads everything in a pipeline of its own.
    workload::append(dir.path(), &workload::prepare(dir.path()), late, 0);
    run(dir.path(), "sales", 2).assert(0, &[]);
    run(dir.path(), "fraud", 2).assert(0, &[]);
    support::process::verify(dir.path(), 1);
}

/// Whether the pipeline apart has come as far as this.
fn follows_upto(dir: &Path, time_ms: i64) -> bool {
    let file = state(dir).join("tombola.db");
    file.exists()
        && Reader::open(&state(dir)).is_ok_and(|r| r.progress().is_ok_and(|p| p.decided_now >= time_ms))
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !done() {
        assert!(began.elapsed().as_secs() < 180, "stuck: {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn changes_wait_for_a_sales_pipeline_that_is_stopped() {
    let records = records(7, &[FraudAction::Flag]);
    let wanted = together(&records, 1);
    let parted = records.partition_point(|record| record.at_ms < records[records.len() / 2].at_ms);
    let (early, late) = records.split_at(parted);
    let dir = sales_alone(early, 2, 2);
    let apart = tombola(dir.path(), &["run", "--jobs", APART, "--workers", "2"]);
    let mut apart = Running::start(apart);
    wait_until("it follows", || follows_upto(dir.path(), early[parted - 1].at_ms));
    // Rules and rates of the second half are there long before sales says what happened by then.
    workload::append(dir.path(), &SchemaIds::fresh(), late, 0);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(!follows_upto(dir.path(), late[0].at_ms), "it is ahead of sales");
    run(dir.path(), "sales", 1).assert(0, &[]);
    wait_until("it follows to the end", || follows_upto(dir.path(), late[late.len() - 1].at_ms));
    apart.signal("TERM");
    apart.wait().assert(0, &[]);
    assert_eq!(said(dir.path(), &state(dir.path())), wanted);
    end_of(tombola(dir.path(), &["verify", "--jobs", APART])).assert(0, &[]);
}
