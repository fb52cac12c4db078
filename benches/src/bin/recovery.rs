//! How long a restart takes, and what snapshots cost meanwhile: the whole program on its embedded stores.
//!
//! `cargo run --release -p tombola-benches --bin recovery -- [ORDERS]`. A day of sales is put into a fresh
//! data directory and decided; then the pipeline is started again on it. An order is a key in each of dedup,
//! desk and book, and a payment another one in dedup, so keys are about four times the orders.

use connectors::embedded::{Log, NewRecord};
use pipelines::config::Config;
use pipelines::engine::{self, EngineOptions};
use runtime::shared::Shared;
use runtime::source::Claim;
use schemas::Reference;
use schemas::debezium::Op;
use schemas::reference::Change;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tombola_benches::day::{self, Raw};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn append(dir: &Path, orders: u64) {
    let ids = pipelines::intake::prepare(dir, 1).expect("a fresh directory");
    assert_eq!(ids, schemas::SchemaIds::fresh(), "the day is encoded with a fresh registry's ids");
    let mut appender = Log::appender(dir).expect("a fresh directory");
    let mut batches: Vec<(&str, Vec<NewRecord>)> =
        vec![("commands.orders", Vec::new()), ("commands.payments", Vec::new())];
    for (place, claim, _, raw) in day::commands(orders) {
        let (Raw::Command(bytes), Claim::At(timestamp_ms)) = (raw, claim) else { continue };
        let batch = &mut batches[usize::from(place != day::ORDERS)].1;
        batch.push(NewRecord { value: Some(bytes.to_vec()), timestamp_ms, ..NewRecord::default() });
    }
    batches.extend(rows());
    for (topic, records) in &batches {
        for chunk in records.chunks(20_000) {
            appender.append(topic, chunk).expect("the disk has room");
        }
    }
}

/// The day's offers and partners as Debezium's messages.
fn rows() -> [(&'static str, Vec<NewRecord>); 2] {
    let (mut offers, mut partners) = (Vec::new(), Vec::new());
    for (_, _, _, raw) in day::rows() {
        let Raw::Row(Change::Upsert { lsn, row }) = raw else { continue };
        let value = schemas::debezium::envelope(Op::Read, None, Some(&row), day::BEGIN_MS, lsn).into_bytes();
        let record = NewRecord { value: Some(value), timestamp_ms: day::BEGIN_MS, ..NewRecord::default() };
        let topic = if matches!(row, Reference::Offer(_)) { &mut offers } else { &mut partners };
        topic.push(record);
    }
    [("oltp.public.offers", offers), ("oltp.public.partners", partners)]
}

fn run(dir: &Path, config: &Config) -> (f64, Arc<Shared>) {
    let shared = Arc::new(Shared::default());
    let options = EngineOptions {
        config: config.clone(),
        data_dir: dir.to_owned(),
        workers: 1,
        until_drained: true,
        shared: Arc::clone(&shared),
        progress: None,
        pulse: None,
    };
    let began = Instant::now();
    engine::run(&options).expect("the disk has room");
    (began.elapsed().as_secs_f64(), shared)
}

fn main() {
    let orders = std::env::args().nth(1).map_or(1_000_000, |arg| arg.parse().expect("a number of orders"));
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    append(dir.path(), orders);
    let mut config = Config::default();
    config.orders.grace_ms = 0;
    config.runtime.snapshot_every_ms = 1000;
    let (took_s, shared) = run(dir.path(), &config);
    let stall_us = shared.snapshot_stall_us_max.load(Ordering::Relaxed);
    println!("{orders} orders decided in {took_s:.2} s with a snapshot every second");
    println!("  longest pause of a worker for a snapshot: {:.2} ms", stall_us as f64 / 1000.0);
    for round in 1..=5 {
        let (took_s, _) = run(dir.path(), &config);
        println!("  restart {round}, to live and stopped again: {took_s:.2} s");
    }
}
