//! A producer of the demo's stream into Kafka, by the clock, that sends again what was not acknowledged.

use super::services::env;
use connectors::embedded::NewRecord;
use connectors::kafka::{KafkaAppender, KafkaError, KafkaSettings};
use pipelines::demo::generator::{Generator, Options};
use pipelines::demo::record::{Body, Timed};
use schemas::{Command, SchemaIds};
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time between two appends.
const PACE: Duration = Duration::from_millis(20);
/// Where the brokers were away, the backlog goes in by pieces of this.
const BATCH_RECORDS: usize = 4_000;

/// What came of producing.
#[derive(Debug, Default)]
pub struct Produced {
    /// Tenant and id of every order that Kafka acknowledged.
    pub orders: BTreeSet<(String, String)>,
    pub records: u64,
    /// Appends that were not acknowledged, and made again.
    pub again: u64,
}

/// The ids of our contracts in the registry of a configured directory.
pub fn schema_ids(dir: &Path) -> SchemaIds {
    let config = pipelines::config::Config::load(Some(&dir.join("tombola.toml"))).expect("good settings");
    pipelines::stores::Stores::of(&config, dir).ids().expect("the registry answers")
}

/// Produces `orders` at this rate; returns when the last record is acknowledged.
pub fn produce(ids: &SchemaIds, seed: u64, orders: u64, orders_per_s: u64) -> Produced {
    produce_while(ids, (seed, Some(orders), orders_per_s), || true)
}

/// Produces at this rate for as long as that holds.
pub fn produce_while(
    ids: &SchemaIds,
    stream: (u64, Option<u64>, u64),
    goes_on: impl Fn() -> bool,
) -> Produced {
    let mut producer = Producer::new(ids, stream);
    producer.go_on(goes_on);
    producer.produced
}

fn appender() -> KafkaAppender {
    KafkaAppender::open(&KafkaSettings::new(env("KAFKA_BOOTSTRAP"))).expect("Kafka answers")
}

/// A producer that may rest: its stream stands still then.
pub struct Producer<'a> {
    ids: &'a SchemaIds,
    appender: KafkaAppender,
    stream: Peekable<Generator>,
    /// Up to when the stream was produced.
    at_ms: i64,
    pub produced: Produced,
}

impl<'a> Producer<'a> {
    /// Of a stream with this seed, this many orders, or without end, and this many a second.
    pub fn new(ids: &'a SchemaIds, (seed, orders, orders_per_s): (u64, Option<u64>, u64)) -> Self {
        let appender = appender();
        let options = Options { seed, start_ms: pipelines::clock_ms(), orders, orders_per_s, draws: false };
        let stream = Generator::new(options).peekable();
        Producer { ids, appender, stream, at_ms: options.start_ms, produced: Produced::default() }
    }

    /// Connects anew, and knows the partitions that were added.
    pub fn reopen(&mut self) {
        self.appender = appender();
    }

    /// Produces for as long as that holds and the stream has more. What is due and wasn't produced then is due later.
    pub fn go_on(&mut self, goes_on: impl Fn() -> bool) {
        let (began, from_ms) = (Instant::now(), self.at_ms);
        while self.stream.peek().is_some() && goes_on() {
            let due_ms = from_ms + began.elapsed().as_millis() as i64;
            let mut batch = Vec::new();
            while batch.len() < BATCH_RECORDS
                && let Some(timed) = self.stream.next_if(|timed| timed.at_ms <= due_ms)
            {
                batch.push(timed);
            }
            self.at_ms = batch.last().map_or(self.at_ms, |timed| timed.at_ms);
            self.produced.append(&mut self.appender, self.ids, &batch);
            if batch.len() < BATCH_RECORDS {
                std::thread::sleep(PACE);
            }
        }
    }
}

impl Produced {
    fn append(&mut self, appender: &mut KafkaAppender, ids: &SchemaIds, batch: &[Timed]) {
        let now_ms = pipelines::clock_ms();
        let mut topics: BTreeMap<&str, Vec<NewRecord>> = BTreeMap::new();
        for timed in batch {
            topics.entry(timed.body.topic()).or_default().push(timed.body.encode(ids, now_ms));
        }
        let topics: Vec<(&str, &[NewRecord])> =
            topics.iter().map(|(topic, all)| (*topic, &all[..])).collect();
        loop {
            match appender.append_many(&topics) {
                Ok(_) => break,
                // Some of it may be in: the pipeline is told twice, and must do it once.
                Err(KafkaError::Away { .. }) => self.again += 1,
                Err(error) => panic!("{error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.records += batch.len() as u64;
        for timed in batch {
            if let Body::Command(Command::PlaceOrder(order)) = &timed.body {
                self.orders.insert((order.tenant.to_string(), order.order_id.to_string()));
            }
        }
    }
}
