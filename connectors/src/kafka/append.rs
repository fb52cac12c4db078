//! Appending records to Kafka, for producers of commands and the demo.
//!
//! Idempotent and acknowledged by all replicas: what an append returns for is there once. Not promised, but where
//! it is opened as atomic: all or none. A failure half way leaves what was acknowledged; whoever sends all of it again may send some of it twice,
//! and the command id tells the pipeline.

use super::ends::Asker;
use super::error::{Result, classify, classify_code};
use super::settings::{Isolation, KafkaSettings, Logging};
use super::transaction::{flush, producing, rest};
use crate::embedded::{NewRecord, Placed};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as Client, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const APPEND_MAX: Duration = Duration::from_secs(60);
/// A transaction left open by a process that was killed is undone by the brokers after this. Until then nobody who reads
/// committed records sees what comes behind it in its partition: these are input topics, so sales wait for it.
const TRANSACTION_MS_MAX: &str = "10000";

/// Where records went, by their number within one append.
#[derive(Default)]
struct Deliveries {
    placed: Mutex<Vec<Option<std::result::Result<Placed, Code>>>>,
}

impl Deliveries {
    fn lock(&self) -> MutexGuard<'_, Vec<Option<std::result::Result<Placed, Code>>>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Logging.log(level, facility, message);
    }

    fn error(&self, error: Client, reason: &str) {
        Logging.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let placed = match result {
            Ok(message) => Ok((message.partition() as u32, message.offset() as u64)),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        if let Some(slot) = self.lock().get_mut(number) {
            *slot = Some(placed);
        }
    }
}

/// Appends to topics of a cluster. Each thread has its own.
pub struct KafkaAppender {
    settings: KafkaSettings,
    asker: Asker,
    /// Absent after a failure: what its producer still held must not come later.
    producer: Option<BaseProducer<Deliveries>>,
    /// Where each append is a transaction.
    transactional_id: Option<String>,
    known: BTreeSet<String>,
}

impl KafkaAppender {
    /// Opens one.
    ///
    /// # Errors
    /// See [`super::KafkaError`].
    pub fn open(settings: &KafkaSettings) -> Result<Self> {
        settings.check()?;
        let asker = Asker::open(settings, Isolation::Committed)?;
        let settings = settings.clone();
        let (producer, transactional_id, known) = (None, None, BTreeSet::new());
        Ok(KafkaAppender { settings, asker, producer, transactional_id, known })
    }

    /// One whose appends are all or none, for readers of committed records; every older one under this id is
    /// fenced off from here on.
    ///
    /// # Errors
    /// See [`super::KafkaError`].
    pub fn open_atomic(settings: &KafkaSettings, transactional_id: &str) -> Result<Self> {
        let mut appender = KafkaAppender::open(settings)?;
        appender.transactional_id = Some(transactional_id.to_owned());
        appender.producer = Some(appender.open_producer()?);
        Ok(appender)
    }

    /// Appends records to a topic; durable on return. Partition and offset of each, in order.
    ///
    /// # Errors
    /// [`super::KafkaError::Away`] where some were not acknowledged; [`super::KafkaError::Stop`] where there is no such topic.
    pub fn append(&mut self, topic: &str, records: &[NewRecord]) -> Result<Vec<Placed>> {
        let mut placed = self.append_many(&[(topic, records)])?;
        Ok(placed.pop().expect("one topic in, one list out"))
    }

    /// The same for several topics.
    ///
    /// # Errors
    /// As [`KafkaAppender::append`].
    pub fn append_many(&mut self, topics: &[(&str, &[NewRecord])]) -> Result<Vec<Vec<Placed>>> {
        topics.iter().try_for_each(|(topic, _)| self.know(topic))?;
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.open_producer()?,
        };
        let count = topics.iter().map(|(_, records)| records.len()).sum();
        *producer.context().lock() = vec![None; count];
        let failed = |e| classify(self.settings.place(), "append in one transaction", e);
        if self.transactional_id.is_some() {
            producer.begin_transaction().map_err(failed)?;
        }
        self.send(&producer, topics)?;
        let flushed = flush(&producer, APPEND_MAX);
        flushed.map_err(|e| classify(self.settings.place(), "append", e))?;
        let mut all = self.placed(&producer, count)?.into_iter();
        if self.transactional_id.is_some() {
            producer.commit_transaction(APPEND_MAX).map_err(failed)?;
        }
        self.producer = Some(producer);
        Ok(topics.iter().map(|(_, records)| all.by_ref().take(records.len()).collect()).collect())
    }

    /// A topic that isn't there would be waited for, record by record.
    fn know(&mut self, topic: &str) -> Result<()> {
        if !self.known.contains(topic) {
            self.asker.partitions_of(topic)?;
            self.known.insert(topic.to_owned());
        }
        Ok(())
    }

    fn open_producer(&self) -> Result<BaseProducer<Deliveries>> {
        let config = appending(&self.settings, self.transactional_id.as_deref());
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries::default()).map_err(|e| self.settings.unusable(&e))?;
        if let Some(id) = &self.transactional_id {
            let ready = producer.init_transactions(APPEND_MAX);
            ready.map_err(|e| classify(self.settings.place(), format!("take over as {id}"), e))?;
        }
        Ok(producer)
    }

    fn send(&self, producer: &BaseProducer<Deliveries>, topics: &[(&str, &[NewRecord])]) -> Result<()> {
        let all =
            topics.iter().flat_map(|(topic, records)| records.iter().map(move |record| (*topic, record)));
        for (number, (topic, record)) in all.enumerate() {
            self.send_one(producer, topic, record, number)?;
        }
        Ok(())
    }

    fn send_one(
        &self,
        producer: &BaseProducer<Deliveries>,
        topic: &str,
        record: &NewRecord,
        number: usize,
    ) -> Result<()> {
        let start = Instant::now();
        let mut out: BaseRecord<'_, [u8], [u8], usize> = BaseRecord::with_opaque_to(topic, number);
        out.partition = record.partition.map(|partition| partition as i32);
        (out.key, out.payload) = (record.key.as_deref(), record.value.as_deref());
        // To librdkafka, time 0 means the wall clock.
        out.timestamp = Some(record.timestamp_ms.max(1));
        out.headers = (!record.headers.is_empty()).then(|| headers(record));
        loop {
            match producer.send(out) {
                Ok(()) => return Ok(()),
                Err((Client::MessageProduction(Code::QueueFull), back)) if start.elapsed() < APPEND_MAX => {
                    out = back;
                    rest(producer);
                }
                Err((error, _)) => {
                    return Err(classify(self.settings.place(), format!("append to topic {topic}"), error));
                }
            }
        }
    }

    fn placed(&self, producer: &BaseProducer<Deliveries>, count: usize) -> Result<Vec<Placed>> {
        let delivered = std::mem::take(&mut *producer.context().lock());
        let failed = delivered.iter().filter(|placed| !matches!(placed, Some(Ok(_)))).count();
        let code = delivered.iter().flatten().find_map(|placed| placed.err());
        if failed > 0 {
            let doing = format!("append ({failed} of {count} records were not acknowledged)");
            return Err(classify_code(self.settings.place(), doing, code.unwrap_or(Code::MessageTimedOut)));
        }
        Ok(delivered.into_iter().flatten().filter_map(std::result::Result::ok).collect())
    }
}

fn appending(settings: &KafkaSettings, transactional_id: Option<&str>) -> ClientConfig {
    let mut config = producing(settings);
    match transactional_id {
        None => config.set("message.timeout.ms", "60000"),
        // Neither a record nor a request may be on its way for longer than the transaction.
        Some(id) => config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", TRANSACTION_MS_MAX)
            .set("message.timeout.ms", TRANSACTION_MS_MAX)
            .set("socket.timeout.ms", TRANSACTION_MS_MAX),
    };
    config
}

fn headers(record: &NewRecord) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(record.headers.len());
    record
        .headers
        .iter()
        .fold(empty, |all, (name, bytes)| all.insert(Header { key: name, value: Some(bytes.as_slice()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_append_leaves_open_holds_readers_up_for_seconds_only() {
        let config = appending(&KafkaSettings::default(), Some("tombola-retries"));
        let ms = |name| config.get(name).and_then(|ms| ms.parse::<u64>().ok());
        assert!(ms("transaction.timeout.ms").is_some_and(|ms| ms <= 10_000), "{config:?}");
        // librdkafka refuses it otherwise.
        assert!(ms("message.timeout.ms") <= ms("transaction.timeout.ms"), "{config:?}");
        let made: std::result::Result<BaseProducer, Client> = config.create();
        assert!(made.is_ok(), "{:?}", made.err());
    }
}
