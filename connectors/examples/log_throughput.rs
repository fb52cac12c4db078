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
    idle(dir.path());
    side_by_side(dir.path(), &records);
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
    let mut log = LogEpochs::open(dir, "sales").unwrap();
    log.fence(Generation(1)).unwrap();
    let out = |n: usize, r: &NewRecord| OutRecord {
        topic: if n.is_multiple_of(2) { "facts.orders" } else { "facts.stock" },
        key: b"tenant/order-00000001".to_vec(),
        value: r.value.clone().unwrap(),
        timestamp: 1,
        epoch: Epoch(1 + n as u64 / 1_000),
        trace: None,
    };
    let out: Vec<OutRecord> = records.iter().enumerate().map(|(n, r)| out(n, r)).collect();
    let start = Instant::now();
    for run in out.chunks(20_000) {
        log.append(run, run.last().unwrap().epoch, 0).unwrap();
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
        for _ in reader.fetch(PLACE, Offset(next), 100).unwrap().records {
            next += 1;
            delays.push(noticed.saturating_duration_since(told.recv().unwrap()));
        }
    }
    appender.join().unwrap();
    delays.sort_unstable();
    println!(
        "noticed after p50 {:.2?}, p99 {:.2?}",
        delays[delays.len() / 2],
        delays[delays.len() * 99 / 100]
    );
}

fn cpu() -> Duration {
    let ran = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(ran.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default())
}

/// What a reader costs while nothing comes.
fn idle(dir: &Path) {
    let decoder = RecordDecoder::new(Registry::open(dir).unwrap());
    let mut reader = EmbeddedReader::open(dir, &[TOPIC, "commands.payments"], decoder).unwrap();
    for place in reader.partitions().unwrap() {
        let end = reader.fetch(place, Offset(0), 1).unwrap().end;
        reader.fetch(place, end, 1).unwrap();
    }
    reader.wait(1_500);
    let (start, before) = (Instant::now(), cpu());
    while start.elapsed() < Duration::from_secs(2) {
        reader.wait(10);
    }
    println!("idle reader: {:.2} % of a core", 50.0 * (cpu() - before).as_secs_f64());
}

/// A producer that never pauses, and the pipeline's small epochs of facts beside it.
fn side_by_side(dir: &Path, records: &[NewRecord]) {
    let path = dir.to_owned();
    let records = records[..200_000].to_vec();
    let producer = std::thread::spawn(move || {
        let mut appender = Log::appender(&path).unwrap();
        let start = Instant::now();
        for chunk in (0..20).flat_map(|_| records.chunks(2_000)) {
            appender.append("commands.more", chunk).unwrap();
        }
        report("producer beside the pipeline, 2000 a time", 20 * records.len(), start.elapsed());
    });
    let mut log = LogEpochs::open(dir, "sales").unwrap();
    log.fence(Generation(2)).unwrap();
    let (mut took, mut epoch) = (Vec::new(), log.committed().unwrap());
    while !producer.is_finished() {
        epoch = epoch.next();
        let fact = |n: u8| OutRecord {
            topic: "facts.orders",
            key: vec![n],
            value: vec![n; 200],
            timestamp: 1,
            epoch,
            trace: None,
        };
        let facts: Vec<OutRecord> = (0..100).map(fact).collect();
        let start = Instant::now();
        log.append(&facts, epoch, 0).unwrap();
        took.push(start.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    producer.join().unwrap();
    took.sort_unstable();
    let at = |percent: usize| took[took.len() * percent / 100];
    println!("facts beside a producer: {} epochs, p50 {:.2?}, p99 {:.2?}", took.len(), at(50), at(99));
}
