//! The embedded sinks against the conformance suite, and against full disks, zombies and lingering readers.

use super::{BindingsDb, FactsSink, PipelineLock, Reader, ServingSink};
use crate::conformance::{self, Subject, binding};
use runtime::bindings::{Binding, BindingError, BindingStore};
use runtime::log::{EpochLog, OutRecord, OutRecords};
use runtime::sink::{EpochItems, Item, Sink, SinkError};
use runtime::{At, Class, Epoch, Generation, Offset, PartitionId, Position, TopicId};
use schemas::rows::{OrderRow, OrderStatus, Row, StockRow};
use schemas::tables::{ORDERS, STOCK};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

fn order(id: &str, status: OrderStatus) -> Row {
    Row::Order(Box::new(OrderRow {
        tenant: "t".into(),
        order_id: id.into(),
        command_id: id.into(),
        offer_id: "o".into(),
        partner_id: None,
        customer_id: "c".into(),
        quantity: 1,
        amount_minor: 100,
        currency: "EUR".into(),
        status,
        reasons: "".into(),
        placed_at_ms: 1,
    }))
}

fn stock(id: &str, available: i64) -> Row {
    let (tenant, offer_id) = ("t".into(), id.into());
    let row = StockRow { tenant, offer_id, stock_total: 9, available, held: 0, sold: 0, shrink_due: 0 };
    Row::Stock(Box::new(row))
}

fn begin(dir: &Path) -> Generation {
    let mut bindings = BindingsDb::open(dir).unwrap();
    bindings.begin_generation("1.0", "{}", 1, 0).unwrap().generation
}

fn serving(dir: &Path, generation: Generation) -> ServingSink<Row> {
    ServingSink::open(dir, generation, |row| Some(row)).unwrap()
}

fn epoch(number: u64, rows: &[Row]) -> EpochItems<Row> {
    let place = PartitionId { topic: TopicId(0), partition: 0 };
    let at = At::record(Position::record(1, Class::Command, place, Offset(0)));
    let items = rows.iter().map(|row| Item { at, stage: 0, body: row.clone() }).collect();
    EpochItems { epoch: Epoch(number), now: number as i64 * 10, items }
}

struct Serving {
    dir: TempDir,
}

impl Subject for Serving {
    type Item = Row;
    type Sink = ServingSink<Row>;

    fn open(&mut self, generation: Generation) -> Result<ServingSink<Row>, SinkError> {
        assert_eq!(begin(self.dir.path()), generation);
        Ok(serving(self.dir.path(), generation))
    }

    fn item(&self, n: u64) -> Row {
        order(&format!("{n:04}"), OrderStatus::Held)
    }

    fn observer(&self) -> Box<dyn FnMut() -> Vec<u64> + Send> {
        let mut reader = Reader::open(self.dir.path()).unwrap();
        Box::new(move || {
            let found = reader.query("SELECT order_id FROM orders ORDER BY order_id", 10_000, 5_000).unwrap();
            found.rows.iter().map(|row| text(&row[0]).parse().unwrap()).collect()
        })
    }
}

fn text(value: &schemas::Value) -> &str {
    match value {
        schemas::Value::Text(text) => text,
        other => panic!("not text: {other:?}"),
    }
}

#[test]
fn the_serving_sink_keeps_every_promise() {
    conformance::check(|| Serving { dir: tempfile::tempdir().unwrap() });
}

/// What an [`EpochLog`] promises, in memory.
#[derive(Default)]
struct LogState {
    generation: u64,
    through: u64,
    records: Vec<OutRecord>,
}

struct MemoryLog {
    state: Arc<Mutex<LogState>>,
    generation: Generation,
}

impl EpochLog for MemoryLog {
    fn committed(&mut self) -> Result<Epoch, SinkError> {
        Ok(Epoch(self.state.lock().unwrap().through))
    }

    fn fence(&mut self, generation: Generation) -> Result<(), SinkError> {
        self.generation = generation;
        self.state.lock().unwrap().generation = generation.0;
        Ok(())
    }

    fn append(&mut self, records: &[OutRecord], through: Epoch, _now: i64) -> Result<(), SinkError> {
        let mut state = self.state.lock().unwrap();
        let theirs = Generation(state.generation);
        if theirs != self.generation {
            return Err(SinkError::Fenced { sink: "facts", ours: self.generation, theirs });
        }
        let (first, done) = (records.first().map_or(through, |r| r.epoch), Epoch(state.through));
        if first <= done {
            let (problem, remedy) = ("appended twice".to_owned(), "none".to_owned());
            return Err(SinkError::Stop { sink: "facts", problem, remedy });
        }
        state.through = through.0;
        state.records.extend_from_slice(records);
        Ok(())
    }
}

type Encode = fn(&u64, Epoch, &mut OutRecords);

struct Facts(Arc<Mutex<LogState>>);

impl Subject for Facts {
    type Item = u64;
    type Sink = FactsSink<Encode>;

    fn open(&mut self, generation: Generation) -> Result<FactsSink<Encode>, SinkError> {
        let log = MemoryLog { state: self.0.clone(), generation };
        let encode: Encode = |n, epoch, out| out.add("facts.orders", 0, epoch).value.extend(n.to_le_bytes());
        FactsSink::new(Box::new(log), generation, encode)
    }

    fn item(&self, n: u64) -> u64 {
        n
    }

    fn observer(&self) -> Box<dyn FnMut() -> Vec<u64> + Send> {
        let state = self.0.clone();
        Box::new(move || {
            let records = &state.lock().unwrap().records;
            records.iter().map(|r| u64::from_le_bytes(r.value[..].try_into().unwrap())).collect()
        })
    }
}

#[test]
fn the_facts_sink_keeps_every_promise() {
    conformance::check(|| Facts(Arc::default()));
}

#[test]
fn the_last_row_of_a_key_wins_and_tables_keep_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = serving(dir.path(), begin(dir.path()));
    let rows = [order("a", OrderStatus::Held), stock("a", 8), order("a", OrderStatus::Confirmed)];
    sink.commit(&[epoch(1, &rows), epoch(2, &[stock("a", 7)])]).unwrap();
    sink.commit(&[epoch(3, &[order("b", OrderStatus::Refused), stock("a", 6)])]).unwrap();
    let mut reader = Reader::open(dir.path()).unwrap();
    let mut seen = |sql| -> Vec<String> {
        reader.query(sql, 10, 10_000).unwrap().rows.iter().map(|row| format!("{row:?}")).collect()
    };
    let orders = seen("SELECT order_id || ' ' || status || ' ' || epoch FROM orders ORDER BY 1");
    assert_eq!(orders, ["[Text(\"a confirmed 1\")]", "[Text(\"b refused 3\")]"]);
    assert_eq!(seen("SELECT available || ' ' || epoch FROM stock"), ["[Text(\"6 3\")]"]);
    let progress = reader.progress().unwrap();
    assert_eq!((progress.decided, progress.decided_now), (Epoch(3), 30));
}

#[test]
fn digests_depend_on_what_was_said_and_not_on_how_it_was_cut() {
    let told = |n: u64| match n {
        3 => epoch(3, &[]),
        _ => epoch(n, &[order(&n.to_string(), OrderStatus::Held), stock("s", n as i64)]),
    };
    let digests = |cuts: &[&[u64]]| {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = serving(dir.path(), begin(dir.path()));
        for cut in cuts {
            sink.commit(&cut.iter().map(|n| told(*n)).collect::<Vec<_>>()).unwrap();
        }
        let reader = Reader::open(dir.path()).unwrap();
        let tables = [reader.digest(&ORDERS).unwrap(), reader.digest(&STOCK).unwrap()];
        (reader.epoch_digests(Epoch(0), 10).unwrap(), tables)
    };
    let (epochs, tables) = digests(&[&[1], &[2, 3], &[4]]);
    assert_eq!((epochs.clone(), tables.clone()), digests(&[&[1, 2, 3, 4]]));
    assert_eq!(epochs.iter().map(|(e, _)| e.0).collect::<Vec<_>>(), [1, 2, 4], "an empty epoch has none");
    assert_eq!((tables[0].rows, tables[1].rows), (3, 1));
}

#[test]
fn bindings_are_read_back_as_they_were_appended() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = BindingsDb::open(dir.path()).unwrap();
    let ours = store.begin_generation("1.0", "{}", 2, 5).unwrap().generation;
    let rows: Vec<Binding> = (1..=5).map(|e| binding(e, ours)).collect();
    store.append(&rows[..2]).unwrap();
    store.append(&rows[2..]).unwrap();
    assert_eq!(store.last().unwrap(), Epoch(5));
    assert_eq!(store.read(Epoch(0), 100).unwrap(), rows);
    assert_eq!(store.read(Epoch(3), 1).unwrap(), rows[3..4]);
    let mut again = BindingsDb::open(dir.path()).unwrap();
    let info = again.begin_generation("1.1", "{\"x\":1}", 4, 9).unwrap();
    assert_eq!((info.generation, info.first_after), (Generation(2), Epoch(5)));
    assert_eq!(again.generations().unwrap().len(), 2);
    assert_eq!(again.generations().unwrap()[1], info);
}

#[test]
fn a_zombie_binds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut zombie = BindingsDb::open(dir.path()).unwrap();
    let old = zombie.begin_generation("1.0", "{}", 1, 0).unwrap().generation;
    zombie.append(&[binding(1, old)]).unwrap();
    let mut store = BindingsDb::open(dir.path()).unwrap();
    let new = store.begin_generation("1.0", "{}", 1, 0).unwrap().generation;
    let refused = zombie.append(&[binding(2, old)]);
    assert!(matches!(refused, Err(BindingError::Fenced { .. })), "{refused:?}");
    assert_eq!(store.last().unwrap(), Epoch(1));
    store.append(&[binding(2, new)]).unwrap();
}

#[test]
fn a_second_pipeline_is_told_who_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let held = PipelineLock::take(dir.path()).unwrap();
    let refused = PipelineLock::take(dir.path()).unwrap_err().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    assert_eq!(PipelineLock::holder(dir.path()), Some(std::process::id().to_string()));
    drop(held);
    assert_eq!(PipelineLock::holder(dir.path()), None);
    PipelineLock::take(dir.path()).unwrap();
}

impl ServingSink<Row> {
    /// Lets the file grow by this much and no further: what a full disk looks like to SQLite.
    fn leave_room(&self, pages: i64) {
        let conn = self.connection();
        let now: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let set = format!("PRAGMA max_page_count = {}", now + pages);
        conn.query_row(&set, [], |_| Ok(())).unwrap();
    }
}

#[test]
fn a_full_disk_stops_the_run_with_a_remedy_and_leaves_no_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = serving(dir.path(), begin(dir.path()));
    sink.commit(&[epoch(1, &[order("first", OrderStatus::Held)])]).unwrap();
    sink.leave_room(3);
    let many: Vec<Row> = (0..2_000).map(|n| order(&format!("o{n}"), OrderStatus::Held)).collect();
    let refused = sink.commit(&[epoch(2, &many[..5]), epoch(3, &many)]).unwrap_err();
    let SinkError::Stop { problem, remedy, .. } = &refused else { panic!("{refused:?}") };
    assert!(problem.contains("tombola.db") && problem.contains("full"), "{problem}");
    assert!(remedy.contains("free space, then start again; nothing is lost"), "{remedy}");
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.digest(&ORDERS).unwrap().rows, 1);
    assert_eq!(reader.progress().unwrap().decided, Epoch(1));
    sink.leave_room(1_000_000);
    sink.commit(&[epoch(2, &many[..5]), epoch(3, &many)]).unwrap();
    assert_eq!(reader.digest(&ORDERS).unwrap().rows, 2_001);
    assert_eq!(reader.progress().unwrap().decided, Epoch(3));
}

#[test]
fn a_reader_held_open_does_not_stop_commits_and_sees_its_own_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = serving(dir.path(), begin(dir.path()));
    sink.commit(&[epoch(1, &[stock("s", 1)])]).unwrap();
    let held = rusqlite::Connection::open(dir.path().join("tombola.db")).unwrap();
    held.execute_batch("BEGIN").unwrap();
    let seen = || held.query_row("SELECT available FROM stock", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(seen(), 1);
    let start = std::time::Instant::now();
    for n in 2..=200 {
        sink.commit(&[epoch(n, &[stock("s", n as i64)])]).unwrap();
    }
    assert!(start.elapsed().as_secs() < 300, "commits waited for a reader: {:?}", start.elapsed());
    assert_eq!(seen(), 1, "a reader keeps the state it began with");
    held.execute_batch("COMMIT").unwrap();
    assert_eq!(seen(), 200);
}

#[test]
fn a_transaction_half_done_is_seen_by_nobody_and_gone_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = serving(dir.path(), begin(dir.path()));
    sink.commit(&[epoch(1, &[stock("s", 1)])]).unwrap();
    let half = rusqlite::Connection::open(dir.path().join("tombola.db")).unwrap();
    half.execute_batch("BEGIN IMMEDIATE; UPDATE stock SET available = 99").unwrap();
    let mut reader = Reader::open(dir.path()).unwrap();
    let available =
        |reader: &mut Reader| reader.query("SELECT available FROM stock", 1, 10_000).unwrap().rows;
    assert_eq!(available(&mut reader), [[schemas::Value::Int(1)]]);
    drop(half);
    sink.commit(&[epoch(2, &[stock("t", 2)])]).unwrap();
    assert_eq!(available(&mut reader), [[schemas::Value::Int(1)]]);
}

#[test]
fn a_query_may_only_read_and_only_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = serving(dir.path(), begin(dir.path()));
    sink.commit(&[epoch(1, &[order("a", OrderStatus::Held), order("b", OrderStatus::Held)])]).unwrap();
    let mut reader = Reader::open(dir.path()).unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    for (sql, expected) in [
        ("DELETE FROM orders", "refused"),
        ("UPDATE frontiers SET epoch = 9 RETURNING epoch", "refused"),
        ("DROP TABLE orders", "refused"),
        ("PRAGMA user_version = 7", "refused"),
        ("SELECT 1; DELETE FROM orders", "refused"),
        ("SELEKT 1", "syntax error"),
        ("SELECT nope FROM orders", "no such column"),
        ("", "refused"),
        (endless, "took longer than 2000 ms"),
    ] {
        let refused = reader.query(sql, 10, 2_000).unwrap_err().to_string();
        assert!(refused.contains(expected), "{sql}: {refused}");
    }
    let found = reader.query("SELECT order_id, 1.5, NULL FROM orders ORDER BY 1", 1, 10_000).unwrap();
    assert_eq!((found.columns.len(), found.rows.len(), found.more), (3, 1, true));
    assert_eq!(reader.digest(&ORDERS).unwrap().rows, 2);
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(BindingsDb::open(dir.path()).unwrap());
    let conn = rusqlite::Connection::open(dir.path().join("tombola.db")).unwrap();
    conn.pragma_update(None, "user_version", 1_000_000).unwrap();
    for refused in [
        BindingsDb::open(dir.path()).map(|_| ()).unwrap_err().to_string(),
        Reader::open(dir.path()).map(|_| ()).unwrap_err().to_string(),
    ] {
        assert!(refused.contains("written by a newer version"), "{refused}");
    }
}

#[test]
fn a_binding_that_is_missing_or_damaged_is_named() {
    for (damage, expected) in [
        ("DELETE FROM bindings WHERE epoch = 2", "the binding of epoch 2 is missing"),
        ("UPDATE bindings SET places = x'ff' WHERE epoch = 2", "the binding of epoch 2 can't be decoded"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = BindingsDb::open(dir.path()).unwrap();
        let ours = store.begin_generation("1.0", "{}", 1, 0).unwrap().generation;
        store.append(&(1..=3).map(|e| binding(e, ours)).collect::<Vec<_>>()).unwrap();
        rusqlite::Connection::open(dir.path().join("tombola.db")).unwrap().execute_batch(damage).unwrap();
        let refused = store.read(Epoch(0), 10).unwrap_err().to_string();
        assert!(refused.contains(expected) && refused.contains("restore"), "{refused}");
    }
}

#[test]
fn a_row_of_every_epoch_bound_reads_as_one_history_however_it_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = BindingsDb::open(dir.path()).unwrap();
    let ours = store.begin_generation("1.0", "{}", 1, 0).unwrap().generation;
    let skipped =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.append(&[binding(2, ours)])));
    assert!(skipped.is_err(), "epoch 2 can't be bound before epoch 1");
    drop(store);
    assert_eq!(BindingsDb::open(dir.path()).unwrap().last().unwrap(), Epoch(0));
}

#[test]
fn a_database_of_an_older_version_gets_the_tables_and_columns_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = serving(dir.path(), begin(dir.path()));
    sink.commit(&[epoch(1, &[order("a", OrderStatus::Held)])]).unwrap();
    drop(sink);
    let conn = rusqlite::Connection::open(dir.path().join("tombola.db")).unwrap();
    let older = "DROP TABLE stock; ALTER TABLE orders DROP COLUMN partner_id;
                 ALTER TABLE orders DROP COLUMN quantity; PRAGMA user_version = 100001";
    conn.execute_batch(older).unwrap();
    drop(conn);
    let mut reader = Reader::open(dir.path()).unwrap();
    let sql = "SELECT order_id, quantity, partner_id FROM orders";
    let found = reader.query(sql, 10, 10_000).unwrap().rows;
    let text = |text: &str| schemas::Value::Text(text.into());
    assert_eq!(found, [[text("a"), schemas::Value::Int(0), schemas::Value::Null]]);
    assert_eq!(reader.digest(&STOCK).unwrap().rows, 0);
    let mut sink = serving(dir.path(), begin(dir.path()));
    sink.commit(&[epoch(2, &[order("b", OrderStatus::Held), stock("s", 1)])]).unwrap();
    assert_eq!(reader.digest(&ORDERS).unwrap().rows, 2);
}
