//! A producer of transactions, used so that no outcome is ever taken for granted.
//!
//! librdkafka lacks the newer protocol (KIP-890), by which a broker can tell a late request from the next transaction's.
//! So a producer that has failed in any way is dropped, never used again: opening the next one under the same id
//! decides whatever the dropped one left (it waits for a commit that was under way, and undoes the rest) and
//! fences its stragglers. What was decided is then read from the log.

use super::error::{Result, classify, classify_code};
use super::settings::{KafkaSettings, Logging};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as Client, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, ToBytes};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a broker may take for one step before the outcome counts as unknown.
const STEP_MAX: Duration = Duration::from_secs(30);
/// A transaction left open is undone by the brokers after this.
const TRANSACTION_MS_MAX: &str = "60000";

/// Most bytes of a record that we write: key, value and headers. Well above the megabyte that topics take by default, since
/// whatever could be read as an input may have to be told: a dead letter carries its record.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// `max.message.bytes` of a topic that takes such a record: brokers count the batch around it, too.
pub const BATCH_BYTES_MAX: usize = 17 << 20;

const WRITING: &[(&str, &str)] = &[
    ("compression.type", "lz4"),
    // Runs come all at once: there is nothing to wait for.
    ("linger.ms", "1"),
    ("batch.size", "1000000"),
    ("batch.num.messages", "20000"),
    ("queue.buffering.max.messages", "200000"),
    ("queue.buffering.max.kbytes", "524288"),
    ("retry.backoff.ms", "10"),
];

/// What producers of ours share: idempotent, all replicas, keys placed as Java's default does.
pub(crate) fn producing(settings: &KafkaSettings) -> ClientConfig {
    let mut config = settings.client();
    settings.set_unless_tuned(&mut config, WRITING);
    if !settings.properties.contains_key("message.max.bytes") {
        config.set("message.max.bytes", RECORD_BYTES_MAX.to_string());
    }
    config.set("enable.idempotence", "true");
    config.set("acks", "all");
    config.set("partitioner", "murmur2_random");
    config
}

const REST: Duration = Duration::from_micros(300);

/// Waits for everything to be acknowledged. The producer's own `flush` looks every 100 ms only.
pub(crate) fn flush<C: ProducerContext>(
    producer: &BaseProducer<C>,
    max: Duration,
) -> std::result::Result<(), Client> {
    let start = Instant::now();
    loop {
        match producer.flush(Duration::ZERO) {
            Err(Client::Flush(Code::OperationTimedOut)) if start.elapsed() < max => {
                rest(producer);
            }
            done => return done,
        }
    }
}

/// Serves what has come and sleeps a little. Asked to wait for it, the client looks all the time: what is left of a
/// millisecond counts as none, and both cores are busy with nothing.
pub(crate) fn rest<C: ProducerContext>(producer: &BaseProducer<C>) {
    producer.poll(Duration::ZERO);
    std::thread::sleep(REST);
}

/// Notes the first delivery that failed.
#[derive(Default)]
pub(crate) struct Failures {
    first: Mutex<Option<Client>>,
}

impl ClientContext for Failures {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Logging.log(level, facility, message);
    }

    fn error(&self, error: Client, reason: &str) {
        Logging.error(error, reason);
    }
}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
        }
    }
}

/// One producer under a transactional id. On any failure, drop it.
pub(crate) struct Transactional {
    producer: BaseProducer<Failures>,
    place: String,
}

impl Transactional {
    /// Opens one: from here on nothing of any older one under this id can be committed.
    pub fn open(settings: &KafkaSettings, id: &str) -> Result<Self> {
        let mut config = producing(settings);
        config.set("transactional.id", id).set("transaction.timeout.ms", TRANSACTION_MS_MAX);
        let producer: BaseProducer<Failures> =
            config.create_with_context(Failures::default()).map_err(|e| settings.unusable(&e))?;
        let opened = Transactional { producer, place: settings.place() };
        let ready = opened.producer.init_transactions(STEP_MAX);
        ready.map_err(|e| classify(&opened.place, format!("take over as {id}"), e))?;
        Ok(opened)
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Result<()> {
        self.producer.begin_transaction().map_err(|e| classify(&self.place, "begin a transaction", e))
    }

    /// Gives a record to the transaction; waits where too many are on their way.
    pub fn send<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(&self, record: BaseRecord<'_, K, P>) -> Result<()> {
        let (mut record, start) = (record, Instant::now());
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((Client::MessageProduction(Code::QueueFull), back)) if start.elapsed() < STEP_MAX => {
                    record = back;
                    rest(&self.producer);
                }
                Err((error, record)) => {
                    return Err(classify(&self.place, format!("append to topic {}", record.topic), error));
                }
            }
        }
    }

    /// Waits until the brokers have every record of the transaction.
    pub fn flush(&self) -> Result<()> {
        let flushed = flush(&self.producer, STEP_MAX);
        flushed.map_err(|e| classify(&self.place, "append records", e))?;
        let failed = self.producer.context().first.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match failed.and_then(|error| error.rdkafka_error_code()) {
            Some(code) => Err(classify_code(&self.place, "append records", code)),
            None => Ok(()),
        }
    }

    /// Commits. After a failure nobody knows whether it was done: open anew and read.
    pub fn commit(&self) -> Result<()> {
        self.flush()?;
        self.producer
            .commit_transaction(STEP_MAX)
            .map_err(|e| classify(&self.place, "commit a transaction", e))
    }

    /// Aborts, or leaves that to whoever opens the id next.
    pub fn abort(&self) {
        if let Err(error) = self.producer.abort_transaction(STEP_MAX) {
            tracing::info!(%error, "a transaction is left to be undone by the next producer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::facts::DeadLetter;
    use schemas::{Fact, SchemaIds};

    /// A letter about a record of these sizes, cut as it is told.
    fn letter(payload: usize, key: usize, reason: usize) -> DeadLetter {
        // The longest name that Kafka allows.
        let topic = "t".repeat(249);
        let mut letter = DeadLetter {
            id: DeadLetter::id_of(&topic, i32::MAX, i64::MAX),
            topic: topic.as_str().into(),
            partition: i32::MAX,
            offset: i64::MAX,
            reason: "ü".repeat(reason / 2),
            payload: (0..payload).map(|n| n as u8).collect(),
            key: Some(vec![7; key]),
            record_time_ms: i64::MAX,
        };
        letter.cut_to_fit();
        letter
    }

    /// Bytes of the record: key, value, and headers with their epoch and trace.
    fn bytes(letter: &DeadLetter) -> usize {
        let (ids, mut value) = (SchemaIds::fresh(), Vec::new());
        let fact = Fact::DeadLetter(Box::new(letter.clone()));
        schemas::avro::encode_fact(&fact, |record| ids.of(record), &mut value);
        value.len() + fact.key().len() + 2_048
    }

    #[test]
    fn a_dead_letter_fits_into_a_record_whatever_it_is_about() {
        for (payload, key, reason) in [
            (0, 0, 0),
            (1 << 20, 1 << 20, 100),
            (15 << 20, 256 << 10, 16 << 10),
            (64 << 20, 2 << 20, 1 << 20),
        ] {
            let bytes = bytes(&letter(payload, key, reason));
            assert!(bytes < RECORD_BYTES_MAX, "{bytes} bytes about {payload}, {key} and {reason}");
        }
        let config = producing(&KafkaSettings::default());
        assert_eq!(config.get("message.max.bytes"), Some("16777216"));
    }

    #[test]
    fn what_fits_is_kept_whole_and_of_what_does_not_its_beginning_with_where_the_rest_lies() {
        let whole = letter(15 << 20, 256 << 10, 16 << 10);
        assert_eq!((whole.payload.len(), whole.reason.len()), (15 << 20, 16 << 10));
        assert_eq!(whole.key.map(|key| key.len()), Some(256 << 10));
        let cut = letter((15 << 20) + 1, (256 << 10) + 1, 10);
        assert_eq!(cut.payload[..], letter(15 << 20, 0, 0).payload[..]);
        assert_eq!(cut.key.as_ref().map(Vec::len), Some(256 << 10));
        for part in
            ["value's 15728641 bytes these are the first 15728640", "key's 262145 bytes", cut.id.as_str()]
        {
            assert!(cut.reason.contains(part), "{part}: {}", cut.reason);
        }
        // Again, as a replay does it.
        assert_eq!(letter((15 << 20) + 1, (256 << 10) + 1, 10), cut);
        assert!(letter(0, 0, (16 << 10) + 2).reason.ends_with("ü…"));
    }
}
