//! The same content from real Kafka and from the embedded log gives the same input; and what no schema fits.

#![allow(clippy::unwrap_used)] // a test helper is a test too

mod services;

use connectors::decode::{Input, RecordDecoder, SchemaSource};
use connectors::embedded::{EmbeddedReader, Log, NewRecord};
use connectors::kafka::{ConfluentRegistry, KafkaAppender, KafkaReader, RegistrySettings, Standing};
use runtime::Offset;
use runtime::source::{Claim, LogError, LogReader};
use schema_registry_converter::blocking::schema_registry::{SrSettings, post_schema};
use schema_registry_converter::schema_registry_common::{SchemaType, SuppliedSchema};
use schemas::Record;
use schemas::registry::Subject;
use services::{Rounds, clock, kafka, make, options, unique};
use std::time::{Duration, Instant};

fn url() -> String {
    std::env::var("REGISTRY_URL").expect("REGISTRY_URL names the registry")
}

fn registry() -> ConfluentRegistry {
    ConfluentRegistry::new(&RegistrySettings { url: url(), ..RegistrySettings::default() }).unwrap()
}

/// Registers a schema of some other program.
fn register(subject: &str, avsc: &str) -> u32 {
    let schema = SuppliedSchema::new(None, SchemaType::Avro, avsc.to_owned());
    post_schema(&SrSettings::new(url()), subject.to_owned(), schema).unwrap().id
}

fn cancel(schema: u32) -> NewRecord {
    let line = r#"{"type":"cancel_order","command_id":"c1","tenant":"t","order_id":"o1","reason":"no","requested_at_ms":7}"#;
    let command = schemas::ndjson::parse_command(line).unwrap();
    let mut value = Vec::new();
    schemas::encode_command(&command, |_| schema, &mut value);
    NewRecord {
        partition: Some(0),
        value: Some(value),
        timestamp_ms: 1_700_000_000_000,
        ..NewRecord::default()
    }
}

/// Offset, claim and body of every record.
type Read = Vec<(u64, Claim, Input)>;

fn read<L: LogReader<Record = Input>>(mut reader: L, count: usize) -> Read {
    let id = reader.partitions().unwrap()[0];
    let (start, mut all, mut next) = (Instant::now(), Vec::new(), Offset(0));
    while all.len() < count {
        assert!(start.elapsed() < Duration::from_secs(120), "{} of {count} have come", all.len());
        // A record waits for an id that isn't known, before it counts as one that nobody can decode.
        let fetch = match reader.begin_round(clock()).and_then(|()| reader.fetch(id, next, 100)) {
            Err(LogError::Retry(_)) => {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            other => other.unwrap(),
        };
        next = fetch.next;
        all.extend(fetch.records.into_iter().map(|r| (r.offset.0, r.claim, r.body)));
        reader.wait(10);
    }
    all
}

#[test]
#[ignore = "needs services"]
fn service_kafka_and_the_embedded_log_give_the_same_input_and_what_cant_be_decoded_goes_to_the_dead_letters()
{
    let ids = registry().register_own().unwrap();
    let theirs = r#"{"type":"record","name":"CancelOrder","namespace":"tombola.commands","fields":[{"name":"command_id","type":"long"}]}"#;
    let incompatible = register(&unique("elsewhere"), theirs);
    let retried = NewRecord {
        headers: vec![("retry-of".to_owned(), b"commands.orders-0-7".to_vec()), ("x".to_owned(), Vec::new())],
        key: Some(b"k".to_vec()),
        ..cancel(ids.of(Record::CancelOrder))
    };
    let empty = NewRecord { partition: Some(0), timestamp_ms: 5, ..NewRecord::default() };
    let records =
        [cancel(ids.of(Record::CancelOrder)), cancel(incompatible), retried, cancel(999_999_999), empty];
    let topic = unique("commands.same");
    make(&topic, 1, &[]);
    KafkaAppender::open(&kafka()).unwrap().append(&topic, &records).unwrap();
    let dir = tempfile::tempdir().unwrap();
    Log::appender(dir.path()).unwrap().append(&topic, &records).unwrap();
    let names = [topic.as_str()];
    let decoder = || RecordDecoder::new(registry());
    let from_kafka = KafkaReader::open(&kafka(), options(), &names, |_| true, decoder()).unwrap();
    let from_kafka = read(from_kafka, records.len());
    let embedded = EmbeddedReader::open(dir.path(), &names, decoder()).unwrap();
    assert_eq!(from_kafka, read(embedded, records.len()));
    let kinds: Vec<bool> = from_kafka.iter().map(|(_, _, input)| matches!(input, Input::Bad(_))).collect();
    assert_eq!(kinds, [false, true, false, true, true], "and the stream goes on");
    let Input::Bad(letter) = &from_kafka[1].2 else { panic!("seen to be bad") };
    assert!(letter.reason.contains("command_id"), "{}", letter.reason);
}

#[test]
#[ignore = "needs services"]
fn service_the_registry_says_how_each_contract_stands_and_why_not() {
    let registry = registry();
    let ids = registry.register_own().unwrap();
    assert_eq!(ids, registry.register_own().unwrap(), "registered twice, it is the same");
    // Whoever else writes to a topic may register a newer version; ours stays registered.
    let theirs = Record::CancelOrder.avsc().replacen("On whose behalf", "For whom", 1);
    assert_ne!(theirs, Record::CancelOrder.avsc());
    let settings = SrSettings::new(std::env::var("REGISTRY_URL").unwrap());
    let theirs = SuppliedSchema::new(None, SchemaType::Avro, theirs);
    post_schema(&settings, Record::CancelOrder.subject(), theirs).unwrap();
    let states = registry.check().unwrap();
    assert!(states.iter().all(|state| state.standing == Standing::Registered), "{states:?}");
    assert!(registry.get(ids.of(Record::Offer)).unwrap().unwrap().contains("tombola.reference"));
    assert_eq!(registry.get(999_999_998).unwrap(), None);
}

/// A registry that is away must not make a record a dead letter: it is waited for.
#[test]
#[ignore = "needs services"]
fn service_a_registry_that_is_away_is_waited_for() {
    let settings = RegistrySettings { url: "http://127.0.0.1:9".into(), ..RegistrySettings::default() };
    let away = ConfluentRegistry::new(&settings).unwrap();
    assert!(matches!(away.clone().schema(1), Err(LogError::Retry(_))));
    let topic = unique("commands.away");
    make(&topic, 1, &[]);
    KafkaAppender::open(&kafka()).unwrap().append(&topic, &[cancel(1)]).unwrap();
    let names = [topic.as_str()];
    let reader = KafkaReader::open(&kafka(), options(), &names, |_| true, RecordDecoder::new(away)).unwrap();
    let mut rounds = Rounds::new(reader);
    for _ in 0..3 {
        let error = rounds.failure(Duration::from_secs(60));
        assert!(matches!(error, LogError::Retry(_)), "{error}");
        assert!(rounds.nexts.values().all(|next| *next == Offset(0)), "the record is not passed over");
    }
    let own = Subject { subject: unique("s"), record: Record::Offer, avsc: Record::Offer.avsc() };
    assert_eq!(registry().check_subjects(&[own]).unwrap()[0].standing, Standing::New);
}
