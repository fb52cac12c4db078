//! Velocity against a plain count of everything, under random windows, disorder, rule changes, epoch cuts,
//! crashes and worker counts.
//!
//! The plain program keeps every event for ever and counts by looking at all of them. A rule whose
//! threshold is nothing fires for every order, so its value can be compared each time.
#![allow(clippy::unwrap_used)] // a test may

use operators::harness::{Course, Harness};
use operators::messages::TableChange;
use operators::settings::Settings;
use operators::velocity::Velocity;
use operators::velocity::messages::{Fired, KeyHash, Probe, ProbeEvent, VelocityIn, Verdict};
use proptest::prelude::*;
use runtime::{At, Class, Envelope, Offset, PartitionId, Position, TopicId, slot_of};
use schemas::velocity::{FraudAction, RuleStatus, VelocityKey, VelocityMetric, VelocityRule};
use schemas::{Reference, ReferenceKey, Text};
use std::collections::{BTreeMap, BTreeSet};

const LATENESS_MS: i64 = 2_000;

fn velocity() -> Velocity {
    Velocity::new(&Settings { fraud_lateness_ms: LATENESS_MS, ..Settings::default() })
}

fn remembering() -> Velocity {
    Velocity::new(&Settings {
        fraud_lateness_ms: LATENESS_MS,
        fraud_history_ms_min: 20_000,
        ..Settings::default()
    })
}

/// What happens at a record time.
#[derive(Clone, Debug)]
enum Step {
    /// Event time, key, amount, currency, card, customer.
    Order(i64, u8, i64, u8, u8, u8),
    Decline(i64, u8),
    /// Number of the rule, and what it says now.
    Rule(u8, Option<(VelocityMetric, i64, i64)>),
}

fn key(n: u8) -> KeyHash {
    KeyHash::new("t", VelocityKey::Device, &n.to_string())
}

fn probe(time: i64, n: u8, event: ProbeEvent) -> VelocityIn {
    VelocityIn::Probe(Probe { tenant: "t".into(), kind: VelocityKey::Device, key: key(n), time, event })
}

fn rule(n: u8, what: Option<(VelocityMetric, i64, i64)>) -> VelocityIn {
    let rule_id = Text::from(format!("r{n}"));
    let key = ReferenceKey::VelocityRule { tenant: "t".into(), rule_id: rule_id.clone() };
    let row = what.map(|(metric, window_ms, threshold)| {
        Reference::VelocityRule(Box::new(VelocityRule {
            tenant: "t".into(),
            rule_id,
            key: VelocityKey::Device,
            metric,
            window_ms,
            threshold,
            action: FraudAction::Flag,
            status: RuleStatus::Active,
        }))
    });
    VelocityIn::Rule(Box::new(TableChange { key, row }))
}

impl Step {
    fn envelope(&self, time: i64, offset: usize) -> Envelope<VelocityIn> {
        let (class, body) = match *self {
            Step::Order(t, n, amount_minor, currency, card, customer) => {
                let (currency, card, customer) = (currency.into(), card.into(), u64::from(customer) + 1);
                let order = offset as u64;
                (
                    Class::Command,
                    probe(t, n, ProbeEvent::Order { order, amount_minor, currency, card, customer }),
                )
            }
            Step::Decline(t, n) => (Class::Command, probe(t, n, ProbeEvent::Declined)),
            Step::Rule(n, what) => (Class::Reference, rule(n, what)),
        };
        let partition = PartitionId { topic: TopicId(class as u16), partition: 0 };
        let at = At::record(Position::record(time, class, partition, Offset(offset as u64)));
        Envelope { at, body }
    }
}

/// The plain program: what every rule should say of every order, and how late the order is.
#[derive(Default)]
struct Plain {
    rules: BTreeMap<Text, VelocityRule>,
    /// With their record times.
    seen: Vec<(i64, Probe)>,
    /// Whether a rule that counts every order was always there.
    counts_all: bool,
}

/// What the plain program says of a rule and an order.
struct Expected {
    rule: VelocityRule,
    /// Of everything.
    value: i64,
    /// How the value is when only events from a time on count.
    times: Vec<(i64, i64, u64)>,
}

impl Plain {
    fn rule(&mut self, change: &TableChange) {
        match (&change.key, &change.row) {
            (_, Some(Reference::VelocityRule(row))) => {
                drop(self.rules.insert(row.rule_id.clone(), (**row).clone()));
            }
            (ReferenceKey::VelocityRule { rule_id, .. }, _) => drop(self.rules.remove(rule_id)),
            _ => unreachable!("no other table comes here"),
        }
    }

    fn expect(&self, probe: &Probe) -> Vec<Expected> {
        let one = |rule: &VelocityRule| {
            let begin = probe.time - rule.window_ms;
            let within = |p: &&Probe| p.key == probe.key && begin < p.time && p.time <= probe.time;
            let times: Vec<_> = self
                .seen
                .iter()
                .map(|(_, p)| p)
                .filter(within)
                .filter_map(|p| weigh(p, probe, rule.metric))
                .collect();
            Expected { rule: rule.clone(), value: total(&times, rule.metric, i64::MIN), times }
        };
        self.rules.values().map(one).collect()
    }
}

fn counts_every_order(row: &Reference) -> bool {
    matches!(row, Reference::VelocityRule(rule) if rule.metric == VelocityMetric::Count)
}

/// (time, amount, member) of an event, where the metric counts it for an order.
fn weigh(seen: &Probe, order: &Probe, metric: VelocityMetric) -> Option<(i64, i64, u64)> {
    let ProbeEvent::Order { currency: own, .. } = order.event else { unreachable!("an order is judged") };
    match (seen.event, metric) {
        (ProbeEvent::Declined, VelocityMetric::Declines) => Some((seen.time, 0, 0)),
        (ProbeEvent::Declined, _) | (_, VelocityMetric::Declines) => None,
        (ProbeEvent::Order { currency, .. }, VelocityMetric::Amount) if currency != own => None,
        (ProbeEvent::Order { card: 0, .. }, VelocityMetric::DistinctCards) => None,
        (ProbeEvent::Order { amount_minor, card, customer, .. }, _) => {
            let member = if metric == VelocityMetric::DistinctCards { card } else { customer };
            Some((seen.time, amount_minor, member))
        }
    }
}

fn total(times: &[(i64, i64, u64)], metric: VelocityMetric, from: i64) -> i64 {
    let counted = times.iter().filter(|(time, ..)| *time >= from);
    match metric {
        VelocityMetric::Count | VelocityMetric::Declines => counted.count() as i64,
        VelocityMetric::Amount => counted.map(|(_, amount, _)| amount).sum(),
        VelocityMetric::DistinctCards | VelocityMetric::DistinctCustomers => {
            let members: BTreeSet<u64> = counted.map(|(.., member)| *member).collect();
            members.len() as i64
        }
    }
}

/// What came of comparing.
#[derive(Default)]
struct Checked {
    /// How many values were equal to a count of everything.
    exact: usize,
    /// Orders for which a rule did not fire that would have if all had been known.
    missed: Vec<At>,
}

/// Holds every verdict to the plain program.
fn check(log: &[Envelope<VelocityIn>], verdicts: &[Envelope<Verdict>]) -> Result<Checked, TestCaseError> {
    let (mut plain, mut checked) = (Plain::default(), Checked::default());
    let changes = log.iter().any(|r| r.at.time() > 0 && matches!(r.body, VelocityIn::Rule(_)));
    let counts = |r: &Envelope<VelocityIn>| match &r.body {
        VelocityIn::Rule(change) => change.row.as_ref().is_some_and(counts_every_order),
        VelocityIn::Probe(_) => false,
    };
    plain.counts_all = !changes && log.iter().any(counts);
    let mut verdicts = verdicts.iter();
    for record in log {
        match &record.body {
            VelocityIn::Rule(change) => plain.rule(change),
            VelocityIn::Probe(probe) => {
                // Nothing counts as further ahead than it may be late.
                let time = probe.time.min(record.at.time() + LATENESS_MS);
                let probe = &Probe { time, ..probe.clone() };
                plain.seen.push((record.at.time(), probe.clone()));
                if probe.event != ProbeEvent::Declined {
                    let verdict = verdicts.next().expect("every order has its verdict");
                    prop_assert_eq!(verdict.at, record.at);
                    for expected in plain.expect(probe) {
                        let fired = verdict.body.fired.iter().find(|f| f.rule_id == expected.rule.rule_id);
                        match fired {
                            Some(fired) => checked.exact += usize::from(check_rule(&expected, fired, probe)?),
                            None if expected.value > expected.rule.threshold => {
                                checked.missed.push(record.at)
                            }
                            None => (),
                        }
                    }
                    check_late(&plain, probe, verdict)?;
                }
            }
        }
    }
    prop_assert!(verdicts.next().is_none(), "nothing else has a verdict");
    Ok(checked)
}

/// Whether the value claims to be exact, and is.
fn check_rule(expected: &Expected, fired: &Fired, probe: &Probe) -> Result<bool, TestCaseError> {
    let Expected { rule, value, times } = expected;
    prop_assert_eq!(
        (fired.metric, fired.window_ms, fired.threshold),
        (rule.metric, rule.window_ms, rule.threshold)
    );
    prop_assert!(fired.value > rule.threshold);
    match fired.exact_since_ms {
        None => {
            prop_assert_eq!(fired.value, *value, "{:?} at {}: {:?}", rule, probe.time, times);
            Ok(true)
        }
        Some(since) => {
            let least = total(times, rule.metric, since);
            prop_assert!((least..=*value).contains(&fired.value), "{since}: {fired:?} {value} {times:?}");
            Ok(false)
        }
    }
}

/// An order that is said to be late has a newer one before it, of another key of its slot if that was forgotten. Where
/// every order is counted, one with such an order of its own key before it is said to be late.
fn check_late(plain: &Plain, probe: &Probe, verdict: &Envelope<Verdict>) -> Result<(), TestCaseError> {
    let late_by_ms = verdict.body.late_by_ms;
    let (key, slot) = (probe.key, slot_of(probe.key.route));
    let behind = |(now, p): &(i64, Probe)| p.time.min(*now) - probe.time;
    if late_by_ms > 0 {
        prop_assert!(late_by_ms > LATENESS_MS);
        let own = |(_, p): &(i64, Probe)| p.key == key || p.time < verdict.at.time() - LATENESS_MS;
        let beside = |(_, p): &(i64, Probe)| slot_of(p.key.route) == slot;
        prop_assert!(plain.seen.iter().any(|p| own(p) && beside(p) && behind(p) >= late_by_ms));
    }
    let ordered = |p: &&(i64, Probe)| p.1.key == key && p.1.event != ProbeEvent::Declined;
    let most = plain.seen.iter().filter(ordered).map(behind).max().unwrap_or(0);
    prop_assert!(!plain.counts_all || most <= LATENESS_MS || late_by_ms >= most, "{most} behind, in silence");
    Ok(())
}

fn metric() -> impl Strategy<Value = VelocityMetric> {
    proptest::sample::select(VelocityMetric::ALL)
}

fn a_rule() -> impl Strategy<Value = (VelocityMetric, i64, i64)> {
    let window = prop_oneof![Just(1i64), 2i64..50, 50i64..3_000, 3_000i64..20_000];
    (metric(), window, prop_oneof![3 => Just(0i64), 1 => 1i64..30])
}

fn event(keys: u8) -> impl Strategy<Value = (i64, Step)> {
    let delay = prop_oneof![
        4 => Just(0i64),
        4 => 0i64..LATENESS_MS,
        1 => 0i64..3 * LATENESS_MS,
        1 => -3 * LATENESS_MS..0,
    ];
    let order = (delay.clone(), 0..keys, 0i64..100, 0u8..2, prop_oneof![0u8..4, 0u8..200], 0u8..100)
        .prop_map(|(delay, n, amount, currency, card, who)| {
            (delay, Step::Order(0, n, amount, currency, card, who))
        });
    let decline = (delay, 0..keys).prop_map(|(delay, n)| (delay, Step::Decline(0, n)));
    prop_oneof![5 => order, 1 => decline]
}

fn rule_change() -> impl Strategy<Value = (i64, Step)> {
    (0u8..4, proptest::option::weighted(0.8, a_rule())).prop_map(|(n, what)| (0, Step::Rule(n, what)))
}

/// Three keys with pauses in which they are forgotten.
fn log(changing: bool) -> impl Strategy<Value = Vec<Envelope<VelocityIn>>> {
    let wait = prop_oneof![3 => Just(0i64), 8 => 0i64..200, 2 => 0i64..3_000, 1 => 15_000i64..40_000];
    log_of(3, wait.boxed(), 1..250, changing)
}

/// One key with hundreds of events in a window.
fn busy_log() -> impl Strategy<Value = Vec<Envelope<VelocityIn>>> {
    let wait = prop_oneof![100 => 0i64..60, 1 => 1_000i64..9_000];
    log_of(1, wait.boxed(), 300..700, true)
}

/// A log: rules that were always there, then events and, where `changing`, changes of rules.
fn log_of(
    keys: u8,
    wait: BoxedStrategy<i64>,
    steps: std::ops::Range<usize>,
    changing: bool,
) -> impl Strategy<Value = Vec<Envelope<VelocityIn>>> {
    let first = proptest::collection::vec(a_rule(), 1..4);
    let weight = if changing { 1 } else { 0 };
    let step = prop_oneof![12 => event(keys), weight => rule_change()];
    (first, proptest::collection::vec((wait, step), steps)).prop_map(|(first, steps)| {
        let rules = first.into_iter().enumerate().map(|(n, rule)| (0, Step::Rule(n as u8, Some(rule))));
        let mut now = 10_000;
        let events = steps.into_iter().map(|(wait, (delay, mut step))| {
            now += wait;
            if let Step::Order(t, ..) | Step::Decline(t, ..) = &mut step {
                *t = (now - delay).max(0);
            }
            (now, step)
        });
        let all: Vec<_> = rules.chain(events).collect();
        let mut log: Vec<_> =
            all.iter().enumerate().map(|(n, (time, step))| step.envelope(*time, n)).collect();
        log.sort_by_key(|record| record.at);
        log
    })
}

/// Somewhere to cut, somewhere to crash, any number of workers.
fn course() -> impl Strategy<Value = Course> {
    let crashes = proptest::collection::btree_map(0usize..12, 1usize..5, 0..5);
    let cuts = proptest::collection::vec(0i64..200_000, 0..12);
    (cuts, crashes, 1usize..5).prop_map(|(mut cuts, crashes, workers)| {
        cuts.sort_unstable();
        Course { cuts, crashes, workers, end_ms: i64::MAX / 4 }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_value_is_that_of_a_plain_count(log in log(true), course in course()) {
        let straight = Course::straight(i64::MAX / 4).run(velocity, &log);
        check(&log, &straight)?;
        let other = course.run(velocity, &log);
        prop_assert_eq!(brief(&straight), brief(&other));
    }

    #[test]
    fn history_kept_without_rules_counts_for_the_rules_that_come(log in log(true), course in course()) {
        let straight = Course::straight(i64::MAX / 4).run(remembering, &log);
        check(&log, &straight)?;
        let other = course.run(remembering, &log);
        prop_assert_eq!(brief(&straight), brief(&other));
    }

    #[test]
    fn rules_that_were_always_there_are_exact_for_orders_that_come_in_time(log in log(false)) {
        let verdicts = Course::straight(i64::MAX / 4).run(velocity, &log);
        let checked = check(&log, &verdicts)?;
        let times: BTreeMap<At, i64> = log.iter().filter_map(|record| match &record.body {
            VelocityIn::Probe(probe) => Some((record.at, probe.time)),
            VelocityIn::Rule(_) => None,
        }).collect();
        let mut exact = 0;
        for verdict in &verdicts {
            let behind = verdict.at.time() - times[&verdict.at];
            let in_time = behind <= LATENESS_MS && verdict.body.late_by_ms == 0;
            prop_assert!(!in_time || !checked.missed.contains(&verdict.at), "missed at {:?}", verdict.at);
            for fired in &verdict.body.fired {
                prop_assert!(!in_time || fired.exact_since_ms.is_none(), "{fired:?} of {:?}", verdict.at);
                exact += usize::from(fired.exact_since_ms.is_none());
            }
        }
        prop_assert_eq!(exact, checked.exact);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_busy_key_is_counted_like_any_other(log in busy_log(), course in course()) {
        let straight = Course::straight(i64::MAX / 4).run(velocity, &log);
        check(&log, &straight)?;
        let other = course.run(velocity, &log);
        prop_assert_eq!(brief(&straight), brief(&other));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_written_while_orders_go_on_is_of_the_moment_it_began(
        log in prop_oneof![log(true), busy_log()],
        cuts in proptest::collection::btree_set(10_000i64..60_000, 4..20),
        earlier in proptest::collection::btree_set(0usize..20, 0..4),
        (last, budget) in (0usize..20, 1usize..20),
        (before, after) in (1usize..4, 1usize..4),
    ) {
        let epochs: Vec<Epoch> = epochs(&log, &cuts);
        let (done, ahead) = epochs.split_at(last.min(epochs.len()));
        let mut harness = Harness::new(before, velocity);
        for (index, (records, now)) in done.iter().enumerate() {
            harness.epoch(records.clone(), *now);
            if earlier.contains(&index) {
                harness.snapshot(budget);
            }
        }
        harness.freeze();
        let mut told = Vec::new();
        for (records, now) in ahead {
            told.extend(harness.epoch(records.clone(), *now));
            harness.write_slice(budget);
        }
        while !harness.write_slice(budget) {}
        let mut restored = harness.restored(after);
        let mut again = Vec::new();
        for (records, now) in ahead {
            again.extend(restored.epoch(records.clone(), *now));
        }
        prop_assert_eq!(brief(&told), brief(&again));
    }
}

type Epoch = (Vec<Envelope<VelocityIn>>, i64);

/// A log in epochs that end at `cuts`.
fn epochs(log: &[Envelope<VelocityIn>], cuts: &BTreeSet<i64>) -> Vec<Epoch> {
    let mut after = i64::MIN;
    let ends = cuts.iter().copied().chain([i64::MAX / 4]);
    ends.map(|until| {
        let within = |record: &&Envelope<VelocityIn>| after < record.at.time() && record.at.time() <= until;
        let records = log.iter().filter(within).cloned().collect();
        after = until;
        (records, until)
    })
    .collect()
}

fn brief(verdicts: &[Envelope<Verdict>]) -> Vec<(At, &Verdict)> {
    verdicts.iter().map(|envelope| (envelope.at, &envelope.body)).collect()
}
