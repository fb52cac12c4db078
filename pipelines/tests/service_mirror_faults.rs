//! What is one table's fault, or one record's, is no other's: a mirror into a real ClickHouse that refuses rows and changes of tables.
//!
//! ```text
//!   oltp.public.things ── refused ──> parked, or mirror_rejected ── mended ──> goes on from where it was
//!   oltp.public.others ─────────────────────────────────────────────────────> never notices
//! ```

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

mod support;

use connectors::embedded::{Appender, Log, NewRecord};
use connectors::kafka::{KafkaAppender, KafkaSettings, TopicSpec};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use support::captured::{assert_no_record_twice, clickhouse, try_clickhouse};
use support::mirrored::{Cells, begin, begin_embedded, killed_at, message, run, told};
use support::process;
use support::services::{env, foreign, wait_until, well};

const MINUTES: Duration = Duration::from_secs(120);

/// Appends rows `id, n` of a table, in one batch; the values as they were told.
fn append(log: &mut Appender, table: &str, lsn: u64, rows: &[(i64, i64)]) -> Vec<Vec<u8>> {
    let record = |(place, (id, n)): (usize, &(i64, i64))| {
        let (key, value) = message("u", *id, Some((*n, "word")), lsn + place as u64);
        NewRecord { key: Some(key), value: Some(value), ..NewRecord::default() }
    };
    let records: Vec<NewRecord> = rows.iter().enumerate().map(record).collect();
    log.append(&format!("oltp.public.{table}"), &records).unwrap();
    records.into_iter().filter_map(|record| record.value).collect()
}

/// How far a table is mirrored.
fn next(table: &str) -> String {
    let sql = "SELECT sum(next) FROM mirror.mirror_progress FINAL WHERE topic = 'oltp.public.@'";
    try_clickhouse(&sql.replace('@', table)).unwrap_or_default()
}

fn wait_for(table: &str, records: u64) {
    wait_until(&format!("{records} records of {table}"), MINUTES, || next(table) == records.to_string());
}

/// `id:n` of each row that is there now.
fn current(table: &str) -> String {
    clickhouse(&format!(
        "SELECT arrayStringConcat(groupArray(concat(toString(id), ':', toString(n))), ' ')
         FROM (SELECT id, n FROM mirror.{table}_current ORDER BY id)"
    ))
}

/// What `tombola status` says of parked tables.
fn parked(dir: &Path) -> Vec<(String, String)> {
    let status = process::end_of(process::tombola(dir, &["status", "--json"])).assert(0, &[]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let parked = status["mirror"]["parked"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    parked.iter().map(|table| (text(&table["topic"]), text(&table["reason"]))).collect()
}

fn rejected() -> String {
    clickhouse("SELECT count() FROM mirror.mirror_rejected")
}

#[test]
#[ignore = "needs services"]
fn service_a_record_that_is_refused_lies_in_mirror_rejected_and_its_table_goes_on() {
    let (_services, dir) = begin_embedded();
    let mut log = Log::appender(dir.path()).unwrap();
    append(&mut log, "things", 1, &[(1, 1), (2, 2)]);
    let mut running = run(dir.path());
    wait_for("things", 2);
    clickhouse("ALTER TABLE mirror.things ADD CONSTRAINT positive CHECK ifNull(n, 1) > 0");
    let values = append(&mut log, "things", 10, &[(3, 3), (4, -4), (5, 5), (6, 6), (2, -2), (7, 7)]);
    wait_for("things", 8);
    assert_eq!(current("things"), "1:1 2:2 3:3 5:5 6:6 7:7");
    let told = "SELECT __offset, value, key != '', reason LIKE '%positive%' FROM mirror.mirror_rejected ORDER BY 1 FORMAT JSONCompactEachRow";
    let rejected: Vec<Value> =
        clickhouse(told).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let [fourth, second] = [&values[1], &values[4]].map(|value| text(value));
    let seen: Vec<(String, bool)> = rejected
        .iter()
        .map(|row| (row[1].as_str().unwrap().to_owned(), row[2] == 1 && row[3] == 1))
        .collect();
    assert_eq!(seen, [(fourth, true), (second, true)]);
    assert_no_record_twice("things");
    assert_eq!(parked(dir.path()), []);
    // A key that is NULL makes no row.
    let cells: Cells = vec![("n".to_owned(), "int64", json!(8)), ("word".to_owned(), "string", json!("w"))];
    let (key, value) = told_without_key(&cells);
    log.append(
        "oltp.public.things",
        &[NewRecord { key: Some(key), value: Some(value), ..NewRecord::default() }],
    )
    .unwrap();
    append(&mut log, "things", 30, &[(8, 8)]);
    wait_for("things", 10);
    assert_eq!(current("things"), "1:1 2:2 3:3 5:5 6:6 7:7 8:8");
    assert_eq!(self::rejected(), "3");
    running.terminate();
    running.wait().assert(0, &[]);
}

/// A row whose key says NULL.
fn told_without_key(cells: &Cells) -> (Vec<u8>, Vec<u8>) {
    let (key, value) = told("u", 777, cells, 20);
    let nobody = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(":777", ":null").into_bytes();
    (nobody(key), nobody(value))
}

#[test]
#[ignore = "needs services"]
fn service_a_table_at_fault_is_parked_and_goes_on_where_it_was_and_the_others_never_notice() {
    let (_services, dir) = begin_embedded();
    let mut log = Log::appender(dir.path()).unwrap();
    append(&mut log, "things", 1, &[(1, 1), (2, 2)]);
    append(&mut log, "others", 1, &[(1, 1)]);
    let mut running = run(dir.path());
    wait_for("things", 2);
    wait_for("others", 1);
    // A column of an operator's own, which needs one that the source is about to drop.
    clickhouse("ALTER TABLE mirror.things ADD COLUMN loud String MATERIALIZED upper(word)");
    append(&mut log, "things", 10, &[(3, 3)]);
    wait_for("things", 3);
    let cells: Cells = vec![("n".to_owned(), "int64", json!(4))];
    let (key, value) = told("u", 4, &cells, 20);
    log.append(
        "oltp.public.things",
        &[NewRecord { key: Some(key), value: Some(value), ..NewRecord::default() }],
    )
    .unwrap();
    wait_until("the table is parked", MINUTES, || !parked(dir.path()).is_empty());
    let [(topic, reason)] = &parked(dir.path())[..] else { panic!("one table") };
    assert_eq!(topic, "oltp.public.things");
    assert!(reason.contains("loud"), "the reason names what is in the way: {reason}");
    append(&mut log, "others", 10, &[(2, 2)]);
    wait_for("others", 2);
    wait_until("the metric says so", MINUTES, || {
        let told = process::end_of(process::tombola(dir.path(), &["status", "--metrics"])).assert(0, &[]);
        told.stdout.lines().any(|line| line == "tombola_mirror_parked 1")
    });
    // It stays parked across a restart, and so do the others go on.
    running.kill();
    running.wait();
    let mut running = run(dir.path());
    append(&mut log, "others", 20, &[(3, 3)]);
    wait_for("others", 3);
    assert_eq!(parked(dir.path()).len(), 1);
    assert_eq!((next("things"), current("things")), ("3".to_owned(), "1:1 2:2 3:3".to_owned()));
    clickhouse("ALTER TABLE mirror.things DROP COLUMN loud");
    wait_for("things", 4);
    assert_eq!(current("things"), "1:1 2:2 3:3 4:4");
    assert_no_record_twice("things");
    assert_no_record_twice("others");
    wait_until("it is parked no more", MINUTES, || parked(dir.path()).is_empty());
    running.terminate();
    running.wait().assert(0, &[]);
    assert_eq!(rejected(), "0");
}

#[test]
#[ignore = "needs services"]
fn service_columns_that_were_added_by_hand_stay_when_the_source_changes_its_own() {
    let (_services, dir) = begin_embedded();
    let mut log = Log::appender(dir.path()).unwrap();
    append(&mut log, "things", 1, &[(1, 1)]);
    let mut running = run(dir.path());
    wait_for("things", 1);
    clickhouse(
        "ALTER TABLE mirror.things ADD COLUMN twice Int64 MATERIALIZED n * 2, ADD COLUMN note String DEFAULT 'ours'",
    );
    let cells: Cells = vec![("n".to_owned(), "int64", json!(21)), ("come".to_owned(), "int32", json!(5))];
    let (key, value) = told("u", 2, &cells, 20);
    log.append(
        "oltp.public.things",
        &[NewRecord { key: Some(key), value: Some(value), ..NewRecord::default() }],
    )
    .unwrap();
    wait_for("things", 2);
    assert_eq!(clickhouse("SELECT twice, note, come FROM mirror.things WHERE id = 2"), "42\tours\t5");
    let word =
        "SELECT count() FROM system.columns WHERE database = 'mirror' AND table = 'things' AND name = 'word'";
    assert_eq!(clickhouse(word), "0", "what the source dropped is gone");
    running.terminate();
    running.wait().assert(0, &[]);
    // Nor does a start take them.
    let mut running = run(dir.path());
    append(&mut log, "others", 1, &[(1, 1)]);
    wait_for("others", 1);
    assert_eq!(clickhouse("SELECT twice, note, come FROM mirror.things WHERE id = 2"), "42\tours\t5");
    running.terminate();
    running.wait().assert(0, &[]);
}

#[test]
#[ignore = "needs services"]
fn service_a_mirror_killed_while_it_finds_who_is_at_fault_loses_nothing_and_writes_nothing_twice() {
    let (_services, dir) = begin_embedded();
    let mut log = Log::appender(dir.path()).unwrap();
    append(&mut log, "things", 1, &[(1, 1), (2, 2)]);
    let mut running = run(dir.path());
    wait_for("things", 2);
    running.terminate();
    running.wait().assert(0, &[]);
    clickhouse("ALTER TABLE mirror.things ADD CONSTRAINT positive CHECK ifNull(n, 1) > 0");
    append(&mut log, "things", 10, &[(3, 3), (4, -4), (5, 5), (6, 6)]);
    append(&mut log, "others", 10, &[(1, 1)]);
    for _ in 0..2 {
        killed_at(dir.path(), "mirror.after_cut");
    }
    let mut running = run(dir.path());
    wait_for("things", 6);
    wait_for("others", 1);
    assert_eq!((current("things"), rejected()), ("1:1 2:2 3:3 5:5 6:6".to_owned(), "1".to_owned()));
    running.terminate();
    running.wait().assert(0, &[]);
    // More than single records: the table is parked.
    let many: Vec<(i64, i64)> = (100..160).map(|id| (id, if id % 2 == 0 { id } else { -id })).collect();
    append(&mut log, "things", 100, &many);
    append(&mut log, "others", 100, &[(2, 2)]);
    for point in ["mirror.before_park", "mirror.after_park"] {
        killed_at(dir.path(), point);
    }
    let mut running = run(dir.path());
    wait_for("others", 2);
    wait_until("the table is parked", MINUTES, || parked(dir.path()).len() == 1);
    assert_eq!((next("things"), rejected()), ("6".to_owned(), "1".to_owned()));
    clickhouse("ALTER TABLE mirror.things DROP CONSTRAINT positive");
    wait_for("things", 66);
    let all = many.iter().map(|(id, n)| format!("{id}:{n}")).collect::<Vec<_>>().join(" ");
    assert_eq!(current("things"), format!("1:1 2:2 3:3 5:5 6:6 {all}"));
    assert_no_record_twice("things");
    assert_no_record_twice("others");
    running.terminate();
    running.wait().assert(0, &[]);
}

#[test]
#[ignore = "needs services"]
fn service_a_table_whose_rows_take_long_to_follow_holds_nobody_up_and_is_read_as_it_is_to_be() {
    let (_services, dir) = begin_embedded();
    let mut log = Log::appender(dir.path()).unwrap();
    let things = |id: i64, cells: Cells, lsn: u64| {
        let (key, value) = told("u", id, &cells, lsn);
        NewRecord { key: Some(key), value: Some(value), ..NewRecord::default() }
    };
    let cell = |name: &str, ty: &'static str, value: Value| (name.to_owned(), ty, value);
    let narrow = |n: i64| vec![cell("n", "int32", json!(n)), cell("word", "string", json!("w"))];
    let first = [things(1, narrow(1), 1), things(2, narrow(2), 2)];
    log.append("oltp.public.things", &first).unwrap();
    append(&mut log, "others", 1, &[(1, 1)]);
    let mut running = run(dir.path());
    wait_for("things", 2);
    wait_for("others", 1);
    // Rows that are there are changed by nobody from here on, however long one waits.
    clickhouse("SYSTEM STOP MERGES mirror.things");
    let wide = vec![cell("n", "int64", json!(3_000_000_000_i64))];
    log.append("oltp.public.things", &[things(3, wide, 10)]).unwrap();
    append(&mut log, "others", 10, &[(2, 2)]);
    wait_for("others", 2);
    wait_for("things", 3);
    let unfinished = "SELECT count() > 0 FROM system.mutations WHERE database = 'mirror' AND table = 'things' AND NOT is_done";
    assert_eq!(clickhouse(unfinished), "1", "its rows are still to follow");
    let all = "1:1 2:2 3:3000000000";
    assert_eq!(current("things"), all);
    assert_eq!(parked(dir.path()), []);
    clickhouse("SYSTEM START MERGES mirror.things");
    wait_until("its rows have followed", MINUTES, || clickhouse(unfinished) == "0");
    assert_eq!(current("things"), all);
    assert_no_record_twice("things");
    running.terminate();
    let said = running.wait().assert(0, &[]).stderr;
    // As long as a change of a table is waited for, while all others wait: rows that don't follow took that long.
    assert!(!said.contains("no answer within 15000 ms"), "somebody was held up: {said}");
}

/// Makes or alters the topic of a table in Kafka.
fn declare(table: &str, cleanup_policy: &str) {
    let settings = [("cleanup.policy".to_owned(), cleanup_policy.to_owned())].into();
    let name = format!("oltp.public.{table}");
    let spec = TopicSpec { name, partitions: 1, replication: Some(1), settings };
    let kafka = KafkaSettings::new(env("KAFKA_BOOTSTRAP"));
    let plan = connectors::kafka::plan(&kafka, &[spec]).unwrap();
    connectors::kafka::apply(&kafka, &plan).unwrap();
}

/// Appends rows `id, n` of a table in Kafka.
fn tell(table: &str, lsn: u64, rows: &[(i64, i64)]) {
    let record = |(place, (id, n)): (u64, &(i64, i64))| {
        let (key, value) = message("u", *id, Some((*n, "word")), lsn + place);
        // Of today: what is older than its retention, Kafka deletes.
        let timestamp_ms = pipelines::clock_ms();
        NewRecord { key: Some(key), value: Some(value), timestamp_ms, ..NewRecord::default() }
    };
    let records: Vec<NewRecord> = (0..).zip(rows).map(record).collect();
    let mut log = KafkaAppender::open(&KafkaSettings::new(env("KAFKA_BOOTSTRAP"))).unwrap();
    log.append(&format!("oltp.public.{table}"), &records).unwrap();
}

fn wait_until_parked(dir: &Path, table: &str, why: &str) {
    let is_it =
        |(topic, reason): &(String, String)| *topic == format!("oltp.public.{table}") && reason.contains(why);
    wait_until(
        &format!("{table} is parked: {why}"),
        MINUTES,
        || matches!(&parked(dir)[..], [one] if is_it(one)),
    );
}

#[test]
#[ignore = "needs services"]
fn service_a_topic_that_is_compacted_or_deleted_parks_its_table_alone_and_goes_on_when_it_is_back() {
    let (_services, dir) = begin();
    declare("things", "compact");
    declare("others", "delete");
    tell("things", 1, &[(1, 1), (2, 2)]);
    tell("others", 1, &[(1, 1)]);
    let mut running = run(dir.path());
    wait_for("others", 1);
    wait_until_parked(dir.path(), "things", "it is compacted");
    tell("others", 10, &[(2, 2)]);
    wait_for("others", 2);
    declare("things", "delete");
    wait_for("things", 2);
    wait_until("it is parked no more", MINUTES, || parked(dir.path()).is_empty());
    well(foreign("empty.py", &["oltp.public.others"]));
    wait_until_parked(dir.path(), "others", "the log has no such topic any more");
    tell("things", 10, &[(3, 3)]);
    wait_for("things", 3);
    // Restored, it has what it had, and more.
    declare("others", "delete");
    tell("others", 1, &[(1, 1), (2, 2), (3, 3)]);
    wait_for("others", 3);
    wait_until("it is parked no more", MINUTES, || parked(dir.path()).is_empty());
    assert_eq!((current("things"), current("others")), ("1:1 2:2 3:3".to_owned(), "1:1 2:2 3:3".to_owned()));
    running.terminate();
    running.wait().assert(0, &[]);
}
