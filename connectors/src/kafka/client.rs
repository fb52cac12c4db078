//! The clients that a reader reads by: how they are set, which topics each has, and how they end.
//!
//! Each fetch names every partition of its client, and brokers look into all of them whenever something comes in one. So topics
//! of commands, in which most comes, have a client of their own beside topics of rows, of which there are many.

use super::error::{Result, classify};
use super::partition::Reading;
use super::settings::{Consumer, Isolation, KafkaSettings, Logging};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use runtime::PartitionId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What every client that reads is set to.
const READING: &[(&str, &str)] = &[
    ("fetch.error.backoff.ms", "20"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.message.max.bytes", "4194304"),
    ("queued.min.messages", "50000"),
    ("queued.max.messages.kbytes", "16384"),
];

/// How brokers are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asking {
    /// A decision waits for what comes.
    #[default]
    Eager,
    /// Little comes; when it does, it is answered with at once.
    Patient,
    /// What comes is gathered for a while anyway: answers are as large as a tenth of a second makes them.
    Gathering,
}

impl Asking {
    /// An empty fetch holds back the next one to the same broker, whatever has come to need it meanwhile: a partition that
    /// was just begun, or whose queue was full.
    fn wait_ms(self) -> u64 {
        match self {
            Asking::Eager => 10,
            Asking::Patient => 50,
            Asking::Gathering => 100,
        }
    }

    fn min_bytes(self) -> &'static str {
        match self {
            Asking::Eager | Asking::Patient => "1",
            Asking::Gathering => "1048576",
        }
    }

    /// How long what a broker has may be on its way.
    pub(crate) fn arrives_within(self) -> Duration {
        Duration::from_millis(20 + self.wait_ms())
    }
}

/// The clients of one reader.
pub(crate) struct Clients {
    of_commands: Option<Client>,
    of_others: Option<Client>,
}

/// A client, and how it asks.
type Client = (Arc<Consumer>, Asking);

impl Clients {
    /// Those that topics like these need.
    pub fn open<'a>(
        settings: &KafkaSettings,
        pipeline: &str,
        asking: Asking,
        topics: impl Iterator<Item = &'a str>,
    ) -> Result<Self> {
        let (commands, others): (Vec<&str>, Vec<&str>) = topics.partition(|topic| are_commands(topic));
        let beside = if asking == Asking::Eager && !commands.is_empty() { Asking::Patient } else { asking };
        let client = |topics: &[&str], asking| {
            let needed = (!topics.is_empty()).then(|| consumer(settings, pipeline, asking));
            needed.transpose().map(|client| client.map(|client| (Arc::new(client), asking)))
        };
        Ok(Clients { of_commands: client(&commands, asking)?, of_others: client(&others, beside)? })
    }

    /// The client that reads a topic.
    ///
    /// # Panics
    /// For a topic whose like was not among those it was opened for.
    pub fn of(&self, topic: &str) -> &Arc<Consumer> {
        &self.client(topic).0
    }

    /// How the client that reads a topic asks for its records.
    pub fn asking(&self, topic: &str) -> Asking {
        self.client(topic).1
    }

    fn client(&self, topic: &str) -> &Client {
        let client = if are_commands(topic) { &self.of_commands } else { &self.of_others };
        client.as_ref().expect("a reader reads the topics that it was opened for")
    }

    /// Serves the connections' events. Every record goes to its partition's own queue.
    pub fn serve(&self) {
        for client in self.all() {
            while let Some(event) = client.poll(Duration::ZERO) {
                assert!(event.is_err(), "records come by their partition's queue alone");
            }
        }
    }

    /// How far queues have been taken off.
    pub fn positions(&self, place: &str) -> Result<Vec<TopicPartitionList>> {
        self.all()
            .map(|client| client.position().map_err(|e| classify(place, "ask for positions", e)))
            .collect()
    }

    /// Gives back what of librdkafka's is held on to, so that the clients can end.
    pub fn let_go(&self, open: BTreeMap<PartitionId, Reading>) {
        for client in self.all() {
            if let Err(error) = client.unassign() {
                tracing::debug!(%error, "unassigning partitions");
            }
        }
        // What is on its way comes within a moment.
        for _ in 0..3 {
            open.values().for_each(Reading::empty);
            std::thread::sleep(Duration::from_millis(10));
        }
        open.values().for_each(Reading::empty);
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Consumer>> {
        self.of_commands.iter().chain(&self.of_others).map(|(client, _)| client)
    }
}

fn are_commands(topic: &str) -> bool {
    topic.starts_with("commands.")
}

/// A client that reads for a pipeline and is assigned by hand.
fn consumer(settings: &KafkaSettings, pipeline: &str, asking: Asking) -> Result<Consumer> {
    let mut config = settings.consumer(Isolation::Committed);
    settings.set_unless_tuned(&mut config, READING);
    let wait_ms = asking.wait_ms().to_string();
    let asking = [("fetch.wait.max.ms", wait_ms.as_str()), ("fetch.min.bytes", asking.min_bytes())];
    settings.set_unless_tuned(&mut config, &asking);
    config.set("group.id", format!("tombola-{pipeline}"));
    config.create_with_context(Logging).map_err(|e| settings.unusable(&e))
}
