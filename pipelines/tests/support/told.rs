//! What a consumer that isn't ours reads in Kafka, held against what was produced and what Postgres says.
//!
//! Nothing lost: every order in the log has one decision, every order acknowledged is in the log.
//! Nothing doubled: no fact is there twice. And the tables are what the facts come to.

use super::load::Produced;
use super::services::{env, foreign, sql, wait_until, well};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

type Order = (String, String);

/// What the facts come to.
#[derive(Debug, Default)]
struct Told {
    /// Events of each order, in the order of its partition.
    orders: BTreeMap<Order, Vec<String>>,
    /// Decisions about a record of `commands.orders`, by partition and offset.
    decisions: BTreeMap<(i64, i64), Vec<String>>,
    /// Available, held and sold of each offer, after its last movement.
    stock: BTreeMap<Order, [i64; 3]>,
}

/// Everything committed in these topics.
pub fn read(topics: &[&str]) -> Vec<Value> {
    let lines = well(foreign("consume.py", topics));
    lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn order_of(record: &Value) -> Order {
    (text(&record["tenant"]), text(&record["order_id"]))
}

impl Told {
    fn take(&mut self, fact: &Value) {
        let record = &fact["record"];
        match fact["name"].as_str() {
            Some("tombola.facts.OrderFact") => self.order(record),
            Some("tombola.facts.StockFact") => self.movement(record),
            _ => panic!("a fact of another kind: {fact}"),
        }
    }

    fn order(&mut self, fact: &Value) {
        let event = text(&fact["event"]);
        let cause = &fact["cause"];
        let decision =
            ["held", "in_review", "refused", "duplicate", "idempotency_conflict"].contains(&event.as_str());
        if decision && cause["topic"] == "commands.orders" {
            let place = (number(&cause["partition"]), number(&cause["offset"]));
            self.decisions.entry(place).or_default().push(event.clone());
        }
        self.orders.entry(order_of(fact)).or_default().push(event);
    }

    /// Each movement says the balances of the one before it, moved by its quantity.
    fn movement(&mut self, fact: &Value) {
        let offer = (text(&fact["tenant"]), text(&fact["offer_id"]));
        let before = self.stock.entry(offer).or_default();
        let after = ["available", "held", "sold"].map(|account| number(&fact[account]));
        for (n, account) in ["available", "held", "sold"].into_iter().enumerate() {
            let moved = fact["debit"] == account || fact["credit"] == account;
            let wanted = if moved { number(&fact["quantity"]) } else { 0 };
            assert_eq!((after[n] - before[n]).abs(), wanted, "{account} after {before:?}: {fact}");
        }
        *before = after;
    }
}

/// No fact is there twice, and no partition goes back to an earlier epoch.
fn assert_each_once(facts: &[Value]) {
    let (mut seen, mut epochs) = (BTreeSet::new(), BTreeMap::new());
    for fact in facts {
        // All but where it lies: a fact that was told again would be the same in another place.
        let same = format!("{} {}", fact["topic"], fact["record"]);
        assert!(seen.insert(same), "told twice: {fact}");
        let partition = format!("{} {}", fact["topic"], fact["partition"]);
        let last = epochs.insert(partition, number(&fact["epoch"])).unwrap_or(0);
        assert!(last <= number(&fact["epoch"]), "after epoch {last}: {fact}");
    }
}

/// Asserts all of it; how many orders were decided.
pub fn assert_exactly_once(produced: &Produced) -> usize {
    assert_exactly_once_in(&env("PG_URL"), produced)
}

/// The same of a pipeline that serves from another Postgres.
pub fn assert_exactly_once_in(url: &str, produced: &Produced) -> usize {
    let facts = read(&["facts.orders", "facts.stock"]);
    assert_each_once(&facts);
    let mut told = Told::default();
    facts.iter().for_each(|fact| told.take(fact));
    let commands = read(&["commands.orders"]);
    let placed = commands.iter().filter(|command| command["name"] == "tombola.commands.PlaceOrder");
    let mut in_the_log = BTreeSet::new();
    for command in placed {
        let place = (number(&command["partition"]), number(&command["offset"]));
        let decisions = told.decisions.get(&place).map_or(&[][..], Vec::as_slice);
        assert_eq!(decisions.len(), 1, "decisions about {command}: {decisions:?}");
        in_the_log.insert(order_of(&command["record"]));
    }
    assert_eq!(in_the_log, produced.orders, "orders in the log and orders acknowledged");
    assert_rows(&told, url);
    told.orders.len()
}

fn rows(url: &str, statement: &str) -> Vec<Vec<String>> {
    let text = sql(url, &format!("SET search_path = tombola; {statement}"));
    text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

/// Waits until each order that was acknowledged has its row, for which some wait for a grace to be over; a panic where
/// there are more rows, or a pipeline that `runs` looks after doesn't.
pub fn wait_for_decisions(url: &str, produced: &Produced, mut runs: impl FnMut()) {
    wait_until("a row of each order", Duration::from_secs(300), || {
        runs();
        orders_decided(url) >= produced.orders.len()
    });
    assert_eq!(orders_decided(url), produced.orders.len(), "rows and orders acknowledged");
}

/// How many orders have their row.
pub fn orders_decided(url: &str) -> usize {
    sql(url, "SELECT count(*) FROM tombola.orders").parse().expect("a number")
}

/// Waits until that many more have theirs.
pub fn wait_for_more_orders(url: &str, more: usize, what: &str, at_most: Duration) {
    let before = orders_decided(url);
    wait_until(what, at_most, || orders_decided(url) >= before + more);
}

/// The tables say what the facts come to.
fn assert_rows(told: &Told, url: &str) {
    // What is said about an order without changing it, and what is said of a second order of the same id.
    let changes =
        |event: &&String| !["duplicate", "idempotency_conflict", "refund_due"].contains(&event.as_str());
    let status = |events: &Vec<String>| {
        let accepted = events.iter().any(|event| event == "held");
        events.iter().filter(changes).rfind(|event| !accepted || *event != "refused").cloned()
    };
    let expected: BTreeMap<Order, String> =
        told.orders.iter().filter_map(|(order, events)| Some((order.clone(), status(events)?))).collect();
    let found: BTreeMap<Order, String> = rows(url, "SELECT tenant, order_id, status FROM orders")
        .into_iter()
        .map(|row| ((row[0].clone(), row[1].clone()), row[2].clone()))
        .collect();
    for (order, status) in &expected {
        assert_eq!(found.get(order), Some(status), "{order:?}: {:?}", told.orders[order]);
    }
    assert_eq!(found.len(), expected.len(), "rows of orders");
    let stock: BTreeMap<Order, [i64; 3]> =
        rows(url, "SELECT tenant, offer_id, available, held, sold FROM stock")
            .into_iter()
            .map(|row| {
                let balance = |n: usize| row[n].parse().expect("a number");
                ((row[0].clone(), row[1].clone()), [balance(2), balance(3), balance(4)])
            })
            .collect();
    let none = [0; 3];
    for (offer, balances) in &stock {
        assert_eq!(told.stock.get(offer).unwrap_or(&none), balances, "{offer:?}");
    }
    assert!(told.stock.keys().all(|offer| stock.contains_key(offer)), "rows of stock");
    let unbalanced = "SELECT * FROM stock s WHERE available + held + sold <> stock_total
            OR least(available, held, sold, shrink_due) < 0
            OR held <> (SELECT coalesce(sum(quantity), 0) FROM orders o
                        WHERE (o.tenant, o.offer_id) = (s.tenant, s.offer_id) AND o.status = 'held')";
    assert_eq!(rows(url, unbalanced), Vec::<Vec<String>>::new(), "the stock equation");
}
