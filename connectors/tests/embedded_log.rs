//! The embedded log as processes use it: appended to by several at once, read back whole, believed only when undamaged.

#![allow(clippy::unwrap_used)] // a test helper is a test too

use connectors::embedded::{Decode, Decoded, EmbeddedReader, Log, LogEpochs, NewRecord, RawRecord};
use runtime::log::{EpochLog, OutRecord};
use runtime::sink::SinkError;
use runtime::source::{Claim, LogError, LogReader};
use runtime::{Class, Epoch, Generation, Offset, PartitionId, TopicId};
use std::path::Path;
use std::time::Instant;

fn records(of: &str, count: usize) -> Vec<NewRecord> {
    (0..count)
        .map(|n| NewRecord {
            key: Some(format!("{of}-{n}").into_bytes()),
            value: Some(vec![n as u8; n % 50]),
            timestamp_ms: 1_000 + n as i64,
            headers: vec![("from".to_owned(), of.into())],
            ..NewRecord::default()
        })
        .collect()
}

fn append(dir: &Path, topic: &str, of: &str, count: usize) {
    Log::appender(dir).unwrap().append(topic, &records(of, count)).unwrap();
}

#[test]
fn what_is_appended_is_read_back_from_any_offset() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), "t", "a", 2_500);
    append(dir.path(), "t", "b", 10);
    let log = Log::open(dir.path()).unwrap();
    assert_eq!(log.end("t", 0).unwrap(), 2_510);
    for (from, max, expect) in [(0, 10, 10), (1_023, 3, 3), (2_499, 5, 5), (2_505, 100, 5), (2_510, 1, 0)] {
        let read = log.read("t", 0, from, max).unwrap();
        let offsets: Vec<u64> = read.iter().map(|r| r.offset).collect();
        assert_eq!(offsets, (from..from + expect).collect::<Vec<_>>());
    }
    let all = log.read("t", 0, 0, 10_000).unwrap();
    let expected: Vec<NewRecord> = [records("a", 2_500), records("b", 10)].concat();
    for (got, want) in all.iter().zip(&expected) {
        assert_eq!((&got.key, &got.value, got.timestamp_ms), (&want.key, &want.value, want.timestamp_ms));
        assert_eq!(got.headers, want.headers);
    }
}

#[test]
fn several_appenders_at_once_leave_no_gap_and_no_double() {
    let dir = tempfile::tempdir().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let dir = dir.path().to_owned();
            std::thread::spawn(move || {
                let mut appender = Log::appender(&dir).unwrap();
                let mut places = Vec::new();
                for n in 0..25 {
                    places.extend(appender.append("t", &records(&format!("{thread}/{n}"), 3)).unwrap());
                }
                places
            })
        })
        .collect();
    let mut places: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, (0..300).map(|offset| (0, offset)).collect::<Vec<_>>());
    let log = Log::open(dir.path()).unwrap();
    let read = log.read("t", 0, 0, 1_000).unwrap();
    assert_eq!(read.len(), 300);
    let mut keys: Vec<_> = read.iter().map(|r| r.key.clone().unwrap()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 300);
}

#[test]
fn records_of_one_key_stay_in_one_partition_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    Log::open(dir.path()).unwrap().ensure_topic("t", 3).unwrap();
    let mut appender = Log::appender(dir.path()).unwrap();
    let record = |n: i64| NewRecord {
        key: Some(format!("k{}", n % 10).into_bytes()),
        timestamp_ms: n,
        ..NewRecord::default()
    };
    appender.append("t", &(0..100).map(record).collect::<Vec<_>>()).unwrap();
    let log = Log::open(dir.path()).unwrap();
    let all: Vec<_> = (0..3).flat_map(|p| log.read("t", p, 0, 1_000).unwrap()).collect();
    assert_eq!(all.len(), 100);
    for key in 0..10 {
        let key = Some(format!("k{key}").into_bytes());
        let of_key: Vec<_> = all.iter().filter(|r| r.key == key).collect();
        assert!(of_key.iter().all(|r| r.partition == of_key[0].partition));
        assert!(of_key.is_sorted_by_key(|r| r.timestamp_ms));
    }
    assert_eq!(log.topics().unwrap()[0].ends.iter().sum::<u64>(), 100);
    let wrong = NewRecord { partition: Some(3), ..NewRecord::default() };
    let refused = appender.append("t", &[record(0), wrong]).unwrap_err().to_string();
    assert!(refused.contains("there is no partition 3"), "{refused}");
    assert_eq!(log.topics().unwrap()[0].ends.iter().sum::<u64>(), 100, "a refused append adds nothing");
}

/// Breaks the log with SQL behind its back: what a fetch from `from` then says.
fn damaged(sql: &str, from: u64) -> String {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), "t", "a", 3_000);
    rusqlite::Connection::open(dir.path().join("log.db")).unwrap().execute_batch(sql).unwrap();
    let mut reader = EmbeddedReader::open(dir.path(), &["t"], Raw).unwrap();
    let place = PartitionId { topic: TopicId(0), partition: 0 };
    match reader.fetch(place, Offset(from), 10_000) {
        Err(stop @ LogError::Stop { .. }) => stop.to_string(),
        other => panic!("{sql}: {other:?}"),
    }
}

struct Raw;

impl Decode for Raw {
    type Record = i64;

    fn decode(&mut self, _: &str, _: u32, _: u64, record: RawRecord<'_>) -> Result<Decoded<i64>, LogError> {
        let time = record.timestamp_ms;
        Ok(Decoded { claim: Claim::At(time), class: Class::Command, body: time, unread: None })
    }
}

#[test]
fn a_log_that_was_damaged_cut_or_replaced_stops_the_run_and_names_the_place() {
    let flip = "UPDATE batches SET bytes = x'00' || substr(bytes, 2) WHERE base_offset > 0";
    for (sql, from, place, problem) in [
        (flip, 0, "offset 1024", "checksum"),
        (flip, 1_500, "offset 1500", "checksum"),
        ("UPDATE batches SET bytes = substr(bytes, 1, 100)", 0, "offset 0", "checksum"),
        ("UPDATE batches SET count = 9 WHERE base_offset = 0", 5, "offset 5", "checksum"),
        ("UPDATE batches SET base_offset = 5000 WHERE base_offset = 0", 0, "offset 0", "missing"),
        ("DELETE FROM batches WHERE base_offset > 0", 10, "offset 1024", "missing"),
        ("DELETE FROM batches", 0, "offset 0", "missing"),
        ("UPDATE partitions SET end_offset = 4000", 2_990, "offset 3000", "missing"),
        ("UPDATE partitions SET end_offset = 7", 100, "offset 100", "ends at 7, below an offset"),
    ] {
        let message = damaged(sql, from);
        for part in ["log.db: topic t, partition 0", place, problem, "restore the data directory"] {
            assert!(message.contains(part), "{sql}: {message}");
        }
    }
}

#[test]
fn a_reader_notices_what_others_append_and_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = EmbeddedReader::open(dir.path(), &["t", "u"], Raw).unwrap();
    let places = reader.partitions().unwrap();
    assert_eq!(places.len(), 2);
    for place in &places {
        assert_eq!(reader.fetch(*place, Offset(0), 10).unwrap().end, Offset(0));
    }
    let waited = |reader: &mut EmbeddedReader<Raw>, timeout_ms| {
        let start = Instant::now();
        reader.wait(timeout_ms);
        start.elapsed().as_millis()
    };
    append(dir.path(), "facts.orders", "a", 1);
    assert!(waited(&mut reader, 60) >= 60, "another topic is not an input");
    append(dir.path(), "u", "a", 5);
    assert!(waited(&mut reader, 10_000) < 5_000, "an input has grown");
    let fetched = reader.fetch(places[1], Offset(0), 10).unwrap();
    assert_eq!((fetched.records.len(), fetched.end), (5, Offset(5)));
    assert!(waited(&mut reader, 60) >= 60, "nothing new since");
}

#[test]
fn a_fetch_says_the_end_as_of_itself_and_is_about_as_long_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), "t", "a", 5_000);
    let mut reader = EmbeddedReader::open(dir.path(), &["t"], Raw).unwrap();
    let place = reader.partitions().unwrap()[0];
    let fetched = reader.fetch(place, Offset(1_000), 100).unwrap();
    assert_eq!((fetched.records[0].offset, fetched.end), (Offset(1_000), Offset(5_000)));
    assert!((100..1_124).contains(&fetched.records.len()), "{}", fetched.records.len());
    let offsets: Vec<u64> = fetched.records.iter().map(|r| r.offset.0).collect();
    assert_eq!(offsets, (1_000..1_000 + offsets.len() as u64).collect::<Vec<_>>());
}

fn fact(epoch: u64) -> OutRecord {
    let (key, value) = (b"k".to_vec(), vec![epoch as u8]);
    OutRecord { topic: "facts.orders", key, value, timestamp: 0, epoch: Epoch(epoch), trace: None }
}

#[test]
fn facts_come_with_their_epoch_and_a_zombie_appends_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut zombie = LogEpochs::open(dir.path(), "sales").unwrap();
    zombie.fence(Generation(1)).unwrap();
    zombie.append(&[fact(1), fact(2)], Epoch(3), 0).unwrap();
    let mut log = LogEpochs::open(dir.path(), "sales").unwrap();
    log.fence(Generation(2)).unwrap();
    let refused = zombie.append(&[fact(4)], Epoch(4), 0).unwrap_err();
    assert!(matches!(refused, SinkError::Fenced { .. }), "{refused}");
    let refused = zombie.fence(Generation(1)).unwrap_err();
    assert!(matches!(refused, SinkError::Fenced { .. }), "{refused}");
    assert_eq!(log.committed().unwrap(), Epoch(3));
    log.append(&[fact(5)], Epoch(5), 0).unwrap();
    let stored = Log::open(dir.path()).unwrap().read("facts.orders", 0, 0, 10).unwrap();
    let epochs: Vec<_> = stored.iter().map(|r| r.headers.clone()).collect();
    assert_eq!(epochs, ["1", "2", "5"].map(|e| vec![("epoch".to_owned(), e.into())]));
    let again =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| log.append(&[fact(5)], Epoch(6), 0)));
    assert!(again.is_err(), "an epoch in the log is not appended again");
    assert_eq!(Log::open(dir.path()).unwrap().end("facts.orders", 0).unwrap(), 3);
}

#[test]
fn producers_and_the_pipeline_append_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let producer = std::thread::spawn(move || {
        let mut appender = Log::appender(&path).unwrap();
        for _ in 0..100 {
            appender.append("t", &records("p", 5)).unwrap();
        }
    });
    let mut log = LogEpochs::open(dir.path(), "sales").unwrap();
    log.fence(Generation(1)).unwrap();
    for epoch in 1..=100 {
        log.append(&[fact(epoch)], Epoch(epoch), 0).unwrap();
    }
    producer.join().unwrap();
    let log = Log::open(dir.path()).unwrap();
    assert_eq!((log.end("t", 0).unwrap(), log.end("facts.orders", 0).unwrap()), (500, 100));
    assert_eq!(log.read("t", 0, 0, 1_000).unwrap().len(), 500);
}

#[test]
fn a_log_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Log::open(dir.path()).unwrap());
    let conn = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    conn.pragma_update(None, "user_version", 1_000).unwrap();
    let refused = Log::open(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("written by a newer version"), "{refused}");
}

#[test]
fn many_processes_may_open_a_new_data_directory_at_once() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let threads: Vec<_> = (0..6)
            .map(|n| {
                let path = path.clone();
                std::thread::spawn(move || append(&path, "t", &n.to_string(), 1))
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(Log::open(&path).unwrap().end("t", 0).unwrap(), 6);
    }
}

/// Cuts the file in the middle, as a copy that was interrupted is.
#[test]
fn a_truncated_file_stops_the_run_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), "t", "a", 20_000);
    let path = dir.path().join("log.db");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let read =
        EmbeddedReader::open(dir.path(), &["t"], Raw).map_err(|e| e.to_string()).and_then(|mut reader| {
            let place = PartitionId { topic: TopicId(0), partition: 0 };
            reader.fetch(place, Offset(0), 100_000).map(|_| ()).map_err(|e| e.to_string())
        });
    let message = read.unwrap_err();
    assert!(message.contains("log.db") && message.contains("from a backup"), "{message}");
}

#[test]
fn pipelines_share_a_log_each_with_its_own_progress_and_topics() {
    let dir = tempfile::tempdir().unwrap();
    let open = |pipeline: &str| LogEpochs::open(dir.path(), pipeline).unwrap();
    let (mut sales, mut fraud) = (open("sales"), open("fraud"));
    let (idle, running) = (|_: &str| true, |_: &str| false);
    sales.claim(["facts.orders", "facts.stock", "t"], idle).unwrap();
    sales.claim(["facts.orders"], idle).unwrap();
    fraud.claim(["facts.fraud"], idle).unwrap();
    let refused = fraud.claim(["facts.other", "facts.stock"], running).unwrap_err().to_string();
    assert!(
        refused.contains("facts.stock is written by the pipeline `sales`, so `fraud` may not"),
        "{refused}"
    );
    open("third").claim(["facts.other"], running).expect("all or none: nothing was taken by the one refused");
    sales.fence(Generation(5)).unwrap();
    fraud.fence(Generation(1)).unwrap();
    sales.append(&[fact(1), fact(2)], Epoch(9), 0).unwrap();
    fraud.append(&[OutRecord { topic: "facts.fraud", ..fact(1) }], Epoch(2), 0).unwrap();
    assert_eq!((sales.committed().unwrap(), fraud.committed().unwrap()), (Epoch(9), Epoch(2)));
    let epochs =
        |log: &LogEpochs| log.digests(Epoch(0), 9).unwrap().into_iter().map(|(epoch, _)| epoch.0).collect();
    let both: [Vec<u64>; 2] = [epochs(&sales), epochs(&fraud)];
    assert_eq!(both, [vec![1, 2], vec![1]]);
}

#[test]
fn a_topic_is_a_pipelines_for_good_once_it_holds_a_fact() {
    let dir = tempfile::tempdir().unwrap();
    let open = |pipeline: &str| LogEpochs::open(dir.path(), pipeline).unwrap();
    let (mut sales, mut fraud) = (open("sales"), open("fraud"));
    let topic = fact(1).topic;
    sales.claim([topic], |_| true).unwrap();
    fraud.claim([topic], |owner| owner == "sales").expect("sales is idle, and has said nothing there");
    sales.fence(Generation(1)).unwrap();
    let refused = sales.append(&[fact(1)], Epoch(1), 0).unwrap_err().to_string();
    assert!(refused.contains("is written by the pipeline `fraud`"), "{refused}");
    fraud.fence(Generation(1)).unwrap();
    fraud.append(&[fact(1)], Epoch(1), 0).unwrap();
    let refused = sales.claim([topic], |_| true).unwrap_err().to_string();
    assert!(refused.contains("is written by the pipeline `fraud`"), "{refused}");
}
