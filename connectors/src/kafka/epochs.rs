//! Facts into Kafka, exactly once: [`EpochLog`] by transactions.
//!
//! ```text
//!   begin · records of facts.*, each with its epoch · progress = through · (whose are the topics?) · commit
//!           └──────────────── one transaction under `tombola-<pipeline>` ────────────────┘
//! ```
//!
//! Invariants: the records of an epoch and the progress past it become visible together to whoever reads
//! what is committed. Opening the transactional id undoes or completes what an older process left, so the
//! progress read after it is final; while no other process opens it, nothing but this one's commits can change it.
//! So a generation is fenced by being recorded there: an older one that opens the id again finds the newer one
//! recorded and stops; the newer one, whose producer that has broken, opens it again and goes on. It announces itself
//! before (`writers.rs`), so that the two don't break each other's producers for ever.
//!
//! A crash, or an answer that never comes: the transaction is either there or not, and the next opening
//! tells. It can't be half there. Not promised: readers of what is not committed see what may be undone.

use super::compacted::Compacted;
use super::ends::Asker;
use super::error::Result;
use super::progress::{self, Progress};
use super::settings::{Isolation, KafkaSettings};
use super::transaction::Transactional;
use super::writers::{Writers, claimed};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use runtime::digest::RunningDigest;
use runtime::log::{EpochLog, OutRecord};
use runtime::sink::SinkError;
use runtime::{Epoch, Generation, Millis, killpoint};
use std::time::{Duration, Instant};

const NAME: &str = "facts";
/// How long a take-over is tried before the caller hears of it.
const FENCE_MAX: Duration = Duration::from_secs(60);

/// Kafka as the facts sink writes it.
pub struct KafkaEpochs {
    settings: KafkaSettings,
    pipeline: String,
    progress_log: Compacted,
    writers: Writers,
    /// Absent before the first fence, and after a failure until the next call.
    session: Option<Session>,
    generation: Option<Generation>,
    /// A run whose commit was asked for and never answered.
    in_doubt: Option<Epoch>,
    /// Topics this process has written to: nobody can take them any more.
    owned: Vec<&'static str>,
    commit_interval: Duration,
}

/// A producer, and the progress as of its last commit.
struct Session {
    producer: Transactional,
    progress: Progress,
}

impl KafkaEpochs {
    /// Opens Kafka for a pipeline's facts.
    ///
    /// # Errors
    /// See [`super::KafkaError`].
    pub fn open(settings: &KafkaSettings, pipeline: &str) -> Result<Self> {
        settings.check()?;
        Ok(KafkaEpochs {
            settings: settings.clone(),
            pipeline: pipeline.to_owned(),
            progress_log: Compacted::open(settings, &progress::topic_of(pipeline))?,
            writers: Writers::open(settings)?,
            session: None,
            generation: None,
            in_doubt: None,
            owned: Vec::new(),
            commit_interval: Duration::ZERO,
        })
    }

    /// How far apart transactions begin at least. Each costs its producer and the brokers a request and a marker for every
    /// partition, however few records it brings there.
    #[must_use]
    pub fn committing_every(self, commit_interval: Duration) -> Self {
        KafkaEpochs { commit_interval, ..self }
    }

    /// Takes topics for this pipeline, all or none. One that another has taken can be had only while nothing was
    /// ever written to it and its pipeline is `idle`; that one finds out before its first fact counts.
    ///
    /// # Errors
    /// [`super::KafkaError::Claimed`] where one of them stays another pipeline's; [`super::KafkaError::Stop`] where one isn't there.
    pub fn claim<'a>(
        &mut self,
        topics: impl IntoIterator<Item = &'a str>,
        idle: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let topics: Vec<&str> = topics.into_iter().collect();
        self.check_topics(&topics)?;
        self.writers.claim(&self.pipeline, &topics, idle)
    }

    fn check_topics(&self, topics: &[&str]) -> Result<()> {
        let asker = Asker::open(&self.settings, Isolation::Committed)?;
        topics.iter().try_for_each(|topic| asker.partitions_of(topic).map(drop))
    }

    /// How far this pipeline's facts have come, once whatever is pending is decided.
    ///
    /// # Errors
    /// See [`super::KafkaError`].
    pub fn progress(&mut self) -> Result<Progress> {
        match &self.session {
            Some(session) => Ok(session.progress),
            None => progress::read(&self.settings, &self.progress_log),
        }
    }

    /// Opens the transactional id and reads what is final.
    fn open_session(&self, ours: Generation) -> std::result::Result<Session, SinkError> {
        let id = format!("tombola-{}", self.pipeline);
        let opened = Transactional::open(&self.settings, &id)
            .and_then(|producer| Ok((producer, progress::read(&self.settings, &self.progress_log)?)));
        let (producer, progress) = opened.map_err(|e| e.into_sink(NAME))?;
        let announced = self.writers.announced(&self.pipeline).map_err(|e| e.into_sink(NAME))?;
        let theirs = progress.generation.max(announced);
        if theirs > ours {
            return Err(SinkError::Fenced { sink: NAME, ours, theirs });
        }
        Ok(Session { producer, progress })
    }

    fn announce_and_fence(
        &mut self,
        ours: Generation,
        announced: &mut bool,
    ) -> std::result::Result<(), SinkError> {
        if !*announced {
            // One that is the older itself must not tell the newer to stop.
            let theirs = self.writers.announced(&self.pipeline).map_err(|e| e.into_sink(NAME))?;
            if theirs > ours {
                return Err(SinkError::Fenced { sink: NAME, ours, theirs });
            }
            self.writers.announce(&self.pipeline, ours).map_err(|e| e.into_sink(NAME))?;
            *announced = true;
        }
        self.try_fence(ours)
    }

    fn try_fence(&mut self, ours: Generation) -> std::result::Result<(), SinkError> {
        let mut session = self.open_session(ours)?;
        let progress = Progress { generation: ours, ..session.progress };
        let recorded = (|| {
            session.producer.begin()?;
            self.send_progress(&session.producer, &progress)?;
            session.producer.commit()
        })();
        recorded.map_err(|e| e.into_sink(NAME))?;
        session.progress = progress;
        self.session = Some(session);
        Ok(())
    }

    fn send_progress(&self, producer: &Transactional, progress: &Progress) -> Result<()> {
        let (topic, value) = (self.progress_log.topic(), progress.encode());
        producer.send(BaseRecord::to(topic).partition(0).key(self.pipeline.as_str()).payload(&value))
    }

    /// The session to append in; opens one where the last one failed.
    fn session(&mut self) -> std::result::Result<Session, SinkError> {
        let ours = self.generation.expect("the log is fenced before it is appended to");
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.open_session(ours),
        }
    }

    /// Writes and commits a run.
    fn write(&mut self, session: &Session, records: &[OutRecord], progress: &Progress) -> Result<()> {
        let fresh = self.fresh_topics(records)?;
        session.producer.begin()?;
        send_records(&session.producer, records)?;
        self.send_progress(&session.producer, progress)?;
        if !fresh.is_empty() {
            session.producer.flush()?;
            if let Err(error) = self.check_owned(&fresh) {
                session.producer.abort();
                return Err(error);
            }
        }
        session.producer.flush()?;
        killpoint::reach("facts.before_commit");
        self.in_doubt = Some(progress.through);
        session.producer.commit()?;
        killpoint::reach("facts.after_commit");
        self.in_doubt = None;
        self.owned.extend(fresh);
        Ok(())
    }

    /// Topics of these records that this process has not written to yet.
    fn fresh_topics(&self, records: &[OutRecord]) -> Result<Vec<&'static str>> {
        let mut fresh: Vec<&'static str> = Vec::new();
        for of_topic in records.chunk_by(|a, b| std::ptr::eq(a.topic, b.topic)) {
            let topic = of_topic[0].topic;
            if !self.owned.contains(&topic) && !fresh.contains(&topic) {
                fresh.push(topic);
            }
        }
        self.check_topics(&fresh)?;
        Ok(fresh)
    }

    fn check_owned(&self, topics: &[&'static str]) -> Result<()> {
        let owners = self.writers.owners()?;
        let other = |topic: &&&str| owners.get(**topic).is_some_and(|owner| *owner != self.pipeline);
        match topics.iter().find(other) {
            Some(topic) => Err(claimed(topic, &owners[*topic], &self.pipeline)),
            None => Ok(()),
        }
    }
}

/// Gives the records to the transaction in order, each with its epoch and its trace as headers.
fn send_records(producer: &Transactional, records: &[OutRecord]) -> Result<()> {
    for of_epoch in records.chunk_by(|a, b| a.epoch == b.epoch) {
        let epoch = of_epoch[0].epoch.to_string();
        for record in of_epoch {
            let mut headers = OwnedHeaders::new_with_capacity(1)
                .insert(Header { key: "epoch", value: Some(epoch.as_bytes()) });
            for (key, value) in record.trace.iter().flat_map(|trace| trace.headers()) {
                headers = headers.insert(Header { key, value: Some(&value) });
            }
            // To librdkafka, no time and time 0 are one, and mean the wall clock.
            let timestamp = record.timestamp.max(1);
            let out = BaseRecord::to(record.topic).key(&record.key).payload(&record.value);
            producer.send(out.timestamp(timestamp).headers(headers))?;
        }
    }
    Ok(())
}

impl EpochLog for KafkaEpochs {
    fn committed(&mut self) -> std::result::Result<Epoch, SinkError> {
        if self.generation.is_some() && self.session.is_none() {
            self.session = Some(self.session()?);
        }
        self.progress().map(|progress| progress.through).map_err(|e| e.into_sink(NAME))
    }

    fn settled(&mut self) -> std::result::Result<Epoch, SinkError> {
        let settled = progress::read_settled(&self.settings, &self.progress_log);
        settled.map(|progress| progress.through).map_err(|e| e.into_sink(NAME))
    }

    fn commit_interval(&self) -> Duration {
        self.commit_interval
    }

    fn fence(&mut self, generation: Generation) -> std::result::Result<(), SinkError> {
        self.session = None;
        let start = Instant::now();
        let mut announced = false;
        loop {
            match self.announce_and_fence(generation, &mut announced) {
                Err(error @ SinkError::Retry { .. }) if start.elapsed() < FENCE_MAX => {
                    tracing::warn!(%error, "taking over the facts failed, trying again");
                    std::thread::sleep(Duration::from_millis(200));
                }
                done => {
                    done?;
                    self.generation = Some(generation);
                    return Ok(());
                }
            }
        }
    }

    fn append(
        &mut self,
        records: &[OutRecord],
        through: Epoch,
        now: Millis,
    ) -> std::result::Result<(), SinkError> {
        let mut session = self.session()?;
        if let Some(doubted) = self.in_doubt.take()
            && session.progress.through == doubted
        {
            assert_eq!(doubted, through, "a run whose commit was in doubt is asked for again");
            self.session = Some(session);
            return Ok(());
        }
        assert_in_order(records, session.progress.through, through);
        let mut running = RunningDigest::resume(session.progress.digest);
        running.fold_records(records);
        let generation = session.progress.generation;
        assert_eq!(Some(generation), self.generation, "only the newest generation has a session");
        let progress = Progress { generation, through, now, digest: running.value() };
        // A session that fails is dropped here, and its producer with it.
        self.write(&session, records, &progress).map_err(|e| e.into_sink(NAME))?;
        session.progress = progress;
        self.session = Some(session);
        Ok(())
    }
}

/// An epoch appended twice would double its facts: nothing but a fault in the runtime asks for it.
fn assert_in_order(records: &[OutRecord], done: Epoch, through: Epoch) {
    assert!(through > done, "facts through epoch {done} are in the log: {through} is not to be appended");
    assert!(records.is_sorted_by_key(|r| r.epoch), "facts come in the order of their epochs");
    let (first, last) = (records.first(), records.last());
    assert!(first.is_none_or(|r| r.epoch > done), "a fact of an epoch that is in the log, up to {done}");
    assert!(last.is_none_or(|r| r.epoch <= through), "a fact of an epoch beyond {through}");
}
