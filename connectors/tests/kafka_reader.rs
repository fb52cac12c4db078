//! Reading real Kafka: transactions, ends, partitions that come, and logs that lost something.

#![allow(clippy::unwrap_used)] // a test helper is a test too

mod services;

use connectors::embedded::{Decode, Decoded, RawRecord};
use connectors::kafka::{KafkaReader, ReaderOptions, TopicSpec, apply, plan};
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::Offset as KafkaOffset;
use runtime::bindings::{Binding, PartitionEnd};
use runtime::source::{Claim, LogError, LogReader as _};
use runtime::verdicts::Verdicts;
use runtime::{Class, Epoch, Generation, Offset, PartitionId, TopicId};
use services::{Rounds, Texts, append, kafka, made, make, options, reader, send, stranger, unique};
use std::sync::Arc;
use std::time::{Duration, Instant};

const FIRST: PartitionId = PartitionId { topic: TopicId(0), partition: 0 };

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
#[ignore = "needs services"]
fn service_records_come_in_order_and_an_empty_topic_is_drained_at_once() {
    let topic = made("plain");
    let mut rounds = Rounds::new(reader(&topic));
    assert!(rounds.drain().is_empty());
    append(&topic, &["a", "b"]);
    assert_eq!(rounds.drain(), ["a", "b"]);
    append(&topic, &["c"]);
    assert_eq!(rounds.drain(), ["c"]);
    assert_eq!(rounds.nexts[&FIRST], Offset(3));
}

/// What a reader sees while transactions begin, end and are undone around it.
#[test]
#[ignore = "needs services"]
fn service_open_and_aborted_transactions_are_never_seen_and_hold_nothing_up_but_what_lies_behind_them() {
    let topic = made("transactions");
    let (one, other) = (stranger(&unique("one")), stranger(&unique("other")));
    let mut rounds = Rounds::new(reader(&topic));
    append(&topic, &["a"]);
    assert_eq!(rounds.drain(), ["a"]);
    one.begin_transaction().unwrap();
    send(&one, &topic, &["b", "c"]);
    assert!(rounds.drain().is_empty(), "what is open is not the log's yet");
    append(&topic, &["d"]);
    assert!(rounds.drain().is_empty(), "nor is what lies behind it");
    one.commit_transaction(secs(60)).unwrap();
    assert_eq!(rounds.drain_to(3), ["b", "c", "d"]);
    one.begin_transaction().unwrap();
    send(&one, &topic, &["undone"]);
    one.abort_transaction(secs(60)).unwrap();
    assert!(rounds.drain().is_empty(), "only markers and what was undone");
    // Aborted records whose marker lies behind the beginning of another transaction.
    one.begin_transaction().unwrap();
    send(&one, &topic, &["undone too"]);
    other.begin_transaction().unwrap();
    send(&other, &topic, &["e"]);
    one.abort_transaction(secs(60)).unwrap();
    // The marker is written some moments after the call has returned.
    let start = Instant::now();
    while rounds.nexts[&FIRST] != Offset(8) {
        assert!(start.elapsed() < secs(60), "reading hasn't skipped what was undone");
        assert!(rounds.drain().is_empty(), "drained up to the open transaction");
    }
    other.commit_transaction(secs(60)).unwrap();
    assert_eq!(rounds.drain_to(1), ["e"]);
}

#[test]
#[ignore = "needs services"]
fn service_a_reader_that_starts_among_markers_is_drained_too() {
    let topic = made("markers");
    let producer = stranger(&unique("markers"));
    for n in 0..20 {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, &["x"]);
        match n % 2 {
            0 => producer.commit_transaction(secs(60)).unwrap(),
            _ => producer.abort_transaction(secs(60)).unwrap(),
        }
    }
    let mut whole = Rounds::new(reader(&topic));
    assert_eq!(whole.drain_to(10).len(), 10);
    // The last marker, too, is there some moments later.
    let start = Instant::now();
    while whole.nexts[&FIRST] != Offset(40) {
        assert!(start.elapsed() < secs(60), "the last transaction has no end");
        assert!(whole.drain().is_empty());
    }
    for from in [1, 2, 3, 38, 39, 40] {
        let mut rounds = Rounds::new(reader(&topic));
        rounds.nexts.insert(FIRST, Offset(from));
        rounds.drain();
        assert_eq!(rounds.nexts[&FIRST], Offset(40), "from {from}");
    }
}

/// Never drained before everything appended before has been handed over, while a producer goes on and on.
#[test]
#[ignore = "needs services"]
fn service_drained_means_that_everything_acknowledged_before_has_been_handed_over() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let topic = made("race");
    let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let thread = std::thread::spawn({
        let (topic, acknowledged, stop) = (topic.clone(), acknowledged.clone(), stop.clone());
        move || {
            let producer = stranger(&unique("race"));
            while !stop.load(Ordering::Relaxed) {
                producer.begin_transaction().unwrap();
                send(&producer, &topic, &["x", "y"]);
                producer.commit_transaction(secs(60)).unwrap();
                // Visible once the next transaction may begin: its marker is written.
                producer.begin_transaction().unwrap();
                send(&producer, &topic, &["undone"]);
                acknowledged.fetch_add(2, Ordering::SeqCst);
                producer.abort_transaction(secs(60)).unwrap();
            }
        }
    });
    let (mut rounds, mut seen, start) = (Rounds::new(reader(&topic)), 0, Instant::now());
    let mut drained = 0_u64;
    // A slow machine gets the time in which there is something to see.
    while start.elapsed() < secs(5) || (drained.min(seen) <= 20 && start.elapsed() < secs(120)) {
        let before = acknowledged.load(Ordering::SeqCst);
        seen += rounds.drain().len() as u64;
        assert!(seen >= before, "drained with {seen} seen, and {before} were acknowledged before");
        drained += 1;
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    assert!(seen > 20 && drained > 20, "{seen} seen, drained {drained} times");
}

#[test]
#[ignore = "needs services"]
fn service_partitions_added_while_running_are_found_and_read() {
    let topic = made("grows");
    let mut rounds = Rounds::new(reader(&topic));
    rounds.drain();
    let spec = TopicSpec { name: topic.clone(), partitions: 3, ..TopicSpec::default() };
    apply(&kafka(), &plan(&kafka(), &[spec]).unwrap()).unwrap();
    let start = Instant::now();
    let mut found = Vec::new();
    while found.len() < 3 {
        assert!(start.elapsed() < secs(60), "found {found:?}");
        match runtime::source::LogReader::partitions(&mut rounds.reader) {
            Err(LogError::Retry(_)) => {}
            now => found = now.unwrap(),
        }
    }
    let record = connectors::embedded::NewRecord { partition: Some(2), ..services::text("there") };
    connectors::kafka::KafkaAppender::open(&kafka()).unwrap().append(&topic, &[record]).unwrap();
    for id in found {
        rounds.nexts.entry(id).or_insert(Offset(0));
    }
    assert_eq!(rounds.drain(), ["there"]);
}

fn delete_before(topic: &str, offset: i64) {
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", kafka().bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, KafkaOffset::Offset(offset)).unwrap();
    pollster::block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
}

#[test]
#[ignore = "needs services"]
fn service_what_retention_took_or_a_cut_stops_the_run_and_names_place_and_remedy() {
    let topic = made("lost");
    append(&topic, &["a", "b", "c", "d"]);
    delete_before(&topic, 3);
    let mut rounds = Rounds::new(reader(&topic));
    rounds.nexts.insert(FIRST, Offset(1));
    let said = rounds.stop(secs(120)).to_string();
    for part in [&topic, "partition 0, offset 1", "begins at 3", "raise retention.ms", "from_log_start"] {
        assert!(said.contains(part), "{said}");
    }
    let mut rounds = Rounds::new(reader(&topic));
    rounds.nexts.insert(FIRST, Offset(9));
    let said = rounds.stop(secs(120)).to_string();
    for part in [&topic, "partition 0, offset 9", "ends at 4", "was cut or replaced"] {
        assert!(said.contains(part), "{said}");
    }
    let from_start = ReaderOptions { from_log_start: true, ..options() };
    let opened = KafkaReader::open(&kafka(), from_start, &[topic.as_str()], |_| true, Texts).unwrap();
    assert_eq!(Rounds::new(opened).drain(), ["d"]);
    // What was bound and is gone is missed all the same.
    for (first_end, gone) in [(2, true), (3, true), (4, false)] {
        let from_start = ReaderOptions { from_log_start: true, ..options() };
        let mut opened = KafkaReader::open(&kafka(), from_start, &[topic.as_str()], |_| true, Texts).unwrap();
        opened.replays(&Arc::new(Verdicts::of(&[taking(first_end), taking(4)])));
        let mut rounds = Rounds::new(opened);
        if gone {
            let said = rounds.stop(secs(120)).to_string();
            assert!(said.contains("begins at 3: records before that are bound and are gone"), "{said}");
        } else {
            assert_eq!(rounds.drain(), ["d"]);
        }
    }
}

/// The binding of an epoch that takes the partition up to there.
fn taking(end: u64) -> Binding {
    let ends = vec![PartitionEnd { partition: FIRST, end: Offset(end), time_max: 0 }];
    let (epoch, generation) = (Epoch(1), Generation(1));
    Binding { epoch, generation, now: 0, bound: None, ends, clamps: vec![], unread: Some(vec![]) }
}

/// librdkafka fetches nothing more after an offset out of range, not even where it is in range again by then.
#[test]
#[ignore = "needs services"]
fn service_reading_goes_on_after_an_offset_that_was_out_of_range_for_a_moment() {
    let topic = made("moment");
    append(&topic, &["a", "b", "c", "d"]);
    let mut rounds = Rounds::new(reader(&topic));
    rounds.nexts.insert(FIRST, Offset(6));
    rounds.round().unwrap();
    // Long enough for the broker's answer to lie in the queue. Nobody asks for ends meanwhile: the log isn't held to be cut.
    std::thread::sleep(secs(15));
    append(&topic, &["e", "f", "g", "h"]);
    let error = rounds.failure(secs(60));
    assert!(matches!(error, LogError::Retry(_)), "{error}");
    assert_eq!(rounds.drain_to(2), ["g", "h"]);
    append(&topic, &["i"]);
    assert_eq!(rounds.drain_to(1), ["i"]);
}

/// Records count.
struct Ones;

impl Decode for Ones {
    type Record = ();

    fn decode(&mut self, _: &str, _: u32, _: u64, r: RawRecord<'_>) -> Result<Decoded<()>, LogError> {
        Ok(Decoded { claim: Claim::At(r.timestamp_ms), class: Class::Command, body: (), unread: None })
    }
}

/// A commit returns before every partition knows of it: whoever publishes an epoch must not take what it sees for all.
#[test]
#[ignore = "needs services"]
fn service_dead_letters_are_not_all_read_while_a_transaction_that_holds_some_is_open() {
    let topic = "dead-letters";
    let try_open = || KafkaReader::open(&kafka(), options(), &[topic], |_| true, Ones);
    if try_open().is_err() {
        make(topic, 1, &[]);
    }
    let open = || try_open().unwrap();
    let one = stranger(&unique("letters"));
    let mut rounds = Rounds::new(open());
    let before = rounds.drain().len();
    one.begin_transaction().unwrap();
    send(&one, topic, &["x"]);
    assert!(rounds.drain_within(secs(3)).is_none(), "all there is was said to be read");
    one.commit_transaction(secs(60)).unwrap();
    assert_eq!(rounds.drain().len(), 1);
    assert_eq!(Rounds::new(open()).drain().len(), before + 1);
}

#[test]
#[ignore = "needs services"]
fn service_a_topic_that_is_compacted_or_missing_is_refused_with_a_remedy() {
    let compacted = unique("compacted");
    make(&compacted, 1, &[("cleanup.policy", "compact")]);
    for (topic, expected) in [(compacted, "it is compacted"), (unique("missing"), "`tombola topics apply`")] {
        let refused = KafkaReader::open(&kafka(), options(), &[topic.as_str()], |_| true, Texts);
        let said = refused.map(drop).unwrap_err().to_string();
        assert!(said.contains(&topic) && said.contains(expected), "{said}");
    }
}

#[test]
#[ignore = "needs services"]
fn service_a_record_is_there_within_a_few_milliseconds() {
    let topic = made("latency");
    let mut rounds = Rounds::new(reader(&topic));
    rounds.drain();
    let mut appender = connectors::kafka::KafkaAppender::open(&kafka()).unwrap();
    appender.append(&topic, &[services::text("first")]).unwrap();
    rounds.drain();
    let mut latencies: Vec<Duration> = (0..100)
        .map(|_| {
            appender.append(&topic, &[services::text("x")]).unwrap();
            let start = Instant::now();
            while rounds.patient_round().is_empty() {
                assert!(start.elapsed() < secs(60), "it never came");
                runtime::source::LogReader::wait(&mut rounds.reader, 10);
            }
            start.elapsed()
        })
        .collect();
    latencies.sort();
    println!("after the acknowledgement: p50 {:?}, p95 {:?}", latencies[50], latencies[95]);
    // Nobody waits for a poll interval; how long it takes on a machine that is busy is no claim.
    assert!(latencies[50] < secs(1), "{:?}", latencies[50]);
}
