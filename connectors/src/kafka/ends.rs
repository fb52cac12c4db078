//! Asking brokers where partitions end: one request per broker for all of them, on a connection of its own.
//!
//! A broker answers the requests of one connection in turn, and a fetch there waits for records: asked on the
//! reader's own connection, an end would wait with it.
//! A client that has had no answer for long gives way to a new one.

use super::error::{KafkaError, Result, classify, classify_code};
use super::settings::{Isolation, KafkaSettings, Logging, RENEW_AFTER};
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError as Client, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::Offset;
use std::cell::{Cell, RefCell};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const ANSWER_MAX: Duration = Duration::from_secs(2);
const METADATA_MAX: Duration = Duration::from_secs(5);
/// What librdkafka's log calls the end of a connection.
const FAILED: &str = "FAIL";
/// How long a connection that failed is asked why.
const HEARD_WITHIN: Duration = Duration::from_millis(100);

/// Why the last connection failed. The call that meets it says only that no broker answered.
#[derive(Default)]
struct Heard {
    reason: Mutex<Option<String>>,
}

impl Heard {
    fn reason(&self) -> MutexGuard<'_, Option<String>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == FAILED {
            *self.reason() = Some(message.to_owned());
        }
        Logging.log(level, facility, message);
    }

    fn error(&self, error: Client, reason: &str) {
        Logging.error(error, reason);
    }
}

impl ConsumerContext for Heard {}

/// A client that asks.
pub(crate) struct Asker {
    settings: KafkaSettings,
    isolation: Isolation,
    consumer: RefCell<BaseConsumer<Heard>>,
    place: String,
    /// Since when each kind of question has had no good answer: metadata may be had where ends can't.
    failing_since: [Cell<Option<Instant>>; 2],
}

#[derive(Clone, Copy)]
enum Question {
    Metadata,
    Ends,
}

impl Asker {
    /// One that sees ends by this isolation: [`Isolation::Committed`] the last stable offset, else the high watermark.
    pub fn open(settings: &KafkaSettings, isolation: Isolation) -> Result<Self> {
        let consumer = RefCell::new(client(settings, isolation)?);
        let (settings, place, failing_since) = (settings.clone(), settings.place(), Default::default());
        Ok(Asker { settings, isolation, consumer, place, failing_since })
    }

    /// The end (exclusive) of each partition, as of some moment after the call.
    pub fn ends(&self, partitions: &[(&str, i32)]) -> Result<Vec<u64>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(Question::Ends, |consumer| self.ask_ends(consumer, partitions))
    }

    fn ask_ends(&self, consumer: &BaseConsumer<Heard>, partitions: &[(&str, i32)]) -> Result<Vec<u64>> {
        // Events of the connection would pile up otherwise; there are no records to lose.
        while consumer.poll(Duration::ZERO).is_some() {}
        let mut question = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            let added = question.add_partition_offset(topic, *partition, Offset::End);
            added.map_err(|e| classify(&self.place, "ask for ends", e))?;
        }
        let answer = consumer.offsets_for_times(question, ANSWER_MAX);
        let answer = self.heard(consumer, || "ask for ends".to_owned(), answer)?;
        partitions.iter().map(|(topic, partition)| self.end_of(&answer, topic, *partition)).collect()
    }

    fn end_of(&self, answer: &TopicPartitionList, topic: &str, partition: i32) -> Result<u64> {
        let doing = || format!("ask for the end of topic {topic}, partition {partition}");
        let found = answer.find_partition(topic, partition);
        let found = found.ok_or_else(|| classify_code(&self.place, doing(), Code::UnknownPartition))?;
        found.error().map_err(|e| classify(&self.place, doing(), e))?;
        match found.offset() {
            Offset::Offset(end) if end >= 0 => Ok(end as u64),
            _ => Err(classify_code(&self.place, doing(), Code::OffsetNotAvailable)),
        }
    }

    /// Where a partition begins and ends.
    pub fn bounds(&self, topic: &str, partition: i32) -> Result<(u64, u64)> {
        let doing = || format!("ask for the bounds of topic {topic}, partition {partition}");
        let (low, high) = self.ask(Question::Ends, |consumer| {
            let bounds = consumer.fetch_watermarks(topic, partition, METADATA_MAX);
            self.heard(consumer, doing, bounds)
        })?;
        Ok((low.max(0) as u64, high.max(0) as u64))
    }

    /// How many partitions a topic has; `None` where there is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<Option<u32>> {
        self.ask(Question::Metadata, |consumer| self.ask_partitions(consumer, topic))
    }

    fn ask_partitions(&self, consumer: &BaseConsumer<Heard>, topic: &str) -> Result<Option<u32>> {
        let doing = || format!("ask for the partitions of topic {topic}");
        let metadata = consumer.fetch_metadata(Some(topic), METADATA_MAX);
        let metadata = self.heard(consumer, doing, metadata)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(Code::from) {
            None if found.partitions().is_empty() => Ok(None),
            None => Ok(Some(found.partitions().len() as u32)),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
            Some(code) => Err(classify_code(&self.place, doing(), code)),
        }
    }

    /// Asks, and notes how it went. A client whose questions of one kind have failed for long is replaced; the next question is
    /// the new one's.
    fn ask<T>(&self, question: Question, ask: impl FnOnce(&BaseConsumer<Heard>) -> Result<T>) -> Result<T> {
        let outcome = ask(&self.consumer.borrow());
        let failing_since = &self.failing_since[question as usize];
        if !matches!(outcome, Err(KafkaError::Away { .. })) {
            failing_since.set(None);
            return outcome;
        }
        let since = failing_since.get().unwrap_or_else(Instant::now);
        failing_since.set(Some(since));
        if since.elapsed() >= RENEW_AFTER {
            self.renew();
        }
        outcome
    }

    fn renew(&self) {
        match client(&self.settings, self.isolation) {
            Ok(renewed) => {
                tracing::debug!(place = self.place, "no answer for long: a new client asks from here on");
                *self.consumer.borrow_mut() = renewed;
            }
            Err(error) => tracing::warn!(%error, "no answer for long, and no other client can be had"),
        }
        self.failing_since.iter().for_each(|since| since.set(None));
    }

    /// An answer, or the failure with what the connection was told.
    fn heard<T>(
        &self,
        consumer: &BaseConsumer<Heard>,
        doing: impl FnOnce() -> String,
        answer: std::result::Result<T, Client>,
    ) -> Result<T> {
        let context = consumer.context();
        let error = match answer {
            Ok(answer) => {
                *context.reason() = None;
                return Ok(answer);
            }
            Err(error) => error,
        };
        // Events of all kinds are served one by one, and some end the call.
        let start = Instant::now();
        while start.elapsed() < HEARD_WITHIN {
            drop(consumer.poll(Duration::from_millis(10)));
        }
        let reason = context.reason().clone();
        Err(classify(&self.place, doing(), error).because(reason))
    }

    /// The same for a topic that must be there.
    pub fn partitions_of(&self, topic: &str) -> Result<u32> {
        self.partitions(topic)?.ok_or_else(|| self.missing(topic))
    }

    /// The failure for a topic that isn't there.
    pub fn missing(&self, topic: &str) -> KafkaError {
        KafkaError::Stop {
            place: self.place.clone(),
            problem: format!("there is no topic {topic}"),
            remedy: "make it with `tombola topics apply`".to_owned(),
        }
    }
}

fn client(settings: &KafkaSettings, isolation: Isolation) -> Result<BaseConsumer<Heard>> {
    let mut config = settings.consumer(isolation);
    // Why a connection failed is told by the log alone.
    config.set_log_level(RDKafkaLogLevel::Info);
    config.create_with_context(Heard::default()).map_err(|e| settings.unusable(&e))
}
