//! How fast the embedded database takes serving rows and bindings.
//!
//! `cargo run --release -p tombola-sinks --example serving_throughput -- [DIR]`

#![allow(clippy::unwrap_used, reason = "a measuring program may stop at the first error")]

use runtime::bindings::{Binding, BindingStore, PartitionEnd};
use runtime::sink::{EpochItems, Item, Sink};
use runtime::{At, Class, Epoch, Generation, Offset, PartitionId, Position, TopicId};
use schemas::rows::{OrderRow, OrderStatus, Row, StockRow};
use sinks::embedded::{BindingsDb, ServingSink};
use std::path::Path;
use std::time::{Duration, Instant};

const PLACE: PartitionId = PartitionId { topic: TopicId(0), partition: 0 };

fn main() {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    for (epochs, rows) in [(50, 1_000), (10, 1_000), (1, 100)] {
        let dir = tempfile::tempdir_in(&parent).unwrap();
        serving(dir.path(), epochs, rows);
    }
    bindings(tempfile::tempdir_in(&parent).unwrap().path());
    paced(tempfile::tempdir_in(&parent).unwrap().path());
}

/// A scattered id, as order ids are.
fn scattered(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 10_000_000_000
}

fn order(n: u64) -> Row {
    Row::Order(Box::new(OrderRow {
        tenant: "tenant".into(),
        order_id: format!("order-{:010}", scattered(n / 2)).into(),
        command_id: format!("command-{:010}", scattered(n / 2)).into(),
        offer_id: format!("offer-{}", n % 100).into(),
        partner_id: Some("partner-7".into()),
        customer_id: format!("customer-{:05}", n % 50_000).into(),
        quantity: 1,
        amount_minor: 1_999,
        currency: "EUR".into(),
        status: if n.is_multiple_of(2) { OrderStatus::Held } else { OrderStatus::Confirmed },
        reasons: "".into(),
        placed_at_ms: 1_760_000_000_000,
    }))
}

fn stock(n: u64) -> Row {
    Row::Stock(Box::new(StockRow {
        tenant: "tenant".into(),
        offer_id: format!("offer-{}", n % 100).into(),
        stock_total: 1_000_000,
        available: n as i64,
        held: 1,
        sold: 2,
        shrink_due: 0,
    }))
}

fn opened(dir: &Path) -> ServingSink<Row> {
    let generation = BindingsDb::open(dir).unwrap().begin_generation("1", "{}", 1, 0).unwrap().generation;
    ServingSink::open(dir, generation, |row| Some(row)).unwrap()
}

/// `rows` rows, half of them orders, from the `from`th order on.
fn epoch(e: u64, from: u64, rows: u64) -> EpochItems<Row> {
    let at = At::record(Position::record(1, Class::Command, PLACE, Offset(0)));
    let rows = (from..from + rows / 2).flat_map(|n| [order(n), stock(n)]);
    EpochItems { epoch: Epoch(e), now: 0, items: rows.map(|body| Item { at, stage: 0, body }).collect() }
}

/// An epoch of 100 rows every 10 ms, as 5,000 orders/s make them: how long a commit takes when it isn't hurried.
fn paced(dir: &Path) {
    let mut sink = opened(dir);
    for e in 1..=100 {
        sink.commit(&[epoch(e, e * 5_000, 10_000)]).unwrap();
    }
    let (start, mut took) = (Instant::now(), Vec::new());
    for e in 0..2_000 {
        let due = Duration::from_millis(10 * e);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let items = [epoch(101 + e, e * 50, 100)];
        let began = Instant::now();
        sink.commit(&items).unwrap();
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let at = |permille: usize| took[took.len() * permille / 1_000];
    println!(
        "paced commits: p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}, slowest {:.2?}",
        at(500),
        at(990),
        at(999),
        took[1_999]
    );
}

fn serving(dir: &Path, epochs: u64, rows: u64) {
    let mut sink = opened(dir);
    let runs = (1_000_000 / (epochs * rows)).min(1_000);
    let (mut slowest, mut spent, mut computed, mut next) =
        (Duration::ZERO, Duration::ZERO, Duration::ZERO, 0);
    for run in 0..runs {
        let items: Vec<_> = (1..=epochs)
            .map(|e| {
                next += rows / 2;
                epoch(run * epochs + e, next, rows)
            })
            .collect();
        let (start, before) = (Instant::now(), cpu());
        sink.commit(&items).unwrap();
        slowest = slowest.max(start.elapsed());
        spent += start.elapsed();
        computed += cpu() - before;
    }
    let count = (runs * epochs * rows) as f64;
    println!(
        "serving, {epochs} epochs of {rows} rows a time {:>9.0} rows/s, {:>9.0} per second of CPU, mean commit {:.2?}, slowest {slowest:.2?}",
        count / spent.as_secs_f64(),
        count / computed.as_secs_f64(),
        spent / runs as u32
    );
}

/// What this thread has computed so far; on a busy machine it says more than the clock.
fn cpu() -> Duration {
    let ran = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(ran.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default())
}

fn bindings(dir: &Path) {
    let mut store = BindingsDb::open(dir).unwrap();
    let generation = store.begin_generation("1", "{}", 1, 0).unwrap().generation;
    let row = |e: u64| binding(e, generation);
    let start = Instant::now();
    for e in 1..=1_000 {
        store.append(&[row(e)]).unwrap();
    }
    println!("bindings, one row a time: mean {:.2?}", start.elapsed() / 1_000);
}

fn binding(epoch: u64, generation: Generation) -> Binding {
    let ends = vec![PartitionEnd { partition: PLACE, end: Offset(epoch * 50), time_max: epoch as i64 }];
    Binding {
        epoch: Epoch(epoch),
        generation,
        now: 1,
        bound: None,
        ends,
        clamps: vec![],
        unread: Some(vec![]),
    }
}
