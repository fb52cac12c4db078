//! Following other pipelines: how far each has come, read on a thread of its own from its progress.
//!
//! ```text
//!   tombola.writers ─ whose are the topics? ─> tombola.progress.<owner> ─ now ─> said_upto, of all of its topics
//! ```
//!
//! What it says only grows old, never wrong: everything up to `said_upto` had been said before it was read.

use super::compacted::{Compacted, follow};
use super::error::{KafkaError, Result};
use super::progress::{Progress, topic_of};
use super::settings::{KafkaSettings, STUCK_AFTER};
use super::writers;
use rdkafka::error::KafkaError as Client;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use runtime::Millis;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Each transaction takes two offsets or more: the last few are among these.
const TAIL: i64 = 64;
const PAUSE: Duration = Duration::from_millis(500);
/// How often topics that nobody writes yet are asked about while others are followed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A topic that another pipeline writes.
struct Followed {
    topic: String,
    /// 0 until something is known.
    said_upto: AtomicI64,
}

/// The writers of some topics, followed.
pub(crate) struct Following {
    all: Arc<[Followed]>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Following {
    /// Begins to follow whoever writes each of `topics`.
    pub fn start(settings: &KafkaSettings, topics: &[&str]) -> Result<Self> {
        let follow = |topic: &&str| Followed { topic: (*topic).to_owned(), said_upto: AtomicI64::new(0) };
        let all: Arc<[Followed]> = topics.iter().map(follow).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let follower =
            Follower { settings: settings.clone(), all: Arc::clone(&all), stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("follow".into()).spawn(move || follower.run());
        let thread = thread.map_err(|error| KafkaError::Stop {
            place: settings.place(),
            problem: format!("no thread can be started: {error}"),
            remedy: "raise the limit of threads and start again".to_owned(),
        })?;
        Ok(Following { all, stop, thread: Some(thread) })
    }

    /// The time through which the writer of a topic has said everything; 0 where none has begun to. Absent: it isn't followed.
    pub fn said_upto(&self, topic: &str) -> Option<Millis> {
        let followed = self.all.iter().find(|followed| followed.topic == topic)?;
        Some(followed.said_upto.load(Ordering::Acquire))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

struct Follower {
    settings: KafkaSettings,
    all: Arc<[Followed]>,
    stop: Arc<AtomicBool>,
}

/// Topics by the progress of whoever writes them.
type Written<'a> = BTreeMap<String, Vec<&'a Followed>>;

impl Follower {
    fn run(self) {
        while !self.stopped() {
            if let Err(error) = self.follow_writers() {
                tracing::warn!(%error, "following another pipeline failed, trying again");
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whose topics are whose, as far as they have been claimed.
    fn written(&self) -> Result<Written<'_>> {
        let claims = Compacted::open_existing(&self.settings, writers::TOPIC)?.by_key()?;
        let mut written = Written::new();
        for followed in &*self.all {
            if let Some(owner) = claims.get(&followed.topic) {
                let progress = topic_of(&String::from_utf8_lossy(owner));
                written.entry(progress).or_default().push(followed);
            }
        }
        Ok(written)
    }

    /// Returns when a writer that wasn't there may be, on a failure, and where one says nothing for long: pipelines that stand
    /// still say nothing, but neither does a client that has lost its brokers.
    fn follow_writers(&self) -> Result<()> {
        let written = self.written()?;
        let claimed: usize = written.values().map(Vec::len).sum();
        if claimed == 0 {
            return Ok(());
        }
        let from = written.keys().map(|progress| (progress.as_str(), Offset::OffsetTail(TAIL)));
        let consumer = follow(&self.settings, from)?;
        let began = Instant::now();
        let mut heard_at: BTreeMap<&str, Instant> =
            written.keys().map(|progress| (progress.as_str(), began)).collect();
        let silent =
            |heard_at: &BTreeMap<&str, Instant>| heard_at.values().any(|at| at.elapsed() > STUCK_AFTER);
        let look_again = if claimed == self.all.len() { Duration::MAX } else { LOOK_AGAIN };
        while !self.stopped() && !silent(&heard_at) && began.elapsed() < look_again {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let (progress, topics) = written.get_key_value(message.topic()).expect("asked for");
                    heard_at.insert(progress, Instant::now());
                    let Some(said) = message.payload().and_then(Progress::decode) else { continue };
                    for followed in topics {
                        followed.said_upto.fetch_max(said.now, Ordering::AcqRel);
                    }
                }
                None | Some(Err(Client::PartitionEOF(_))) => {}
                Some(Err(error)) => {
                    return Err(super::error::classify(self.settings.place(), "read progress", error));
                }
            }
        }
        Ok(())
    }
}
