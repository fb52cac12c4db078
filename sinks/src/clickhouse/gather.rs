//! Facts in hand: read from every partition up to a share of a batch, given out up to an epoch.
//!
//! Memory is bounded by the batch: nothing is read beyond a partition's share of it until that is given out.
//!
//! What an end was asked for before or after is told by numbers of rounds, not by the clock: set back between the two, a clock
//! would have an end that is older than the frontier pass for a newer one, and an epoch published without its last facts.

use super::cut::InHand;
use super::pieces::share_inserts;
use super::plan::BatchRange;
use super::settings::ClickHouseSettings;
use runtime::source::{Fetched, LogError, LogReader};
use runtime::{Epoch, Millis, Offset, PartitionId};
use schemas::Fact;
use schemas::facts::FactRecord;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Records asked for at once.
const FETCH_RECORDS: usize = 1_000;
/// How long one look at the log may wait for what it is about to bring.
const ROUNDS_MAX: Duration = Duration::from_millis(250);
/// How long a batch that is read again may take to come.
const AGAIN_MAX: Duration = Duration::from_secs(30);
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
    /// A partition has its share of a batch in hand, and more to come.
    full: bool,
    /// Looks at the log so far. The reader takes the number for a clock; all that counts is that it rises.
    rounds: Millis,
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
        Gather { reader, topics, rows_max, bytes_max, held: BTreeMap::new(), full: false, rounds: 0 }
    }

    /// Looks at the log once more: an end that is as of this number was asked for from here on.
    fn begin_round(&mut self) -> Result<(), LogError> {
        self.rounds += 1;
        self.reader.begin_round(self.rounds)
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
        let (began, deadline) = (self.rounds + 1, Instant::now() + ROUNDS_MAX);
        loop {
            self.begin_round()?;
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
        self.full = false;
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
                let asked_since = fetch.as_of.is_none_or(|round| round >= began);
                held.complete = held.next >= fetch.end.0 && asked_since || held.is_beyond(decided);
                if nothing {
                    lacking |= !held.complete;
                    break;
                }
            }
            self.full |= !held.complete && (held.facts.len() >= rows || held.bytes >= bytes);
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

    /// Whether a partition has more than its share of a batch, as of the last look.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Gives out everything up to an epoch, range by range.
    pub fn take(&mut self, through: u64) -> Vec<Taken> {
        let topics = &self.topics;
        let take = |(id, held): (&PartitionId, &mut Held)| {
            let topic = &topics[usize::from(id.topic.0)];
            held.give_out(through, topic, id.partition)
        };
        let mut taken: Vec<Taken> = self.held.iter_mut().filter_map(take).collect();
        share_inserts(&mut taken);
        taken
    }

    /// The facts of a range that was recorded, read again.
    pub fn read_again(&mut self, range: &BatchRange) -> Result<Taken, LogError> {
        let id = self.id_of(&range.topic, range.partition);
        let id = id.ok_or_else(|| changed(range, "this loader doesn't read that topic"))?;
        let (mut facts, mut next) = (Vec::new(), range.from);
        self.reader.partitions()?;
        let (began, since) = (self.rounds + 1, Instant::now());
        while next < range.to {
            self.begin_round()?;
            let fetch = self.reader.fetch(id, Offset(next), FETCH_RECORDS)?;
            let nothing = fetch.records.is_empty();
            facts.extend(fetch.records.into_iter().take_while(|fact| fact.offset.0 < range.to));
            next = next.max(fetch.next.0);
            let asked_since = fetch.as_of.is_none_or(|round| round >= began);
            if nothing && next < range.to {
                if next >= fetch.end.0 && asked_since {
                    return Err(changed(range, "the log ends before"));
                }
                if since.elapsed() > AGAIN_MAX {
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
        let range = BatchRange { topic: topic.to_owned(), partition, from, to, rows, insert: None };
        Some(Taken { range, facts })
    }
}

/// About what a fact takes, here and in the insert.
pub(super) fn bytes_of(fact: &Fact) -> usize {
    match fact {
        Fact::DeadLetter(letter) => {
            let key = letter.key.as_ref().map_or(0, Vec::len);
            500 + letter.payload.len() + letter.reason.len() + key
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test: what fails here fails the test
pub(super) mod tests {
    use super::*;
    use runtime::source::{Claim, Fetch};
    use runtime::{Class, TopicId};
    use schemas::facts::DeadLetter;
    use std::sync::{Arc, Mutex};

    /// What a log says in each of its rounds: its end, and whether that was asked for in the round itself. The last one is
    /// said for ever. It asks now and then: in between it knows its end as of an earlier round.
    struct Log {
        rounds: Vec<(u64, bool)>,
        /// What it was told as clocks.
        clocks: Arc<Mutex<Vec<Millis>>>,
        asked: Option<Millis>,
    }

    impl Log {
        fn round(&self) -> (u64, bool) {
            let nth = self.clocks.lock().unwrap().len() - 1;
            self.rounds[nth.min(self.rounds.len() - 1)]
        }
    }

    impl LogReader for Log {
        type Record = FactRecord;

        fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
            Ok(vec![PartitionId { topic: TopicId(0), partition: 0 }])
        }

        fn begin_round(&mut self, clock: Millis) -> Result<(), LogError> {
            self.clocks.lock().unwrap().push(clock);
            if self.round().1 {
                self.asked = Some(clock);
            }
            Ok(())
        }

        fn fetch(&mut self, _: PartitionId, from: Offset, _: usize) -> Result<Fetch<FactRecord>, LogError> {
            let end = Offset(self.round().0);
            let records = (from.0..end.0).map(|offset| letter(offset, 0, 0)).collect();
            Ok(Fetch { as_of: self.asked, ..Fetch::dense(from, records, end) })
        }

        fn wait(&mut self, _: u64) {}
    }

    /// A dead letter that was recorded then, with so many bytes.
    pub(in super::super) fn letter(offset: u64, record_time_ms: Millis, bytes: usize) -> Placed {
        let letter = DeadLetter {
            id: "t/0/0".into(),
            topic: "t".into(),
            partition: 0,
            offset: 0,
            reason: String::new(),
            payload: vec![0; bytes],
            key: None,
            record_time_ms,
        };
        let body = FactRecord { epoch: offset + 1, fact: Fact::DeadLetter(Box::new(letter)) };
        Fetched { offset: Offset(offset), claim: Claim::Nothing, class: Class::Command, body, unread: None }
    }

    #[test]
    fn an_end_counts_only_where_it_was_asked_for_after_the_frontier_was_read_whatever_the_clock_says() {
        let clocks = Arc::new(Mutex::new(Vec::new()));
        // Epoch 1 is in the log, then epoch 2; when the second is decided, the log first knows its end from before.
        let rounds = vec![(1, true), (1, false), (2, true)];
        let log = Log { rounds, clocks: Arc::clone(&clocks), asked: None };
        let settings = ClickHouseSettings::default();
        let mut gather = Gather::new(Box::new(log), vec!["dead-letters".to_owned()], &settings);
        gather.read(Epoch(1)).unwrap();
        assert_eq!((gather.len(), gather.in_hand()[0].complete), (1, true));
        gather.read(Epoch(2)).unwrap();
        assert_eq!((gather.len(), gather.in_hand()[0].complete), (2, true), "an old end proves nothing");
        let clocks = clocks.lock().unwrap();
        assert_eq!(
            *clocks,
            [1, 2, 3],
            "rounds are numbered: no clock that is set back makes one of them older"
        );
    }
}
