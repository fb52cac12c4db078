//! Records in hand: read from every partition in turn until a batch is full or nothing more has come.

use super::state::{MirrorState, Range};
use runtime::source::{Fetched, LogError, LogReader};
use runtime::{Millis, Offset, PartitionId, TopicId};
use schemas::captured::{Captured, Cell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Records asked for at once.
const FETCH_RECORDS: usize = 1_000;
/// How long a batch that is read again may take to come.
const AGAIN_MS_MAX: Millis = 30_000;
const WAIT_MS: u64 = 5;
/// How long the other half of a change is waited for.
const HALF_MAX: Duration = Duration::from_secs(5);

/// The records of one range.
pub(super) struct Taken {
    pub range: Range,
    pub records: Vec<Fetched<Captured>>,
}

/// Reads the topics.
pub(super) struct Gather {
    reader: Box<dyn LogReader<Record = Captured>>,
    topics: Vec<String>,
    next: BTreeMap<PartitionId, u64>,
    /// Since when a change waits for its other half.
    halves: BTreeMap<PartitionId, Instant>,
    /// The log's ends, as last heard.
    ends: BTreeMap<PartitionId, u64>,
    /// What can't be read just now, and why; the others go on.
    stuck: BTreeMap<PartitionId, String>,
    /// Topics of which nothing is read.
    held: BTreeSet<String>,
    /// Topics that can't be read any more, and why: to be taken by whoever reads.
    faults: BTreeMap<String, String>,
}

impl Gather {
    /// A reader of these topics, in the order of its topic numbers.
    pub fn new(reader: Box<dyn LogReader<Record = Captured>>, topics: Vec<String>) -> Gather {
        let (next, halves, ends, stuck, held, faults) = Default::default();
        Gather { reader, topics, next, halves, ends, stuck, held, faults }
    }

    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Reads nothing of these topics.
    pub fn hold(&mut self, topics: BTreeSet<String>) {
        self.held = topics;
        let (all, held) = (&self.topics, &self.held);
        self.stuck.retain(|id, _| !held.contains(&all[usize::from(id.topic.0)]));
    }

    /// Topics that the last reading found unreadable for good, and why.
    pub fn take_faults(&mut self) -> BTreeMap<String, String> {
        std::mem::take(&mut self.faults)
    }

    fn topic(&self, id: PartitionId) -> &String {
        &self.topics[usize::from(id.topic.0)]
    }

    /// Goes on from what has been taken.
    pub fn restart(&mut self, state: &MirrorState) {
        self.next.values_mut().for_each(|next| *next = 0);
        for (n, topic) in self.topics.iter().enumerate() {
            for (partition, position) in state.positions.get(topic).into_iter().flatten() {
                self.next
                    .insert(PartitionId { topic: TopicId(n as u16), partition: *partition }, position.next);
            }
        }
    }

    /// Records that are in the log and not taken yet.
    pub fn lag(&self) -> u64 {
        let behind = |(id, end): (&PartitionId, &u64)| end.saturating_sub(self.next[id]);
        self.ends.iter().map(behind).sum()
    }

    /// Why a partition waits, of the first that does.
    pub fn problem(&self) -> Option<String> {
        self.stuck.values().next().cloned()
    }

    /// Waits for more.
    pub fn wait(&mut self, timeout_ms: u64) {
        self.reader.wait(timeout_ms);
    }

    /// Takes what has come, at most about this much; whether there may be more at once.
    pub fn read(&mut self, records_max: usize, bytes_max: usize) -> Result<(Vec<Taken>, bool), LogError> {
        for id in self.reader.partitions()? {
            self.next.entry(id).or_default();
        }
        self.reader.begin_round(clock_ms())?;
        let mut taken: BTreeMap<PartitionId, Taken> = BTreeMap::new();
        let free = |id: &&PartitionId| !self.held.contains(self.topic(**id));
        let mut open: Vec<PartitionId> = self.next.keys().filter(free).copied().collect();
        let (mut records, mut bytes) = (0, 0);
        while !open.is_empty() && records < records_max && bytes < bytes_max {
            let mut more = Vec::new();
            for id in open {
                let left = FETCH_RECORDS.min(records_max - records);
                if left == 0 || bytes >= bytes_max {
                    more.push(id);
                    continue;
                }
                let (count, size) = match self.fetch(id, left, &mut taken) {
                    Err(LogError::Retry(why)) => {
                        self.note_stuck(id, why.to_string());
                        continue;
                    }
                    Err(lost @ LogError::Stop { .. }) => {
                        self.faults.insert(self.topic(id).clone(), lost.to_string());
                        continue;
                    }
                    Ok(read) => read,
                };
                self.stuck.remove(&id);
                (records, bytes) = (records + count, bytes + size);
                if count > 0 {
                    more.push(id);
                }
            }
            open = more;
        }
        for (id, taken) in &mut taken {
            self.keep_whole(*id, taken);
        }
        let taken = taken.into_values().filter(|taken| !taken.records.is_empty()).collect();
        Ok((taken, !open.is_empty()))
    }

    fn note_stuck(&mut self, id: PartitionId, why: String) {
        if self.stuck.get(&id) != Some(&why) {
            tracing::warn!(
                place = self.reader.place(id),
                problem = why,
                "changes wait to be mirrored into ClickHouse"
            );
            self.stuck.insert(id, why);
        }
    }

    /// Leaves a row's end under its old key for later where its new key hasn't come yet: large values that did not change are
    /// told with neither, and are found while the old row is there. Where topics have several partitions the new key may
    /// come by another, so it isn't waited for long.
    fn keep_whole(&mut self, id: PartitionId, taken: &mut Taken) {
        let Some(half) = half_at(&taken.records) else {
            self.halves.remove(&id);
            return;
        };
        if self.halves.entry(id).or_insert_with(Instant::now).elapsed() < HALF_MAX {
            let from = taken.records[half].offset.0;
            taken.records.truncate(half);
            (taken.range.to, taken.range.records) = (from, half as u64);
            self.next.insert(id, from);
        }
    }

    fn fetch(
        &mut self,
        id: PartitionId,
        max: usize,
        taken: &mut BTreeMap<PartitionId, Taken>,
    ) -> Result<(usize, usize), LogError> {
        let next = self.next[&id];
        let fetch = self.reader.fetch(id, Offset(next), max)?;
        let to = fetch.next.0.max(next);
        self.next.insert(id, to);
        self.ends.insert(id, if fetch.end == Offset::MAX { to } else { fetch.end.0 });
        let count = fetch.records.len();
        let size = fetch.records.iter().map(|record| size_of(&record.body)).sum();
        let range = || Range {
            topic: self.topics[usize::from(id.topic.0)].clone(),
            partition: id.partition,
            from: next,
            to,
            ..Range::default()
        };
        let of_partition = taken.entry(id).or_insert_with(|| Taken { range: range(), records: Vec::new() });
        of_partition.range.to = to;
        of_partition.range.records += count as u64;
        of_partition.records.extend(fetch.records);
        Ok((count, size))
    }

    fn id_of(&self, range: &Range) -> Result<PartitionId, LogError> {
        let topic = self.topics.iter().position(|known| *known == range.topic);
        let topic = topic.ok_or_else(|| changed(range, "the topic is gone, or no longer mirrored"))?;
        Ok(PartitionId { topic: TopicId(topic as u16), partition: range.partition })
    }

    /// Some records of a range that was recorded.
    pub fn read_some(
        &mut self,
        range: &Range,
        offsets: &BTreeSet<u64>,
    ) -> Result<BTreeMap<u64, Captured>, LogError> {
        let (id, began, mut found) = (self.id_of(range)?, clock_ms(), BTreeMap::new());
        self.reader.partitions()?;
        let mut wanted = offsets.first().copied();
        while let Some(offset) = wanted {
            self.reader.begin_round(clock_ms())?;
            let fetch = self.reader.fetch(id, Offset(offset), FETCH_RECORDS)?;
            if fetch.records.is_empty() && clock_ms() - began > AGAIN_MS_MAX {
                return Err(LogError::Retry("the log doesn't bring what it held".into()));
            }
            if fetch.records.is_empty() {
                self.reader.wait(WAIT_MS);
            }
            let through = fetch.records.last().map(|record| record.offset.0);
            let of_these = fetch.records.into_iter().filter(|record| offsets.contains(&record.offset.0));
            found.extend(of_these.map(|record| (record.offset.0, record.body)));
            if through.is_some() && !found.contains_key(&offset) {
                return Err(changed(range, "a record is gone"));
            }
            wanted = through.map_or(wanted, |through| offsets.range(through + 1..).next().copied());
        }
        Ok(found)
    }

    /// The records of a range that was recorded, read again.
    pub fn read_again(&mut self, range: &Range) -> Result<Taken, LogError> {
        let id = self.id_of(range)?;
        let (mut records, mut next, began) = (Vec::new(), range.from, clock_ms());
        self.reader.partitions()?;
        while next < range.to {
            self.reader.begin_round(clock_ms())?;
            let fetch = self.reader.fetch(id, Offset(next), FETCH_RECORDS)?;
            let nothing = fetch.records.is_empty();
            records.extend(fetch.records.into_iter().take_while(|record| record.offset.0 < range.to));
            next = next.max(fetch.next.0);
            if nothing && next < range.to {
                if clock_ms() - began > AGAIN_MS_MAX {
                    return Err(LogError::Retry("the log doesn't bring what it held".into()));
                }
                self.reader.wait(WAIT_MS);
            }
        }
        if records.len() as u64 != range.records {
            return Err(changed(range, "the log holds another number of records there than before"));
        }
        Ok(Taken { range: range.clone(), records })
    }
}

/// The clock by which the log is asked for its ends.
pub(super) fn clock_ms() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}

/// Where a change begins whose other half is missing at the end.
fn half_at(records: &[Fetched<Captured>]) -> Option<usize> {
    let last = records.iter().rposition(|record| matches!(record.body, Captured::Rows { .. }))?;
    match &records[last].body {
        Captured::Rows { rows, .. } if rows.last().is_some_and(|row| row.moves) => Some(last),
        _ => None,
    }
}

/// About what a record takes, here and in the insert.
fn size_of(record: &Captured) -> usize {
    match record {
        Captured::Rows { rows, .. } => {
            rows.iter().flat_map(|row| &row.cells).map(cell_size).sum::<usize>() + 100
        }
        Captured::Unreadable { value, .. } => 200 + value.as_ref().map_or(0, |value| value.len()),
        _ => 100,
    }
}

fn cell_size(cell: &Cell) -> usize {
    match cell {
        Cell::Text(text) => 32 + text.len(),
        Cell::Bytes(bytes) => 32 + bytes.len(),
        Cell::Array(items) => 32 + items.iter().map(cell_size).sum::<usize>(),
        _ => 32,
    }
}

/// A batch must be the same each time it is sent.
fn changed(range: &Range, problem: &str) -> LogError {
    LogError::Stop {
        place: format!(
            "topic {}, partition {}, offsets {} to {}",
            range.topic, range.partition, range.from, range.to
        ),
        problem: format!("a batch that was begun can't be read again: {problem}"),
        remedy: super::REMEDY_AGAIN.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test: what fails here fails the test
mod tests {
    use super::*;
    use runtime::Class;
    use runtime::source::{Claim, Fetch};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// One record in each of two partitions, of which the first can't be read for now.
    struct Two {
        stuck: Arc<AtomicBool>,
    }

    impl LogReader for Two {
        type Record = Captured;

        fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
            Ok((0..2).map(|partition| PartitionId { topic: TopicId(0), partition }).collect())
        }

        fn begin_round(&mut self, _: Millis) -> Result<(), LogError> {
            Ok(())
        }

        fn fetch(&mut self, id: PartitionId, from: Offset, _: usize) -> Result<Fetch<Captured>, LogError> {
            if id.partition == 0 && self.stuck.load(Ordering::Relaxed) {
                return Err(LogError::Retry("its schema isn't known".into()));
            }
            let body = Captured::Nothing;
            let record = Fetched {
                offset: Offset(0),
                claim: Claim::Nothing,
                class: Class::Reference,
                body,
                unread: None,
            };
            let records = if from.0 == 0 { vec![record] } else { Vec::new() };
            Ok(Fetch::dense(from, records, Offset(1)))
        }

        fn place(&self, id: PartitionId) -> String {
            format!("partition {}", id.partition)
        }

        fn wait(&mut self, _: u64) {}
    }

    #[test]
    fn a_partition_that_cannot_be_read_waits_and_the_others_go_on() {
        let stuck = Arc::new(AtomicBool::new(true));
        let mut gather =
            Gather::new(Box::new(Two { stuck: Arc::clone(&stuck) }), vec!["oltp.public.things".to_owned()]);
        let mut taken = || {
            let (taken, _) = gather.read(10, 1_000).unwrap();
            let partitions: Vec<u32> = taken.iter().map(|taken| taken.range.partition).collect();
            (partitions, gather.problem())
        };
        let why = Some("its schema isn't known".to_owned());
        assert_eq!(taken(), (vec![1], why.clone()));
        assert_eq!(taken(), (vec![], why));
        stuck.store(false, Ordering::Relaxed);
        assert_eq!(taken(), (vec![0], None));
    }

    /// Topics of one partition each; the log of the second is lost.
    struct Lost;

    impl LogReader for Lost {
        type Record = Captured;

        fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
            Ok((0..2).map(|topic| PartitionId { topic: TopicId(topic), partition: 0 }).collect())
        }

        fn fetch(&mut self, id: PartitionId, from: Offset, max: usize) -> Result<Fetch<Captured>, LogError> {
            if id.topic.0 == 1 {
                let [place, problem, remedy] = ["b", "it is gone", "restore it"].map(str::to_owned);
                return Err(LogError::Stop { place, problem, remedy });
            }
            let record = |offset: u64| {
                let body = Captured::Truncate { position: offset };
                Fetched {
                    offset: Offset(offset),
                    claim: Claim::Nothing,
                    class: Class::Reference,
                    body,
                    unread: None,
                }
            };
            let records = (from.0..6_000).take(max).map(record).collect();
            Ok(Fetch::dense(from, records, Offset(6_000)))
        }

        fn wait(&mut self, _: u64) {}
    }

    fn of_two_topics() -> Gather {
        Gather::new(Box::new(Lost), ["a", "b"].map(str::to_owned).into())
    }

    #[test]
    fn a_topic_that_is_lost_is_told_as_its_own_fault_and_what_is_held_is_not_read() {
        let mut gather = of_two_topics();
        let (taken, _) = gather.read(2_000, 1_000_000).unwrap();
        assert_eq!(taken.iter().map(|taken| taken.range.topic.as_str()).collect::<Vec<_>>(), ["a"]);
        let faults = gather.take_faults();
        assert_eq!(faults["b"], "b: it is gone; restore it");
        gather.hold(["b".to_owned()].into());
        let (taken, _) = gather.read(2_000, 1_000_000).unwrap();
        assert_eq!((taken.len(), taken[0].range.from), (1, 2_000));
        assert!(gather.take_faults().is_empty());
        assert_eq!(gather.lag(), 6_000 - 4_000);
        gather.restart(&MirrorState::default());
        assert_eq!(gather.lag(), 6_000, "what was taken in vain is still to be mirrored");
    }

    #[test]
    fn some_records_of_a_range_are_read_again_wherever_they_lie() {
        let range = Range { topic: "a".to_owned(), to: 6_000, records: 6_000, ..Range::default() };
        let wanted: BTreeSet<u64> = [0, 1, 999, 1_000, 5_999].into();
        let found = of_two_topics().read_some(&range, &wanted).unwrap();
        assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), wanted);
        assert_eq!(found[&999], Captured::Truncate { position: 999 });
    }
}
