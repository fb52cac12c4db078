//! Looking into topics from outside a pipeline: command line, verification.

use super::admin::Admin;
use super::ends::Asker;
use super::error::{KafkaError, Result, classify};
use super::reader::{KafkaReader, ReaderOptions};
use super::settings::{Isolation, KafkaSettings};
use crate::embedded::{Decode, Decoded, RawRecord, StoredRecord, TopicInfo};
use runtime::source::{Claim, LogError, LogReader};
use runtime::types::Class;
use runtime::{Offset, PartitionId, TopicId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a broker that is away is waited for.
const AWAY_MAX: Duration = Duration::from_secs(30);
/// How long one wait for records may take.
const WAIT_MS: u64 = 20;

/// Topics as readers of committed records see them.
pub struct KafkaView {
    settings: KafkaSettings,
    asker: Asker,
    /// Kept, because each begins to read ahead.
    readers: BTreeMap<String, KafkaReader<Whole>>,
    rounds: i64,
    /// An end that was asked for in an earlier round is none.
    since: i64,
}

/// Takes records as they are.
struct Whole;

impl Decode for Whole {
    type Record = StoredRecord;

    fn decode(
        &mut self,
        _topic: &str,
        partition: u32,
        offset: u64,
        record: RawRecord<'_>,
    ) -> std::result::Result<Decoded<StoredRecord>, LogError> {
        let body = StoredRecord::copy(partition, offset, &record);
        Ok(Decoded { claim: Claim::Nothing, class: Class::Command, body, unread: None })
    }
}

impl KafkaView {
    /// A view of a cluster.
    ///
    /// # Errors
    /// See [`KafkaError`].
    pub fn open(settings: &KafkaSettings) -> Result<Self> {
        settings.check()?;
        let asker = Asker::open(settings, Isolation::Committed)?;
        Ok(KafkaView { settings: settings.clone(), asker, readers: BTreeMap::new(), rounds: 0, since: 0 })
    }

    /// Every topic but the brokers' own, by name, with the last stable offset of each partition.
    ///
    /// # Errors
    /// See [`KafkaError`].
    pub fn topics(&self) -> Result<Vec<TopicInfo>> {
        let mut all = Admin::open(&self.settings)?.topics()?;
        all.retain(|(topic, _)| !topic.starts_with("__"));
        all.sort();
        let of_all = all.iter().flat_map(|(topic, n)| (0..*n as i32).map(move |p| (topic.as_str(), p)));
        let of_all: Vec<(&str, i32)> = of_all.collect();
        let mut ends = self.asker.ends(&of_all)?.into_iter();
        let info = |(topic, n): &(String, u32)| TopicInfo {
            topic: topic.clone(),
            ends: ends.by_ref().take(*n as usize).collect(),
        };
        Ok(all.iter().map(info).collect())
    }

    /// The first offset that a partition still holds.
    ///
    /// # Errors
    /// See [`KafkaError`].
    pub fn begin(&self, topic: &str, partition: u32) -> Result<u64> {
        Ok(self.asker.bounds(topic, partition as i32)?.0)
    }

    /// From here on "no more" is said as of now or later: whatever was committed before is found.
    pub fn look(&mut self) {
        self.since = self.rounds + 1;
        self.readers.values_mut().for_each(KafkaReader::ask_anew);
    }

    /// Records of a partition from `from`, at most about `max`; none where there are none up to its end, as of the last
    /// [`KafkaView::look`] at least.
    ///
    /// # Errors
    /// See [`KafkaError`].
    pub fn read(&mut self, topic: &str, partition: u32, from: u64, max: usize) -> Result<Vec<StoredRecord>> {
        let (began, since, mut next) = (Instant::now(), self.since, Offset(from));
        let id = PartitionId { topic: TopicId(0), partition };
        loop {
            self.rounds += 1;
            let rounds = self.rounds;
            let reader = self.reader(topic)?;
            let fetched = reader.begin_round(rounds).and_then(|()| reader.fetch(id, next, max));
            match fetched {
                Ok(fetch)
                    if !fetch.records.is_empty()
                        || fetch.next >= fetch.end && fetch.as_of.is_none_or(|round| round >= since) =>
                {
                    return Ok(fetch.records.into_iter().map(|record| record.body).collect());
                }
                Ok(fetch) => {
                    // Offsets that hold nothing are behind it now; asked for again, they would be looked into again.
                    next = fetch.next;
                    reader.wait(WAIT_MS);
                }
                Err(LogError::Retry(_)) if began.elapsed() < AWAY_MAX => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(LogError::Retry(source)) => {
                    let (place, doing) = (self.settings.place(), format!("read topic {topic}"));
                    return Err(KafkaError::Away { place, doing, source });
                }
                Err(LogError::Stop { place, problem, remedy }) => {
                    return Err(KafkaError::Stop { place, problem, remedy });
                }
            }
        }
    }

    fn reader(&mut self, topic: &str) -> Result<&mut KafkaReader<Whole>> {
        if !self.readers.contains_key(topic) {
            let options = ReaderOptions {
                pipeline: "view".to_owned(),
                from_log_start: true,
                looks: true,
                ..ReaderOptions::default()
            };
            let reader = KafkaReader::open(&self.settings, options, &[topic], |_| true, Whole)?;
            self.readers.insert(topic.to_owned(), reader);
        }
        Ok(self.readers.get_mut(topic).expect("inserted above"))
    }
}

impl Admin {
    /// Every topic and its partitions.
    fn topics(&self) -> Result<Vec<(String, u32)>> {
        let metadata = self.metadata().map_err(|e| classify(self.place(), "list topics", e))?;
        let of = |topic: &rdkafka::metadata::MetadataTopic| {
            (topic.name().to_owned(), topic.partitions().len() as u32)
        };
        Ok(metadata.topics().iter().map(of).collect())
    }
}
