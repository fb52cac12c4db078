//! On real services: a Postgres that went back to an older state, and a record larger than topics take by default.

mod support;

use connectors::embedded::{NewRecord, StoredRecord};
use connectors::kafka::{KafkaAppender, KafkaSettings, KafkaView};
use std::collections::BTreeMap;
use support::process;
use support::services::{Services, env, records_in, sql};
use support::{Folder, load};

/// What is left in Postgres of a backup that was taken before the first epoch.
const OLDER: &str =
    "DELETE FROM tombola.bindings; DELETE FROM tombola.epoch_digests; UPDATE tombola.frontiers SET epoch = 0";

#[test]
#[ignore = "needs services"]
fn service_a_postgres_that_went_back_while_nobody_ran_is_refused_before_anything_is_told() {
    let (services, dir) = (Services::empty(), Folder::new());
    services.configure(dir.path(), "");
    let ids = load::schema_ids(dir.path());
    load::produce(&ids, 76, 300, 300);
    process::drain_well(dir.path(), 2);
    // Nothing is refused that did not go back.
    process::drain_well(dir.path(), 1);
    sql(&env("PG_URL"), OLDER);
    let told = records_in("facts.orders");
    let drain = || process::end_of(process::drain(dir.path(), 2));
    let refused = ["facts: it has epochs up to", "the bindings end at epoch 0", "A store went back"];
    drain().assert(1, &refused);
    // Without the snapshots it looks as if there had never been more epochs; the facts know better.
    std::fs::remove_dir_all(dir.path().join("snapshots")).expect("they are there");
    drain().assert(1, &refused);
    assert_eq!(records_in("facts.orders"), told, "nothing was told");
}

/// Bytes that nothing compresses and nobody can read.
fn garbage(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    });
    std::iter::once(1).chain(next).take(len).collect()
}

/// A read brings what one fetch brings, which may be less than there is.
fn all_of(view: &mut KafkaView, topic: &str, partition: u32) -> Vec<StoredRecord> {
    let mut records: Vec<StoredRecord> = Vec::new();
    loop {
        let next = records.last().map_or(0, |last| last.offset + 1);
        let read = view.read(topic, partition, next, 1_000).expect("it is read");
        if read.is_empty() {
            return records;
        }
        records.extend(read);
    }
}

#[test]
#[ignore = "needs services"]
fn service_a_record_as_large_as_topics_take_becomes_a_dead_letter_byte_for_byte_and_sales_go_on() {
    let (services, dir) = (Services::empty(), Folder::new());
    services.configure(dir.path(), "");
    let ids = load::schema_ids(dir.path());
    let settings =
        KafkaSettings { bootstrap: env("KAFKA_BOOTSTRAP"), properties: BTreeMap::new(), replication: None };
    // With key and reason besides it is more than the 1,048,588 bytes that topics take by default.
    let (key, value) = (garbage(20_000), garbage(1_028_000));
    let record = NewRecord {
        partition: Some(0),
        key: Some(key.clone()),
        value: Some(value.clone()),
        timestamp_ms: pipelines::clock_ms(),
        headers: vec![],
    };
    KafkaAppender::open(&settings)
        .and_then(|mut appender| appender.append("commands.orders", &[record]))
        .expect("Kafka takes it");
    let produced = load::produce(&ids, 77, 300, 300);
    process::drain_well(dir.path(), 2);
    let mut view = KafkaView::open(&settings).expect("Kafka answers");
    let letters = (0..4).flat_map(|partition| all_of(&mut view, "dead-letters", partition));
    let large: Vec<Vec<u8>> =
        letters.filter_map(|letter| letter.value).filter(|letter| letter.len() > 1_000_000).collect();
    assert_eq!(large.len(), 1, "one letter of its size");
    for whole in [&key, &value] {
        assert!(large[0].windows(whole.len()).any(|part| part == &whole[..]), "{} bytes whole", whole.len());
    }
    assert!(records_in("facts.orders") >= produced.orders.len(), "sales went on behind it");
    process::verify(dir.path(), 1);
}
