//! The whole job against a program that reads the log in order: reports, corrections, tickets, refunds; at any number
//! of workers, with epochs cut and crashes anywhere.

mod model;

use super::pay::{Pay, PayIn};
use super::pool::{Pool, PoolIn, PoolOut};
use super::tickets::{Tickets, TicketsIn, TicketsOut};
use crate::draws::{Draws, DrawsIn, DrawsOut};
use crate::fixtures::{TENANT, delete, draw, offer, record, settings, upsert};
use crate::harness::Harness;
use crate::messages::{CommandMsg, Output};
use model::{Event, Plain, RULES, Rules, Shop, pair};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use runtime::{Class, Envelope, Millis};
use schemas::draws::{CorrectResult, Draw, DrawEvent, ReportResult};
use schemas::{Command, Fact, Reference, Row, Text, Value};
use std::collections::{BTreeMap, BTreeSet};

const TIERS: &str = r#"[{"tier":"1","main":2,"pool_bps":6000},{"tier":"2","main":1,"pool_bps":1001}]"#;

fn a_draw(id: &str, rules: Rules) -> Draw {
    let Rules { sources: sources_required, main_max, closes_at_ms } = rules;
    Draw { prize_tiers: TIERS.into(), main_max, sources_required, closes_at_ms, ..draw(id) }
}

#[derive(Clone, Debug)]
enum In {
    Draws(DrawsIn),
    Tickets(TicketsIn),
}

fn command(command: Command) -> In {
    In::Draws(DrawsIn::Command(CommandMsg { command, payload_hash: 0, raw: None, retry_of: None }))
}

fn input(time: i64, draw_id: &str, event: &Event) -> Vec<Envelope<In>> {
    let (command_id, tenant) = (Text::from(format!("c{time}{draw_id}")), Text::from(TENANT));
    let (draw_id, bonus, prizes, currency) = (Text::from(draw_id), Vec::new(), Vec::new(), None);
    let offset = offset(time, draw_id == "e");
    let body = match *event {
        Event::Row(rules) => {
            let row = Reference::Draw(Box::new(a_draw(&draw_id, rules.unwrap_or(RULES))));
            let change = if rules.is_some() { upsert(row) } else { delete(row.key()) };
            In::Draws(DrawsIn::Draw(change))
        }
        Event::Report(source, numbers) => command(Command::ReportResult(Box::new(ReportResult {
            command_id,
            tenant,
            draw_id,
            source: format!("s{source}").into(),
            numbers: pair(numbers),
            bonus,
            prizes,
            jackpot_minor: None,
            currency,
            drawn_at_ms: 100,
            reported_at_ms: time,
        }))),
        Event::Correct(numbers) => command(Command::CorrectResult(Box::new(CorrectResult {
            command_id,
            tenant,
            draw_id,
            numbers: pair(numbers),
            bonus,
            prizes,
            jackpot_minor: None,
            currency,
            reason: "r".into(),
            requested_at_ms: time,
        }))),
        Event::Order { order, numbers, tickets } => {
            let placed = record(time, Class::Command, offset, placed(order, &draw_id));
            return [vec![placed], issued((time, offset), &draw_id, order, (numbers, tickets))].concat();
        }
        Event::Place { order, .. } => placed(order, &draw_id),
        Event::Pay(_) => unreachable!("what it pays is known to the shop"),
        Event::End(order) => In::Tickets(TicketsIn::Ended { tenant, order_id: format!("o{order}").into() }),
        Event::Move(draw) => moved(&draw_id, draw.map(|draw| DRAWS[usize::from(draw)])),
        Event::Refund(order) => {
            In::Tickets(TicketsIn::Refund { tenant, order_id: format!("o{order}").into() })
        }
    };
    let class = if of_row(event) { Class::Reference } else { Class::Command };
    let mut all = vec![record(time, class, offset, body)];
    // Both operators look at a draw's row.
    if let In::Draws(DrawsIn::Draw(change)) = &all[0].body {
        all.push(Envelope { at: all[0].at, body: In::Tickets(TicketsIn::Draw(change.clone())) });
    }
    all
}

fn of_row(event: &Event) -> bool {
    matches!(event, Event::Row(_) | Event::Move(_))
}

const DRAWS: [&str; 2] = ["d", "e"];

fn placed(order: u8, offer: &str) -> In {
    In::Tickets(TicketsIn::Placed {
        tenant: TENANT.into(),
        order_id: format!("o{order}").into(),
        offer_id: format!("of-{offer}").into(),
    })
}

/// The tickets of an order, one behind the other.
fn issued(
    (time, offset): (i64, u64),
    offer: &str,
    order: u8,
    (numbers, tickets): (u8, u8),
) -> Vec<Envelope<In>> {
    let ticket = In::Tickets(TicketsIn::Ticket {
        tenant: TENANT.into(),
        order_id: format!("o{order}").into(),
        offer_id: format!("of-{offer}").into(),
        numbers: pair(numbers),
        command_id: format!("pay-o{order}").into(),
    });
    vec![record(time, Class::Command, offset, ticket); usize::from(tickets)]
}

fn offer_for(offer_id: &str, draw_id: Option<&str>) -> Reference {
    let draw_id = draw_id.map(Text::from);
    Reference::Offer(Box::new(schemas::reference::Offer {
        draw_id,
        ..offer(TENANT, &format!("of-{offer_id}"))
    }))
}

fn moved(offer: &str, draw: Option<&str>) -> In {
    In::Tickets(TicketsIn::Offer(upsert(offer_for(offer, draw))))
}

/// No two records have one place.
fn offset(time: i64, second: bool) -> u64 {
    time as u64 * 2 + u64::from(second)
}

/// The four operators.
struct Chain {
    draws: Harness<Draws>,
    tickets: Harness<Tickets>,
    pool: Harness<Pool>,
    pay: Harness<Pay>,
}

impl Chain {
    fn new(workers: usize) -> Self {
        Chain {
            draws: Harness::new(workers, || Draws::new(settings())),
            tickets: Harness::new(workers, || Tickets::new(settings())),
            pool: Harness::new(workers, Pool::default),
            pay: Harness::new(workers, || Pay::new(settings())),
        }
    }

    fn crash(&mut self, workers: usize) {
        self.draws.snapshot(3);
        self.tickets.snapshot(3);
        self.pay.snapshot(3);
        self.draws = self.draws.restored(workers);
        self.tickets = self.tickets.restored(workers);
        self.pool = Harness::new(workers, Pool::default);
        self.pay = self.pay.restored(workers);
    }

    fn epoch(&mut self, log: &[Envelope<In>], now: Millis) -> Vec<Output> {
        let mut out = Vec::new();
        let (mut for_draws, mut for_tickets) = (Vec::new(), Vec::new());
        for Envelope { at, body } in log.iter().cloned() {
            match body {
                In::Draws(body) => for_draws.push(Envelope { at, body }),
                In::Tickets(body) => for_tickets.push(Envelope { at, body }),
            }
        }
        let (mut for_pool, mut for_pay) = (Vec::new(), Vec::new());
        for Envelope { at, body } in self.draws.epoch(for_draws, now) {
            match body {
                DrawsOut::Out(output) => out.push((at, 0, output)),
                DrawsOut::Settle(settle) => {
                    for_tickets.push(Envelope { at, body: TicketsIn::Settle(settle.clone()) });
                    for_pool.push(Envelope { at, body: PoolIn::Settle(settle) });
                }
            }
        }
        for Envelope { at, body } in self.tickets.epoch(for_tickets, now) {
            match body {
                TicketsOut::Out(output) => out.push((at, 2, output)),
                TicketsOut::Counted(counted) => {
                    for_pool.push(Envelope { at, body: PoolIn::Counted(counted) })
                }
                TicketsOut::Winners(winners) => for_pay.push(Envelope { at, body: PayIn::Winners(winners) }),
            }
        }
        for Envelope { at, body } in self.pool.epoch(for_pool, now) {
            match body {
                PoolOut::Out(output) => out.push((at, 1, output)),
                PoolOut::Amounts(amounts) => for_pay.push(Envelope { at, body: PayIn::Amounts(amounts) }),
            }
        }
        out.extend(self.pay.epoch(for_pay, now).into_iter().map(|e| (e.at, 3, e.body)));
        out.sort_by_key(|(at, stage, _)| (*at, *stage));
        out.into_iter().map(|(_, _, output)| output).collect()
    }
}

/// How a log is run.
#[derive(Clone, Debug)]
struct Path {
    workers: usize,
    cuts: BTreeSet<Millis>,
    crashes: BTreeMap<usize, usize>,
}

fn run(path: &Path, log: &[Envelope<In>]) -> Vec<Output> {
    let (mut chain, mut out, mut after) = (Chain::new(path.workers), Vec::new(), Millis::MIN);
    for (index, until) in path.cuts.iter().copied().chain([10_000]).enumerate() {
        let within = |record: &&Envelope<In>| after < record.at.time() && record.at.time() <= until;
        let records: Vec<Envelope<In>> = log.iter().filter(within).cloned().collect();
        out.extend(chain.epoch(&records, until));
        after = until;
        if let Some(workers) = path.crashes.get(&index) {
            chain.crash(*workers);
        }
    }
    out
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Int(int) => int.to_string(),
        other => format!("{other:?}"),
    }
}

/// The log of these events, and what the plain program says of both draws.
fn told_plainly(events: &BTreeMap<(Millis, bool), Event>) -> (Vec<Envelope<In>>, [Plain; 2]) {
    let mut log: Vec<Envelope<In>> = Vec::new();
    let (mut plain, mut shop): ([Plain; 2], Shop) = (Default::default(), Shop::new());
    for (number, draw_id) in DRAWS.into_iter().enumerate() {
        log.push(record(0, Class::Reference, 0, moved(draw_id, Some(draw_id))));
        log.extend(input(1, draw_id, &Event::Row(Some(RULES))));
        plain[number].handle(1, &Event::Row(Some(RULES)));
    }
    // As the log has them: of one moment, rows come first.
    let mut in_order: Vec<_> = events.iter().collect();
    in_order.sort_by_key(|((time, second), event)| (*time, !of_row(event), *second));
    for ((time, second), event) in in_order {
        let number = usize::from(*second);
        match event {
            Event::Pay(order) => {
                let Some(tickets) = shop.open(*order) else { continue };
                log.extend(issued((*time, offset(*time, *second)), DRAWS[number], *order, tickets));
            }
            _ => log.extend(input(*time, DRAWS[number], event)),
        }
        match event {
            // An order is in one draw only: its refund is looked for in all.
            Event::Refund(_) => plain.iter_mut().for_each(|plain| plain.handle(*time, event)),
            Event::Row(_) | Event::Report(..) | Event::Correct(_) => plain[number].handle(*time, event),
            _ => {
                if let Some(issued) = shop.handle(*time, u8::from(*second), event) {
                    plain[usize::from(issued.draw)].give_up_waiting(*time);
                    plain[usize::from(issued.draw)].take(&issued);
                }
            }
        }
    }
    plain.iter_mut().for_each(|plain| plain.give_up_waiting(10_000));
    (log, plain)
}

/// What is left in the end, and what was told, must be what the plain program says.
fn check(events: &BTreeMap<(Millis, bool), Event>, path: &Path) -> Result<(), TestCaseError> {
    let (log, plain) = told_plainly(events);
    let straight = Path { workers: 1, cuts: BTreeSet::new(), crashes: BTreeMap::new() };
    let out = run(path, &log);
    prop_assert_eq!(&out, &run(&straight, &log), "results don't depend on epochs, workers and crashes");
    let (mut won, mut rows) = (BTreeMap::new(), BTreeMap::new());
    let (mut refused, mut late, mut disagreements, mut unknown) = (0, 0, 0, 0);
    for output in &out {
        match output {
            Output::Row(row @ Row::WinningTicket(_)) => {
                let values: Vec<String> = row.values().iter().map(text).collect();
                let key = (values[1].clone(), values[2].clone(), values[3].clone(), values[4].clone());
                won.insert(key, (values[6].clone(), values[8].clone()));
            }
            Output::Row(Row::Draw(row)) => drop(rows.insert(row.draw_id.to_string(), row.clone())),
            Output::Fact(Fact::Draw(fact)) => {
                refused += usize::from(fact.event == DrawEvent::Refused);
                late += fact.tickets.filter(|_| fact.event == DrawEvent::TooLate).unwrap_or(0) as usize;
                disagreements += usize::from(fact.event == DrawEvent::Disagreement);
            }
            Output::DeadLetter(letter) => unknown += usize::from(letter.reason.starts_with("unknown_draw")),
            _ => {}
        }
    }
    let mut wanted = BTreeMap::new();
    for (plain, draw_id) in plain.iter().zip(DRAWS) {
        for ((revision, ticket, tier), (amount, status)) in &plain.won {
            let key = (draw_id.to_owned(), revision.to_string(), ticket.clone(), tier.clone());
            wanted.insert(key, (amount.to_string(), (*status).to_owned()));
        }
        let row = rows.get(draw_id);
        if let Some((revision, ..)) = &plain.published {
            let row = row.expect("what is published has a row");
            prop_assert_eq!((row.revision, row.status.as_str()), (*revision, "settled"));
            prop_assert_eq!((row.tickets, row.paid_minor), (Some(plain.took_part), Some(plain.paid)));
        } else if let (Some(row), Some(_)) = (row, plain.rules) {
            let told = (row.status.as_str(), row.sources.to_string());
            prop_assert_eq!((row.revision, told), (0, plain.standing()));
        }
    }
    prop_assert_eq!(won, wanted);
    prop_assert_eq!(refused, plain.iter().map(|plain| plain.refused).sum::<usize>());
    prop_assert_eq!(unknown, plain.iter().map(|plain| plain.unknown).sum::<usize>());
    prop_assert_eq!(disagreements, plain.iter().map(|plain| plain.disagreements).sum::<usize>());
    prop_assert_eq!(late, plain.iter().map(|plain| plain.late).sum::<usize>());
    Ok(())
}

/// Each order is placed once, at its own time: its number follows from it.
fn events() -> impl Strategy<Value = BTreeMap<(Millis, bool), Event>> {
    let rules = (1..4_i32, 3..6_i32, prop_oneof![2 => Just(100_i64), 1 => 20..250_i64]);
    let rules = rules.prop_map(|(sources, main_max, closes_at_ms)| Rules { sources, main_max, closes_at_ms });
    let event = prop_oneof![
        2 => option::weighted(0.8, rules).prop_map(Event::Row),
        6 => (0..3_u8, 0..6_u8).prop_map(|(source, numbers)| Event::Report(source, numbers)),
        1 => (0..6_u8).prop_map(Event::Correct),
        6 => (0..6_u8, 1..4_u8).prop_map(|(numbers, tickets)| Event::Order { order: 0, numbers, tickets }),
        6 => (0..6_u8, 1..4_u8).prop_map(|(numbers, tickets)| Event::Place { order: 0, numbers, tickets }),
        6 => (0..12_u8).prop_map(Event::Pay),
        1 => (0..12_u8).prop_map(Event::End),
        3 => option::weighted(0.8, 0..2_u8).prop_map(Event::Move),
        2 => (0..40_u8).prop_map(Event::Refund),
    ];
    let time = prop_oneof![9 => 2..200_i64, 1 => 200..2_500_i64];
    btree_map((time, any::<bool>()), event, 1..40).prop_map(|mut events| {
        let mut next = 0;
        for event in events.values_mut() {
            if let Event::Order { order, .. } | Event::Place { order, .. } = event {
                (*order, next) = (next, next + 1);
            }
        }
        events
    })
}

fn path() -> impl Strategy<Value = Path> {
    let crashes = vec((0..6_usize, 1..5_usize), 0..3).prop_map(|crashes| crashes.into_iter().collect());
    (1..5_usize, btree_set(1..2_500_i64, 0..6), crashes).prop_map(|(workers, cuts, crashes)| Path {
        workers,
        cuts,
        crashes,
    })
}

proptest! {
    #[test]
    fn the_job_is_what_a_plain_program_does(events in events(), path in path()) {
        check(&events, &path)?;
    }
}

#[test]
fn a_row_that_settles_comes_before_a_payment_of_the_same_moment() {
    let (numbers, tickets) = (0, 1);
    let events = BTreeMap::from([
        ((3, true), Event::Place { order: 0, numbers, tickets }),
        ((50, true), Event::Report(0, 0)),
        ((196, false), Event::Pay(0)),
        ((196, true), Event::Row(Some(Rules { sources: 1, ..RULES }))),
    ]);
    let path = Path { workers: 1, cuts: BTreeSet::new(), crashes: BTreeMap::new() };
    check(&events, &path).unwrap();
}

#[test]
fn a_ticket_that_is_paid_after_its_offer_is_deleted_takes_part() {
    let row = offer_for("d", Some("d"));
    let change = |time, change| record(time, Class::Reference, 0, In::Tickets(TicketsIn::Offer(change)));
    let mut log = vec![change(0, upsert(row.clone()))];
    log.extend(input(1, "d", &Event::Row(Some(RULES))));
    log.push(change(2, delete(row.key())));
    let mut chain = Chain::new(2);
    assert!(chain.epoch(&log, 2).is_empty());
    chain.crash(3);
    let mut log = input(3, "d", &Event::Order { order: 1, numbers: 0, tickets: 1 });
    log.extend(input(150, "d", &Event::Correct(0)));
    let out = chain.epoch(&log, 150);
    let won = out.iter().filter(|output| matches!(output, Output::Row(Row::WinningTicket(_)))).count();
    assert_eq!(won, 1);
}

#[test]
fn many_tickets_of_one_draw_are_found_in_their_chunks_and_leave_by_refund() {
    let order = |order: u64| {
        let (tenant, order_id, offer_id) = (TENANT.into(), format!("o{order}").into(), "of-d".into());
        let placed = TicketsIn::Placed { tenant, order_id, offer_id };
        let ticket = TicketsIn::Ticket {
            tenant: TENANT.into(),
            order_id: format!("o{order}").into(),
            offer_id: "of-d".into(),
            numbers: vec![1, 2],
            command_id: "c".into(),
        };
        [placed, ticket].map(|body| record(2 + order as i64, Class::Command, order, In::Tickets(body)))
    };
    // So many that slots have more than one chunk.
    let orders = 256 * 300;
    let end = 10 + orders as i64;
    let mut log = vec![record(0, Class::Reference, 0, moved("d", Some("d")))];
    log.extend(input(1, "d", &Event::Row(Some(Rules { closes_at_ms: end, ..RULES }))));
    log.extend((0..orders).flat_map(order));
    let refund = TicketsIn::Refund { tenant: TENANT.into(), order_id: "o7".into() };
    log.push(record(end, Class::Command, 0, In::Tickets(refund)));
    log.extend(input(end + 1, "d", &Event::Correct(0)));
    let mut chain = Chain::new(2);
    // Not between an order and its ticket.
    let (before, after) = log.split_at(log.partition_point(|record| record.at.time() < end / 2));
    let first = chain.epoch(before, before.last().unwrap().at.time());
    assert!(first.is_empty());
    chain.crash(3);
    let out = chain.epoch(after, end + 1);
    let won = out.iter().filter(|output| matches!(output, Output::Row(Row::WinningTicket(_)))).count();
    assert_eq!(won as u64, orders - 1);
}

/// A row that is read from a snapshot is older than everything; what it publishes happens when it comes.
#[test]
fn what_a_row_from_a_snapshot_brought_about_is_taken_back_by_a_correction() {
    let mut chain = Chain::new(2);
    let mut log = vec![record(0, Class::Reference, 0, moved("d", Some("d")))];
    log.extend(input(1, "d", &Event::Row(Some(RULES))));
    log.extend(input(2, "d", &Event::Order { order: 1, numbers: 0, tickets: 1 }));
    log.extend(input(1_100, "d", &Event::Report(0, 0)));
    chain.epoch(&log, 1_150);
    let row = Event::Row(Some(Rules { sources: 1, ..RULES }));
    let settled = chain.epoch(&input(0, "d", &row), 1_200);
    chain.crash(3);
    chain.epoch(&[], 1_300);
    let corrected = chain.epoch(&input(1_400, "d", &Event::Correct(2)), 1_400);
    let told = |out: &[Output]| -> Vec<(String, i32, Millis)> {
        let said = |output: &Output| match output {
            Output::Fact(Fact::Winning(f)) => Some((f.status.to_string(), f.revision, f.at_ms)),
            Output::Fact(Fact::Draw(f)) if f.event == DrawEvent::Settled => {
                Some((f.event.to_string(), f.revision, f.at_ms))
            }
            _ => None,
        };
        out.iter().filter_map(said).collect()
    };
    let words = |told: &[(&str, i32, Millis)]| -> Vec<(String, i32, Millis)> {
        told.iter().map(|(what, revision, at_ms)| ((*what).to_owned(), *revision, *at_ms)).collect()
    };
    assert_eq!(told(&settled), words(&[("settled", 1, 1_100), ("won", 1, 1_100)]));
    let wanted = words(&[("settled", 2, 1_400), ("superseded", 1, 1_400), ("won", 2, 1_400)]);
    assert_eq!(told(&corrected), wanted);
}

/// The same row finds tickets that its closing leaves out.
#[test]
fn who_a_row_from_a_snapshot_leaves_out_is_told_so_when_the_result_is_published() {
    let mut chain = Chain::new(1);
    let mut log = vec![record(0, Class::Reference, 0, moved("d", Some("d")))];
    log.extend(input(1, "d", &Event::Row(Some(RULES))));
    log.extend(input(60, "d", &Event::Order { order: 1, numbers: 0, tickets: 1 }));
    log.extend(input(150, "d", &Event::Report(0, 0)));
    chain.epoch(&log, 160);
    let row = Event::Row(Some(Rules { sources: 1, closes_at_ms: 50, ..RULES }));
    let out = chain.epoch(&input(0, "d", &row), 170);
    let late = |output: &Output| match output {
        Output::Fact(Fact::Draw(f)) if f.event == DrawEvent::TooLate => Some((f.tickets, f.at_ms)),
        _ => None,
    };
    assert_eq!(out.iter().filter_map(late).collect::<Vec<_>>(), [(Some(1), 150)]);
}
