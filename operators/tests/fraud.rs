//! Probe, velocity and screen together, as text tables: orders in, facts and the action on the order out.
//!
//! ```text
//!   TIME rule ID KEY METRIC WINDOW THRESHOLD ACTION [TENANT]   a rule comes or changes
//!   TIME drop ID                                               it goes
//!   TIME order ID WORD=VALUE ...      customer (ann), card, device, ip, partner, cost (1), at (TIME), currency, tenant
//!   TIME bad ID WORD=VALUE ...        an order that the desk found wrong
//!   TIME declined ID [at]             its payment was declined
//!   LINE => ACTION ; FACT ; FACT      the strongest action, or `ok`, then what was told, in order
//! ```
//!
//! 1,000 ms of lateness are allowed; a decline counts for 10,000 ms.
#![allow(clippy::unwrap_used)] // a test may

mod support;

use operators::harness::Harness;
use operators::messages::{BookIn, Output, TableChange};
use operators::probe::Probe;
use operators::screen::Screen;
use operators::settings::Settings;
use operators::velocity::Velocity;
use operators::velocity::messages::{ProbeIn, ProbeOut, ScreenIn, ScreenOut, VelocityIn};
use runtime::{At, Class, Envelope, Offset, PartitionId, Position, TopicId};
use schemas::facts::Reason;
use schemas::velocity::{FraudAction, FraudEvent, RuleStatus, VelocityKey, VelocityMetric, VelocityRule};
use schemas::{Command, Fact, Reference, ReferenceKey, Row, Text};

fn fraud_settings() -> Settings {
    Settings { fraud_lateness_ms: 1_000, fraud_decline_horizon_ms: 10_000, ..support::settings() }
}

/// The three operators, wired as the job wires them.
struct Chain {
    probe: Harness<Probe>,
    velocity: Harness<Velocity>,
    screen: Harness<Screen>,
}

impl Chain {
    fn new(workers: usize) -> Self {
        Chain {
            probe: Harness::new(workers, || Probe::new(&fraud_settings())),
            velocity: Harness::new(workers, || Velocity::new(&fraud_settings())),
            screen: Harness::new(workers, || Screen::new(fraud_settings())),
        }
    }

    fn epoch(&mut self, records: Vec<Envelope<ProbeIn>>, now: i64) -> Vec<Envelope<ScreenOut>> {
        let rules = records.iter().filter_map(|record| match &record.body {
            ProbeIn::Rule(change) => Some(Envelope { at: record.at, body: VelocityIn::Rule(change.clone()) }),
            ProbeIn::Judged(_) => None,
        });
        let (mut asked, mut passing) = (rules.collect::<Vec<_>>(), Vec::new());
        for Envelope { at, body } in self.probe.epoch(records, now) {
            match body {
                ProbeOut::Probe(probe) => asked.push(Envelope { at, body: VelocityIn::Probe(probe) }),
                ProbeOut::Pass { message, verdicts } => {
                    passing.push(Envelope { at, body: ScreenIn::Pass { message, verdicts } });
                }
            }
        }
        let verdicts = self.velocity.epoch(asked, now).into_iter();
        // Verdicts first: the runtime promises no order between two streams.
        let verdicts = verdicts.map(|v| Envelope { at: v.at, body: ScreenIn::Verdict(v.body) });
        self.screen.epoch(verdicts.chain(passing).collect(), now)
    }

    fn crash(&mut self, workers: usize) {
        self.probe.snapshot(3);
        self.velocity.snapshot(3);
        self.screen.snapshot(3);
        *self = Chain {
            probe: self.probe.restored(workers),
            velocity: self.velocity.restored(workers),
            screen: self.screen.restored(workers),
        };
    }
}

fn parse(line: &str, offset: u64) -> Envelope<ProbeIn> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let time: i64 = words[0].parse().unwrap();
    let (class, body) = match words[1..] {
        ["rule", id, key, metric, window, threshold, action, ref tenant @ ..] => {
            let tenant = tenant.first().copied().unwrap_or("acme");
            (Class::Reference, rule(tenant, id, Some((key, metric, window, threshold, action))))
        }
        ["drop", id] => (Class::Reference, rule("acme", id, None)),
        ["order", id, ref more @ ..] => (Class::Command, ProbeIn::Judged(order(id, time, more, &[]))),
        ["bad", id, ref more @ ..] => {
            (Class::Command, ProbeIn::Judged(order(id, time, more, &[Reason::OfferClosed])))
        }
        ["declined", id, ref at @ ..] => {
            let at = at.first().map_or(time, |at| at.parse().unwrap());
            let mut message = support::decline("acme", id);
            let Command::PaymentDeclined(declined) = &mut message.command else { unreachable!() };
            declined.declined_at_ms = at;
            (Class::Command, ProbeIn::Judged(BookIn::Settle(message)))
        }
        _ => panic!("what is {line:?}?"),
    };
    let partition = PartitionId { topic: TopicId(u16::from(class == Class::Command)), partition: 0 };
    Envelope { at: At::record(Position::record(time, class, partition, Offset(offset))), body }
}

fn rule(tenant: &str, id: &str, what: Option<(&str, &str, &str, &str, &str)>) -> ProbeIn {
    let (tenant, rule_id) = (Text::from(tenant), Text::from(id));
    let key = ReferenceKey::VelocityRule { tenant: tenant.clone(), rule_id: rule_id.clone() };
    let row = what.map(|(key, metric, window, threshold, action)| {
        Reference::VelocityRule(Box::new(VelocityRule {
            tenant,
            rule_id,
            key: VelocityKey::parse(key).unwrap(),
            metric: VelocityMetric::parse(metric).unwrap(),
            window_ms: window.parse().unwrap(),
            threshold: threshold.parse().unwrap(),
            action: FraudAction::parse(action).unwrap_or(FraudAction::Flag),
            status: RuleStatus::parse(action).unwrap_or(RuleStatus::Active),
        }))
    });
    ProbeIn::Rule(Box::new(TableChange { key, row }))
}

fn order(id: &str, time: i64, more: &[&str], reasons: &[Reason]) -> BookIn {
    let mut order = support::place("acme", id, "x", "ann", 1, time);
    order.price_minor = 1;
    for word in more {
        let (what, value) = word.split_once('=').unwrap();
        match what {
            "customer" => order.customer_id = value.into(),
            "card" => order.card = Some(value.into()),
            "device" => order.device = Some(value.into()),
            "ip" => order.ip = Some(value.into()),
            "partner" => order.partner_id = Some(value.into()),
            "cost" => order.price_minor = value.parse().unwrap(),
            "currency" => order.currency = value.into(),
            "tenant" => order.tenant = value.into(),
            "at" => order.placed_at_ms = value.parse().unwrap(),
            _ => panic!("what is {word}?"),
        }
    }
    support::judged(order, reasons)
}

/// `block`, `ok` for an order; `r1 6>5 customer:ann block since 100`, `late card:v 1500` for facts.
fn brief(out: &ScreenOut) -> Option<String> {
    match out {
        ScreenOut::ToBook(BookIn::Order { screening, .. }) => {
            Some(screening.map_or("ok", FraudAction::as_str).to_owned())
        }
        ScreenOut::Out(Output::Fact(Fact::Fraud(fact))) if fact.event == FraudEvent::LateOrder => {
            Some(format!("late {}:{} {}", fact.key, fact.key_value, fact.late_by_ms.unwrap()))
        }
        ScreenOut::Out(Output::Fact(Fact::Fraud(fact))) => {
            let since = fact.exact_since_ms.map_or(String::new(), |since| format!(" since {since}"));
            let (value, threshold) = (fact.value.unwrap(), fact.threshold.unwrap());
            let (rule, action) = (fact.rule_id.as_ref().unwrap(), fact.action.unwrap());
            Some(format!("{rule} {value}>{threshold} {}:{} {action}{since}", fact.key, fact.key_value))
        }
        ScreenOut::ToBook(_) | ScreenOut::Out(_) => None,
    }
}

/// Runs a script an epoch per line, crashing after each onto other workers where `crashing`.
fn run(lines: &[(Envelope<ProbeIn>, i64)], crashing: bool) -> Vec<Vec<String>> {
    let mut chain = Chain::new(2);
    let mut told = Vec::new();
    for (index, (record, now)) in lines.iter().enumerate() {
        let out = chain.epoch(vec![record.clone()], *now);
        check_rows(&out);
        // The action first: facts are told before the order goes on.
        let mut said: Vec<String> = out.iter().filter_map(|envelope| brief(&envelope.body)).collect();
        let told_first = usize::from(!said.is_empty());
        said.rotate_right(told_first);
        told.push(said);
        if crashing {
            chain.crash(index % 4 + 1);
        }
    }
    told
}

/// Every rule that fired has its row, and says the same.
fn check_rows(out: &[Envelope<ScreenOut>]) {
    let facts = out.iter().filter_map(|envelope| match &envelope.body {
        ScreenOut::Out(Output::Fact(Fact::Fraud(fact))) if fact.rule_id.is_some() => Some((
            fact.rule_id.clone().unwrap(),
            fact.value.unwrap(),
            format!("{}:{}", fact.key, fact.key_value),
        )),
        _ => None,
    });
    let rows = out.iter().filter_map(|envelope| match &envelope.body {
        ScreenOut::Out(Output::Row(Row::FraudAlert(row))) => {
            Some((row.rule_id.clone(), row.value, row.key.to_string()))
        }
        _ => None,
    });
    assert_eq!(facts.collect::<Vec<_>>(), rows.collect::<Vec<_>>());
}

fn check(script: &str) {
    let lines: Vec<(&str, &str)> = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| line.split_once("=>").unwrap_or((line, "")))
        .collect();
    let records: Vec<_> = (0u64..).zip(&lines).map(|(offset, (line, _))| parse(line, offset)).collect();
    let timed: Vec<_> = records.iter().map(|record| (record.clone(), record.at.time())).collect();
    let told = run(&timed, false);
    for ((line, expected), said) in lines.iter().zip(&told) {
        let expected: Vec<&str> = expected.split(';').map(str::trim).filter(|e| !e.is_empty()).collect();
        assert_eq!(said, &expected, "`{line}`");
    }
    assert_eq!(run(&timed, true), told, "crashes and workers show");
    let mut once = Chain::new(3).epoch(records, timed.last().unwrap().1);
    once.retain(|envelope| matches!(envelope.body, ScreenOut::Out(Output::Fact(_))));
    let once: Vec<String> = once.iter().filter_map(|envelope| brief(&envelope.body)).collect();
    let facts: Vec<String> = told.into_iter().flat_map(|said| said.into_iter().skip(1)).collect();
    assert_eq!(once, facts, "how epochs are cut shows");
}

#[test]
fn an_order_counts_itself_and_fires_above_the_threshold() {
    check(
        "0 rule r1 customer count 100 2 block
         1000 order o1               => ok
         1010 order o2               => ok
         1020 order o3 customer=ben  => ok
         1030 order o4               => block ; r1 3>2 customer:ann block
         1099 order o5               => block ; r1 4>2 customer:ann block
         1100 order o6               => block ; r1 4>2 customer:ann block
         1300 order o7               => ok",
    );
}

#[test]
fn the_window_is_open_at_its_begin_and_closed_at_its_end() {
    check(
        "0 rule r1 customer count 100 1 flag
         1000 order o1          => ok
         1100 order o2          => ok
         1199 order o3          => flag ; r1 2>1 customer:ann flag
         1199 order o4          => flag ; r1 3>1 customer:ann flag",
    );
}

#[test]
fn a_late_order_is_counted_where_it_belongs_and_no_judgement_is_revised() {
    check(
        "0 rule r1 customer count 100 1 flag
         1000 order o1           => ok
         1200 order o2           => ok
         1210 order o3 at=1090   => flag ; r1 2>1 customer:ann flag
         1220 order o4 at=1150   => flag ; r1 2>1 customer:ann flag
         1230 order o5 at=999    => ok
         1240 order o6 at=1189   => flag ; r1 3>1 customer:ann flag",
    );
}

#[test]
fn an_order_behind_the_lateness_is_judged_by_what_is_kept_and_told() {
    check(
        "0 rule r1 customer count 100 0 flag
         5000 order o1           => flag ; r1 1>0 customer:ann flag
         5001 order o2 at=4000   => flag ; r1 1>0 customer:ann flag
         5002 order o3 at=3999   => flag ; r1 1>0 customer:ann flag since 3901 ; late customer:ann 1001
         5003 order o4 at=3900   => flag ; r1 1>0 customer:ann flag since 3901 ; late customer:ann 1100
         5004 order o5 at=3900   => flag ; r1 1>0 customer:ann flag since 3901 ; late customer:ann 1100
         5005 order o6 at=4001   => flag ; r1 3>0 customer:ann flag",
    );
}

#[test]
fn an_order_that_comes_when_all_of_its_key_is_forgotten_is_told_as_late_too() {
    check(
        "0 rule r1 customer count 100 0 flag
         5000 order o1                        => flag ; r1 1>0 customer:ann flag
         5000 order o2 at=1000 customer=ben   => flag ; r1 1>0 customer:ben flag since 3900
         9000 order o3 at=3999                => flag ; r1 1>0 customer:ann flag since 7900 ; late customer:ann 1001
         9001 order o4 at=3900                => flag ; r1 1>0 customer:ann flag since 7900 ; late customer:ann 1100
         9002 order o5 at=4000                => flag ; r1 2>0 customer:ann flag since 7900
         9003 rule r2 customer count 90000 9 flag
         9004 order o6 at=3998                => flag ; r1 2>0 customer:ann flag since 8903 ; late customer:ann 1002",
    );
}

#[test]
fn an_order_ahead_of_its_record_time_makes_none_of_that_time_late() {
    check(
        "0 rule r1 customer count 5000 0 flag
         10000 order o1 at=99000  => flag ; r1 1>0 customer:ann flag
         10001 order o2           => flag ; r1 1>0 customer:ann flag
         10002 order o3 at=9002   => flag ; r1 1>0 customer:ann flag
         11000 order o4           => flag ; r1 4>0 customer:ann flag
         15999 order o5           => flag ; r1 3>0 customer:ann flag
         16000 order o6           => flag ; r1 2>0 customer:ann flag",
    );
}

#[test]
fn an_invalid_order_is_neither_counted_nor_judged() {
    check(
        "0 rule r1 customer count 100 1 block
         1000 bad o1    => ok
         1001 order o2  => ok
         1002 bad o3    => ok
         1003 order o4  => block ; r1 2>1 customer:ann block",
    );
}

#[test]
fn several_rules_on_several_keys_fire_and_the_strongest_decides() {
    check(
        "0 rule a customer count 100 0 flag
         0 rule b card count 100 0 block
         0 rule c ip count 100 0 review
         0 rule d device distinct_customers 100 1 block
         0 rule e partner amount 100 10 flag
         1000 order o1                        => flag ; a 1>0 customer:ann flag
         1001 order o2 ip=i device=d          => review ; a 2>0 customer:ann flag ; c 1>0 ip:i review
         1002 order o3 card=v partner=p       => block ; a 3>0 customer:ann flag ; b 1>0 card:v block
         1003 order o4 customer=ben device=d  => block ; a 1>0 customer:ben flag ; d 2>1 device:d block
         1004 order o5 partner=p cost=10      => flag ; a 4>0 customer:ann flag ; e 11>10 partner:p flag",
    );
}

#[test]
fn an_amount_is_that_of_the_orders_own_currency() {
    check(
        "0 rule r1 customer amount 100 100 review
         1000 order o1 cost=60               => ok
         1001 order o2 cost=60 currency=USD  => ok
         1002 order o3 cost=41               => review ; r1 101>100 customer:ann review
         1003 order o4 cost=40 currency=USD  => ok
         1004 order o5 cost=1 currency=USD   => review ; r1 101>100 customer:ann review",
    );
}

#[test]
fn cards_and_customers_count_once_each() {
    check(
        "0 rule r1 customer distinct_cards 100 2 flag
         0 rule r2 card distinct_customers 100 1 flag
         1000 order o1 card=a               => ok
         1001 order o2 card=b               => ok
         1002 order o3 card=a               => ok
         1003 order o4                      => ok
         1004 order o5 card=c               => flag ; r1 3>2 customer:ann flag
         1005 order o6                      => flag ; r1 3>2 customer:ann flag
         1006 order o7 card=a customer=ben  => flag ; r2 2>1 card:a flag",
    );
}

#[test]
fn declined_payments_count_for_the_keys_of_their_order() {
    check(
        "0 rule r1 card declines 1000 1 block
         1000 order o1 card=a        => ok
         1000 order o2               => ok
         1001 declined o1            =>
         1002 declined o2            =>
         1003 declined nobody        =>
         1004 order o3 card=a        => ok
         1100 declined o3            =>
         1200 order o4 card=a        => block ; r1 2>1 card:a block
         1201 order o5 card=b        => ok
         2001 order o6 card=a        => ok
         11004 declined o3           =>
         11005 order o7 card=a       => ok",
    );
}

#[test]
fn declines_are_exact_once_every_order_is_remembered_whose_payment_may_be_declined() {
    check(
        "900 order o1 card=a                        => ok
         1000 rule r1 card declines 1000 0 block
         1001 order o2 card=a                       => ok
         1002 declined o1                           =>
         1003 declined o2                           =>
         1004 order o3 card=a                       => block ; r1 1>0 card:a block since 12000
         12500 order o4 card=a                      => ok
         12900 declined o4                          =>
         12998 order o5 card=a                      => block ; r1 1>0 card:a block since 12000
         12999 order o6 card=a                      => block ; r1 1>0 card:a block",
    );
}

#[test]
fn a_rule_takes_effect_from_its_own_record_time() {
    check(
        "1000 order o1                            => ok
         1010 rule r1 customer count 500 0 block
         1010 order o2                            => block ; r1 1>0 customer:ann block since 2010
         1020 rule r1 customer count 500 1 flag
         1020 order o3                            => flag ; r1 2>1 customer:ann flag since 2010
         2600 order o4                            => ok
         2600 order o5                            => flag ; r1 2>1 customer:ann flag
         2601 rule r1 customer count 500 0 disabled
         2602 order o6                            => ok
         2603 rule r1 customer count 500 0 block other
         2604 order o7                            => ok
         2605 order o8 tenant=other               => block ; r1 1>0 customer:ann block since 3603
         2606 drop r1",
    );
}

#[test]
fn a_longer_rule_starts_from_what_shorter_ones_kept_and_says_since_when_it_is_exact() {
    check(
        "0 rule r1 customer count 2000 0 flag
         10000 order o1                          => flag ; r1 1>0 customer:ann flag
         11000 order o2                          => flag ; r1 2>0 customer:ann flag
         14000 order o3                          => flag ; r1 1>0 customer:ann flag
         14001 rule r2 customer count 5000 0 flag
         14001 order o4                          => flag ; r1 2>0 customer:ann flag ; r2 2>0 customer:ann flag since 12001
         17000 order o5                          => flag ; r1 1>0 customer:ann flag ; r2 3>0 customer:ann flag
         17001 order o6                          => flag ; r1 2>0 customer:ann flag ; r2 4>0 customer:ann flag",
    );
}

#[test]
fn tenants_are_counted_apart() {
    check(
        "0 rule r1 customer count 100 1 block
         0 rule r1 customer count 100 1 block other
         1000 order o1               => ok
         1001 order o1 tenant=other  => ok
         1002 order o2 tenant=third  => ok
         1003 order o3               => block ; r1 2>1 customer:ann block",
    );
}
