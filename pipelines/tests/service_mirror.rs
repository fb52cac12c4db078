//! Captured tables mirrored into a real ClickHouse by way of real Debezium and Kafka, compared with their source row by row.
//!
//! ```text
//!   SQL ──> Postgres ── Debezium, Avro ──> oltp.public.<table> ── tombola run ──> mirror.<table>_current
//!             └──────────────────────── row by row ─────────────────────────────────────┘
//! ```

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

mod support;

use connectors::embedded::{Appender, Log, NewRecord};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use support::captured::{
    Compared, Connector, assert_no_record_twice, clickhouse, column, try_clickhouse, wait_until_mirrored,
};
use support::mirrored::{Cells, begin, begin_embedded, change, killed_at, message, next, run, told};
use support::process::{self, Running};
use support::services::{env, foreign, sql, try_records_in, wait_until, well};

/// Nothing that is waited for takes longer, the start of a pipeline included.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between changes that are made until something comes of them: a slow machine would never get through one at every look.
const CHANGES_EVERY: Duration = Duration::from_secs(2);

const TABLE: &str = "
DROP TABLE IF EXISTS everything; DROP TYPE IF EXISTS mood; CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE everything (
  id int PRIMARY KEY, small smallint, whole int, big bigint, price numeric(10,2), wide numeric(40,5), any_numeric numeric,
  name text, code varchar(10), uid uuid, doc jsonb, raw bytea, flag boolean, r real, d double precision,
  day date, clock time, at timestamp, at3 timestamp(3), atz timestamptz, feeling mood, tags text[], nums int[],
  essay text, blob bytea, list int[]);
ALTER TABLE everything ALTER essay SET STORAGE EXTERNAL, ALTER blob SET STORAGE EXTERNAL, ALTER list SET STORAGE EXTERNAL;
INSERT INTO everything (id) VALUES (-1);
INSERT INTO everything SELECT i, i % 300, i, i * 10000000000, i / 7.0, i * 12345678901234567.12345, i / 8.0,
  CASE WHEN i % 5 > 0 THEN 'name ' || i END, 'c' || i, md5(i::text)::uuid, jsonb_build_object('a', i), decode(md5(i::text), 'hex'),
  i % 3 = 0, i / 2.0, i / 4.0, date '1969-12-01' + i, time '00:00:00.000001' + i * interval '1.5 s',
  timestamp '1969-12-31 23:59:59.123456' + i * interval '1 h', timestamp '2020-01-01 00:00:00.123' + i * interval '1 s',
  timestamptz '1965-01-01 00:00:00.654321+02' + i * interval '1 d', CASE WHEN i % 2 = 0 THEN 'glad'::mood ELSE 'sad' END,
  CASE WHEN i % 4 > 0 THEN ARRAY['t' || i, NULL, 'a,\"b\"'] END, CASE WHEN i % 3 > 0 THEN ARRAY[i, NULL] END
  FROM generate_series(1, 500) i";

fn columns() -> Vec<Compared> {
    [
        ("id", "plain"),
        ("small", "plain"),
        ("whole", "plain"),
        ("big", "plain"),
        ("price", "number"),
        ("wide", "number"),
        ("any_numeric", "number"),
        ("name", "plain"),
        ("code", "plain"),
        ("uid", "plain"),
        ("doc", "plain"),
        ("raw", "bytes"),
        ("flag", "plain"),
        ("r", "plain"),
        ("d", "plain"),
        ("day", "plain"),
        ("clock", "time"),
        ("at", "micros"),
        ("at3", "millis"),
        ("atz", "zoned"),
        ("feeling", "plain"),
        ("tags", "array"),
        ("nums", "array"),
        ("essay", "large"),
        ("blob", "large"),
        ("list", "large array"),
    ]
    .map(|(name, kind)| column(name, kind))
    .into()
}

#[test]
#[ignore = "needs services"]
fn service_a_mirror_is_as_its_source_through_changes_of_rows_keys_and_columns() {
    let (_services, dir) = begin();
    change(TABLE);
    let _connector = Connector::start("mirrored", "public.everything", "format-avro.json");
    let mut running = run(dir.path());
    let all = columns();
    wait_until_mirrored("the snapshot", "everything", &all);
    change_rows();
    wait_until_mirrored("rows inserted, changed, deleted, their keys moved", "everything", &all);
    change("TRUNCATE everything");
    wait_until_mirrored("a truncated table", "everything", &all);
    change(
        "BEGIN; INSERT INTO everything (id) VALUES (1), (2), (3); TRUNCATE everything; INSERT INTO everything (id, name) VALUES (2, 'after'); COMMIT",
    );
    wait_until_mirrored("a row put in after the truncate", "everything", &all);
    untold_values(&all);
    change_columns(all);
    assert_no_record_twice("everything");
    assert_eq!(clickhouse("SELECT count() FROM mirror.mirror_rejected"), "0");
    running.signal("TERM");
    running.wait().assert(0, &[]);
}

fn change_rows() {
    change("UPDATE everything SET name = name || ' again', price = price + 1 WHERE id % 3 = 0");
    change("DELETE FROM everything WHERE id % 5 = 0");
    change("INSERT INTO everything (id, name) VALUES (5, 'back'), (1001, 'new')");
    change("UPDATE everything SET id = id + 10000 WHERE id % 7 = 0");
    // Keys that change places.
    change(
        "BEGIN; UPDATE everything SET id = 0 WHERE id = 1; UPDATE everything SET id = 1 WHERE id = 2; UPDATE everything SET id = 2 WHERE id = 0; COMMIT",
    );
    change(
        "BEGIN; DELETE FROM everything WHERE id = 3; INSERT INTO everything (id, name) VALUES (3, 'reborn'); UPDATE everything SET name = 'twice' WHERE id = 3; COMMIT",
    );
}

/// Large values that a change leaves alone are not told with it.
fn untold_values(all: &[Compared]) {
    let large = "string_agg(md5(i::text), ''), string_agg(md5(i::text), '')::bytea, array_agg(i)";
    change(&format!(
        "INSERT INTO everything (id, essay, blob, list) SELECT 20, {large} FROM generate_series(1, 4000) i"
    ));
    wait_until_mirrored("a row of large values", "everything", all);
    change("UPDATE everything SET name = 'looked up in the table' WHERE id = 20");
    wait_until_mirrored("values looked up in the table", "everything", all);
    change(&format!(
        "BEGIN; INSERT INTO everything (id, essay, blob, list) SELECT 21, {large} FROM generate_series(1, 3000) i;
         UPDATE everything SET name = 'in its batch' WHERE id = 21; UPDATE everything SET id = 22 WHERE id = 21; COMMIT"
    ));
    change(
        "UPDATE everything SET essay = 'short' WHERE id = 22; UPDATE everything SET name = 'again' WHERE id = 22",
    );
    wait_until_mirrored("values known from the same batch", "everything", all);
}

fn change_columns(mut all: Vec<Compared>) {
    change("ALTER TABLE everything ADD COLUMN added int DEFAULT 7, ADD COLUMN amount numeric(12,3) DEFAULT 1.25,
            ADD COLUMN word text DEFAULT 'it''s', ADD COLUMN since timestamptz DEFAULT '2024-01-01 00:00:00+00',
            ADD COLUMN leap date DEFAULT '2024-02-29', ADD COLUMN yes boolean DEFAULT true, ADD COLUMN none text");
    change("INSERT INTO everything (id, name, added) VALUES (30, 'with more columns', 8)");
    let added =
        [("added", "plain"), ("amount", "number"), ("word", "plain"), ("since", "zoned"), ("leap", "plain")];
    all.extend(added.map(|(name, kind)| column(name, kind)));
    all.extend([("yes", "plain"), ("none", "plain")].map(|(name, kind)| column(name, kind)));
    wait_until_mirrored("columns added, old rows with their defaults", "everything", &all);
    change("ALTER TABLE everything ALTER whole TYPE bigint, ALTER small TYPE int, ALTER code TYPE varchar(50),
            ALTER price TYPE numeric(14,2), ALTER amount TYPE numeric(20,5), ALTER id TYPE bigint, ALTER r TYPE double precision");
    change("INSERT INTO everything (id, whole, small, code, price, amount, r)
            VALUES (9999999999, 9999999999, 100000, 'longer than ten characters', 999999999999.99, 999999999999.12345, 0.5)");
    wait_until_mirrored("columns widened, the key among them", "everything", &all);
    change("ALTER TABLE everything DROP COLUMN word, DROP COLUMN tags");
    change("INSERT INTO everything (id, name) VALUES (40, 'without a word')");
    all.retain(|column| !["word", "tags"].contains(&column.name));
    wait_until_mirrored("columns dropped", "everything", &all);
    let there =
        clickhouse("SELECT count() FROM system.columns WHERE database = 'mirror' AND name LIKE 'word%'");
    assert_eq!(there, "0", "a dropped column is gone from table and view");
    change("ALTER TABLE everything ADD COLUMN word int");
    change("INSERT INTO everything (id, word) VALUES (41, 5); DELETE FROM everything WHERE id = 40");
    all.push(column("word", "plain"));
    wait_until_mirrored("a column made again under an old name", "everything", &all);
    change(
        "ALTER TABLE everything DROP COLUMN word; INSERT INTO everything (id) VALUES (42);
            ALTER TABLE everything ADD COLUMN word text; INSERT INTO everything (id, word) VALUES (43, 'x')",
    );
    wait_until_mirrored("dropped and made again within a batch", "everything", &all);
}

const POINTS: &[&str] = runtime::killpoint::MIRROR;

#[test]
#[ignore = "needs services"]
fn service_a_mirror_killed_at_any_step_and_told_everything_again_is_as_its_source() {
    let (_services, dir) = begin();
    change(
        "DROP TABLE IF EXISTS things; CREATE TABLE things (shop text, id int, n bigint, essay text, PRIMARY KEY (shop, id))",
    );
    let _connector = Connector::start("killed", "public.things", "format-avro.json");
    let mut all =
        vec![column("id", "plain"), column("shop", "plain"), column("n", "plain"), column("essay", "large")];
    for (n, point) in POINTS.iter().enumerate() {
        let mut command = process::tombola(dir.path(), &["run"]);
        command.env("TOMBOLA_KILL_AT", format!("{point}:{}", 1 + n % 2));
        let mut running = Running::start(command);
        let name: &'static str = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"][n];
        change(&format!("ALTER TABLE things ADD COLUMN {name} int DEFAULT {n}"));
        all.push(column(name, "plain"));
        let mut last: Option<Instant> = None;
        wait_until("the kill", PATIENCE, || {
            if last.is_none_or(|last| last.elapsed() >= CHANGES_EVERY) {
                change_things(n);
                last = Some(Instant::now());
            }
            !running.runs()
        });
        let ended = running.wait();
        assert!(ended.was_killed(), "{point}: {ended:?}");
    }
    let mut running = run(dir.path());
    wait_until_mirrored("after the kills", "things", &all);
    assert_no_record_twice("things");
    well(foreign("again.py", &["oltp.public.things"]));
    change_things(100);
    let end = "SELECT sum(next) FROM mirror.mirror_progress FINAL WHERE topic = 'oltp.public.things'";
    let records = || support::services::records_in("oltp.public.things").to_string();
    wait_until("everything told again is mirrored", PATIENCE, || clickhouse(end) == records());
    wait_until_mirrored("told everything again", "things", &all);
    assert_no_record_twice("things");
    // A server that lost it all is brought up again, from the first record.
    clickhouse("DROP DATABASE mirror SYNC");
    change_things(101);
    wait_until_mirrored("an emptied server", "things", &all);
    running.signal("TERM");
    running.wait().assert(0, &[]);
}

/// Rows come, change and go, some keys move; large values are left alone.
fn change_things(n: usize) {
    change(&format!(
        "INSERT INTO things (shop, id, n, essay) SELECT 's' || i % 3, i, {n}, CASE WHEN i % 50 = 0 THEN (SELECT string_agg(md5(j::text), '') FROM generate_series(1, 400) j) END
           FROM generate_series(1, 300) i ON CONFLICT (shop, id) DO UPDATE SET n = things.n + 1;
         DELETE FROM things WHERE (id + {n}) % 11 = 0;
         UPDATE things SET id = id + 1000 WHERE id < 1000 AND (id + {n}) % 13 = 0
           AND NOT EXISTS (SELECT FROM things o WHERE o.shop = things.shop AND o.id = things.id + 1000)"
    ));
}

/// Changes of a table, every one of them told once or more, and the rows that are left.
fn history(count: u64) -> (Vec<NewRecord>, BTreeMap<i64, (i64, String)>) {
    let (mut records, mut rows, mut seed) = (Vec::new(), BTreeMap::new(), 73_u64);
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for lsn in 1..=count {
        let id = random(40) as i64;
        let record = match random(20) {
            0 => {
                rows.clear();
                let (_, value) = message("t", 0, None, lsn);
                NewRecord { value: Some(value), ..NewRecord::default() }
            }
            1..=5 => {
                rows.remove(&id);
                let (key, value) = message("d", id, None, lsn);
                NewRecord { key: Some(key), value: Some(value), ..NewRecord::default() }
            }
            _ => {
                let (n, word) = (lsn as i64, format!("it's\t{lsn}"));
                let (key, value) = message("u", id, Some((n, &word)), lsn);
                rows.insert(id, (n, word));
                NewRecord { key: Some(key), value: Some(value), ..NewRecord::default() }
            }
        };
        records.push(record);
        if random(30) == 0 {
            let again = records.len().saturating_sub(25);
            records.extend_from_within(again..);
        }
    }
    (records, rows)
}

#[test]
#[ignore = "needs services"]
fn service_a_mirror_of_the_embedded_log_takes_json_and_catches_up_with_a_server_that_was_away() {
    let (services, dir) = begin_embedded();
    let (records, rows) = history(3_000);
    let (first, rest) = records.split_at(records.len() / 2);
    let mut log = Log::appender(dir.path()).unwrap();
    log.append("oltp.public.things", first).unwrap();
    let mut running = run(dir.path());
    wait_until("the first half", PATIENCE, || next() == Ok(first.len().to_string()));
    services.kill("clickhouse");
    log.append("oltp.public.things", rest).unwrap();
    let bare = NewRecord {
        key: Some(b"{}".to_vec()),
        value: Some(b"{\"op\":\"c\"}".to_vec()),
        ..NewRecord::default()
    };
    log.append("oltp.public.things", &[bare]).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(running.runs(), "a pipeline goes on without it");
    services.start("clickhouse");
    wait_until("the rest", PATIENCE, || next() == Ok((records.len() + 1).to_string()));
    let expected: Vec<String> = rows.iter().map(|(id, (n, word))| format!("{id}|{n}|{word}")).collect();
    let shown = "SELECT concatWithSeparator('|', toString(id), toString(n), word) FROM mirror.things_current ORDER BY id FORMAT TSVRaw";
    assert_eq!(clickhouse(shown).lines().collect::<Vec<_>>(), expected);
    assert_no_record_twice("things");
    assert_eq!(
        clickhouse("SELECT count(), any(reason) LIKE '%schemas.enable%' FROM mirror.mirror_rejected"),
        "1\t1"
    );
    running.signal("TERM");
    running.wait().assert(0, &[]);
}

const ROWS_OF_ROUND: u64 = 10;

/// The same rows change in each round. Their table changes, too: `c1` to `c<tables>` have come, `w1` to `w<tables>` are wide.
#[derive(Clone, Copy)]
struct Round {
    round: u64,
    tables: u64,
}

impl Round {
    fn cells(self, id: u64) -> Cells {
        let small = id * 100 + self.round;
        let wide = (1..=POINTS.len() as u64).map(|n| match n <= self.tables {
            true => (format!("w{n}"), "int64", json!(5_000_000_000 + small)),
            false => (format!("w{n}"), "int32", json!(small)),
        });
        let come = (1..=self.tables).map(|n| (format!("c{n}"), "int32", json!(n * 10_000 + small)));
        wide.chain(come).collect()
    }

    fn append(self, log: &mut Appender) {
        let record = |id: u64| {
            let (key, value) = told("u", id as i64, &self.cells(id), 1 + self.round * ROWS_OF_ROUND + id);
            NewRecord { key: Some(key), value: Some(value), ..NewRecord::default() }
        };
        log.append("oltp.public.things", &(0..ROWS_OF_ROUND).map(record).collect::<Vec<_>>()).unwrap();
    }

    /// Lets the mirror take all up to this round, and looks at every value.
    fn assert_mirrored(self, dir: &Path) {
        let mut running = run(dir);
        let records = ((self.round + 1) * ROWS_OF_ROUND).to_string();
        wait_until("the round", PATIENCE, || next() == Ok(records.clone()));
        running.terminate();
        running.wait().assert(0, &[]);
        let name = |cell: &(String, _, _)| format!("ifNull(toString({}), '~')", cell.0);
        let names = self.cells(0).iter().map(name).collect::<Vec<_>>().join(", ");
        let shown = "SELECT concatWithSeparator('|', @) FROM mirror.things_current ORDER BY id FORMAT TSVRaw";
        let shown = clickhouse(&shown.replace('@', &names));
        let values = |id| self.cells(id).iter().map(|cell| cell.2.to_string()).collect::<Vec<_>>().join("|");
        assert_eq!(shown.lines().collect::<Vec<_>>(), (0..ROWS_OF_ROUND).map(values).collect::<Vec<_>>());
        assert_no_record_twice("things");
    }
}

#[test]
#[ignore = "needs services"]
fn service_columns_that_come_and_widen_with_a_batch_keep_its_values_wherever_the_mirror_is_killed() {
    let (_services, dir) = begin_embedded();
    let mut log = Log::appender(dir.path()).unwrap();
    for (round, point) in std::iter::once(None).chain(POINTS.iter().map(Some)).enumerate() {
        let round = Round { round: round as u64, tables: round as u64 };
        round.append(&mut log);
        point.into_iter().for_each(|point| killed_at(dir.path(), point));
        round.assert_mirrored(dir.path());
    }
}

/// What a server does that crashes between noting a token and writing its rows, and then again.
#[test]
#[ignore = "needs services"]
fn service_a_batch_that_is_lost_again_under_its_second_token_is_sent_under_a_third() {
    let (_services, dir) = begin_embedded();
    let mut log = Log::appender(dir.path()).unwrap();
    let [first, lost] = [0, 1].map(|round| Round { round, tables: 0 });
    first.append(&mut log);
    first.assert_mirrored(dir.path());
    lost.append(&mut log);
    for attempt in 1..=2 {
        killed_at(dir.path(), "mirror.before_progress");
        let sent = clickhouse("SELECT count() FROM mirror.things WHERE __offset >= 10");
        assert_eq!(sent, "10", "attempt {attempt}");
        clickhouse("ALTER TABLE mirror.things DELETE WHERE __offset >= 10 SETTINGS mutations_sync = 2");
    }
    lost.assert_mirrored(dir.path());
}

/// Rows caught up with, and how soon single ones are there: `cargo test --release … --ignored measure_ --nocapture`.
#[test]
#[ignore = "measures"]
fn measure_a_mirror() {
    const ROWS: u64 = 200_000;
    let (_services, dir) = begin();
    change(
        "DROP TABLE IF EXISTS measured; CREATE TABLE measured (id bigint PRIMARY KEY, at timestamptz, amount numeric(12,2), name text, day date, flag boolean, n int, other text)",
    );
    let _connector = Connector::start("measured", "public.measured", "format-avro.json");
    change(&format!(
        "INSERT INTO measured SELECT i, clock_timestamp(), i / 100.0, 'name ' || i, date '2024-01-01', true, i, md5(i::text) FROM generate_series(1, {ROWS}) i"
    ));
    // Not the slot's position: without a heartbeat it stays before what others have written to the log since.
    wait_until("Debezium", Duration::from_secs(300), || {
        try_records_in("oltp.public.measured") as u64 >= ROWS
    });
    let mut running = run(dir.path());
    let count =
        || try_clickhouse("SELECT count() FROM mirror.measured").ok().and_then(|n| n.parse::<u64>().ok());
    let (mut first, mut last) = (None, None);
    while last.is_none_or(|(_, rows)| rows < ROWS) {
        if let Some(rows) = count().filter(|rows| *rows > 0) {
            last = Some((Instant::now(), rows));
            first = first.or(last);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let ((began, before), (ended, after)) = first.zip(last).unwrap();
    let took = ended.duration_since(began).as_secs_f64();
    println!(
        "catch-up: {} rows in {took:.2} s, {:.0} rows/s",
        after - before,
        (after - before) as f64 / took
    );
    sql(
        &env("PG_URL"),
        &format!(
            "DO $$ BEGIN FOR i IN 1..300 LOOP INSERT INTO public.measured (id, at) VALUES ({ROWS} + i, clock_timestamp()); COMMIT; PERFORM pg_sleep(0.037); END LOOP; END $$"
        ),
    );
    wait_until("single rows", Duration::from_secs(60), || count() == Some(ROWS + 300));
    // `__mirrored_at` is when the server took the row in; `at`, just before its commit.
    println!(
        "freshness, ms (p50, p95, p99): {}",
        clickhouse(&format!(
            "SELECT quantilesExact(0.5, 0.95, 0.99)(toUnixTimestamp64Milli(__mirrored_at) - toUnixTimestamp64Milli(toDateTime64(at, 3))) FROM mirror.measured WHERE id > {ROWS}"
        ))
    );
    running.signal("TERM");
    running.wait().assert(0, &[]);
}
