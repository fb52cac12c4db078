//! Asking brokers where partitions end: one request per broker for all of them, on a connection of its own.
//!
//! A broker answers the requests of one connection in turn, and a fetch there waits for records: asked on the
//! reader's own connection, an end would wait with it.

use super::error::{KafkaError, Result, classify, classify_code};
use super::settings::{Consumer, Isolation, KafkaSettings};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset;
use std::time::Duration;

const ANSWER_MAX: Duration = Duration::from_secs(2);
const METADATA_MAX: Duration = Duration::from_secs(5);

/// A client that asks.
pub(crate) struct Asker {
    consumer: Consumer,
    place: String,
}

impl Asker {
    /// One that sees ends by this isolation: [`Isolation::Committed`] the last stable offset, else the high watermark.
    pub fn open(settings: &KafkaSettings, isolation: Isolation) -> Result<Self> {
        let consumer = settings.consumer(isolation).create_with_context(super::settings::Logging);
        let consumer = consumer.map_err(|e| settings.unusable(&e))?;
        Ok(Asker { consumer, place: settings.place() })
    }

    /// The end (exclusive) of each partition, as of some moment after the call.
    pub fn ends(&self, partitions: &[(&str, i32)]) -> Result<Vec<u64>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        // Events of the connection would pile up otherwise; there are no records to lose.
        while self.consumer.poll(Duration::ZERO).is_some() {}
        let mut question = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            let added = question.add_partition_offset(topic, *partition, Offset::End);
            added.map_err(|e| classify(&self.place, "ask for ends", e))?;
        }
        let answer = self.consumer.offsets_for_times(question, ANSWER_MAX);
        let answer = answer.map_err(|e| classify(&self.place, "ask for ends", e))?;
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
        let bounds = self.consumer.fetch_watermarks(topic, partition, METADATA_MAX);
        let doing = || format!("ask for the bounds of topic {topic}, partition {partition}");
        let (low, high) = bounds.map_err(|e| classify(&self.place, doing(), e))?;
        Ok((low.max(0) as u64, high.max(0) as u64))
    }

    /// How many partitions a topic has; `None` where there is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<Option<u32>> {
        let doing = || format!("ask for the partitions of topic {topic}");
        let metadata = self.consumer.fetch_metadata(Some(topic), METADATA_MAX);
        let metadata = metadata.map_err(|e| classify(&self.place, doing(), e))?;
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
