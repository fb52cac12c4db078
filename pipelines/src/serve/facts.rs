//! Facts out of the log for the API, decoded: from a place on, so many at once.

use super::failed;
use crate::stores::{LogView, Stores};
use api::backend::{Failed, History, Place, Positions, Told};
use connectors::embedded::{StoredRecord, TopicInfo};
use schemas::Decoder;

/// Records read at once.
const READ: usize = 1_000;

/// A partition of a topic.
pub type Partition = (&'static str, u32);

/// Which records of a partition are read.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Exclusive.
    pub end: u64,
    /// How many at once.
    pub max: usize,
    /// The last epoch whose records count.
    pub through: u64,
}

/// Reads facts and decodes them.
pub struct Facts {
    log: Box<dyn LogView>,
    decoder: Decoder,
    /// Topics that are read.
    topics: Vec<&'static str>,
}

impl Facts {
    /// Opens the log of a pipeline, for the topics it tells.
    pub fn open(stores: &Stores, topics: &[&'static str]) -> Result<Facts, Failed> {
        let ids = stores.ids().map_err(failed)?;
        let decoder = Decoder::with_own(|record| ids.of(record));
        Ok(Facts { log: stores.log().map_err(failed)?, decoder, topics: topics.to_vec() })
    }

    /// The topics that are there, of those that are read.
    pub fn infos(&mut self) -> Result<Vec<(&'static str, TopicInfo)>, Failed> {
        let infos = self.log.topics().map_err(failed)?;
        let known = |info: TopicInfo| Some((*self.topics.iter().find(|topic| **topic == info.topic)?, info));
        Ok(infos.into_iter().filter_map(known).collect())
    }

    /// What is read from here on is all that was committed before.
    pub fn look(&mut self) {
        self.log.look();
    }

    /// Reads a partition from `*at` on, and moves `*at` behind what was read. Where there may be more, as so many
    /// were read, the epoch of the last one.
    pub fn read(
        &mut self,
        (topic, partition): Partition,
        at: &mut u64,
        bounds: Bounds,
        told: &mut Vec<Told>,
    ) -> Result<Option<u64>, Failed> {
        let mut read = 0;
        while *at < bounds.end {
            let count = READ.min(bounds.max - read);
            let records = self.log.read(topic, partition, *at, count).map_err(failed)?;
            if records.is_empty() {
                return Ok(None);
            }
            for record in records {
                let (offset, epoch) = (record.offset, epoch_of(&record));
                if offset >= bounds.end {
                    // What lies before it holds nothing: markers of transactions, most likely.
                    *at = bounds.end;
                    return Ok(None);
                }
                if epoch > bounds.through {
                    return Ok(None);
                }
                if let Some(fact) = self.decode(&record)? {
                    told.push(Told { place: Place { topic, partition, offset }, epoch, fact });
                }
                (*at, read) = (offset + 1, read + 1);
                if read >= bounds.max {
                    return Ok(Some(epoch));
                }
            }
        }
        Ok(None)
    }

    /// Behind the last record of a partition whose epoch is not after `through`; it is not before `low`.
    ///
    /// Epochs only grow within a partition, and what is not decided yet is little and at the end: so it is looked
    /// for there, in steps that double, and then by halves.
    pub fn behind(
        &mut self,
        (topic, partition): Partition,
        (low, end): (u64, u64),
        through: u64,
    ) -> Result<u64, Failed> {
        let (mut low, mut high, mut back) = (low, end, Some(1));
        while low < high {
            let half = low + (high - low) / 2;
            let middle = back.map_or(half, |back| high.saturating_sub(back).max(low));
            let records = self.log.read(topic, partition, middle, 1).map_err(failed)?;
            match records.first() {
                Some(record) if epoch_of(record) <= through => (low, back) = (record.offset + 1, None),
                // A later one, or none: offsets may hold nothing.
                _ => (high, back) = (middle, back.map(|back| back * 2)),
            }
        }
        Ok(low)
    }

    fn decode(&mut self, record: &StoredRecord) -> Result<Option<schemas::Fact>, Failed> {
        let Some(value) = record.value.as_deref() else { return Ok(None) };
        if let Ok((id, _)) = schemas::avro::split_header(value)
            && !self.decoder.knows(id)
            && let Some(schema) = self.log.schema(id).map_err(failed)?
        {
            self.decoder.add(id, &schema);
        }
        Ok(self.decoder.decode_fact(value).ok())
    }
}

impl History for Facts {
    fn holds(&mut self, at: &Positions, head: &Positions) -> Result<bool, Failed> {
        let mut infos = None;
        for ((topic, partition), at) in at {
            let head = head.get(&(*topic, *partition));
            if head.is_some_and(|head| at < head) {
                if *at < self.log.begin(topic, *partition).map_err(failed)? {
                    return Ok(false);
                }
            } else if head != Some(at) {
                // Another instance may have told more than this one yet.
                if infos.is_none() {
                    infos = Some(self.infos()?);
                }
                let info = infos.iter().flatten().find(|(known, _)| known == topic);
                let end = info.and_then(|(_, info)| info.ends.get(*partition as usize));
                if end.is_none_or(|end| at > end) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn read(&mut self, from: &Positions, to: &Positions, max: usize) -> Result<Vec<Told>, Failed> {
        let from = |partition: &Partition| from.get(partition).copied().unwrap_or(0);
        let behind = to.iter().filter(|(partition, end)| from(partition) < **end).count();
        let mut told = Vec::new();
        self.look();
        for (partition, end) in to {
            let bounds = Bounds { end: *end, max: max.div_ceil(behind.max(1)), through: u64::MAX };
            Facts::read(self, *partition, &mut from(partition), bounds, &mut told)?;
        }
        sort(&mut told);
        Ok(told)
    }
}

fn epoch_of(record: &StoredRecord) -> u64 {
    record.epoch().map_or(0, |epoch| epoch.0)
}

/// By epoch; within one, by place.
pub fn sort(told: &mut [Told]) {
    told.sort_by_key(|told| (told.epoch, told.place));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::StoreError;

    const TOPIC: &str = "facts.orders";

    /// A log whose one partition holds these offsets, each as the epoch of its own number.
    struct Gaps {
        offsets: Vec<u64>,
        /// How often it may still be read.
        reads: usize,
    }

    impl LogView for Gaps {
        fn topics(&mut self) -> Result<Vec<TopicInfo>, StoreError> {
            Ok(Vec::new())
        }

        fn read(&mut self, _: &str, _: u32, from: u64, max: usize) -> Result<Vec<StoredRecord>, StoreError> {
            self.reads = self.reads.checked_sub(1).expect("it is read over and over");
            let record = |offset: &u64| StoredRecord {
                partition: 0,
                offset: *offset,
                timestamp_ms: 0,
                key: None,
                value: None,
                headers: vec![("epoch".to_owned(), offset.to_string().into_bytes())],
            };
            Ok(self.offsets.iter().filter(|offset| **offset >= from).take(max).map(record).collect())
        }

        fn schema(&mut self, _: u32) -> Result<Option<String>, StoreError> {
            Ok(None)
        }
    }

    fn facts(offsets: &[u64]) -> Facts {
        let log = Box::new(Gaps { offsets: offsets.to_vec(), reads: 10 });
        Facts { log, decoder: Decoder::default(), topics: vec![TOPIC] }
    }

    #[test]
    fn reading_ends_at_its_end_though_offsets_before_it_hold_nothing() {
        for (offsets, end, through, wanted) in [
            (&[0, 1, 2, 3][..], 3, 9, 3),
            // A marker right before the end, and what was committed after it.
            (&[0, 1, 4], 3, 9, 3),
            (&[7], 3, 9, 3),
            // Nothing after it: where the end lies is known, what lies before it is not.
            (&[0, 1], 3, 9, 2),
            // A later epoch is left for later, gap or not.
            (&[0, 1, 3], 5, 2, 2),
        ] {
            let (mut at, mut told) = (0, Vec::new());
            let bounds = Bounds { end, max: 100, through };
            facts(offsets).read((TOPIC, 0), &mut at, bounds, &mut told).expect("it can be read");
            assert_eq!(at, wanted, "{offsets:?} up to {end}");
        }
    }

    #[test]
    fn history_with_a_gap_before_its_end_is_read_to_the_end() {
        let (from, to) = (Positions::from([((TOPIC, 0), 2)]), Positions::from([((TOPIC, 0), 3)]));
        let told = History::read(&mut facts(&[0, 1, 4]), &from, &to, 100).expect("it can be read");
        assert!(told.is_empty(), "{told:?}");
    }
}
