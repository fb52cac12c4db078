//! Fraud screening from outside: rules that change while orders come, reviews that are decided, at any number of
//! workers, against a plain count.
//!
//! Orders come in order of time here; what disorder does is shown where velocity is (`operators/tests/velocity.rs`).
#![allow(clippy::unwrap_used)] // a test may

use schemas::commands::{PlaceOrder, ReviewDecision, ReviewVerdict};
use schemas::debezium::{Op, envelope};
use schemas::reference::{Offer, OfferKind, OfferStatus};
use schemas::velocity::{FraudAction, RuleStatus, VelocityKey, VelocityMetric, VelocityRule};
use schemas::{Command, Reference, to_line};
use std::collections::BTreeMap;
use std::path::Path;

const START_MS: i64 = 1_700_000_000_000;
/// From here on the rule on cards only flags, and above twice as much.
const CHANGE_MS: i64 = START_MS + 20_001;
const ORDERS: i64 = 500;

fn tombola(dir: &Path, arguments: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tombola"))
        .args(arguments)
        .current_dir(dir)
        .env_remove("TOMBOLA_KILL_AT")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tombola {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn offer() -> Reference {
    Reference::Offer(Box::new(Offer {
        tenant: "t".into(),
        offer_id: "box".into(),
        kind: OfferKind::Box,
        price_minor: 100,
        currency: "EUR".into(),
        stock_total: 100_000,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 9,
        max_per_customer: None,
        draw_id: None,
        restock_on_refund: true,
        status: OfferStatus::Open,
    }))
}

fn rule(
    id: &str,
    key: VelocityKey,
    metric: VelocityMetric,
    threshold: i64,
    action: FraudAction,
) -> Reference {
    let (tenant, rule_id) = ("t".into(), id.into());
    let (window_ms, status) = (2_000, RuleStatus::Active);
    let rule = VelocityRule { tenant, rule_id, key, metric, window_ms, threshold, action, status };
    Reference::VelocityRule(Box::new(rule))
}

fn rules() -> [String; 3] {
    let busy = rule("busy", VelocityKey::Customer, VelocityMetric::Count, 5, FraudAction::Review);
    let [strict, lax] =
        [(2_000, FraudAction::Block), (4_000, FraudAction::Flag)].map(|(threshold, action)| {
            rule("spend", VelocityKey::Card, VelocityMetric::Amount, threshold, action)
        });
    [
        envelope(Op::Read, None, Some(&busy), START_MS, 1),
        envelope(Op::Read, None, Some(&strict), START_MS, 2),
        envelope(Op::Update, Some(&strict), Some(&lax), CHANGE_MS, 3),
    ]
}

/// The n-th order: somebody, with some card, for some units; times never tie.
fn order(n: i64) -> PlaceOrder {
    let dice = (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    PlaceOrder {
        command_id: format!("place-{n}").into(),
        tenant: "t".into(),
        order_id: format!("o{n:04}").into(),
        customer_id: format!("c{}", dice % 4).into(),
        partner_id: None,
        offer_id: "box".into(),
        quantity: (dice / 4 % 5) as i32 + 1,
        price_minor: 100,
        currency: "EUR".into(),
        placed_at_ms: START_MS + 1_000 + n * 80,
        card: (!dice.is_multiple_of(7)).then(|| format!("k{}", dice / 32 % 3).into()),
        device: None,
        ip: None,
        numbers: vec![],
        seat: None,
    }
}

/// What a plain program says: (rule, order, value), and each order's status and reasons.
struct Plain {
    alerts: Vec<(String, String, i64)>,
    orders: BTreeMap<String, String>,
    decisions: Vec<Command>,
}

fn plain(orders: &[PlaceOrder]) -> Plain {
    let mut plain = Plain { alerts: vec![], orders: BTreeMap::new(), decisions: vec![] };
    for (n, order) in orders.iter().enumerate() {
        let earlier = orders[..=n].iter().filter(|o| o.placed_at_ms > order.placed_at_ms - 2_000);
        let count = earlier.clone().filter(|o| o.customer_id == order.customer_id).count() as i64;
        let same_card = earlier.filter(|o| o.card.is_some() && o.card == order.card);
        let spent: i64 = same_card.map(|o| i64::from(o.quantity) * 100).sum();
        let lax = order.placed_at_ms >= CHANGE_MS;
        let id = order.order_id.to_string();
        let (busy, spends) = (count > 5, spent > if lax { 4_000 } else { 2_000 });
        plain.alerts.extend(busy.then(|| ("busy".to_owned(), id.clone(), count)));
        plain.alerts.extend(spends.then(|| ("spend".to_owned(), id.clone(), spent)));
        let status = match (spends && !lax, busy) {
            (true, _) => "refused fraud_blocked",
            (false, true) => plain.decide(n, order),
            (false, false) => "held",
        };
        plain.orders.insert(id, status.to_owned());
    }
    plain.alerts.sort();
    plain
}

impl Plain {
    /// Every third order in review is released, every third refused, and the others are left there.
    fn decide(&mut self, n: usize, order: &PlaceOrder) -> &'static str {
        let (decision, status) = match n % 3 {
            0 => (ReviewVerdict::Release, "held"),
            1 => (ReviewVerdict::Refuse, "refused review_refused"),
            _ => return "in_review",
        };
        self.decisions.push(Command::ReviewDecision(Box::new(ReviewDecision {
            command_id: format!("decide-{n}").into(),
            tenant: "t".into(),
            order_id: order.order_id.clone(),
            decision,
            decided_by: "someone".into(),
            decided_at_ms: order.placed_at_ms + 33,
        })));
        status
    }
}

fn fill(dir: &Path, orders: &[PlaceOrder], decisions: &[Command]) {
    let orders = orders.iter().map(|order| Command::PlaceOrder(Box::new(order.clone())));
    let mut commands: Vec<Command> = orders.chain(decisions.iter().cloned()).collect();
    commands.sort_by_key(Command::event_time_ms);
    let lines: Vec<String> = commands.iter().map(to_line).collect();
    std::fs::write(dir.join("orders.ndjson"), lines.join("\n")).unwrap();
    std::fs::write(dir.join("offers.ndjson"), envelope(Op::Read, None, Some(&offer()), START_MS, 1)).unwrap();
    std::fs::write(dir.join("rules.ndjson"), rules().join("\n")).unwrap();
    for (topic, file) in [
        ("oltp.public.offers", "offers.ndjson"),
        ("oltp.public.velocity_rules", "rules.ndjson"),
        ("commands.orders", "orders.ndjson"),
    ] {
        tombola(dir, &["produce", topic, file, "--event-time", "--data-dir", "data"]);
    }
}

fn rows(dir: &Path, query: &str) -> Vec<serde_json::Value> {
    let said = tombola(dir, &["query", "--json", "--data-dir", "data", query]);
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(row: &serde_json::Value, column: &str) -> String {
    row[column].as_str().unwrap().to_owned()
}

fn check(workers: &str, expected: &Plain, orders: &[PlaceOrder]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fill(dir, orders, &expected.decisions);
    std::fs::write(dir.join("tombola.toml"), "[tickets]\nkey = \"a key for tests, not for tickets\"\n")
        .unwrap();
    tombola(dir, &["run", "--until-drained", "--workers", workers, "--data-dir", "data"]);
    let alerts = rows(dir, "SELECT rule_id, order_id, value FROM fraud_alerts ORDER BY 1, 2");
    let alerts: Vec<_> = alerts
        .iter()
        .map(|row| (text(row, "rule_id"), text(row, "order_id"), row["value"].as_i64().unwrap()))
        .collect();
    assert_eq!(alerts, expected.alerts);
    let told = rows(dir, "SELECT order_id, trim(status || ' ' || reasons) AS said FROM orders ORDER BY 1");
    let told: BTreeMap<_, _> = told.iter().map(|row| (text(row, "order_id"), text(row, "said"))).collect();
    assert_eq!(told, expected.orders);
    tombola(dir, &["verify", "--data-dir", "data", "--workers", "2"]);
    tombola(dir, &["digest", "--data-dir", "data"])
}

#[test]
fn rules_reviews_and_decisions_come_out_as_a_plain_count_says_at_any_number_of_workers() {
    let orders: Vec<PlaceOrder> = (0..ORDERS).map(order).collect();
    let expected = plain(&orders);
    for status in ["held", "in_review", "refused fraud_blocked", "refused review_refused"] {
        assert!(expected.orders.values().filter(|said| *said == status).count() > 20, "few are {status}");
    }
    let digests = ["1", "2", "3"].map(|workers| check(workers, &expected, &orders));
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}

#[test]
fn without_the_job_orders_pass_unscreened() {
    let orders: Vec<PlaceOrder> = (0..100).map(order).collect();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fill(dir, &orders, &[]);
    std::fs::write(dir.join("tombola.toml"), "[pipeline]\njobs = [\"sales\"]\n").unwrap();
    tombola(dir, &["run", "--until-drained", "--data-dir", "data"]);
    assert!(rows(dir, "SELECT * FROM fraud_alerts").is_empty());
    assert_eq!(rows(dir, "SELECT * FROM orders WHERE status = 'held'").len(), 100);
}

/// One customer's order comes years after the last one that is known of it, and was placed two minutes before that.
#[test]
fn an_order_that_comes_late_is_counted_as_such() {
    let orders: Vec<PlaceOrder> = (0..20).map(order).collect();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fill(dir, &orders, &[]);
    let late = PlaceOrder { placed_at_ms: START_MS - 120_000, ..order(20) };
    let late = PlaceOrder { customer_id: orders[3].customer_id.clone(), ..late };
    let late = to_line(&Command::PlaceOrder(Box::new(late)));
    std::fs::write(dir.join("late.ndjson"), late).unwrap();
    tombola(dir, &["produce", "commands.orders", "late.ndjson", "--data-dir", "data"]);
    tombola(dir, &["run", "--until-drained", "--data-dir", "data"]);
    let metrics = tombola(dir, &["status", "--metrics", "--data-dir", "data"]);
    let late = metrics.lines().filter(|line| line.starts_with("tombola_late_orders_total"));
    assert_eq!(late.collect::<Vec<_>>(), ["tombola_late_orders_total 1"]);
}
