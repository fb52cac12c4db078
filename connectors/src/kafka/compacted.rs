//! Small topics of our own that are read from end to end or from their tail: progress and claims.
//!
//! Compacted, because they outlive any retention: offsets of a consumer group would do otherwise, but they expire
//! (`offsets.retention.minutes`, a week by default), and a pipeline that stood still for longer would
//! begin to append from the first epoch.

use super::admin::Admin;
use super::ends::Asker;
use super::error::{KafkaError, Result, classify, classify_code};
use super::settings::{Consumer, Isolation, KafkaSettings, Logging};
use super::topics::TopicSpec;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError as Client, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longer than a transaction may be open.
const PENDING_MAX: Duration = Duration::from_secs(10);
const READ_MAX: Duration = Duration::from_secs(20);
/// Offsets looked at first; a transaction takes two or more.
const TAIL: u64 = 64;

/// Reads one compacted topic of one partition.
pub(crate) struct Compacted {
    settings: KafkaSettings,
    topic: String,
    latest: Asker,
    stable: Asker,
}

impl Compacted {
    /// Opens a topic; makes it where there is none.
    pub fn open(settings: &KafkaSettings, topic: &str) -> Result<Self> {
        let opened = Self::open_existing(settings, topic)?;
        if opened.latest.partitions(topic)?.is_none() {
            Admin::open(settings)?.make_declared(&TopicSpec::compacted(topic, settings.replication))?;
            opened.wait_until_made()?;
        }
        Ok(opened)
    }

    /// Opens a topic that may not be there.
    pub fn open_existing(settings: &KafkaSettings, topic: &str) -> Result<Self> {
        let latest = Asker::open(settings, Isolation::Everything)?;
        let stable = Asker::open(settings, Isolation::Committed)?;
        Ok(Compacted { settings: settings.clone(), topic: topic.to_owned(), latest, stable })
    }

    /// Its name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    fn wait_until_made(&self) -> Result<()> {
        let start = Instant::now();
        while self.latest.partitions(&self.topic)?.is_none() {
            if start.elapsed() > READ_MAX {
                return Err(classify_code(self.place(), "make it", Code::UnknownTopic));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn place(&self) -> String {
        format!("{}: topic {}", self.settings.place(), self.topic)
    }

    /// Everything that has been committed, by key; empty where the topic isn't there.
    pub fn by_key(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut all = BTreeMap::new();
        if self.stable.partitions(&self.topic)?.is_none() {
            return Ok(all);
        }
        let end = self.settled_end()?;
        self.read(0, end, |message| {
            let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
            all.insert(key, message.payload().unwrap_or_default().to_vec());
        })?;
        Ok(all)
    }

    /// The last record committed, once whatever was pending when asked is decided.
    pub fn last(&self) -> Result<Option<Vec<u8>>> {
        self.last_before(self.settled_end()?)
    }

    /// The last record committed before whatever is pending now.
    pub fn last_settled(&self) -> Result<Option<Vec<u8>>> {
        self.last_before(self.stable.ends(&[(self.topic.as_str(), 0)])?[0])
    }

    fn last_before(&self, end: u64) -> Result<Option<Vec<u8>>> {
        let mut span = TAIL;
        loop {
            let (from, mut last) = (end.saturating_sub(span), None);
            self.read(from, end, |message| last = Some(message.payload().unwrap_or_default().to_vec()))?;
            if last.is_some() || from == 0 {
                return Ok(last);
            }
            span = span.saturating_mul(16);
        }
    }

    /// The end, asked for now, once no transaction below it is open.
    fn settled_end(&self) -> Result<u64> {
        let partition = [(self.topic.as_str(), 0)];
        let end = self.latest.ends(&partition)?[0];
        let start = Instant::now();
        while self.stable.ends(&partition)?[0] < end {
            if start.elapsed() > PENDING_MAX {
                return Err(KafkaError::Away {
                    place: self.place(),
                    doing: "wait for a transaction that is under way".to_owned(),
                    source: "it has neither been committed nor aborted".into(),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(end)
    }

    /// Calls `each` for what was committed in `from..end`.
    fn read(&self, from: u64, end: u64, mut each: impl FnMut(&BorrowedMessage<'_>)) -> Result<()> {
        if from >= end {
            return Ok(());
        }
        let low = self.latest.bounds(&self.topic, 0)?.0;
        let consumer = follow(&self.settings, [(self.topic.as_str(), Offset::Offset(from.max(low) as i64))])?;
        let start = Instant::now();
        while start.elapsed() < READ_MAX {
            match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(message)) if (message.offset() as u64) < end => each(&message),
                // An end as of now: not below the one that was asked for before.
                Some(Ok(_) | Err(Client::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) => return Err(classify(self.place(), "read it", error)),
                None => {}
            }
        }
        Err(classify_code(self.place(), "read it", Code::OperationTimedOut))
    }
}

/// A consumer of what is committed in partition 0 of topics, each from an offset on.
pub(crate) fn follow<'a>(
    settings: &KafkaSettings,
    topics: impl IntoIterator<Item = (&'a str, Offset)>,
) -> Result<Consumer> {
    let mut config = settings.consumer(Isolation::Committed);
    config.set("group.id", "tombola-readers").set("fetch.wait.max.ms", "50");
    let consumer: Consumer = config.create_with_context(Logging).map_err(|e| settings.unusable(&e))?;
    let mut assignment = TopicPartitionList::new();
    let added =
        topics.into_iter().try_for_each(|(topic, from)| assignment.add_partition_offset(topic, 0, from));
    added.and_then(|()| consumer.assign(&assignment)).map_err(|e| classify(settings.place(), "read", e))?;
    Ok(consumer)
}
