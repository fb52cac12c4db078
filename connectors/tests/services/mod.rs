//! What the tests against real services share: where they are, topics of their own, and reading until drained.

#![allow(clippy::unwrap_used, dead_code)] // a test helper is a test too, and no test uses all of it

use connectors::embedded::{Decode, Decoded, NewRecord, RawRecord};
use connectors::kafka::{KafkaAppender, KafkaReader, KafkaSettings, ReaderOptions, TopicSpec, apply, plan};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use runtime::source::{Claim, Fetched, LogError, LogReader};
use runtime::{Class, Millis, Offset, PartitionId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Where Kafka is.
pub fn kafka() -> KafkaSettings {
    let bootstrap = std::env::var("KAFKA_BOOTSTRAP").expect("KAFKA_BOOTSTRAP names the brokers");
    KafkaSettings::new(bootstrap)
}

/// A name nobody has used before.
pub fn unique(prefix: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    format!("{prefix}-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The same with the lifetime a fact's topic has.
pub fn unique_static(prefix: &str) -> &'static str {
    Box::leak(unique(prefix).into_boxed_str())
}

/// Makes a topic.
pub fn make(topic: &str, partitions: u32, settings: &[(&str, &str)]) {
    // Records of tests are often of 1970: a broker that happens to look at its topics' age would drop them.
    let kept = std::iter::once(&("retention.ms", "-1"));
    let settings = kept.chain(settings).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let spec = TopicSpec { name: topic.to_owned(), partitions, replication: None, settings };
    let plan = plan(&kafka(), &[spec]).unwrap();
    apply(&kafka(), &plan).unwrap();
    let start = Instant::now();
    while !plan_is_done(topic, partitions) {
        assert!(start.elapsed() < Duration::from_secs(60), "{topic} is not there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn plan_is_done(topic: &str, partitions: u32) -> bool {
    let spec = TopicSpec { name: topic.to_owned(), partitions, ..TopicSpec::default() };
    plan(&kafka(), &[spec]).unwrap().is_empty()
}

/// A topic of one partition.
pub fn made(prefix: &str) -> String {
    let topic = unique(prefix);
    make(&topic, 1, &[]);
    topic
}

pub fn text(value: impl Into<String>) -> NewRecord {
    NewRecord {
        partition: Some(0),
        value: Some(value.into().into_bytes()),
        timestamp_ms: 5,
        ..NewRecord::default()
    }
}

/// Appends texts to partition 0, outside of any transaction.
pub fn append(topic: &str, values: &[&str]) {
    let records: Vec<_> = values.iter().map(|value| text(*value)).collect();
    KafkaAppender::open(&kafka()).unwrap().append(topic, &records).unwrap();
}

/// A producer of transactions that is none of ours.
pub fn stranger(id: &str) -> BaseProducer {
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", kafka().bootstrap).set("transactional.id", id);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(Duration::from_secs(30)).unwrap();
    producer
}

/// Sends within the transaction that is open, and waits until the broker has it.
pub fn send(producer: &BaseProducer, topic: &str, values: &[&str]) {
    for value in values {
        producer
            .send(BaseRecord::<(), str>::to(topic).partition(0).payload(value))
            .map_err(|(e, _)| e)
            .unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// Records are their texts.
pub struct Texts;

impl Decode for Texts {
    type Record = String;

    fn decode(&mut self, _: &str, _: u32, _: u64, r: RawRecord<'_>) -> Result<Decoded<String>, LogError> {
        let body = String::from_utf8(r.value.unwrap_or_default().to_vec()).unwrap();
        Ok(Decoded { claim: Claim::At(r.timestamp_ms), class: Class::Command, body, unread: None })
    }
}

pub fn options() -> ReaderOptions {
    ReaderOptions { pipeline: "test".to_owned(), ..ReaderOptions::default() }
}

pub fn reader(topic: &str) -> KafkaReader<Texts> {
    KafkaReader::open(&kafka(), options(), &[topic], |_| true, Texts).unwrap()
}

pub fn clock() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as Millis
}

/// Does what the fetch thread does.
pub struct Rounds<L: LogReader> {
    pub reader: L,
    pub nexts: BTreeMap<PartitionId, Offset>,
    /// The clock as of which each partition was last said to be drained.
    pub drained: BTreeMap<PartitionId, Millis>,
    /// How far the pipeline that is followed had come as of then.
    pub said_upto: BTreeMap<PartitionId, Millis>,
    /// What failed after records of the same round had been fetched: it is not said twice.
    failed: Option<LogError>,
}

impl<L: LogReader> Rounds<L> {
    pub fn new(mut reader: L) -> Self {
        let nexts = reader.partitions().unwrap().into_iter().map(|id| (id, Offset(0))).collect();
        Rounds { reader, nexts, drained: BTreeMap::new(), said_upto: BTreeMap::new(), failed: None }
    }

    pub fn round(&mut self) -> Result<Vec<Fetched<L::Record>>, LogError> {
        let mut all = Vec::new();
        self.drained.clear();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.reader.begin_round(clock())?;
        for (id, next) in &mut self.nexts {
            let fetch = match self.reader.fetch(*id, *next, 8192) {
                Ok(fetch) => fetch,
                Err(error) if all.is_empty() => return Err(error),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            };
            assert!(fetch.next >= *next);
            *next = fetch.next;
            if fetch.next >= fetch.end {
                self.drained.insert(*id, fetch.as_of.unwrap());
                self.said_upto.insert(*id, fetch.said_upto.unwrap_or(0));
            }
            all.extend(fetch.records);
        }
        Ok(all)
    }

    /// The same where a broker that is slow to answer only costs time, as it does the pipeline.
    pub fn patient_round(&mut self) -> Vec<Fetched<L::Record>> {
        match self.round() {
            Err(LogError::Retry(_)) => Vec::new(),
            done => done.unwrap(),
        }
    }

    /// Reads until all partitions are drained as of now, or until `max` is over: `None`.
    pub fn drain_within(&mut self, max: Duration) -> Option<Vec<L::Record>> {
        let (start, since, mut all) = (Instant::now(), clock(), Vec::new());
        loop {
            all.extend(self.patient_round().into_iter().map(|fetched| fetched.body));
            if self.nexts.keys().all(|id| self.drained.get(id).is_some_and(|as_of| *as_of >= since)) {
                return Some(all);
            }
            if start.elapsed() > max {
                return None;
            }
            self.reader.wait(10);
        }
    }

    pub fn drain(&mut self) -> Vec<L::Record> {
        self.drain_within(Duration::from_secs(90)).expect("drained within 90 s")
    }

    /// Reads on until `count` records have come and all partitions are drained: a transaction's markers are written
    /// some moments after its commit has been acknowledged.
    pub fn drain_to(&mut self, count: usize) -> Vec<L::Record> {
        let (start, mut all) = (Instant::now(), Vec::new());
        loop {
            all.extend(self.drain());
            if all.len() >= count || start.elapsed() > Duration::from_secs(120) {
                return all;
            }
        }
    }

    /// Reads until it fails, if only for a moment.
    pub fn failure(&mut self, max: Duration) -> LogError {
        self.fails(max, |_| true)
    }

    /// Reads until it fails for good. A broker that is slow fails for a moment before that.
    pub fn stop(&mut self, max: Duration) -> LogError {
        self.fails(max, |error| matches!(error, LogError::Stop { .. }))
    }

    fn fails(&mut self, max: Duration, wanted: impl Fn(&LogError) -> bool) -> LogError {
        let start = Instant::now();
        loop {
            match self.round() {
                Err(error) if wanted(&error) => return error,
                Err(error) => assert!(start.elapsed() < max, "{error}"),
                Ok(_) => assert!(start.elapsed() < max, "it went on without a failure"),
            }
            self.reader.wait(10);
        }
    }
}
