//! What can go wrong with Kafka or its schema registry, sorted by what the caller must do about it.
//!
//! A broker that is away, a leader that is being elected, a request that ran into its time: all of them pass,
//! and are tried again for as long as it takes. What an operator has to mend stops the run, with the remedy.

use rdkafka::error::{KafkaError as Client, RDKafkaErrorCode as Code};
use runtime::sink::SinkError;
use runtime::source::LogError;

/// What to look at, by words of the reason why a connection ended.
const ADVICE: &[(&str, &str)] = &[
    (
        "in state APIVERSION_QUERY",
        " (it hung up on the first word: check that security.protocol is the one its listener speaks)",
    ),
    (
        "certificate verify failed",
        " (check ssl.ca.location, and that bootstrap names the host as the broker's certificate does)",
    ),
];

/// What lies behind a failure.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A failure of Kafka or of the registry.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// The same call may succeed later.
    #[error("{place}: {doing}: {source}; it may pass: check that it is up and can be reached from here")]
    Away { place: String, doing: String, source: Cause },
    /// An operator is needed.
    #[error("{place}: {problem}; {remedy}")]
    Stop { place: String, problem: String, remedy: String },
    /// Two pipelines must not tell the same facts twice.
    #[error(
        "topic {topic} is written by the pipeline `{owner}`, so `{ours}` may not write to it; leave that job to `{owner}` (say with --jobs or pipeline.jobs which jobs run here)"
    )]
    Claimed { topic: String, owner: String, ours: String },
}

pub(crate) type Result<T> = std::result::Result<T, KafkaError>;

/// Turns what librdkafka says into what the caller must do.
pub(crate) fn classify(place: impl Into<String>, doing: impl Into<String>, error: Client) -> KafkaError {
    let (place, doing) = (place.into(), doing.into());
    match error.rdkafka_error_code().and_then(remedy) {
        Some(remedy) => {
            KafkaError::Stop { place, problem: format!("{doing}: {error}"), remedy: remedy.to_owned() }
        }
        None => KafkaError::Away { place, doing, source: Box::new(error) },
    }
}

/// The same for what librdkafka says by its code alone.
pub(crate) fn classify_code(place: impl Into<String>, doing: impl Into<String>, code: Code) -> KafkaError {
    classify(place, doing, Client::Global(code))
}

/// What an operator can do; `None` for what may pass. `SSL` and `Authentication` may: they are said, too, of a
/// handshake that a broker broke off because it was going down. So may `UnsupportedFeature`, which is not the
/// broker's word: librdkafka says it of one that it is just connecting to again, before it has heard what it can do.
fn remedy(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::TopicAuthorizationFailed => "grant this user Read, Write and Describe on the topic",
        Code::GroupAuthorizationFailed => "grant this user Describe on the group",
        Code::ClusterAuthorizationFailed => "grant this user IdempotentWrite on the cluster",
        Code::TransactionalIdAuthorizationFailed => {
            "grant this user Write and Describe on transactional ids that begin with `tombola-`"
        }
        Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            "check the user, the password and sasl.mechanism"
        }
        Code::UnsupportedVersion => "the broker is too old: Tombola needs Kafka 2.5 or newer",
        Code::NotImplemented => {
            "a batch is compressed in a way this build does not know: produce with lz4, snappy or gzip, or build Tombola with the feature `kafka-zstd`"
        }
        Code::BadMessage => "the batch is damaged: restore the partition from a replica or a backup",
        Code::InvalidTimestamp => {
            "the topic refuses the record's time: set message.timestamp.type=CreateTime and raise message.timestamp.after.max.ms"
        }
        Code::MessageSizeTooLarge => {
            "raise max.message.bytes of the topic: `tombola topics apply` does so for facts and dead letters"
        }
        Code::InvalidTransactionTimeout => {
            "raise transaction.max.timeout.ms of the brokers to a minute or more"
        }
        Code::PolicyViolation => "the cluster's policy refuses it: ask its operators",
        Code::InvalidReplicationFactor => {
            "there are fewer brokers than replicas asked for: lower replication"
        }
        Code::InvalidConfig => "correct the topic's settings",
        _ => return None,
    })
}

impl KafkaError {
    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, KafkaError::Away { .. })
    }

    /// The same with why no broker could be asked, where that is known.
    pub(crate) fn because(self, reason: Option<String>) -> Self {
        match (self, reason) {
            (KafkaError::Away { place, doing, source }, Some(reason)) => {
                let known = ADVICE.iter().find(|(words, _)| reason.contains(words));
                let advice = known.map_or("", |(_, advice)| advice);
                KafkaError::Away { place, doing, source: format!("{source}: {reason}{advice}").into() }
            }
            (other, _) => other,
        }
    }

    /// Place, problem and remedy of one that stops the run.
    fn parts(self) -> (String, String, String) {
        match self {
            KafkaError::Stop { place, problem, remedy } => (place, problem, remedy),
            other => {
                let text = other.to_string();
                let (problem, remedy) = text.split_once("; ").unwrap_or((&text, "see the message"));
                ("Kafka".to_owned(), problem.to_owned(), remedy.to_owned())
            }
        }
    }

    /// The same failure as a sink reports it.
    pub fn into_sink(self, sink: &'static str) -> SinkError {
        if self.may_pass() {
            return SinkError::Retry { sink, source: Box::new(self) };
        }
        let (place, problem, remedy) = self.parts();
        SinkError::Stop { sink, problem: format!("{place}: {problem}"), remedy }
    }
}

impl From<KafkaError> for LogError {
    fn from(error: KafkaError) -> LogError {
        if error.may_pass() {
            return LogError::Retry(Box::new(error));
        }
        let (place, problem, remedy) = error.parts();
        LogError::Stop { place, problem, remedy }
    }
}
