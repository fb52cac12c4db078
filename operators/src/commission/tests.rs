//! What becomes of statements, as text tables: each story is told in one epoch and in one epoch a line, at one
//! worker and at three, and must end the same. A plain loop stands in for the relation.

use super::figures::{Fed, Figure, Terms};
use super::intake::{Intake, IntakeIn, IntakeOut};
use super::statements::{Statements, StatementsIn};
use super::tiers::commission;
use super::*;
use crate::fixtures::{record, settings};
use crate::harness::Harness;
use crate::keys::Scoped;
use crate::messages::{Output, TableChange};
use runtime::relation::Stepped;
use runtime::{At, Class, Envelope, Position};
use schemas::facts::{CommissionFact, Tier};
use schemas::reference::{CommissionPeriod, CommissionRate, Partner, Standing};
use schemas::{Fact, Row};
use std::collections::{BTreeMap, BTreeSet};

/// One line of a story, at a time of its own.
fn event(time: i64, line: &str) -> (At, Event) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let event = match words[..] {
        ["sale", partner, month, amount] => Event::Sale(sale(time, partner, month, amount, false)),
        ["refund", partner, month, amount] => Event::Sale(sale(time, partner, month, amount, true)),
        ["rate", plan, bps, "above", floor, "from", month] => {
            Event::Change(upsert(rate(plan, bps, floor, month)))
        }
        ["plan", partner, plan] => Event::Change(upsert(Reference::Partner(Box::new(Partner {
            tenant: "t".into(),
            partner_id: partner.into(),
            status: Standing::Active,
            plan: plan.into(),
        })))),
        ["gone", partner] => {
            let key = ReferenceKey::Partner { tenant: "t".into(), partner_id: partner.into() };
            Event::Change(TableChange { key, row: None })
        }
        [word @ ("close" | "reopen"), month] => {
            let status = if word == "close" { PeriodStatus::Closed } else { PeriodStatus::Open };
            let row = CommissionPeriod { tenant: "t".into(), month: month.into(), status };
            Event::Change(upsert(Reference::CommissionPeriod(Box::new(row))))
        }
        _ => panic!("{line:?} is no line of a story"),
    };
    let class = if matches!(event, Event::Sale(_)) { Class::Command } else { Class::Reference };
    (record(time, class, time as u64, ()).at, event)
}

#[derive(Clone)]
enum Event {
    Sale(Sale),
    Change(TableChange),
}

fn sale(at_ms: i64, partner: &str, month: &str, amount: &str, refund: bool) -> Sale {
    let month = Month::parse(month).unwrap();
    let (tenant, currency, kind) = ("t".into(), "EUR".into(), OfferKind::Ticket);
    let cause = Cause {
        command_id: "c".into(),
        topic: "commands".into(),
        partition: 0,
        offset: at_ms,
        record_time_ms: at_ms,
    };
    let key = StatementKey { tenant, partner: partner.into(), currency, kind, month };
    Sale { key, amount_minor: amount.parse().unwrap(), refund, at_ms, cause }
}

fn rate(plan: &str, bps: &str, floor: &str, month: &str) -> Reference {
    Reference::CommissionRate(Box::new(CommissionRate {
        tenant: "t".into(),
        plan: plan.into(),
        offer_kind: OfferKind::Ticket,
        currency: "EUR".into(),
        tier_floor_minor: floor.parse().unwrap(),
        rate_bps: bps.parse().unwrap(),
        valid_from: format!("{month}-01").into(),
    }))
}

fn upsert(row: Reference) -> TableChange {
    TableChange { key: row.key(), row: Some(row) }
}

/// What the relation says, by a loop over everything.
#[derive(Default)]
struct Relation {
    fed: BTreeMap<Fed, Amount>,
    said: BTreeMap<StatementKey, Figure>,
}

impl Relation {
    fn figures(&self) -> BTreeMap<StatementKey, Figure> {
        let held = || self.fed.iter().filter(|(_, amount)| **amount != 0);
        let plan_of = |key: &StatementKey| {
            held().find_map(|(fed, _)| match fed {
                Fed::Plan { partner: Scoped { id, .. }, plan } if *id == key.partner => Some(plan.clone()),
                _ => None,
            })
        };
        let tiers_of = |plan: &Text, key: &StatementKey| {
            let mut by_month: BTreeMap<Month, BTreeSet<Tier>> = BTreeMap::new();
            for (fed, _) in held() {
                if let Fed::Rate { rates, valid_from, tier } = fed
                    && rates.plan == *plan
                    && *valid_from <= key.month
                {
                    by_month.entry(*valid_from).or_default().insert(*tier);
                }
            }
            by_month.pop_last()
        };
        let figure = |(fed, base): (&Fed, &Amount)| {
            let Fed::Base(key) = fed else { return None };
            let plan = plan_of(key)?;
            let (valid_from, tiers) = tiers_of(&plan, key)?;
            let tiers: Vec<Tier> = tiers.into_iter().collect();
            let commission = commission(*base, &tiers);
            Some((key.clone(), Figure { commission, terms: Terms { plan, valid_from, tiers } }))
        };
        held().filter_map(figure).collect()
    }

    /// The changes of an epoch's updates, step by step.
    fn take(&mut self, mut updates: Vec<Stepped<Fed>>) -> Vec<Stepped<(StatementKey, Figure)>> {
        updates.sort();
        let mut changes = Vec::new();
        for of_step in updates.chunk_by(|a, b| a.step == b.step) {
            let step = of_step[0].step;
            for Stepped { data, diff, .. } in of_step {
                *self.fed.entry(data.clone()).or_default() += diff;
            }
            let now = self.figures();
            let change = |(key, figure): (&StatementKey, &Figure), diff| Stepped {
                step,
                data: (key.clone(), figure.clone()),
                diff,
            };
            let gone = self.said.iter().filter(|(key, figure)| now.get(*key) != Some(figure));
            let come = now.iter().filter(|(key, figure)| self.said.get(*key) != Some(figure));
            // The new one first: statements must not care.
            changes.extend(come.map(|each| change(each, 1)));
            changes.extend(gone.map(|each| change(each, -1)));
            self.said = now;
        }
        changes
    }
}

/// The job, but for the relation.
struct Stage {
    intake: Harness<Intake>,
    relation: Relation,
    statements: Harness<Statements>,
    rows: BTreeMap<String, String>,
    facts: Vec<CommissionFact>,
}

impl Stage {
    fn new(workers: usize) -> Self {
        Stage {
            intake: Harness::new(workers, Intake::default),
            relation: Relation::default(),
            statements: Harness::new(workers, || Statements::new(settings())),
            rows: BTreeMap::new(),
            facts: Vec::new(),
        }
    }

    fn epoch(&mut self, events: &[(At, Event)]) {
        let (mut to_intake, mut to_statements) = (Vec::new(), Vec::new());
        for (at, event) in events.iter().cloned() {
            match event {
                Event::Sale(sale) => to_intake.push(Envelope { at, body: IntakeIn::Sale(Box::new(sale)) }),
                Event::Change(change) => {
                    let mark = Mark::of(&change.key, change.row.as_ref()).unwrap();
                    to_intake.push(Envelope { at, body: IntakeIn::Change(change) });
                    to_intake.push(Envelope { at, body: IntakeIn::Mark });
                    to_statements.push(Envelope { at, body: StatementsIn::Mark(mark) });
                }
            }
        }
        let now = events.last().map_or(0, |(at, _)| at.time());
        let mut updates = Vec::new();
        for Envelope { at, body } in self.intake.epoch(to_intake, now) {
            match body {
                IntakeOut::Update(update) => updates.push(update),
                IntakeOut::Traded(traded) => {
                    to_statements.push(Envelope { at, body: StatementsIn::Traded(traded) });
                }
            }
        }
        let nowhere = At::record(Position::timer(0, 0, 0));
        let figures = self.relation.take(updates).into_iter().map(Box::new).map(StatementsIn::Figure);
        to_statements.extend(figures.map(|body| Envelope { at: nowhere, body }));
        for told in self.statements.epoch(to_statements, now) {
            self.hear(told.body);
        }
    }

    fn hear(&mut self, told: Output) {
        match told {
            Output::Row(Row::Commission(row)) => {
                let figures = format!("{} {} {}", row.base_minor, row.commission_minor, row.adjustment_minor);
                self.rows
                    .insert(format!("{} {}", row.partner_id, row.month), format!("{figures} {}", row.status));
            }
            Output::Fact(Fact::Commission(fact)) => self.facts.push(*fact),
            other => panic!("{other:?}"),
        }
    }

    fn crash(&mut self, workers: usize) {
        self.intake.snapshot(2);
        self.statements.snapshot(2);
        (self.intake, self.statements) = (self.intake.restored(workers), self.statements.restored(workers));
        // The relation is lost, and built again from what the intake holds.
        let before = std::mem::take(&mut self.relation);
        let mut updates = Vec::new();
        for intake in self.intake.workers() {
            runtime::Operator::restored_output(intake, &mut |out| match out {
                IntakeOut::Update(update) => updates.push(update),
                IntakeOut::Traded(traded) => panic!("{traded:?} is known downstream"),
            });
        }
        self.relation.take(updates);
        assert_eq!(self.relation.said, before.said, "the same relation as before the crash");
    }
}

const BEGINNING: [&str; 3] =
    ["rate a 1000 above 0 from 2020-01", "rate b 2000 above 0 from 2020-01", "plan p a"];

/// Tells the story in every way; the statements it must end with, `partner month base commission adjustment status`.
fn check(story: &[&str], expected: &[&str]) -> Stage {
    let lines = BEGINNING.iter().chain(story);
    let events: Vec<_> = (1..).zip(lines).map(|(time, line)| event(time, line)).collect();
    let mut together = Stage::new(1);
    together.epoch(&events);
    let mut apart = Stage::new(3);
    for event in &events {
        apart.epoch(std::slice::from_ref(event));
        apart.crash(2);
    }
    for stage in [&together, &apart] {
        let rows: Vec<String> = stage.rows.iter().map(|(key, row)| format!("{key} {row}")).collect();
        assert_eq!(rows, expected, "{story:#?}");
    }
    apart
}

#[test]
fn sales_and_refunds_of_open_months_restate_them() {
    check(
        &["sale p 2020-01 100", "sale p 2020-02 55"],
        &["p 2020-01 100 10 0 open", "p 2020-02 55 6 0 open"],
    );
    check(&["sale p 2020-01 100", "sale p 2020-01 45", "refund p 2020-01 100"], &["p 2020-01 45 4 0 open"]);
    check(&["sale p 2020-01 100", "refund p 2020-01 100"], &["p 2020-01 0 0 0 open"]);
    check(&["sale q 2020-01 100"], &["q 2020-01 100 0 0 open"]);
}

#[test]
fn rates_and_plans_restate_open_months() {
    let sold = ["sale p 2020-01 100", "sale p 2020-03 100"];
    let with = |line| [sold[0], sold[1], line];
    check(&with("rate a 1100 above 0 from 2020-01"), &["p 2020-01 100 11 0 open", "p 2020-03 100 11 0 open"]);
    check(&with("rate a 500 above 0 from 2020-02"), &["p 2020-01 100 10 0 open", "p 2020-03 100 5 0 open"]);
    check(&with("rate a 500 above 0 from 2020-04"), &["p 2020-01 100 10 0 open", "p 2020-03 100 10 0 open"]);
    check(
        &with("rate a 2000 above 60 from 2020-01"),
        &["p 2020-01 100 14 0 open", "p 2020-03 100 14 0 open"],
    );
    check(&with("plan p b"), &["p 2020-01 100 20 0 open", "p 2020-03 100 20 0 open"]);
    check(&with("gone p"), &["p 2020-01 100 0 0 open", "p 2020-03 100 0 0 open"]);
}

#[test]
fn a_closed_month_keeps_its_figure_and_differences_go_to_the_first_open_month() {
    check(
        &["sale p 2020-01 100", "close 2020-01", "sale p 2020-01 50", "refund p 2020-01 100", "plan p b"],
        &["p 2020-01 50 10 0 closed", "p 2020-02 0 0 0 open"],
    );
    check(
        &["sale p 2020-01 100", "sale p 2020-03 10", "close 2020-01", "close 2020-02", "plan p b"],
        &["p 2020-01 100 10 0 closed", "p 2020-03 10 2 10 open"],
    );
    // An earlier month that is open doesn't take it: adjustments never go back in time.
    check(
        &["sale p 2020-01 100", "sale p 2020-02 100", "close 2020-02", "rate a 0 above 0 from 2020-02"],
        &["p 2020-01 100 10 0 open", "p 2020-02 100 10 0 closed", "p 2020-03 0 0 -10 open"],
    );
}

#[test]
fn a_month_closed_before_its_first_sale_pays_nothing_itself() {
    check(&["close 2020-01", "sale p 2020-01 100"], &["p 2020-01 100 0 0 closed", "p 2020-02 0 0 10 open"]);
    // Whether a sale too small for a commission leaves a trace doesn't depend on what it is summed up with.
    check(&["close 2020-01", "sale p 2020-01 1"], &["p 2020-01 1 0 0 closed", "p 2020-02 0 0 0 open"]);
}

#[test]
fn an_adjustment_stays_where_it_was_posted_when_that_month_is_closed_too() {
    check(
        &["sale p 2020-01 100", "close 2020-01", "plan p b", "close 2020-02", "plan p a"],
        &["p 2020-01 100 10 0 closed", "p 2020-02 0 0 10 closed", "p 2020-03 0 0 -10 open"],
    );
}

#[test]
fn a_reopened_month_follows_its_figure_and_takes_back_what_was_posted_elsewhere() {
    let story = ["sale p 2020-01 100", "close 2020-01", "plan p b", "reopen 2020-01"];
    check(&story, &["p 2020-01 100 20 -10 open", "p 2020-02 0 0 10 open"]);
    let on = [&story[..], &["sale p 2020-01 100", "close 2020-01", "plan p a"]].concat();
    check(&on, &["p 2020-01 200 40 -10 closed", "p 2020-02 0 0 -10 open"]);
    check(&["sale p 2020-01 100", "close 2020-01", "reopen 2020-01"], &["p 2020-01 100 10 0 open"]);
    check(&["sale p 2020-01 100", "reopen 2020-01"], &["p 2020-01 100 10 0 open"]);
}

#[test]
fn a_close_in_the_midst_of_an_epoch_parts_it() {
    check(
        &["sale p 2020-01 100", "plan p b", "close 2020-01", "plan p a", "sale p 2020-01 30"],
        &["p 2020-01 130 20 0 closed", "p 2020-02 0 0 -7 open"],
    );
}

#[test]
fn a_delta_names_each_cause_with_its_effect_and_record() {
    let stage = check(
        &["sale p 2020-01 100", "close 2020-01", "plan p b"],
        &["p 2020-01 100 10 0 closed", "p 2020-02 0 0 10 open"],
    );
    let told: Vec<String> = stage.facts.iter().map(words).collect();
    assert_eq!(
        told,
        [
            "2020-01: +100 +10 +0 by sales of 2020-01 (1 of 100, +10, commands/0/4)",
            "2020-01: +0 +0 +0 by month_closed of 2020-01 (1 of 0, +0, changes/0/5)",
            "2020-02: +0 +0 +10 by plan_move of 2020-01 (1 of 0, +10, changes/0/6)",
        ]
    );
    let closed = &stage.facts[1];
    assert_eq!(
        (closed.computed_minor, closed.commission_base_minor, closed.plan.as_deref()),
        (10, 100, Some("a"))
    );
}

fn words(fact: &CommissionFact) -> String {
    let CommissionFact {
        month,
        base_delta_minor: base,
        commission_delta_minor: own,
        adjustment_delta_minor: posted,
        ..
    } = fact;
    let cause = |c: &schemas::facts::CommissionCause| {
        let place = format!("{}/{}/{}", c.topic, c.partition, c.offset);
        format!(
            " by {} of {} ({} of {}, {:+}, {place})",
            c.kind, c.month, c.count, c.amount_minor, c.effect_minor
        )
    };
    let causes: String = fact.causes.iter().map(cause).collect();
    format!("{month}: {base:+} {own:+} {posted:+}{causes}")
}

#[test]
fn sales_of_one_epoch_are_one_delta_however_many_marks_part_them() {
    let mut stage = Stage::new(2);
    let lines = [
        "plan p a",
        "sale p 2020-01 10",
        "close 2019-01",
        "sale p 2020-01 20",
        "plan q a",
        "refund p 2020-01 10",
    ];
    let events: Vec<_> = (1..).zip(lines).map(|(time, line)| event(time, line)).collect();
    stage.epoch(&events);
    let told: Vec<String> = stage.facts.iter().map(words).collect();
    assert_eq!(
        told,
        [
            "2020-01: +20 +0 +0 by sales of 2020-01 (2 of 30, +0, commands/0/4) by refunds of 2020-01 (1 of 10, +0, commands/0/6)"
        ]
    );
}

#[test]
fn a_sale_that_a_row_woke_comes_after_every_mark_of_its_millisecond() {
    let row = record(5, Class::Reference, 1, ()).at.cause;
    let woken = At::record(record(2, Class::Command, 9, ()).at.cause).because(row);
    let mark = record(5, Class::Reference, 7, ()).at;
    assert!(woken < mark, "in the order of causes it comes before");
    let mut intake = Harness::new(1, Intake::default);
    let sale = sale(5, "p", "2020-01", "100", false);
    let out = intake.epoch(
        vec![
            Envelope { at: woken, body: IntakeIn::Sale(Box::new(sale)) },
            Envelope { at: mark, body: IntakeIn::Mark },
        ],
        5,
    );
    let steps: Vec<Step> = out
        .iter()
        .filter_map(|out| if let IntakeOut::Traded(traded) = &out.body { Some(traded.step) } else { None })
        .collect();
    assert_eq!(steps, [step_of_trade(1, false)], "by its fact's time it comes after");
}

#[test]
#[should_panic(expected = "more was refunded than sold")]
fn a_base_never_falls_below_nothing() {
    check(&["sale p 2020-01 10", "refund p 2020-01 20"], &[]);
}
