//! Measures Kafka as Tombola uses it: appending, reading, and facts in transactions.
//!
//! `KAFKA_BOOTSTRAP=… cargo run --release -p tombola-connectors --example kafka_throughput -- [records]`

#![allow(clippy::unwrap_used)] // a measurement that fails should say so and end

use connectors::embedded::{Decode, Decoded, NewRecord, RawRecord};
use connectors::kafka::{
    KafkaAppender, KafkaEpochs, KafkaReader, KafkaSettings, ReaderOptions, TopicSpec, apply, plan,
};
use runtime::log::{EpochLog, OutRecord};
use runtime::source::{Claim, LogError, LogReader};
use runtime::{Class, Epoch, Generation, Offset};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

struct Lengths;

impl Decode for Lengths {
    type Record = usize;

    fn decode(&mut self, _: &str, _: u32, _: u64, r: RawRecord<'_>) -> Result<Decoded<usize>, LogError> {
        let body = r.value.map_or(0, <[u8]>::len);
        Ok(Decoded { claim: Claim::At(r.timestamp_ms), class: Class::Command, body, unread: None })
    }
}

fn rate(what: &str, records: usize, took: Duration) {
    println!("{what}: {records} in {took:.2?}, {:.0} /s", records as f64 / took.as_secs_f64());
}

fn record(n: usize) -> NewRecord {
    NewRecord {
        key: Some(format!("order-{n}").into_bytes()),
        value: Some(format!("{n:0>150}").into_bytes()),
        timestamp_ms: 1_700_000_000_000 + n as i64,
        ..NewRecord::default()
    }
}

fn main() {
    let records = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().unwrap());
    let settings = KafkaSettings::new(std::env::var("KAFKA_BOOTSTRAP").unwrap());
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let input = format!("throughput-{micros}");
    let facts: &'static str = Box::leak(format!("facts.throughput-{micros}").into_boxed_str());
    let spec = |name: &str| TopicSpec { name: name.into(), partitions: 4, ..TopicSpec::default() };
    apply(&settings, &plan(&settings, &[spec(&input), spec(facts)]).unwrap()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    append(&settings, &input, records);
    read(&settings, &input, records);
    tell(&settings, facts, micros);
}

fn append(settings: &KafkaSettings, topic: &str, records: usize) {
    let mut appender = KafkaAppender::open(settings).unwrap();
    let start = Instant::now();
    for from in (0..records).step_by(50_000) {
        let batch: Vec<_> = (from..records.min(from + 50_000)).map(record).collect();
        appender.append(topic, &batch).unwrap();
    }
    rate("append", records, start.elapsed());
}

fn read(settings: &KafkaSettings, topic: &str, records: usize) {
    let options = ReaderOptions { pipeline: "throughput".into(), ..ReaderOptions::default() };
    let mut reader = KafkaReader::open(settings, options, &[topic], |_| true, Lengths).unwrap();
    let mut nexts: Vec<_> = reader.partitions().unwrap().into_iter().map(|id| (id, Offset(0))).collect();
    let (start, mut seen) = (Instant::now(), 0);
    while seen < records {
        reader.begin_round(0).unwrap();
        let before = seen;
        for (id, next) in &mut nexts {
            let fetch = reader.fetch(*id, *next, 8192).unwrap();
            seen += fetch.records.len();
            *next = fetch.next;
        }
        if seen == before {
            reader.wait(10);
        }
    }
    rate("read", records, start.elapsed());
}

fn tell(settings: &KafkaSettings, topic: &'static str, micros: u128) {
    let mut log = KafkaEpochs::open(settings, &format!("throughput-{micros}")).unwrap();
    log.fence(Generation(1)).unwrap();
    let mut epoch = 0;
    for (runs, size) in [(200, 50), (10, 60_000)] {
        let start = Instant::now();
        let mut latencies = Vec::new();
        for _ in 0..runs {
            epoch += 1;
            let fact = |n| {
                let NewRecord { key, value, timestamp_ms, .. } = record(n);
                let (key, value) = (key.unwrap(), value.unwrap());
                OutRecord { topic, key, value, timestamp: timestamp_ms, epoch: Epoch(epoch), trace: None }
            };
            let run: Vec<_> = (0..size).map(fact).collect();
            let begun = Instant::now();
            log.append(&run, Epoch(epoch), 0).unwrap();
            latencies.push(begun.elapsed());
        }
        latencies.sort();
        rate(&format!("facts, {size} a run"), runs * size, start.elapsed());
        println!("  p50 {:.2?}, p95 {:.2?}", latencies[runs / 2], latencies[runs * 95 / 100]);
    }
}
