//! How Kafka is reached: the brokers, and librdkafka's own properties for whatever lies between (TLS, SASL, proxies).
//!
//! Properties on which the guarantees rest are ours: one that is set from outside is refused, not overridden.

use super::error::{KafkaError, Result};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError as Client;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where the brokers are and how to speak to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port`, several with commas between.
    pub bootstrap: String,
    /// librdkafka's properties, as `security.protocol` or `sasl.mechanism`.
    pub properties: BTreeMap<String, String>,
    /// Replicas of the topics that a pipeline makes for itself; absent: as many as the brokers make by default.
    pub replication: Option<i32>,
}

/// What the guarantees rest on.
const OURS: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "retries",
    "transaction.timeout.ms",
    "transactional.id",
];

/// How a connection that was lost is taken up again. `metadata.recovery.strategy` stays at `rebootstrap`: a broker that was
/// fenced may answer that there is none at all, and a client that doesn't begin anew from the first ones is lost for good then.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "tombola"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
    ("socket.nagle.disable", "true"),
];

impl KafkaSettings {
    /// Brokers that are reached without further ado.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        KafkaSettings { bootstrap: bootstrap.into(), ..KafkaSettings::default() }
    }

    /// Checks that librdkafka knows every property and that this build has what they ask for.
    ///
    /// # Errors
    /// [`KafkaError::Stop`], naming the property and the remedy.
    pub fn check(&self) -> Result<()> {
        if self.bootstrap.trim().is_empty() {
            return Err(refused(
                "bootstrap",
                "no broker is named",
                "give `host:port` of one or more brokers",
            ));
        }
        for (name, value) in &self.properties {
            self.check_property(name, value)?;
        }
        Ok(())
    }

    fn check_property(&self, name: &str, value: &str) -> Result<()> {
        if OURS.contains(&name) {
            let problem = "exactly-once rests on it, so it can't be set";
            return Err(refused(name, problem, "take it out of the settings"));
        }
        if let Some(lacking) = needs_tls(name, value).filter(|needed| !built_with(needed)) {
            let problem = format!("this build has no TLS (librdkafka lacks `{lacking}`)");
            let remedy = "build Tombola with the feature `kafka-tls`, or use security.protocol=plaintext or sasl_plaintext with sasl.mechanism=PLAIN";
            return Err(refused(name, &problem, remedy));
        }
        let known = ClientConfig::new().set(name, value).create_native_config();
        known.map(drop).map_err(|error| {
            let problem = match error {
                Client::ClientConfig(_, description, _, _) => description,
                other => other.to_string(),
            };
            refused(name, &problem, "see librdkafka's CONFIGURATION.md for its properties")
        })
    }

    /// What every client begins with.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// Properties that may be tuned: what the settings say of one of them goes before.
    pub(crate) fn set_unless_tuned(&self, config: &mut ClientConfig, properties: &[(&str, &str)]) {
        for (name, value) in properties {
            if !self.properties.contains_key(*name) {
                config.set(*name, *value);
            }
        }
    }

    /// A client that consumes nothing by itself: it asks for metadata and ends, or is assigned by hand.
    pub(crate) fn consumer(&self, isolation: Isolation) -> ClientConfig {
        let mut config = self.client();
        config.set("isolation.level", isolation.name());
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("enable.partition.eof", "true");
        config.set("check.crcs", "true");
        config.set("allow.auto.create.topics", "false");
        config
    }

    /// Where failures say they come from.
    pub(crate) fn place(&self) -> String {
        format!("Kafka at {}", self.bootstrap)
    }

    /// The failure to make a client: its configuration is at fault.
    pub(crate) fn unusable(&self, error: &Client) -> KafkaError {
        KafkaError::Stop {
            place: self.place(),
            problem: format!("no client can be made: {error}"),
            remedy: "correct the Kafka settings".to_owned(),
        }
    }
}

/// How long a client may go without an answer before another takes its place. librdkafka's clients can lose their brokers for
/// good while those come back (its issue 5301); a new one begins with what is there.
pub(crate) const RENEW_AFTER: Duration = Duration::from_secs(10);
/// How long nothing may come of what there is before another client reads on: longer than any quota holds answers back.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What of a log is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Up to the last stable offset, without what was aborted.
    Committed,
    /// Up to the high watermark.
    Everything,
}

impl Isolation {
    fn name(self) -> &'static str {
        match self {
            Isolation::Committed => "read_committed",
            Isolation::Everything => "read_uncommitted",
        }
    }
}

fn refused(name: &str, problem: &str, remedy: &str) -> KafkaError {
    let place = format!("the Kafka setting `{name}`");
    KafkaError::Stop { place, problem: problem.to_owned(), remedy: remedy.to_owned() }
}

/// The feature of librdkafka that a property takes from OpenSSL, if so.
fn needs_tls(name: &str, value: &str) -> Option<&'static str> {
    match name {
        "security.protocol" if value.to_ascii_lowercase().ends_with("ssl") => Some("ssl"),
        "sasl.mechanism" | "sasl.mechanisms" if value.to_ascii_uppercase().starts_with("SCRAM") => {
            Some("sasl_scram")
        }
        "sasl.mechanism" | "sasl.mechanisms" if value.eq_ignore_ascii_case("oauthbearer") => {
            Some("sasl_oauthbearer")
        }
        _ => name.starts_with("ssl.").then_some("ssl"),
    }
}

fn built_with(feature: &str) -> bool {
    let native = ClientConfig::new().create_native_config();
    let features = native.and_then(|config| config.get("builtin.features"));
    features.is_ok_and(|features| features.split(',').any(|f| f == feature))
}

/// Sends librdkafka's log where ours goes. Failures are told by the calls that meet them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Logging;

impl ClientContext for Logging {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: Client, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Logging {}

/// The same for contexts of their own.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::warn!(facility, "librdkafka: {message}");
        }
        // A broker that is away is an error to it, every second anew: the call that meets it says so once.
        _ => tracing::debug!(facility, "librdkafka: {message}"),
    }
}

/// A consumer that is assigned by hand.
pub(crate) type Consumer = BaseConsumer<Logging>;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> String {
        let properties = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let settings = KafkaSettings { properties, ..KafkaSettings::new("localhost:9092") };
        settings.check().map_or_else(|error| error.to_string(), |()| "taken".to_owned())
    }

    #[test]
    fn properties_are_passed_through_unless_the_guarantees_rest_on_them() {
        for (name, value, expected) in [
            ("client.rack", "a", "taken"),
            ("security.protocol", "plaintext", "taken"),
            ("sasl.mechanism", "PLAIN", "taken"),
            ("isolation.level", "read_uncommitted", "`isolation.level`: exactly-once rests on it"),
            ("transactional.id", "x", "`transactional.id`: exactly-once rests on it"),
            ("client.rakc", "a", "`client.rakc`: No such configuration property"),
            ("socket.timeout.ms", "soon", "`socket.timeout.ms`: Invalid value"),
        ] {
            let said = check(name, value);
            assert!(said.contains(expected), "{name}={value}: {said}");
        }
    }

    #[test]
    fn tls_is_refused_by_a_build_without_it_and_the_feature_named() {
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("ssl.ca.location", "/ca"),
        ] {
            let said = check(name, value);
            let expected = if built_with("ssl") { "taken" } else { "the feature `kafka-tls`" };
            assert!(said.contains(expected), "{name}={value}: {said}");
        }
    }
}
