//! What a full disk does to the log: an append fails whole, says what to do, and works once there is room.

use super::{Appender, EmbeddedError, Log, LogEpochs, NewRecord, Once, Sent};
use runtime::log::{EpochLog, OutRecord};
use runtime::sink::SinkError;
use runtime::{Epoch, Generation};
use rusqlite::Connection;

/// Lets the file grow by this much and no further: what a full disk looks like to SQLite.
fn leave_room(conn: &Connection, pages: i64) {
    let now: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    conn.query_row(&format!("PRAGMA max_page_count = {}", now + pages), [], |_| Ok(())).unwrap();
}

/// Bytes that no compression makes smaller.
fn noise(seed: u64, words: u64) -> Vec<u8> {
    let word = |n: u64| runtime::stable_hash2(&seed.to_le_bytes(), &n.to_le_bytes()).to_le_bytes();
    (0..words).flat_map(word).collect()
}

fn big() -> Vec<NewRecord> {
    let record =
        |n: u64| NewRecord { value: Some(noise(n, 12)), timestamp_ms: n as i64, ..NewRecord::default() };
    (0..5_000).map(record).collect()
}

#[test]
fn an_append_to_a_full_disk_leaves_nothing_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut appender: Appender = Log::appender(dir.path()).unwrap();
    appender.append("t", &big()[..1]).unwrap();
    leave_room(&appender.db.conn, 10);
    let refused = appender.append_many(&[("t", &big()[..1]), ("t", &big())]).map(|_| ()).unwrap_err();
    assert!(matches!(refused, EmbeddedError::Full { .. }), "{refused}");
    assert!(refused.to_string().contains("free space, then start again: nothing is lost"), "{refused}");
    assert_eq!(Log::open(dir.path()).unwrap().end("t", 0).unwrap(), 1);
    leave_room(&appender.db.conn, 100_000);
    assert_eq!(appender.append("t", &big()).unwrap()[0], (0, 1));
}

#[test]
fn facts_on_a_full_disk_stop_the_run_with_a_remedy_and_can_be_appended_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogEpochs::open(dir.path(), "sales").unwrap();
    log.fence(Generation(1)).unwrap();
    let fact = |epoch: u64| OutRecord {
        topic: "facts.orders",
        key: vec![1],
        value: noise(epoch, 125),
        timestamp: 0,
        epoch: Epoch(epoch),
        trace: None,
    };
    log.append(&[fact(1)], Epoch(1), 0).unwrap();
    leave_room(&log.db.conn, 10);
    let many: Vec<OutRecord> = (2..500).map(fact).collect();
    let refused = log.append(&many, Epoch(500), 0).unwrap_err();
    let SinkError::Stop { problem, remedy, .. } = &refused else { panic!("{refused:?}") };
    assert!(problem.contains("log.db") && problem.contains("full"), "{problem}");
    assert!(remedy.contains("free space, then start again: nothing is lost"), "{remedy}");
    assert_eq!(log.committed().unwrap(), Epoch(1));
    assert_eq!(Log::open(dir.path()).unwrap().end("facts.orders", 0).unwrap(), 1);
    leave_room(&log.db.conn, 100_000);
    log.append(&many, Epoch(500), 0).unwrap();
    assert_eq!(Log::open(dir.path()).unwrap().end("facts.orders", 0).unwrap(), 499);
}

/// What layouts 1 and 2 had for the one pipeline there was; changes came later.
const ONE_PIPELINE: &str = "
DROP TABLE changes;
DROP TABLE epoch_progress; DROP TABLE epoch_digests; DROP TABLE writers;
CREATE TABLE epoch_progress (one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER, through INTEGER);
INSERT INTO epoch_progress VALUES (1, 7, 20);
CREATE TABLE epoch_digests (epoch INTEGER PRIMARY KEY, digest BLOB NOT NULL);
INSERT INTO epoch_digests VALUES (19, zeroblob(32));
INSERT INTO partitions (topic, partition, end_offset) VALUES ('facts.orders', 0, 5);
";

#[test]
fn what_the_one_pipeline_of_an_older_log_had_is_that_of_sales() {
    let dir = tempfile::tempdir().unwrap();
    Log::open(dir.path()).unwrap();
    let conn = Connection::open(dir.path().join("log.db")).unwrap();
    conn.execute_batch(ONE_PIPELINE).unwrap();
    conn.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(conn);
    let mut sales = LogEpochs::open(dir.path(), "sales").unwrap();
    assert_eq!(sales.committed().unwrap(), Epoch(20));
    assert_eq!(sales.digests(Epoch(0), 9).unwrap(), [(Epoch(19), [0; 32])]);
    assert!(matches!(sales.fence(Generation(6)), Err(SinkError::Fenced { .. })));
    let refused =
        LogEpochs::open(dir.path(), "other").unwrap().claim(["facts.orders"], |_| true).unwrap_err();
    assert!(refused.to_string().contains("is written by the pipeline `sales`"), "{refused}");
}

#[test]
fn a_log_of_the_first_layout_is_read_and_added_to() {
    let dir = tempfile::tempdir().unwrap();
    Log::appender(dir.path()).unwrap().append("t", &big()[..3]).unwrap();
    let conn = Connection::open(dir.path().join("log.db")).unwrap();
    conn.execute_batch(ONE_PIPELINE).unwrap();
    conn.execute_batch("ALTER TABLE batches DROP COLUMN raw_length; PRAGMA user_version = 1").unwrap();
    drop(conn);
    Log::appender(dir.path()).unwrap().append("t", &vec![NewRecord::default(); 1_000]).unwrap();
    let read = Log::open(dir.path()).unwrap().read("t", 0, 0, 2_000).unwrap();
    assert_eq!((read.len(), &read[2].value), (1_003, &big()[2].value));
}

#[test]
fn a_log_of_the_third_layout_takes_changes() {
    let dir = tempfile::tempdir().unwrap();
    Log::appender(dir.path()).unwrap().append("t", &big()[..3]).unwrap();
    let conn = Connection::open(dir.path().join("log.db")).unwrap();
    conn.execute_batch("DROP TABLE changes; PRAGMA user_version = 3").unwrap();
    drop(conn);
    let once = Once { id: "a", hash: 1, now_ms: 5, kept_ms: 100 };
    for wanted in [Sent::Appended((0, 3)), Sent::Before((0, 3))] {
        let mut appender = Log::appender(dir.path()).unwrap();
        assert_eq!(appender.append_once("t", once, |_| NewRecord::default()).unwrap(), wanted);
    }
}
