//! Kafka as the runtime reads it: [`LogReader`] over partitions that are assigned by hand.
//!
//! ```text
//!   begin_round ─ the ends of all partitions, in one request, every 20 ms ─> questions   (standing.rs)
//!   fetch       ─ takes what has arrived, without waiting ──────────────────> answers
//!   wait        ─ woken by librdkafka as soon as anything arrives
//! ```
//!
//! Invariants: nothing is ever committed to a consumer group: bindings say where reading begins. Records of
//! transactions that are open or aborted are never seen, and offsets that hold nothing hold nobody up. Of a topic
//! that another pipeline writes, the end asked for counts what isn't decided yet, and is asked for after
//! that pipeline's progress was read (see `progress.rs`). A broker that is away is waited for. Not noticed: a topic that was
//! deleted and made again with at least as many records.

use super::admin::Admin;
use super::client::{Asking, Clients};
use super::ends::Asker;
use super::error::{KafkaError, Result, classify};
use super::follow::Following;
use super::lags::Lags;
use super::partition::{Drawn, Reading};
use super::settings::{Isolation, KafkaSettings, STUCK_AFTER};
use super::standing::Asked;
use super::wake::Wake;
use crate::embedded::Decode;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError as Client, RDKafkaErrorCode as Code};
use runtime::source::{Fetch, LogError, LogReader};
use runtime::verdicts::Verdicts;
use runtime::{Millis, Offset, PartitionId, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often ends are asked for.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long an end below what was read is put down to a change of leaders.
const CUT_AFTER: Duration = Duration::from_secs(10);

/// What to do about records that are gone.
const TAKEN: &str = "retention has taken what is needed: raise retention.ms and retention.bytes of the topic, and restore \
    it; or start over with a new data directory and schema, and `from_log_start = true` in [kafka], which begins a topic \
    where its log begins";

/// What a reader is told besides where Kafka is.
#[derive(Clone, Debug, Default)]
pub struct ReaderOptions {
    /// Name of the pipeline; its consumers bear it.
    pub pipeline: String,
    /// A partition that was never read from begins where its log begins, even if that is not at offset 0. What is
    /// bound is still wanted: a replay of records that are gone stops.
    pub from_log_start: bool,
    /// Topics that pipelines write are looked into from outside: nobody's progress is followed, and an end is whatever was
    /// being written when it was asked for.
    pub looks: bool,
    /// How brokers are asked for records.
    pub asking: Asking,
}

struct Topic {
    name: String,
    wanted: bool,
    partitions: u32,
}

/// Reads the inputs of a job. Each worker has its own.
pub struct KafkaReader<D> {
    settings: KafkaSettings,
    options: ReaderOptions,
    place: String,
    topics: Vec<Topic>,
    decode: D,
    /// Before the clients, and emptied on drop: librdkafka waits for ever for whoever still holds a partition.
    open: BTreeMap<PartitionId, Reading>,
    clients: Clients,
    stable: Asker,
    /// Present where other pipelines' topics are read, and not only looked into.
    following: Option<Following>,
    /// Present where other pipelines' topics are read.
    latest: Option<Asker>,
    asked_at: Option<Instant>,
    /// Since when every question has been answered.
    answered_since: Option<Instant>,
    /// Found in the last round: it is read anew in the next.
    stuck: Option<PartitionId>,
    clock: Millis,
    positions: Option<Vec<TopicPartitionList>>,
    /// Since when an end has been below what was read.
    cut_since: Option<Instant>,
    wake: Arc<Wake>,
    /// A queue was left with records in it.
    left: bool,
    lags: Lags,
    recorded: Arc<Verdicts>,
}

impl<D: Decode> KafkaReader<D> {
    /// A reader of those of `topics` that are `wanted`: each has its [`TopicId`] among all of them.
    ///
    /// # Errors
    /// [`KafkaError::Stop`] for a topic that isn't there or is compacted, or settings that can't be used.
    pub fn open(
        settings: &KafkaSettings,
        options: ReaderOptions,
        topics: &[&str],
        wanted: impl Fn(&str) -> bool,
        decode: D,
    ) -> Result<Self> {
        settings.check()?;
        let stable = Asker::open(settings, Isolation::Committed)?;
        refuse_compacted(settings, topics.iter().copied().filter(|topic| wanted(topic)))?;
        let open_topic = |name: &&str| -> Result<Topic> {
            let wanted = wanted(name);
            let partitions = if wanted { stable.partitions_of(name)? } else { 0 };
            Ok(Topic { name: (*name).to_owned(), wanted, partitions })
        };
        let topics: Vec<Topic> = topics.iter().map(open_topic).collect::<Result<_>>()?;
        let wanted = topics.iter().filter(|topic| topic.wanted).map(|topic| topic.name.as_str());
        let clients = Clients::open(settings, &options.pipeline, options.asking, wanted.clone())?;
        let written: Vec<&str> = wanted.filter(|topic| is_written_in_transactions(topic)).collect();
        let in_epochs = !written.is_empty();
        let follows = in_epochs && !options.looks;
        let following = follows.then(|| Following::start(settings, &written)).transpose()?;
        let latest = in_epochs.then(|| Asker::open(settings, Isolation::Everything)).transpose()?;
        Ok(KafkaReader {
            settings: settings.clone(),
            place: settings.place(),
            topics,
            decode,
            clients,
            stable,
            following,
            latest,
            open: BTreeMap::new(),
            asked_at: None,
            answered_since: None,
            stuck: None,
            clock: 0,
            positions: None,
            cut_since: None,
            wake: Arc::new(Wake::default()),
            left: false,
            lags: Lags::default(),
            recorded: Arc::default(),
            options,
        })
    }

    /// How far reading is behind, for metrics.
    pub fn lags(&self) -> Lags {
        self.lags.clone()
    }

    /// How far the pipeline that writes a topic has come, where it is another one's; nobody looks at it who only looks into
    /// the topic.
    fn said_upto(&self, topic: &str) -> Option<Millis> {
        if self.options.looks && is_written_in_transactions(topic) {
            return Some(0);
        }
        self.following.as_ref()?.said_upto(topic)
    }

    /// Asks for the ends of whatever is being read.
    fn ask(&mut self, clock: Millis) -> std::result::Result<(), LogError> {
        // Before the ends: see `progress.rs`.
        let said: Vec<Option<Millis>> = self.open.values().map(|r| self.said_upto(&r.topic)).collect();
        let all: Vec<(&str, i32)> = self.open.values().map(|r| (r.topic.as_str(), r.partition)).collect();
        // What is not decided yet counts where another pipeline is followed or looked at; asked for first, so that the last
        // stable offset may have passed it.
        let latest = match &self.latest {
            Some(latest) => latest.ends(&all)?,
            None => Vec::new(),
        };
        let stable = self.stable.ends(&all)?;
        let mut cut = None;
        for (n, (id, reading)) in self.open.iter_mut().enumerate() {
            let (stable, next) = (stable[n], reading.standing.next());
            if stable < next {
                cut = Some((*id, stable, next));
                continue;
            }
            let end = if said[n].is_some() { latest[n] } else { stable };
            reading.standing.ask(Asked { clock, end, stable, said_upto: said[n] });
            self.lags.set(&reading.topic, reading.partition as u32, stable - next);
        }
        self.judge_cut(cut)
    }

    /// An end below what was read: a new leader may say so for a moment, a log that was cut for good.
    fn judge_cut(&mut self, cut: Option<(PartitionId, u64, u64)>) -> std::result::Result<(), LogError> {
        let Some((id, end, next)) = cut else {
            self.cut_since = None;
            return Ok(());
        };
        if self.cut_since.get_or_insert_with(Instant::now).elapsed() < CUT_AFTER {
            return Ok(());
        }
        Err(self.stop(
            &format!("{}, offset {next}", self.place(id)),
            format!(
                "the log ends at {end}, below an offset that has been read before: it was cut or replaced"
            ),
            "restore the topic, or start over with a new data directory",
        ))
    }

    fn stop(&self, place: &str, problem: String, remedy: &str) -> LogError {
        LogError::Stop { place: place.to_owned(), problem, remedy: remedy.to_owned() }
    }

    /// Begins to read a partition, or sets reading to where it is asked to be.
    fn read_from(&mut self, id: PartitionId, from: u64) -> Result<()> {
        let failed = |e| classify(&self.place, "set where to read", e);
        if let Some(reading) = self.open.get_mut(&id) {
            if reading.standing.next() != from {
                reading.restart(self.clients.of(&reading.topic), from).map_err(failed)?;
            }
            return Ok(());
        }
        let (topic, partition) = (&self.topics[usize::from(id.topic.0)].name, id.partition as i32);
        let mut start = from;
        if from == 0 && self.options.from_log_start {
            start = self.stable.bounds(topic, partition)?.0;
            self.check_not_taken(id, start)?;
        }
        // Before the assignment, so that no record comes by the common queue.
        let client = self.clients.of(topic);
        let queue = client.split_partition_queue(topic, partition);
        let mut queue = queue.ok_or_else(|| failed(Client::NoMessageReceived))?;
        let wake = Arc::clone(&self.wake);
        queue.set_nonempty_callback(move || wake.wake());
        let mut assignment = TopicPartitionList::new();
        let at = rdkafka::topic_partition_list::Offset::Offset(start as i64);
        assignment.add_partition_offset(topic, partition, at).map_err(failed)?;
        client.incremental_assign(&assignment).map_err(failed)?;
        self.open.insert(id, Reading::new((topic, partition), start, queue, self.clients.asking(topic)));
        self.ask_anew();
        Ok(())
    }

    /// Where the log begins behind what the first replayed epoch took of it, that is gone. What is gone of the middle of
    /// that epoch can't be told from what was gone before it.
    fn check_not_taken(&self, id: PartitionId, start: u64) -> Result<()> {
        match self.recorded.past(id) {
            Some(past) if past.first_end().0 <= start => Err(KafkaError::Stop {
                place: self.place(id),
                problem: format!("the log begins at {start}: records before that are bound and are gone"),
                remedy: TAKEN.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// How far the queue of a partition has been taken off; looked up once a round.
    fn position(&mut self, id: PartitionId) -> Result<Option<u64>> {
        if self.positions.is_none() {
            self.positions = Some(self.clients.positions(&self.place)?);
        }
        let reading = &self.open[&id];
        let find = |list: &TopicPartitionList| {
            list.find_partition(&reading.topic, reading.partition).map(|element| element.offset())
        };
        let found = self.positions.iter().flatten().find_map(find);
        Ok(found.and_then(|offset| match offset {
            rdkafka::topic_partition_list::Offset::Offset(position) => u64::try_from(position).ok(),
            _ => None,
        }))
    }

    /// What a failure in a partition's queue means for the run.
    fn judge(&mut self, id: PartitionId, error: Client) -> LogError {
        let next = self.open[&id].standing.next();
        let place = format!("{}, offset {next}", self.place(id));
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                let verdict = self.judge_range(id, &place, next);
                if matches!(verdict, LogError::Retry(_)) {
                    self.leave(id);
                }
                verdict
            }
            Some(Code::LogTruncation) => self.stop(
                &place,
                "the log was cut below what has been read (an unclean election of a leader)".to_owned(),
                "restore the topic, or start over with a new data directory",
            ),
            _ => classify(place, "read", error).into(),
        }
    }

    fn judge_range(&self, id: PartitionId, place: &str, next: u64) -> LogError {
        let reading = &self.open[&id];
        match self.stable.bounds(&reading.topic, reading.partition) {
            Ok((low, _)) if next < low => self.stop(
                place,
                format!("the log begins at {low}: records before that are gone"),
                TAKEN,
            ),
            Ok((_, high)) if next > high => self.stop(
                place,
                format!("the log ends at {high}, below an offset that has been read before: it was cut or replaced"),
                "restore the topic, or start over with a new data directory",
            ),
            // Between the two it can be read again.
            Ok(_) => LogError::Retry("the offset was out of range for a moment".into()),
            Err(error) => error.into(),
        }
    }
}

impl<D> KafkaReader<D> {
    /// Puts new clients in the old ones' place; every partition is read on from where its next fetch says. Done by itself where
    /// brokers say that there is more of a partition, and none of it comes for half a minute.
    ///
    /// # Errors
    /// [`KafkaError::Stop`] where no client can be made.
    pub fn renew(&mut self) -> Result<()> {
        let wanted = self.topics.iter().filter(|topic| topic.wanted).map(|topic| topic.name.as_str());
        let renewed = Clients::open(&self.settings, &self.options.pipeline, self.options.asking, wanted)?;
        let (open, old) = (std::mem::take(&mut self.open), std::mem::replace(&mut self.clients, renewed));
        (self.asked_at, self.answered_since, self.cut_since) = (None, None, None);
        self.positions = None;
        // A client that is ill may take long to end. Without a thread it is dropped here.
        let ended = std::thread::Builder::new().name("ending".into()).spawn(move || old.let_go(open));
        if let Err(error) = ended {
            tracing::warn!(%error, "no thread for a client to end on");
        }
        Ok(())
    }

    /// In the next round ends are asked for, whenever that was done last.
    pub(crate) fn ask_anew(&mut self) {
        self.asked_at = None;
    }

    /// Notes a partition that has more, of which none has come although brokers answer.
    fn note_stuck(&mut self, id: PartitionId) {
        let long = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() >= STUCK_AFTER);
        if long(self.answered_since) && long(self.open[&id].short_since()) {
            self.stuck = Some(id);
        }
    }

    /// Ends reading a partition; the next fetch begins anew. After an offset out of range librdkafka fetches no more
    /// of it, says nothing, and refuses to seek.
    fn leave(&mut self, id: PartitionId) {
        let Some(reading) = self.open.remove(&id) else { return };
        let mut left = TopicPartitionList::new();
        left.add_partition(&reading.topic, reading.partition);
        if let Err(error) = self.clients.of(&reading.topic).incremental_unassign(&left) {
            // If it is assigned still, the next assignment fails.
            tracing::warn!(%error, topic = reading.topic, partition = reading.partition, "leaving a partition");
        }
        reading.empty();
        self.positions = None;
    }
}

impl<D> Drop for KafkaReader<D> {
    fn drop(&mut self) {
        // A list from librdkafka holds on to its partitions.
        self.positions = None;
        self.clients.let_go(std::mem::take(&mut self.open));
    }
}

/// Whether a pipeline writes the topic, epoch by epoch. What it has committed may not be decided in every partition yet.
fn is_written_in_transactions(topic: &str) -> bool {
    topic.starts_with("facts.") || topic == "dead-letters"
}

/// A record that compaction takes would be missing from every replay.
fn refuse_compacted<'a>(settings: &KafkaSettings, topics: impl Iterator<Item = &'a str>) -> Result<()> {
    let topics: Vec<&str> = topics.collect();
    let asker = Asker::open(settings, Isolation::Committed)?;
    topics.iter().try_for_each(|topic| asker.partitions_of(topic).map(drop))?;
    let all = Admin::open(settings)?.settings_of(&topics)?;
    match topics.iter().zip(all).find(|(_, settings)| settings.is_compacted()) {
        None => Ok(()),
        Some((topic, _)) => Err(KafkaError::Stop {
            place: format!("{}: topic {topic}", settings.place()),
            problem: "it is compacted: records that a replay needs vanish from it".to_owned(),
            remedy: "set cleanup.policy=delete on it, with a retention as long as the audit horizon"
                .to_owned(),
        }),
    }
}

impl<D: Decode> LogReader for KafkaReader<D> {
    type Record = D::Record;

    fn replays(&mut self, recorded: &Arc<Verdicts>) {
        self.recorded = Arc::clone(recorded);
    }

    fn partitions(&mut self) -> std::result::Result<Vec<PartitionId>, LogError> {
        let mut all = Vec::new();
        for (n, topic) in self.topics.iter_mut().enumerate().filter(|(_, topic)| topic.wanted) {
            let now = self.stable.partitions(&topic.name)?;
            if now.is_some_and(|now| now < topic.partitions) {
                return Err(LogError::Stop {
                    place: format!("{}: topic {}", self.place, topic.name),
                    problem: format!("it had {} partitions: it was replaced", topic.partitions),
                    remedy: "restore the topic, or start over with a new data directory".to_owned(),
                });
            }
            // One that can't be seen just now is there all the same.
            topic.partitions = now.unwrap_or(topic.partitions);
            let id = |partition| PartitionId { topic: TopicId(n as u16), partition };
            all.extend((0..topic.partitions).map(id));
        }
        Ok(all)
    }

    fn begin_round(&mut self, clock: Millis) -> std::result::Result<(), LogError> {
        (self.clock, self.positions, self.left) = (clock, None, false);
        self.clients.serve();
        if let Some(id) = self.stuck.take() {
            let place = self.place(id);
            tracing::warn!(place, "there is more, and none of it comes: a new client reads on");
            self.renew()?;
        }
        if self.asked_at.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            self.ask(clock).inspect_err(|_| self.answered_since = None)?;
            self.asked_at = Some(Instant::now());
            self.answered_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn fetch(
        &mut self,
        partition: PartitionId,
        from: Offset,
        max: usize,
    ) -> std::result::Result<Fetch<D::Record>, LogError> {
        self.read_from(partition, from.0)?;
        let reading = self.open.get_mut(&partition).expect("opened above");
        let mut records = Vec::new();
        let past = self.recorded.past(partition);
        match reading.draw((&mut self.decode, past), max, &mut records) {
            Ok(Drawn::Full) => self.left = true,
            Ok(Drawn::Empty) => {}
            Err(error) if records.is_empty() => return Err(error),
            // What came before it counts; it is met again at once.
            Err(_) => self.left = true,
        }
        if records.is_empty()
            && let Some(error) = reading.take_failure()
        {
            return Err(self.judge(partition, error));
        }
        if records.is_empty() && self.open[&partition].standing.is_short() {
            let position = self.position(partition)?;
            let reading = self.open.get_mut(&partition).expect("opened above");
            let looked = reading.look_into(self.clients.of(&reading.topic), position);
            looked.map_err(|e| classify(&self.place, "look for the end", e))?;
            self.note_stuck(partition);
        }
        let standing = &self.open[&partition].standing;
        let (end, answer) = standing.report(self.clock);
        let followed = self.said_upto(&self.topics[usize::from(partition.topic.0)].name).is_some();
        Ok(Fetch {
            records,
            next: Offset(standing.next()),
            end,
            as_of: Some(answer.map_or(self.clock, |asked| asked.clock)),
            said_upto: followed.then(|| answer.and_then(|asked| asked.said_upto).unwrap_or(0)),
        })
    }

    fn place(&self, partition: PartitionId) -> String {
        let topic = &self.topics[usize::from(partition.topic.0)].name;
        format!("{}: topic {topic}, partition {}", self.place, partition.partition)
    }

    fn wait(&mut self, timeout_ms: u64) {
        let timeout = if self.left { timeout_ms.min(1) } else { timeout_ms };
        self.wake.wait(Duration::from_millis(timeout));
    }
}
