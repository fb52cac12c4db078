//! Facts in hand: read from every partition up to a share of a batch, given out up to an epoch.
//!
//! Memory is bounded by the batch: nothing is read beyond a partition's share of it until that is given out.

use super::cut::InHand;
use super::plan::BatchRange;
use super::settings::ClickHouseSettings;
use runtime::source::{Fetched, LogError, LogReader};
use runtime::{Epoch, Millis, Offset, PartitionId};
use schemas::Fact;
use schemas::facts::FactRecord;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Records asked for at once.
const FETCH_RECORDS: usize = 1_000;
/// How long one look at the log may wait for what it is about to bring.
const ROUNDS_MAX: Duration = Duration::from_millis(250);
/// How long a batch that is read again may take to come.
const AGAIN_MS_MAX: Millis = 30_000;
const WAIT_MS: u64 = 5;
/// Dead letters keep the original bytes and may be large.
const FETCH_DEAD_LETTERS: usize = 50;

/// A fact and where it lies.
pub(super) type Placed = Fetched<FactRecord>;

/// The facts of one range.
pub(super) struct Taken {
    pub range: BatchRange,
    pub facts: Vec<Placed>,
}

/// Reads the topics of facts.
pub(super) struct Gather {
    reader: Box<dyn LogReader<Record = FactRecord>>,
    topics: Vec<String>,
    rows_max: usize,
    bytes_max: usize,
    held: BTreeMap<PartitionId, Held>,
}

/// One partition.
#[derive(Default)]
struct Held {
    /// Where reading goes on.
    next: u64,
    /// Offsets before this one are loaded or given out.
    from: u64,
    facts: VecDeque<Placed>,
    bytes: usize,
    complete: bool,
}

impl Gather {
    pub fn new(
        reader: Box<dyn LogReader<Record = FactRecord>>,
        topics: Vec<String>,
        settings: &ClickHouseSettings,
    ) -> Gather {
        let (rows_max, bytes_max) = (settings.batch_rows_max, settings.batch_bytes_max);
        Gather { reader, topics, rows_max, bytes_max, held: BTreeMap::new() }
    }

    /// Forgets what is in hand and goes on from these positions; other partitions begin at 0.
    pub fn restart(&mut self, positions: &[(String, u32, u64)]) {
        self.held.clear();
        for (topic, partition, next) in positions {
            if let Some(id) = self.id_of(topic, *partition) {
                self.held.insert(id, Held { next: *next, from: *next, ..Held::default() });
            }
        }
    }

    fn id_of(&self, topic: &str, partition: u32) -> Option<PartitionId> {
        let n = self.topics.iter().position(|known| known == topic)?;
        Some(PartitionId { topic: runtime::TopicId(n as u16), partition })
    }

    /// Reads on. `decided` was read before: whatever was decided by then is in the logs by now.
    pub fn read(&mut self, decided: Epoch) -> Result<(), LogError> {
        for id in self.reader.partitions()? {
            self.held.entry(id).or_default();
        }
        for held in self.held.values_mut() {
            held.complete = held.is_beyond(decided);
        }
        // Some logs bring records as they arrive: a round may find nothing and yet not be at the end.
        let (began, deadline) = (clock_ms(), Instant::now() + ROUNDS_MAX);
        loop {
            self.reader.begin_round(clock_ms())?;
            let lacking = self.round(decided, began)?;
            if !lacking || Instant::now() >= deadline {
                return Ok(());
            }
            self.reader.wait(WAIT_MS);
        }
    }

    /// Takes what there is of every partition; whether some are neither full nor complete.
    fn round(&mut self, decided: Epoch, began: Millis) -> Result<bool, LogError> {
        let partitions = self.held.len().max(1);
        let (rows, bytes) = ((self.rows_max / partitions).max(1), (self.bytes_max / partitions).max(1));
        let mut lacking = false;
        for (id, held) in &mut self.held {
            let dead = self.topics[usize::from(id.topic.0)] == "dead-letters";
            let step = if dead { FETCH_DEAD_LETTERS } else { FETCH_RECORDS };
            while !held.complete && held.facts.len() < rows && held.bytes < bytes {
                let left = step.min(rows - held.facts.len());
                let fetch = self.reader.fetch(*id, Offset(held.next), left)?;
                let nothing = fetch.records.is_empty();
                held.take_in(fetch.records);
                held.next = held.next.max(fetch.next.0);
                // An end asked for before `decided` was read may lack what was decided by then.
                let asked_since = fetch.as_of.is_none_or(|clock| clock >= began);
                held.complete = held.next >= fetch.end.0 && asked_since || held.is_beyond(decided);
                if nothing {
                    lacking |= !held.complete;
                    break;
                }
            }
        }
        Ok(lacking)
    }

    /// What there is to decide over.
    pub fn in_hand(&self) -> Vec<InHand> {
        self.held.values().map(Held::in_hand).collect()
    }

    /// Facts in hand.
    pub fn len(&self) -> usize {
        self.held.values().map(|held| held.facts.len()).sum()
    }

    /// Gives out everything up to an epoch, range by range.
    pub fn take(&mut self, through: u64) -> Vec<Taken> {
        let topics = &self.topics;
        let take = |(id, held): (&PartitionId, &mut Held)| {
            let topic = &topics[usize::from(id.topic.0)];
            held.give_out(through, topic, id.partition)
        };
        self.held.iter_mut().filter_map(take).collect()
    }

    /// The facts of a range that was recorded, read again.
    pub fn read_again(&mut self, range: &BatchRange) -> Result<Taken, LogError> {
        let id = self.id_of(&range.topic, range.partition);
        let id = id.ok_or_else(|| changed(range, "this loader doesn't read that topic"))?;
        let (mut facts, mut next) = (Vec::new(), range.from);
        self.reader.partitions()?;
        let began = clock_ms();
        while next < range.to {
            self.reader.begin_round(clock_ms())?;
            let fetch = self.reader.fetch(id, Offset(next), FETCH_RECORDS)?;
            let nothing = fetch.records.is_empty();
            facts.extend(fetch.records.into_iter().take_while(|fact| fact.offset.0 < range.to));
            next = next.max(fetch.next.0);
            let asked_since = fetch.as_of.is_none_or(|clock| clock >= began);
            if nothing && next < range.to {
                if next >= fetch.end.0 && asked_since {
                    return Err(changed(range, "the log ends before"));
                }
                if clock_ms() - began > AGAIN_MS_MAX {
                    return Err(LogError::Retry("the log doesn't bring what it holds".into()));
                }
                self.reader.wait(WAIT_MS);
            }
        }
        if facts.len() as u64 != range.rows {
            return Err(changed(range, "the log holds another number of facts there than before"));
        }
        Ok(Taken { range: range.clone(), facts })
    }
}

impl Held {
    fn take_in(&mut self, records: Vec<Placed>) {
        for fact in records {
            debug_assert!(fact.offset.0 >= self.next, "offsets rise");
            self.next = fact.offset.0 + 1;
            self.bytes += bytes_of(&fact.body.fact);
            self.facts.push_back(fact);
        }
    }

    fn is_beyond(&self, decided: Epoch) -> bool {
        self.facts.back().is_some_and(|fact| fact.body.epoch > decided.0)
    }

    fn in_hand(&self) -> InHand {
        let ends = self.facts.front().zip(self.facts.back());
        InHand { epochs: ends.map(|(a, b)| (a.body.epoch, b.body.epoch)), complete: self.complete }
    }

    fn give_out(&mut self, through: u64, topic: &str, partition: u32) -> Option<Taken> {
        let count = self.facts.partition_point(|fact| fact.body.epoch <= through);
        let facts: Vec<Placed> = self.facts.drain(..count).collect();
        let to = facts.last()?.offset.0 + 1;
        self.bytes -= facts.iter().map(|fact| bytes_of(&fact.body.fact)).sum::<usize>();
        let (from, rows) = (std::mem::replace(&mut self.from, to), facts.len() as u64);
        Some(Taken { range: BatchRange { topic: topic.to_owned(), partition, from, to, rows }, facts })
    }
}

/// The clock by which the log is asked for its ends.
fn clock_ms() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}

/// About what a fact takes, here and in the insert.
fn bytes_of(fact: &Fact) -> usize {
    match fact {
        Fact::DeadLetter(letter) => 500 + letter.payload.len() + letter.reason.len(),
        Fact::Commission(fact) => 700 + 150 * fact.causes.len(),
        Fact::Ticket(fact) => 500 + fact.payload.len(),
        _ => 500,
    }
}

/// A batch must be the same each time it is sent.
fn changed(range: &BatchRange, problem: &str) -> LogError {
    LogError::Stop {
        place: format!(
            "topic {}, partition {}, offsets {} to {}",
            range.topic, range.partition, range.from, range.to
        ),
        problem: format!("a batch that was begun can't be read again: {problem}"),
        remedy: "restore the log; facts must be kept until they are loaded".to_owned(),
    }
}
