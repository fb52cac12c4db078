//! Kafka by SASL over TLS (KAFKA_TLS_BOOTSTRAP): a build with the feature `kafka-tls`.

#![cfg(feature = "kafka-tls")]
#![allow(clippy::unwrap_used)] // a test helper is a test too

mod services;

use connectors::kafka::{KafkaAppender, KafkaEpochs, KafkaReader, KafkaSettings, TopicSpec, plan};
use runtime::log::{EpochLog, OutRecord};
use runtime::{Epoch, Generation};
use services::{Rounds, Texts, made, options, text, unique};
use std::collections::BTreeMap;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: scripts/services up kafka, natively"))
}

/// By TLS, as the user the broker knows.
fn encrypted(ca: &str) -> KafkaSettings {
    let ca = format!("{}/{ca}", variable("TLS_DIR"));
    let properties = BTreeMap::from(
        [
            ("security.protocol", "SASL_SSL".to_owned()),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", variable("KAFKA_TLS_USER")),
            ("sasl.password", variable("KAFKA_TLS_PASSWORD")),
            ("ssl.ca.location", ca),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    KafkaSettings { properties, ..KafkaSettings::new(variable("KAFKA_TLS_BOOTSTRAP")) }
}

/// What asking for a topic is told.
fn refused(settings: &KafkaSettings) -> String {
    settings.check().unwrap();
    let spec = TopicSpec { name: "any".to_owned(), partitions: 1, ..TopicSpec::default() };
    plan(settings, &[spec]).map(drop).unwrap_err().to_string()
}

#[test]
#[ignore = "needs services"]
fn service_by_sasl_over_tls_facts_are_written_in_transactions_and_read_back() {
    let (settings, topic) = (encrypted("ca.pem"), made("encrypted"));
    settings.check().unwrap();
    KafkaAppender::open(&settings).unwrap().append(&topic, &[text("command")]).unwrap();
    let mut log = KafkaEpochs::open(&settings, &unique("pipeline")).unwrap();
    log.fence(Generation(1)).unwrap();
    let fact = OutRecord {
        topic: Box::leak(topic.clone().into_boxed_str()),
        key: vec![1],
        value: b"fact".to_vec(),
        timestamp: 5,
        epoch: Epoch(1),
        trace: None,
    };
    log.append(&[fact], Epoch(1), 5).unwrap();
    let read = KafkaReader::open(&settings, options(), &[&topic], |_| true, Texts).unwrap();
    assert_eq!(Rounds::new(read).drain_to(2), ["command", "fact"]);
}

#[test]
#[ignore = "needs services"]
fn service_a_broker_of_another_authority_or_name_is_refused_and_the_property_named() {
    let told = refused(&encrypted("stranger.pem"));
    assert!(told.contains("ssl.ca.location"), "{told}");
    let mut other_name = encrypted("ca.pem");
    other_name.bootstrap = other_name.bootstrap.replace("localhost", "127.0.0.1");
    let told = refused(&other_name);
    assert!(told.contains("ssl.ca.location"), "{told}");
}

#[test]
#[ignore = "needs services"]
fn service_a_wrong_password_is_refused_and_shown_nowhere() {
    let mut settings = encrypted("ca.pem");
    settings.properties.insert("sasl.password".to_owned(), "wr0ng-one".to_owned());
    let told = refused(&settings);
    assert!(told.contains("sasl") && !told.contains("wr0ng-one"), "{told}");
}

#[test]
#[ignore = "needs services"]
fn service_plaintext_to_a_listener_that_wants_tls_is_refused() {
    let told = refused(&KafkaSettings::new(variable("KAFKA_TLS_BOOTSTRAP")));
    assert!(told.contains("security.protocol"), "{told}");
}
