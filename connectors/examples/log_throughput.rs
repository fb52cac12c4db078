//! How fast the embedded log appends, reads and decodes, and how long a record takes to be noticed.
//!
//! `cargo run --release -p tombola-connectors --example log_throughput -- [DIR]`

#![allow(clippy::unwrap_used, reason = "a measuring program may stop at the first error")]

use connectors::decode::RecordDecoder;
use connectors::embedded::{EmbeddedReader, Log, LogEpochs, NewRecord, Registry};
use runtime::log::{EpochLog, OutRecord};
use runtime::source::LogReader;
use runtime::{Epoch, Generation, Offset, PartitionId, TopicId};
use schemas::Command;
use schemas::commands::PlaceOrder;
use std::path::Path;
use std::time::{Duration, Instant};

const TOPIC: &str = "commands.orders";
const PLACE: PartitionId = PartitionId { topic: TopicId(0), partition: 0 };

fn main() {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(dir).unwrap();
    let ids = Registry::open(dir.path()).unwrap().register_own().unwrap();
    let records: Vec<NewRecord> = (0..500_000).map(|n| order(n, ids)).collect();
    append(dir.path(), &records);
    fetch(dir.path(), records.len());
    facts(dir.path(), &records);
    notice(dir.path(), &records);
}

fn order(n: u64, ids: schemas::SchemaIds) -> NewRecord {
    let order = Command::PlaceOrder(Box::new(PlaceOrder {
        command_id: format!("command-{n:08}").into(),
        tenant: "tenant".into(),
        order_id: format!("order-{n:08}").into(),
        customer_id: format!("customer-{:05}", n % 50_000).into(),
        partner_id: Some("partner-7".into()),
        offer_id: format!("offer-{}", n % 100).into(),
        quantity: 1,
        price_minor: 1_999,
        currency: "EUR".into(),
        placed_at_ms: 1_760_000_000_000 + n as i64,
        card: Some("tok_1234567890".into()),
        device: None,
        ip: Some("10.1.2.3".into()),
        numbers: vec![],
        seat: None,
    }));
    let mut value = Vec::new();
    schemas::encode_command(&order, |record| ids.of(record), &mut value);
    NewRecord { value: Some(value), timestamp_ms: n as i64, ..NewRecord::default() }
}

fn report(what: &str, records: usize, took: Duration) {
    println!("{what:<40} {:>9.0} records/s", records as f64 / took.as_secs_f64());
}

fn append(dir: &Path, records: &[NewRecord]) {
    let mut appender = Log::appender(dir).unwrap();
    for batch in [50_000, 5_000, 500, 50] {
        let (count, start) = (records.len().min(batch * 200), Instant::now());
        let mut slowest = Duration::ZERO;
        for chunk in records[..count].chunks(batch) {
            let began = Instant::now();
            appender.append(&format!("{TOPIC}{}", if batch == 50_000 { "" } else { ".x" }), chunk).unwrap();
            slowest = slowest.max(began.elapsed());
        }
        report(&format!("append {batch} a time (slowest {slowest:.1?})"), count, start.elapsed());
    }
}

fn fetch(dir: &Path, count: usize) {
    let decoder = RecordDecoder::new(Registry::open(dir).unwrap());
    let mut reader = EmbeddedReader::open(dir, &[TOPIC], decoder).unwrap();
    for max in [20_000, 1_000, 100] {
        let (start, mut next) = (Instant::now(), 0);
        while next < count as u64 {
            next += reader.fetch(PLACE, Offset(next), max).unwrap().records.len() as u64;
        }
        report(&format!("fetch and decode {max} a time"), count, start.elapsed());
    }
    let start = Instant::now();
    Log::open(dir).unwrap().read(TOPIC, 0, 0, count).unwrap();
    report("read raw", count, start.elapsed());
}

fn facts(dir: &Path, records: &[NewRecord]) {
    let mut log = LogEpochs::open(dir).unwrap();
    log.fence(Generation(1)).unwrap();
    let out = |n: usize, r: &NewRecord| OutRecord {
        topic: if n.is_multiple_of(2) { "facts.orders" } else { "facts.stock" },
        key: b"tenant/order-00000001".to_vec(),
        value: r.value.clone().unwrap(),
        timestamp: 1,
        epoch: Epoch(1 + n as u64 / 1_000),
    };
    let out: Vec<OutRecord> = records.iter().enumerate().map(|(n, r)| out(n, r)).collect();
    let start = Instant::now();
    for run in out.chunks(20_000) {
        log.append(run, run.last().unwrap().epoch).unwrap();
    }
    report("facts, 20 epochs of 1000 a time", out.len(), start.elapsed());
}

/// Milliseconds from a record being durable to `wait` returning.
fn notice(dir: &Path, records: &[NewRecord]) {
    let decoder = RecordDecoder::new(Registry::open(dir).unwrap());
    let mut reader = EmbeddedReader::open(dir, &["commands.notice"], decoder).unwrap();
    reader.partitions().unwrap();
    let dir = dir.to_owned();
    let record = records[0].clone();
    let (tell, told) = std::sync::mpsc::channel();
    let appender = std::thread::spawn(move || {
        let mut appender = Log::appender(&dir).unwrap();
        for n in 0..200 {
            std::thread::sleep(Duration::from_millis(10 + n % 7));
            appender.append("commands.notice", std::slice::from_ref(&record)).unwrap();
            tell.send(Instant::now()).unwrap();
        }
    });
    let (mut delays, mut next) = (Vec::new(), 0);
    while next < 200 {
        reader.wait(1_000);
        let noticed = Instant::now();
        next += reader.fetch(PLACE, Offset(next), 100).unwrap().records.len() as u64;
        delays.push(noticed.saturating_duration_since(told.recv().unwrap()));
    }
    appender.join().unwrap();
    delays.sort_unstable();
    println!(
        "noticed after p50 {:.2?}, p99 {:.2?}",
        delays[delays.len() / 2],
        delays[delays.len() * 99 / 100]
    );
}
