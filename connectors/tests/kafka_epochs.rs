//! Facts into real Kafka: every epoch once, whatever dies, returns from the dead or never answers.

#![allow(clippy::unwrap_used)] // a test helper is a test too

mod services;

use connectors::kafka::{
    BATCH_BYTES_MAX, KafkaEpochs, KafkaReader, KafkaSettings, KafkaView, RECORD_BYTES_MAX, TopicSpec, plan,
};
use runtime::log::{EpochLog, OutRecord};
use runtime::sink::SinkError;
use runtime::{Epoch, Generation};
use services::{Rounds, Texts, clock, kafka, make, options, reader, unique, unique_static};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const EPOCHS: u64 = 6;
const NAMES: &str = "TOMBOLA_TEST_NAMES";

fn facts(topic: &'static str, epoch: u64) -> Vec<OutRecord> {
    let fact = |n: u64| OutRecord {
        topic,
        key: vec![n as u8],
        value: format!("{epoch}/{n}").into_bytes(),
        timestamp: 1 + n as i64,
        epoch: Epoch(epoch),
        trace: None,
    };
    (0..4).map(fact).collect()
}

/// A pipeline's name and its topic, made.
fn named() -> (String, &'static str) {
    let topic = unique_static("facts.test");
    make(topic, 3, &[]);
    (unique("pipeline"), topic)
}

fn open(pipeline: &str) -> KafkaEpochs {
    KafkaEpochs::open(&kafka(), pipeline).unwrap()
}

/// Everything that is committed, in some order, once nothing is pending and as many facts as these epochs have are there.
fn said(topic: &str, epochs: usize) -> Vec<String> {
    let mut rounds = Rounds::new(reader(topic));
    let mut all = rounds.drain_to(4 * epochs);
    all.sort();
    all
}

/// These epochs' facts are all there is.
fn assert_said(topic: &str, epochs: impl IntoIterator<Item = u64>, context: &str) {
    let epochs: Vec<u64> = epochs.into_iter().collect();
    assert_eq!(said(topic, epochs.len()), expected(epochs), "{context}");
}

fn expected(epochs: impl IntoIterator<Item = u64>) -> Vec<String> {
    let mut all: Vec<String> =
        epochs.into_iter().flat_map(|e| (0..4).map(move |n| format!("{e}/{n}"))).collect();
    all.sort();
    all
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

#[test]
#[ignore = "needs services"]
fn service_facts_come_once_with_their_epoch_and_progress() {
    let (pipeline, topic) = named();
    let mut log = open(&pipeline);
    assert_eq!(log.committed().unwrap(), Epoch(0));
    log.fence(Generation(1)).unwrap();
    log.append(&facts(topic, 1), Epoch(1), 10).unwrap();
    log.append(&[facts(topic, 2), facts(topic, 4)].concat(), Epoch(5), 50).unwrap();
    log.append(&[], Epoch(6), 60).unwrap();
    assert_said(topic, [1, 2, 4], "");
    let mut again = open(&pipeline);
    let progress = again.progress().unwrap();
    assert_eq!((progress.generation, progress.through, progress.now), (Generation(1), Epoch(6), 60));
    let mut running = runtime::digest::RunningDigest::resume(runtime::digest::NOTHING_SAID);
    running.fold_records(&[facts(topic, 1), facts(topic, 2), facts(topic, 4)].concat());
    assert_eq!(progress.digest, running.value(), "the digest goes on from run to run");
    let twice =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| log.append(&facts(topic, 6), Epoch(6), 60)));
    assert!(twice.is_err(), "an epoch in the log is not appended again");
}

/// What topics take by default is a megabyte.
#[test]
#[ignore = "needs services"]
fn service_a_dead_letter_of_a_large_record_comes_byte_for_byte() {
    let (pipeline, topic) = (unique("pipeline"), unique_static("large"));
    make(topic, 1, &[("max.message.bytes", &BATCH_BYTES_MAX.to_string())]);
    let mut log = open(&pipeline);
    log.fence(Generation(1)).unwrap();
    // Nothing compresses it.
    let mut state = 1_u64;
    let mut noise = |len: usize| -> Vec<u8> {
        let next = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        });
        next.take(len).collect()
    };
    let values: Vec<Vec<u8>> = [1_100_000, RECORD_BYTES_MAX - 10_000].into_iter().map(&mut noise).collect();
    for (epoch, value) in (1..).zip(&values) {
        let (key, value) = (vec![1], value.clone());
        let record = OutRecord { topic, key, value, timestamp: 1, epoch: Epoch(epoch), trace: None };
        log.append(&[record], Epoch(epoch), 0).unwrap();
    }
    let start = Instant::now();
    let mut view = KafkaView::open(&kafka()).unwrap();
    let (mut found, mut next): (Vec<Vec<u8>>, u64) = (Vec::new(), 0);
    while found.len() < values.len() {
        assert!(start.elapsed() < Duration::from_secs(60), "they are not all there: {} are", found.len());
        // It may be asked before the brokers know all about the topic. An answer holds what has been fetched: the second
        // record may come later than the first, so reading goes on behind what was had.
        let Ok(records) = view.read(topic, 0, next, 10) else { continue };
        next = records.last().map_or(next, |last| last.offset + 1);
        found.extend(records.into_iter().filter_map(|record| record.value));
    }
    let sizes: Vec<usize> = found.iter().map(Vec::len).collect();
    assert!(found == values, "they are not the same bytes: {sizes:?}");
}

/// An end that was asked for a moment earlier doesn't know what was committed since.
#[test]
#[ignore = "needs services"]
fn service_who_looks_finds_what_was_committed_before() {
    let (pipeline, topic) = named();
    let mut log = open(&pipeline);
    log.fence(Generation(1)).unwrap();
    let (mut view, mut nexts, mut found) = (KafkaView::open(&kafka()).unwrap(), [0; 3], 0);
    for epoch in 1..=200 {
        log.append(&facts(topic, epoch), Epoch(epoch), epoch as i64).unwrap();
        view.look();
        for (partition, next) in (0..).zip(&mut nexts) {
            while let Some(last) = {
                let records = view.read(topic, partition, *next, 100).unwrap();
                found += records.len() as u64;
                records.last().map(|last| last.offset)
            } {
                *next = last + 1;
            }
        }
        assert_eq!(found, 4 * epoch, "what was committed in epoch {epoch} is there when it has returned");
    }
}

#[test]
#[ignore = "needs services"]
fn service_a_zombie_commits_nothing_and_the_newer_generation_goes_on() {
    let (pipeline, topic) = named();
    let mut zombie = open(&pipeline);
    zombie.fence(Generation(1)).unwrap();
    zombie.append(&facts(topic, 1), Epoch(1), 0).unwrap();
    let mut newer = open(&pipeline);
    newer.fence(Generation(2)).unwrap();
    newer.append(&facts(topic, 2), Epoch(2), 0).unwrap();
    // Its producer is fenced: it opens again, finds the newer one, and stops. By that it has fenced the newer one's producer.
    let refused = persist(|| zombie.append(&facts(topic, 3), Epoch(3), 0)).unwrap_err();
    assert!(matches!(refused, SinkError::Fenced { theirs: Generation(2), .. }), "{refused}");
    let refused = persist(|| zombie.append(&facts(topic, 3), Epoch(3), 0)).unwrap_err();
    assert!(matches!(refused, SinkError::Fenced { .. }), "{refused}");
    let refused = open(&pipeline).fence(Generation(1)).unwrap_err();
    assert!(matches!(refused, SinkError::Fenced { .. }), "{refused}");
    persist(|| newer.append(&facts(topic, 3), Epoch(3), 0)).unwrap();
    persist(|| newer.append(&facts(topic, 4), Epoch(4), 0)).unwrap();
    assert_said(topic, 1..=4, "");
    assert_eq!(newer.committed().unwrap(), Epoch(4));
}

#[test]
#[ignore = "needs services"]
fn service_two_generations_that_run_side_by_side_leave_every_epoch_once() {
    let (pipeline, topic) = named();
    let mut older = open(&pipeline);
    older.fence(Generation(1)).unwrap();
    let older_is_at = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&older_is_at);
    let thread = std::thread::spawn(move || {
        for epoch in 1..=1_000 {
            if let Err(error) = persist(|| older.append(&facts(topic, epoch), Epoch(epoch), 0)) {
                assert!(matches!(error, SinkError::Fenced { .. }), "{error}");
                return epoch - 1;
            }
            told.store(epoch, Ordering::SeqCst);
        }
        1_000
    });
    let start = Instant::now();
    while older_is_at.load(Ordering::SeqCst) < 1 {
        assert!(start.elapsed() < Duration::from_secs(180), "the older one has said nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut newer = open(&pipeline);
    newer.fence(Generation(2)).unwrap();
    let from = newer.committed().unwrap().0 + 1;
    for epoch in from..from + 10 {
        persist(|| newer.append(&facts(topic, epoch), Epoch(epoch), 0)).unwrap();
    }
    let older_has = thread.join().unwrap();
    assert!(
        older_has > 0 && older_has < from,
        "the older one said {older_has}, the newer one began at {from}"
    );
    assert_said(topic, 1..from + 10, "");
}

#[test]
#[ignore = "the process that the test below kills"]
fn facts_writer() {
    // Without names it was started by `--ignored`: there is nothing to do.
    let Ok(names) = std::env::var(NAMES) else { return };
    let (pipeline, topic) = names.split_once(' ').unwrap();
    append_all(pipeline, Box::leak(topic.to_owned().into_boxed_str()));
}

/// What the pipeline does after a start: fences the log, and appends what isn't there yet.
fn append_all(pipeline: &str, topic: &'static str) {
    let mut log = open(pipeline);
    log.fence(Generation(clock() as u64)).unwrap();
    for epoch in log.committed().unwrap().0 + 1..=EPOCHS {
        log.append(&facts(topic, epoch), Epoch(epoch), 0).unwrap();
    }
}

fn killed(pipeline: &str, topic: &str, kill_at: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "facts_writer"]).env(NAMES, format!("{pipeline} {topic}"));
    let status = child.env("TOMBOLA_KILL_AT", kill_at).output().unwrap().status;
    assert_eq!(status.signal(), Some(9), "{kill_at} was not reached: {status}");
}

#[test]
#[ignore = "needs services"]
fn service_facts_are_in_the_log_once_wherever_the_writer_was_killed() {
    for point in ["facts.before_commit", "facts.after_commit"] {
        let (pipeline, topic) = named();
        for turn in ["3", "1", "2"] {
            killed(&pipeline, topic, &format!("{point}:{turn}"));
        }
        append_all(&pipeline, topic);
        assert_said(topic, 1..=EPOCHS, point);
    }
}

#[test]
#[ignore = "needs services"]
fn service_a_topic_is_one_pipelines_for_good_once_it_holds_anything() {
    let (sales, topic) = named();
    let fraud = unique("fraud");
    let (mut first, mut second) = (open(&sales), open(&fraud));
    first.claim([topic], |_| true).unwrap();
    first.claim([topic], |_| true).unwrap();
    let refused = second.claim([topic], |_| false).unwrap_err().to_string();
    assert!(refused.contains(&format!("is written by the pipeline `{sales}`")), "{refused}");
    second.claim([topic], |owner| owner == sales).expect("the other is idle, and has said nothing there");
    first.fence(Generation(1)).unwrap();
    let refused = persist(|| first.append(&facts(topic, 1), Epoch(1), 0)).unwrap_err().to_string();
    assert!(refused.contains(&format!("is written by the pipeline `{fraud}`")), "{refused}");
    assert!(said(topic, 0).is_empty(), "nothing of it counts");
    second.fence(Generation(1)).unwrap();
    persist(|| second.append(&facts(topic, 1), Epoch(1), 0)).unwrap();
    let refused = first.claim([topic], |_| true).unwrap_err().to_string();
    assert!(refused.contains(&format!("is written by the pipeline `{fraud}`")), "{refused}");
    assert_said(topic, [1], "");
    let missing = first.claim(["facts.nowhere"], |_| true).unwrap_err().to_string();
    assert!(missing.contains("`tombola topics apply`"), "{missing}");
}

/// `said_upto` must not run ahead of what has been handed over.
#[test]
#[ignore = "needs services"]
fn service_who_follows_a_pipeline_has_all_its_facts_up_to_what_it_is_said_to_have_said() {
    let (pipeline, topic) = named();
    let mut log = open(&pipeline);
    log.claim([topic], |_| true).unwrap();
    log.fence(Generation(1)).unwrap();
    let mut rounds = Rounds::new(KafkaReader::open(&kafka(), options(), &[topic], |_| true, Texts).unwrap());
    let writer = std::thread::spawn(move || {
        (1..=200).for_each(|epoch| log.append(&facts(topic, epoch), Epoch(epoch), epoch as i64).unwrap());
    });
    let (mut seen, mut upto, start) = (BTreeMap::new(), 0, Instant::now());
    let mut steps = 0;
    while upto < 200 {
        assert!(start.elapsed() < Duration::from_secs(120), "said up to {upto}, {} seen", seen.len());
        for fetched in rounds.patient_round() {
            let epoch: i64 = fetched.body.split_once('/').unwrap().0.parse().unwrap();
            *seen.entry(epoch).or_insert(0) += 1;
        }
        let all_say = rounds.nexts.keys().map(|id| rounds.said_upto.get(id).copied().unwrap_or(0));
        let now = all_say.min().unwrap();
        steps += u32::from(now > upto);
        upto = upto.max(now);
        assert!((1..=upto).all(|epoch| seen.get(&epoch) == Some(&4)), "said up to {upto}, seen {seen:?}");
        runtime::source::LogReader::wait(&mut rounds.reader, 10);
    }
    writer.join().unwrap();
    println!("followed in {steps} steps over {:?}", start.elapsed());
    assert!(steps > 5, "it followed in {steps} steps");
}

#[test]
#[ignore = "needs services"]
fn service_topics_become_as_declared_and_stay_so() {
    let name = unique("declared");
    let spec = |partitions, retention: &str| TopicSpec {
        name: name.clone(),
        partitions,
        replication: Some(1),
        settings: [("retention.ms", retention), ("cleanup.policy", "delete")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into(),
    };
    let wait_for = |spec: TopicSpec, expected: &str| {
        let start = Instant::now();
        loop {
            let planned = plan(&kafka(), std::slice::from_ref(&spec)).unwrap();
            if planned.to_string().starts_with(expected) {
                return planned;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{planned}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let apply = |planned| connectors::kafka::apply(&kafka(), &planned).unwrap();
    apply(wait_for(spec(2, "1000000"), "make "));
    wait_for(spec(2, "1000000"), "every topic is as declared");
    apply(wait_for(spec(4, "-1"), "grow "));
    wait_for(spec(4, "-1"), "every topic is as declared");
    // What a pipeline keeps for itself: declared first, or made by it as declared.
    let (first, second) = (unique("declared"), unique("made"));
    let progress = |pipeline: &str| TopicSpec::kept_by([pipeline], Some(1)).pop().unwrap();
    apply(wait_for(progress(&first), "make "));
    let planned = wait_for(progress(&first), "every topic is as declared");
    assert!(planned.is_empty(), "{planned}");
    for pipeline in [&first, &second] {
        let settings = KafkaSettings { replication: Some(1), ..kafka() };
        KafkaEpochs::open(&settings, pipeline).unwrap();
        wait_for(progress(pipeline), "every topic is as declared");
    }
    let settings = KafkaSettings { replication: Some(7), ..kafka() };
    let refused = KafkaEpochs::open(&settings, &unique("lonely")).err().unwrap().to_string();
    assert!(refused.contains("lower replication"), "it is made with the replicas that are set: {refused}");
    let shrinks = wait_for(spec(3, "-1"), "refused ");
    let refused = connectors::kafka::apply(&kafka(), &shrinks).unwrap_err().to_string();
    assert!(refused.contains("can't be taken away"), "{refused}");
}
