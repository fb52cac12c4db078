//! A broker that stops answering: it is waited for, and nothing is lost or doubled. `scripts/services` has started it.

#![allow(clippy::unwrap_used)] // a test helper is a test too

mod services;

use connectors::kafka::{KafkaEpochs, KafkaReader};
use runtime::log::{EpochLog, OutRecord};
use runtime::sink::SinkError;
use runtime::source::{LogError, LogReader};
use runtime::{Epoch, Generation};
use services::{Rounds, Texts, append, kafka, made, make, options, reader, unique, unique_static};
use std::process::Command;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One test at a time stops the broker.
static ALONE: Mutex<()> = Mutex::new(());

/// `stop` or `cont` the broker.
fn broker(what: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/services");
    assert!(Command::new(script).args([what, "kafka"]).status().unwrap().success());
}

fn facts(topic: &'static str, epoch: u64) -> Vec<OutRecord> {
    let fact = |n: u64| OutRecord {
        topic,
        key: vec![n as u8],
        value: format!("{epoch}/{n}").into_bytes(),
        timestamp: 1,
        epoch: Epoch(epoch),
        trace: None,
    };
    (0..4).map(fact).collect()
}

/// A retry that is answered at last.
fn persist(mut call: impl FnMut() -> Result<(), SinkError>) -> Result<(), SinkError> {
    let start = Instant::now();
    loop {
        match call() {
            Err(SinkError::Retry { .. }) if start.elapsed() < Duration::from_secs(120) => {
                std::thread::sleep(Duration::from_millis(50));
            }
            done => return done,
        }
    }
}

/// What a reader reads first from now on, asked as the fetch thread asks.
fn going_on(mut rounds: Rounds<KafkaReader<Texts>>) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let (start, mut seen) = (Instant::now(), Vec::new());
        while seen.is_empty() {
            assert!(start.elapsed() < Duration::from_secs(180), "it never went on");
            drop(rounds.reader.partitions());
            for _ in 0..100 {
                seen.extend(rounds.round().unwrap_or_default().into_iter().map(|fetched| fetched.body));
                rounds.reader.wait(10);
            }
        }
        seen
    })
}

/// A client with `none` that is told by a fenced broker that there is no broker has none from then on, and the other may end
/// so (librdkafka's issue 5301).
#[test]
#[ignore = "needs services"]
fn service_readers_wait_for_a_broker_that_is_away_and_go_on_by_themselves() {
    let _alone = ALONE.lock();
    let topic = made("away");
    let readers = ["rebootstrap", "none"].map(|strategy| {
        let mut settings = kafka();
        settings.properties.insert("metadata.recovery.strategy".to_owned(), strategy.to_owned());
        Rounds::new(KafkaReader::open(&settings, options(), &[&topic], |_| true, Texts).unwrap())
    });
    append(&topic, &["a"]);
    let mut all = readers.map(|mut rounds| {
        assert_eq!(rounds.drain(), ["a"]);
        rounds
    });
    broker("stop");
    let stopped = Instant::now();
    for rounds in &mut all {
        let error = rounds.failure(Duration::from_secs(60));
        assert!(matches!(error, LogError::Retry(_)), "{error}");
    }
    // Its session ends meanwhile: fenced by the controller, it first answers that there is no broker at all, to whoever
    // asks then, as the fetch thread does for new partitions.
    while stopped.elapsed() < Duration::from_secs(12) {
        all.iter_mut().for_each(|rounds| drop(rounds.reader.partitions()));
    }
    let asking: Vec<_> = all.map(going_on).into();
    broker("cont");
    append(&topic, &["b"]);
    for asking in asking {
        assert_eq!(asking.join().unwrap(), ["b"]);
    }
}

#[test]
#[ignore = "needs services"]
fn service_a_client_that_took_anothers_place_reads_on_where_that_was() {
    let topic = made("renewed");
    let mut rounds = Rounds::new(reader(&topic));
    append(&topic, &["a", "b"]);
    assert_eq!(rounds.drain(), ["a", "b"]);
    rounds.reader.renew().unwrap();
    append(&topic, &["c"]);
    assert_eq!(rounds.drain(), ["c"]);
}

/// Stops the broker in the middle of commits, for longer than a commit waits for its answer.
#[test]
#[ignore = "needs services, and takes minutes"]
fn service_a_commit_that_was_never_answered_is_neither_lost_nor_doubled() {
    let _alone = ALONE.lock();
    let topic = unique_static("facts.away");
    make(topic, 3, &[]);
    let mut log = KafkaEpochs::open(&kafka(), &unique("away")).unwrap();
    log.fence(Generation(1)).unwrap();
    let writer = std::thread::spawn(move || {
        let mut retries = 0;
        for epoch in 1..=4_000 {
            let mut tries = 0;
            persist(|| {
                tries += 1;
                log.append(&facts(topic, epoch), Epoch(epoch), 0)
            })
            .unwrap();
            retries += tries - 1;
            if retries > 0 && epoch % 20 == 0 {
                return (epoch, retries);
            }
        }
        (4_000, retries)
    });
    std::thread::sleep(Duration::from_secs(1));
    broker("stop");
    std::thread::sleep(Duration::from_secs(45));
    broker("cont");
    let (epochs, retries) = writer.join().unwrap();
    println!("{epochs} epochs, {retries} appended again");
    assert!(retries > 0, "the broker was never missed");
    let mut said = Rounds::new(reader(topic)).drain_to(4 * epochs as usize);
    said.sort();
    let mut expected: Vec<String> =
        (1..=epochs).flat_map(|e| (0..4).map(move |n| format!("{e}/{n}"))).collect();
    expected.sort();
    assert_eq!(said, expected);
}
