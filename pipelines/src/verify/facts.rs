//! Facts as committed against facts as replayed, topic by topic.
//!
//! ```text
//!   partition by partition ─ the same? ───────────────────────────────────────────> done
//!                              └─ no ─ did keys move when partitions were added? ─ no ─> the differences
//!                                          └─ yes ─> epoch by epoch, the facts of each key in their order
//! ```
//!
//! A replay puts each key where it belongs among as many partitions as there are now. Where partitions were added since, older facts lie
//! where they belonged then: what is the same at any time is what was said of each key in each epoch, and in which order.
//! That comparison holds one epoch of one topic in memory; the first one next to nothing.

use super::Difference;
use crate::engine::EngineError;
use crate::stores::LogView;
use connectors::embedded::{StoredRecord, choose_partition};
use runtime::Epoch;
use std::collections::{BTreeMap, VecDeque};

/// Records asked for at once.
const READ_RECORDS: usize = 10_000;

/// Both logs.
pub(super) struct Sides<'a> {
    pub committed: &'a mut dyn LogView,
    pub replayed: &'a mut dyn LogView,
}

/// Topic and partitions.
type Topic<'a> = (&'a str, u32);
/// The epochs after the first, up to and including the second.
type Epochs = (Epoch, Epoch);

impl Sides<'_> {
    /// Compares a topic, each partition until its first difference; how many facts were the same.
    pub(super) fn compare(
        &mut self,
        (topic, partitions): Topic<'_>,
        epochs: Epochs,
        differences: &mut Vec<Difference>,
    ) -> Result<u64, EngineError> {
        let (mut same, mut found) = (0, Vec::new());
        for partition in 0..partitions {
            let facts = || Facts::new((topic, partition), epochs, READ_RECORDS);
            same += self.compare_partition(facts(), facts(), &mut found)?;
        }
        if !found.is_empty() && self.have_moved((topic, partitions), epochs)? {
            return self.compare_keys((topic, partitions), epochs, differences);
        }
        differences.extend(found);
        Ok(same)
    }

    fn compare_partition(
        &mut self,
        mut ours: Facts<'_>,
        mut theirs: Facts<'_>,
        differences: &mut Vec<Difference>,
    ) -> Result<u64, EngineError> {
        let mut same = 0;
        loop {
            let (c, r) = (ours.next(self.committed)?, theirs.next(self.replayed)?);
            if c.is_none() && r.is_none() {
                return Ok(same);
            }
            let said = |side: &Option<Placed>| side.as_ref().map(|(e, f)| (*e, f.key.clone(), said(f)));
            if said(&c) != said(&r) {
                let place = format!("topic {} partition {}", ours.topic, ours.partition);
                differences.push(differ(place, c.as_ref(), r.as_ref()));
                return Ok(same);
            }
            same += 1;
        }
    }

    /// Whether any committed fact lies elsewhere than its key belongs by now.
    fn have_moved(&mut self, (topic, partitions): Topic<'_>, epochs: Epochs) -> Result<bool, EngineError> {
        for partition in 0..partitions {
            let mut facts = Facts::new((topic, partition), epochs, READ_RECORDS);
            while let Some((_, fact)) = facts.next(self.committed)? {
                if choose_partition(fact.key.as_deref(), partitions) != partition {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Compares epoch by epoch and key by key until the first difference.
    fn compare_keys(
        &mut self,
        (topic, partitions): Topic<'_>,
        epochs: Epochs,
        differences: &mut Vec<Difference>,
    ) -> Result<u64, EngineError> {
        let side = || ByEpoch::new((topic, partitions), epochs);
        let (mut ours, mut theirs, mut same) = (side(), side(), 0);
        loop {
            let next = [ours.next_epoch(self.committed)?, theirs.next_epoch(self.replayed)?];
            let Some(epoch) = next.into_iter().flatten().min() else { return Ok(same) };
            let c = ours.take(self.committed, epoch)?;
            let r = theirs.take(self.replayed, epoch)?;
            if let Some((c, r)) = first_difference(&c, &r) {
                let place = format!("topic {topic}");
                let placed = |fact: &StoredRecord| (epoch, fact.clone());
                differences.push(differ(place, c.map(placed).as_ref(), r.map(placed).as_ref()));
                return Ok(same);
            }
            same += r.values().map(|facts| facts.len() as u64).sum::<u64>();
        }
    }
}

/// A fact and the epoch that said it.
type Placed = (Epoch, StoredRecord);

/// One epoch's facts by key, in their order.
type Keys = BTreeMap<Vec<u8>, Vec<StoredRecord>>;

/// What a fact says, and when. One about the time before everything has timestamp 0. librdkafka takes that for the clock's time, so in
/// Kafka it is 1.
fn said(fact: &StoredRecord) -> (Option<Vec<u8>>, i64) {
    (fact.value.clone(), fact.timestamp_ms.max(1))
}

/// The first two facts that aren't the same, or the one that the other side lacks.
fn first_difference<'a>(
    ours: &'a Keys,
    theirs: &'a Keys,
) -> Option<(Option<&'a StoredRecord>, Option<&'a StoredRecord>)> {
    ours.keys().chain(theirs.keys()).find_map(|key| {
        let [ours, theirs] = [ours, theirs].map(|side| side.get(key).map_or(&[][..], Vec::as_slice));
        let [mut c, mut r] = [ours, theirs].map(|facts| facts.iter().collect::<Vec<_>>());
        // While partitions were being added, one epoch's facts of a key may lie in two of them: in no order then.
        if ours.windows(2).any(|pair| pair[0].partition != pair[1].partition) {
            [&mut c, &mut r].into_iter().for_each(|facts| facts.sort_by_key(|fact| said(fact)));
        }
        let at =
            (0..c.len().max(r.len())).find(|n| c.get(*n).map(|f| said(f)) != r.get(*n).map(|f| said(f)))?;
        Some((c.get(at).copied(), r.get(at).copied()))
    })
}

/// Records of one partition of one side that belong to the epochs replayed.
struct Facts<'a> {
    topic: &'a str,
    partition: u32,
    next: u64,
    epochs: Epochs,
    read_max: usize,
    ready: VecDeque<Placed>,
    /// There is no more: the log isn't asked again.
    ended: bool,
}

impl<'a> Facts<'a> {
    fn new((topic, partition): Topic<'a>, epochs: Epochs, read_max: usize) -> Self {
        Facts { topic, partition, next: 0, epochs, read_max, ready: VecDeque::new(), ended: false }
    }

    /// Reads on where nothing is at hand; the next one.
    fn peek(&mut self, log: &mut dyn LogView) -> Result<Option<&Placed>, EngineError> {
        let (from, through) = self.epochs;
        while self.ready.is_empty() && !self.ended {
            let records = log.read(self.topic, self.partition, self.next, self.read_max)?;
            self.ended = records.is_empty();
            self.next = records.last().map_or(self.next, |last| last.offset + 1);
            let placed = records.into_iter().map(|record| (epoch_of(&record), record));
            self.ready.extend(placed.filter(|(epoch, _)| *epoch > from && *epoch <= through));
        }
        Ok(self.ready.front())
    }

    fn next(&mut self, log: &mut dyn LogView) -> Result<Option<Placed>, EngineError> {
        self.peek(log)?;
        Ok(self.ready.pop_front())
    }
}

/// A fact without a readable header belongs to no epoch that could have been replayed: it is compared last.
fn epoch_of(record: &StoredRecord) -> Epoch {
    record.epoch().unwrap_or(Epoch(u64::MAX))
}

/// One side of a topic, epoch by epoch: in each partition epochs ascend.
struct ByEpoch<'a> {
    partitions: Vec<Facts<'a>>,
}

impl<'a> ByEpoch<'a> {
    fn new((topic, partitions): Topic<'a>, epochs: Epochs) -> Self {
        let read_max = (READ_RECORDS / partitions.max(1) as usize).max(10);
        let facts = |partition| Facts::new((topic, partition), epochs, read_max);
        ByEpoch { partitions: (0..partitions).map(facts).collect() }
    }

    fn next_epoch(&mut self, log: &mut dyn LogView) -> Result<Option<Epoch>, EngineError> {
        let mut first = None;
        for facts in &mut self.partitions {
            let epoch = facts.peek(log)?.map(|(epoch, _)| *epoch);
            first = [first, epoch].into_iter().flatten().min();
        }
        Ok(first)
    }

    /// Everything of an epoch.
    fn take(&mut self, log: &mut dyn LogView, epoch: Epoch) -> Result<Keys, EngineError> {
        let mut keys = Keys::new();
        for facts in &mut self.partitions {
            while facts.peek(log)?.is_some_and(|(next, _)| *next == epoch) {
                let Some((_, fact)) = facts.ready.pop_front() else { break };
                keys.entry(fact.key.clone().unwrap_or_default()).or_default().push(fact);
            }
        }
        Ok(keys)
    }
}

fn differ(place: String, committed: Option<&Placed>, replayed: Option<&Placed>) -> Difference {
    let epoch = [committed, replayed].into_iter().flatten().map(|(epoch, _)| *epoch).min();
    let key = replayed.or(committed).and_then(|(_, fact)| fact.key.clone()).unwrap_or_default();
    Difference {
        epoch: epoch.unwrap_or_default(),
        place,
        key: String::from_utf8_lossy(&key).into_owned(),
        committed: show(committed),
        replayed: show(replayed),
    }
}

fn show(side: Option<&Placed>) -> String {
    let Some((epoch, fact)) = side else { return "no further record".to_owned() };
    let value = fact.value.as_deref().unwrap_or_default();
    format!("offset {} epoch {epoch}: {}", fact.offset, crate::commands::output::readable(value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test: what fails here fails the test
mod tests {
    use super::*;
    use crate::stores::StoreError;
    use connectors::embedded::TopicInfo;

    /// Epoch, key and value.
    type Fact = (u64, String, String);

    struct Told(Vec<StoredRecord>);

    impl LogView for Told {
        fn topics(&mut self) -> Result<Vec<TopicInfo>, StoreError> {
            Ok(Vec::new())
        }

        fn read(&mut self, _: &str, of: u32, from: u64, max: usize) -> Result<Vec<StoredRecord>, StoreError> {
            let there = self.0.iter().filter(|record| record.partition == of && record.offset >= from);
            Ok(there.take(max).cloned().collect())
        }

        fn schema(&mut self, _: u32) -> Result<Option<String>, StoreError> {
            Ok(None)
        }
    }

    impl Told {
        /// Adds a fact at the end of a partition.
        fn tell(&mut self, partition: u32, (epoch, key, value): (u64, &str, &str)) {
            let offset = self.0.iter().filter(|record| record.partition == partition).count() as u64;
            let headers = vec![("epoch".to_owned(), epoch.to_string().into_bytes())];
            let [key, value] = [key, value].map(|text| Some(text.as_bytes().to_vec()));
            self.0.push(StoredRecord { partition, offset, timestamp_ms: 7, key, value, headers });
        }
    }

    /// Facts in the order in which they were told: each of a few keys, in each of four epochs, twice.
    fn facts() -> Vec<Fact> {
        let keys = || (0..30).map(|n| format!("key-{n}"));
        let of_epoch =
            |epoch| (0..2).flat_map(move |turn| keys().map(move |key| (epoch, key, format!("{turn}"))));
        (1..=4).flat_map(of_epoch).collect()
    }

    /// A log that holds them, with so many partitions in each epoch.
    fn log(facts: &[Fact], partitions: impl Fn(u64) -> u32) -> Told {
        let mut told = Told(Vec::new());
        for (epoch, key, value) in facts {
            let partition = choose_partition(Some(key.as_bytes()), partitions(*epoch));
            told.tell(partition, (*epoch, key, value));
        }
        told
    }

    fn compare(mut committed: Told, mut replayed: Told, partitions: u32) -> (u64, Vec<String>) {
        let mut sides = Sides { committed: &mut committed, replayed: &mut replayed };
        let mut differences = Vec::new();
        let same =
            sides.compare(("facts.orders", partitions), (Epoch(0), Epoch(4)), &mut differences).unwrap();
        (same, differences.into_iter().map(|d| format!("{} {} {}", d.epoch, d.place, d.key)).collect())
    }

    /// Two partitions up to epoch 2, five from then on; a replay knows five alone.
    fn grown(epoch: u64) -> u32 {
        if epoch <= 2 { 2 } else { 5 }
    }

    #[test]
    fn a_topic_that_got_partitions_is_compared_by_what_was_said_of_each_key() {
        assert_eq!(compare(log(&facts(), grown), log(&facts(), |_| 5), 5), (240, Vec::new()));
    }

    #[test]
    fn in_a_topic_that_got_partitions_a_difference_is_found_all_the_same() {
        let check = |change: &dyn Fn(&mut Vec<Fact>), expected: &str| {
            let mut changed = facts();
            change(&mut changed);
            let (_, found) = compare(log(&changed, grown), log(&facts(), |_| 5), 5);
            assert_eq!(found, [expected]);
        };
        check(&|facts| facts[0].2 = "other".to_owned(), "1 topic facts.orders key-0");
        check(&|facts| drop(facts.remove(61)), "2 topic facts.orders key-1");
        check(&|facts| facts.push((4, "key-3".to_owned(), "again".to_owned())), "4 topic facts.orders key-3");
        // The two facts of a key change places.
        check(&|facts| facts.swap(185, 215), "4 topic facts.orders key-5");
        check(&|facts| facts[180].0 = 3, "3 topic facts.orders key-0");
    }

    #[test]
    fn a_key_told_while_partitions_were_added_may_lie_in_two_of_them() {
        let mut committed = log(&facts(), grown);
        let mut replayed = log(&facts(), |_| 5);
        let belongs = choose_partition(Some(b"key-x"), 5);
        for value in ["1", "2"] {
            replayed.tell(belongs, (4, "key-x", value));
        }
        committed.tell(belongs, (4, "key-x", "2"));
        committed.tell((belongs + 1) % 5, (4, "key-x", "1"));
        assert_eq!(compare(committed, replayed, 5), (242, Vec::new()));
    }

    #[test]
    fn where_no_key_has_moved_the_order_within_a_partition_counts() {
        let mut changed = facts();
        let partition = |n: usize| choose_partition(Some(facts()[n].1.as_bytes()), 5);
        let other = (1..30).find(|n| partition(*n) == partition(0)).unwrap();
        changed.swap(0, other);
        let (_, found) = compare(log(&changed, |_| 5), log(&facts(), |_| 5), 5);
        assert_eq!(found, [format!("1 topic facts.orders partition {} key-0", partition(0))]);
    }

    /// One fact at `time_ms`, at `offset`.
    fn told(offset: u64, time_ms: i64) -> Told {
        let mut told = Told(Vec::new());
        told.tell(0, (1, "k", "v"));
        (told.0[0].offset, told.0[0].timestamp_ms) = (offset, time_ms);
        told
    }

    #[test]
    fn a_fact_about_the_time_before_everything_is_the_same_in_kafka() {
        assert_eq!(compare(told(394, 1), told(0, 0), 1).0, 1);
        assert_eq!(compare(told(394, 2), told(0, 1), 1).0, 0, "any other time counts");
    }
}
