//! What must be true of a data directory, whatever happened to it on the way.
//!
//! Facts are read back record by record, serving tables row by row. The header `epoch` depends on how epochs
//! were cut and is left out where two directories are compared; within one it must never go back.

use connectors::embedded::{Log, StoredRecord};
use schemas::facts::{Fact, OrderEvent, StockAccount};
use schemas::{ALL_TABLES, Command, Decoder, SchemaIds, Value};
use sinks::embedded::Reader;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const RECORDS_MAX: usize = 10_000_000;

/// A fact without its epoch: key, value, timestamp.
type Said = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

/// Everything that was decided.
#[derive(PartialEq, Eq)]
pub struct Outcome {
    /// By topic and partition, in the order of the log.
    pub facts: BTreeMap<(String, u32), Vec<Said>>,
    /// Sums over the deltas of `facts.commissions`: one delta an epoch, so the facts depend on the cuts.
    pub statements: BTreeMap<String, [i64; 3]>,
    /// `tombola digest`, by table.
    pub digests: Vec<String>,
}

fn read(log: &Log, topic: &str, partition: u32) -> Vec<StoredRecord> {
    log.read(topic, partition, 0, RECORDS_MAX).expect("the log can be read")
}

fn is_fact(topic: &str) -> bool {
    topic.starts_with("facts.") || topic == "dead-letters"
}

fn records_of(dir: &Path, wanted: fn(&str) -> bool) -> BTreeMap<(String, u32), Vec<StoredRecord>> {
    let log = Log::open_read_only(dir).expect("the log can be opened");
    let topics = log.topics().expect("the log has topics").into_iter();
    let partitions = topics.filter(|topic| wanted(&topic.topic)).flat_map(|topic| {
        (0..topic.ends.len() as u32).map(move |partition| (topic.topic.clone(), partition))
    });
    partitions.map(|at| (at.clone(), read(&log, &at.0, at.1))).collect()
}

/// Everything that was decided in a directory.
pub fn outcome(dir: &Path) -> Outcome {
    let said = |record: StoredRecord| (record.key, record.value, record.timestamp_ms);
    let facts = records_of(dir, is_fact);
    for ((topic, partition), records) in &facts {
        let epochs: Vec<u64> = records.iter().map(epoch).collect();
        assert!(epochs.is_sorted(), "{topic}/{partition}: an epoch was appended after a later one");
    }
    let reader = Reader::open(dir).expect("the tables can be opened");
    let digests = ALL_TABLES.iter().map(|table| format!("{:?}", reader.digest(table).expect("a digest")));
    let digests = digests.collect();
    let facts = facts.into_iter().filter(|((topic, _), _)| topic != "facts.commissions");
    let facts = facts.map(|(at, list)| (at, list.into_iter().map(said).collect())).collect();
    Outcome { facts, statements: statements(dir), digests }
}

/// What the deltas of each commission statement add up to: base, commission, adjustment.
fn statements(dir: &Path) -> BTreeMap<String, [i64; 3]> {
    let mut sums: BTreeMap<String, [i64; 3]> = BTreeMap::new();
    for fact in self::facts(dir) {
        let Fact::Commission(fact) = fact else { continue };
        let kind = fact.offer_kind.as_str();
        let key = [&fact.tenant, &fact.partner_id, &fact.month, &fact.currency].map(|part| part.as_str());
        let sum = sums.entry(format!("{} {kind}", key.join(" "))).or_default();
        let deltas = [fact.base_delta_minor, fact.commission_delta_minor, fact.adjustment_delta_minor];
        sum.iter_mut().zip(deltas).for_each(|(sum, delta)| *sum += delta);
        let figures = [fact.base_minor, fact.commission_minor, fact.adjustment_minor];
        assert_eq!(*sum, figures, "the deltas of {key:?} add up to its figures after each of them");
    }
    sums
}

fn epoch(record: &StoredRecord) -> u64 {
    let header = record.headers.iter().find(|(name, _)| name == "epoch").expect("facts carry their epoch");
    std::str::from_utf8(&header.1).expect("decimal").parse().expect("decimal")
}

impl Outcome {
    /// Asserts that two directories ended in the same, and says where they first differ.
    pub fn assert_equals(&self, other: &Outcome, what: &str) {
        for (at, ours) in &self.facts {
            let theirs = other.facts.get(at).map_or(&[][..], Vec::as_slice);
            let differ = ours.iter().zip(theirs).position(|(a, b)| a != b);
            if differ.is_some() || ours.len() != theirs.len() {
                let at_index = differ.unwrap_or(ours.len().min(theirs.len()));
                panic!(
                    "{what}: {at:?}: {} facts against {}, the first difference at {at_index}:\n  {}\n  {}",
                    ours.len(),
                    theirs.len(),
                    show(ours.get(at_index)),
                    show(theirs.get(at_index))
                );
            }
        }
        assert_eq!(self.facts.len(), other.facts.len(), "{what}: partitions of facts");
        assert_eq!(self.statements, other.statements, "{what}: the commissions differ");
        assert_eq!(self.digests, other.digests, "{what}: the digests differ");
    }

    /// How many facts there are.
    pub fn facts_count(&self) -> usize {
        self.facts.values().map(Vec::len).sum()
    }
}

fn show(said: Option<&Said>) -> String {
    let decode = |said: &Said| decoder().decode_fact(said.1.as_deref().unwrap_or_default());
    said.map_or("nothing".into(), |said| format!("{:?}", decode(said)))
}

fn decoder() -> Decoder {
    let ids = SchemaIds::fresh();
    Decoder::with_own(move |record| ids.of(record))
}

fn rows(dir: &Path, sql: &str) -> Vec<Vec<Value>> {
    let mut reader = Reader::open(dir).expect("the tables can be opened");
    reader.query(sql, RECORDS_MAX, 60_000).expect("the query is good").rows
}

/// Every fact of a directory, decoded.
pub fn facts(dir: &Path) -> Vec<Fact> {
    let decoder = decoder();
    let values = records_of(dir, is_fact).into_values().flatten().filter_map(|record| record.value);
    values.map(|value| decoder.decode_fact(&value).expect("facts can be decoded")).collect()
}

/// Asserts `available + held + sold = stock_total`, nothing negative, and that orders and ledger agree.
pub fn assert_balanced(dir: &Path) {
    let bad = rows(
        dir,
        "SELECT * FROM stock WHERE available + held + sold <> stock_total
            OR available < 0 OR held < 0 OR sold < 0 OR shrink_due < 0",
    );
    assert!(bad.is_empty(), "the stock equation fails: {bad:?}");
    let bad = rows(
        dir,
        "SELECT s.*, (SELECT coalesce(sum(quantity), 0) FROM orders o WHERE o.tenant = s.tenant
                        AND o.offer_id = s.offer_id AND o.status = 'held') AS orders_held
         FROM stock s WHERE orders_held <> s.held",
    );
    assert!(bad.is_empty(), "orders hold other stock than the ledger: {bad:?}");
    let bad = rows(
        dir,
        "SELECT s.*, (SELECT coalesce(sum(quantity), 0) FROM orders o WHERE o.tenant = s.tenant
                        AND o.offer_id = s.offer_id AND o.status = 'confirmed') AS orders_sold
         FROM stock s WHERE orders_sold > s.sold",
    );
    assert!(bad.is_empty(), "orders confirmed exceed what the ledger sold: {bad:?}");
    assert_movements_follow(dir);
    let none = rows(dir, "SELECT 1 FROM stock LIMIT 1");
    assert!(!none.is_empty(), "there is stock to check");
}

/// Asserts that the stock facts, read in the order of the log, are one movement after the other: each says
/// the balances of the one before it, moved by its quantity.
pub fn assert_movements_follow(dir: &Path) {
    let mut balances: BTreeMap<(String, String), [i64; 3]> = BTreeMap::new();
    for fact in facts(dir) {
        let Fact::Stock(fact) = fact else { continue };
        let before = balances.entry((fact.tenant.to_string(), fact.offer_id.to_string())).or_default();
        let after = [fact.available, fact.held, fact.sold];
        for (n, account) in
            [StockAccount::Available, StockAccount::Held, StockAccount::Sold].iter().enumerate()
        {
            let moved = [fact.debit, fact.credit].contains(account);
            let wanted = if moved { fact.quantity } else { 0 };
            assert_eq!((after[n] - before[n]).abs(), wanted, "{account:?} after {before:?}: {fact:?}");
        }
        *before = after;
    }
}

/// Where a record lies: topic, partition, offset.
pub type Place = (String, i32, i64);

/// Asserts that no order in the log led to more than one decision. Those that have none yet.
pub fn assert_each_order_decided_once(dir: &Path) -> Vec<Place> {
    let mut decisions: BTreeMap<Place, Vec<OrderEvent>> = BTreeMap::new();
    for fact in facts(dir) {
        let Fact::Order(fact) = fact else { continue };
        let first = matches!(
            fact.event,
            OrderEvent::Held | OrderEvent::Refused | OrderEvent::Duplicate | OrderEvent::IdempotencyConflict
        );
        if first {
            let place = (fact.cause.topic.to_string(), fact.cause.partition, fact.cause.offset);
            decisions.entry(place).or_default().push(fact.event);
        }
    }
    let mut waiting = Vec::new();
    for place in orders_placed(dir) {
        match decisions.get(&place).map(Vec::as_slice) {
            Some([_]) => {}
            None => waiting.push(place),
            Some(several) => panic!("{place:?} was decided more than once: {several:?}"),
        }
    }
    waiting
}

fn orders_placed(dir: &Path) -> BTreeSet<Place> {
    let decoder = decoder();
    let is_order = |value: &[u8]| matches!(decoder.decode_command(value), Ok(Command::PlaceOrder(_)));
    let mut placed = BTreeSet::new();
    for ((topic, partition), records) in records_of(dir, |topic| topic == "commands.orders") {
        for record in records.into_iter().filter(|r| r.value.as_deref().is_some_and(is_order)) {
            placed.insert((topic.clone(), partition as i32, record.offset as i64));
        }
    }
    placed
}
