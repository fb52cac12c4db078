//! Following another pipeline: how far it has come, read on a thread of its own from its progress.
//!
//! ```text
//!   tombola.writers ─ whose is the topic? ─> tombola.progress.<owner> ─ now ─> said_upto
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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Each transaction takes two offsets or more: the last few are among these.
const TAIL: i64 = 64;
const PAUSE: Duration = Duration::from_millis(500);

/// One topic's writer, followed.
pub(crate) struct Following {
    said_upto: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Following {
    /// Begins to follow whoever writes `topic`.
    pub fn start(settings: &KafkaSettings, topic: &str) -> Result<Self> {
        let (said_upto, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let follower = Follower {
            settings: settings.clone(),
            topic: topic.to_owned(),
            said_upto: Arc::clone(&said_upto),
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new().name("follow".into()).spawn(move || follower.run());
        let thread = thread.map_err(|error| KafkaError::Stop {
            place: settings.place(),
            problem: format!("no thread can be started: {error}"),
            remedy: "raise the limit of threads and start again".to_owned(),
        })?;
        Ok(Following { said_upto, stop, thread: Some(thread) })
    }

    /// The time through which that pipeline has said everything; 0 where none has begun to.
    pub fn said_upto(&self) -> Millis {
        self.said_upto.load(Ordering::Acquire)
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
    topic: String,
    said_upto: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
}

impl Follower {
    fn run(self) {
        while !self.stopped() {
            if let Err(error) = self.follow_writer() {
                tracing::warn!(%error, topic = self.topic, "following another pipeline failed, trying again");
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns when there is no writer yet, on a failure, and where nothing comes for long: a pipeline that stands still says
    /// nothing, but neither does a client that has lost its brokers.
    fn follow_writer(&self) -> Result<()> {
        let claims = Compacted::open_existing(&self.settings, writers::TOPIC)?.by_key()?;
        let Some(owner) = claims.get(&self.topic) else { return Ok(()) };
        let progress = topic_of(&String::from_utf8_lossy(owner));
        let consumer = follow(&self.settings, &progress, Offset::OffsetTail(TAIL))?;
        let mut heard_at = Instant::now();
        while !self.stopped() && heard_at.elapsed() < STUCK_AFTER {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    heard_at = Instant::now();
                    if let Some(said) = message.payload().and_then(Progress::decode) {
                        self.said_upto.fetch_max(said.now, Ordering::AcqRel);
                    }
                }
                None | Some(Err(Client::PartitionEOF(_))) => {}
                Some(Err(error)) => return Err(super::error::classify(&progress, "read it", error)),
            }
        }
        Ok(())
    }
}
