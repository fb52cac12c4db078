//! What the stores promise while nothing fails: the conformance suite, fences, digests.

use super::*;
use crate::conformance::{self, Subject};
use crate::embedded::{BindingsDb, Reader, ServingSink};
use crate::postgres::PostgresPublished;
use runtime::bindings::BindingError;
use runtime::sink::{Sink, SinkError};
use schemas::rows::DeadLetterRow;
use schemas::tables::{ALL_TABLES, ORDERS};

impl Subject for Place {
    type Item = Row;
    type Sink = PostgresServing<Row>;

    fn open(&mut self, generation: Generation) -> Result<PostgresServing<Row>, SinkError> {
        assert_eq!(self.begin(), generation);
        Ok(self.serving(generation))
    }

    fn item(&self, n: u64) -> Row {
        order(&format!("{n:04}"), OrderStatus::Held)
    }

    fn observer(&self) -> Box<dyn FnMut() -> Vec<u64> + Send> {
        let mut reader = self.reader();
        Box::new(move || {
            let found = reader.query("SELECT order_id FROM orders ORDER BY order_id", 10_000, 5_000).unwrap();
            found.rows.iter().map(|row| text(&row[0]).parse().unwrap()).collect()
        })
    }
}

#[test]
#[ignore = "needs services"]
fn service_postgres_serving_keeps_every_promise() {
    conformance::check(Place::migrated);
}

#[test]
#[ignore = "needs services"]
fn service_postgres_bindings_are_read_back_as_they_were_appended() {
    let place = Place::migrated();
    let (mut store, ours) = place.bindings();
    let rows: Vec<Binding> = (1..=5).map(|e| binding(e, ours)).collect();
    store.append(&rows[..2]).unwrap();
    store.append(&rows[2..]).unwrap();
    assert_eq!(store.last().unwrap(), Epoch(5));
    assert_eq!(store.read(Epoch(0), usize::MAX).unwrap(), rows);
    assert_eq!(store.read(Epoch(3), 1).unwrap(), rows[3..4]);
    let mut again = PostgresBindings::open(&place.settings).unwrap();
    let info = again.begin_generation("1.1", "{\"x\":1}", 4, 9).unwrap();
    assert_eq!((info.generation, info.first_after), (Generation(2), Epoch(5)));
    assert_eq!(again.generations().unwrap().len(), 2);
    assert_eq!(again.generations().unwrap()[1], info);
}

#[test]
#[ignore = "needs services"]
fn service_postgres_bindings_come_one_after_the_other_or_not_at_all() {
    let place = Place::migrated();
    let (mut store, ours) = place.bindings();
    let skipping = store.append(&[binding(2, ours)]);
    assert!(matches!(skipping, Err(BindingError::Stop { .. })), "epoch 2 can't be bound before epoch 1");
    drop(store);
    assert_eq!(PostgresBindings::open(&place.settings).unwrap().last().unwrap(), Epoch(0));
}

#[test]
#[ignore = "needs services"]
fn service_postgres_a_zombie_binds_nothing() {
    let place = Place::migrated();
    let (mut zombie, old) = place.bindings();
    zombie.append(&[binding(1, old)]).unwrap();
    let (mut store, new) = place.bindings();
    let refused = zombie.append(&[binding(2, old)]);
    assert!(
        matches!(refused, Err(BindingError::Fenced { ours, theirs }) if (ours, theirs) == (old, new)),
        "{refused:?}"
    );
    store.append(&[binding(2, new)]).unwrap();
    // Its rows are there already, by another generation: still no more than fenced.
    let refused = zombie.append(&[binding(2, old)]);
    assert!(matches!(refused, Err(BindingError::Fenced { .. })), "{refused:?}");
    assert_eq!(store.read(Epoch(0), 9).unwrap(), [binding(1, old), binding(2, new)]);
}

/// A zombie that has checked its fence and not yet committed: the next generation begins after it, with its
/// epoch, or it commits nothing. Both orders are forced with two connections.
#[test]
#[ignore = "needs services"]
fn service_postgres_the_next_generation_waits_for_a_commit_under_way() {
    let place = Place::migrated();
    let (_zombie, old) = place.bindings();
    let half = place.session();
    half.run("test", "BEGIN; SELECT epoch FROM frontiers WHERE name = 'bound' FOR UPDATE").unwrap();
    half.run("test", &format!("INSERT INTO bindings VALUES (1, {}, 1, NULL, '\\x0000')", old.0)).unwrap();
    half.run("test", "UPDATE frontiers SET epoch = 1 WHERE name = 'bound'").unwrap();
    let settings = place.settings.clone();
    let (done, begun) = std::sync::mpsc::channel();
    let beginner = std::thread::spawn(move || {
        let mut store = PostgresBindings::open(&settings).unwrap();
        let info = store.begin_generation("1.0", "{}", 1, 0).unwrap();
        done.send(()).unwrap();
        info
    });
    let early = begun.recv_timeout(std::time::Duration::from_millis(500));
    assert!(early.is_err(), "a generation began in the middle of another's transaction");
    half.run("test", "COMMIT").unwrap();
    let info = beginner.join().unwrap();
    assert_eq!(
        (info.generation, info.first_after),
        (Generation(2), Epoch(1)),
        "it knows the epoch that came in"
    );
}

#[test]
#[ignore = "needs services"]
fn service_postgres_digests_equal_those_of_the_embedded_database() {
    let place = Place::migrated();
    let dir = tempfile::tempdir().unwrap();
    let mut bindings = BindingsDb::open(dir.path()).unwrap();
    let generation = bindings.begin_generation("1.0", "{}", 1, 0).unwrap().generation;
    let mut embedded = ServingSink::open(dir.path(), generation, |row: &Row| Some(row)).unwrap();
    let mut serving = place.serving(place.begin());
    let letter = |id: &str, payload: &[u8]| {
        Row::DeadLetter(Box::new(DeadLetterRow {
            id: id.into(),
            topic: "commands.orders".into(),
            partition: 0,
            offset: 7,
            reason: format!("unknown variant `\0` {id}"),
            payload: payload.to_vec(),
            first_seen_ms: 1,
            attempts: 1,
            status: "open".into(),
        }))
    };
    // Keys whose order depends on the collation, and characters that Postgres can't store as they are.
    let keys = ["a", "B", "é", "a\0", "a\0\0", "a\u{1}", "a\u{2}", "a b", "_", "ä", "\u{2400}", "\u{10FFFF}"];
    let orders: Vec<Row> = keys.iter().map(|key| order(key, OrderStatus::Held)).collect();
    let runs = [
        vec![epoch(1, &orders), epoch(2, &[stock("s", 9), stock("s", 8), letter("x/0/1", &[0, 255])])],
        vec![epoch(3, &[]), epoch(4, &[order("a\0", OrderStatus::Confirmed), letter("x/0/1", &[])])],
    ];
    for run in &runs {
        embedded.commit(run).unwrap();
        serving.commit(run).unwrap();
    }
    let (theirs, mut ours) = (Reader::open(dir.path()).unwrap(), place.reader());
    let digests: Vec<_> = ALL_TABLES.iter().map(|table| theirs.digest(table).unwrap()).collect();
    assert_eq!(ours.digests().unwrap(), digests);
    assert_eq!(ours.digest(&ORDERS).unwrap().rows, keys.len() as u64);
    assert_eq!(ours.epoch_digests(Epoch(0), 9).unwrap(), theirs.epoch_digests(Epoch(0), 9).unwrap());
    assert_eq!(ours.epoch_digest_at(Epoch(3)).unwrap(), theirs.epoch_digest_at(Epoch(3)).unwrap());
    assert_eq!(ours.progress().unwrap(), Reader::progress(&theirs).unwrap());
    assert_eq!(ours.compare(dir.path(), Epoch(4), true).unwrap(), []);
    serving.commit(&[epoch(5, &[stock("s", 7), stock("t", 1)])]).unwrap();
    assert_eq!(ours.compare(dir.path(), Epoch(4), true).unwrap(), [], "what came later is left out");
    let found = ours.compare(dir.path(), Epoch(5), true).unwrap();
    assert_eq!(found.len(), 1, "the first of each table: {found:?}");
    assert!(found[0].committed.as_ref().unwrap().contains("available=7"), "{found:?}");
    embedded.commit(&[epoch(5, &[stock("s", 7), stock("t", 1), order("new", OrderStatus::Held)])]).unwrap();
    let found = ours.compare(dir.path(), Epoch(5), false).unwrap();
    assert_eq!((found[0].key.as_str(), &found[0].committed), ("t/new", &None));
}

#[test]
#[ignore = "needs services"]
fn service_postgres_the_published_frontier_never_goes_back_and_is_fenced() {
    let place = Place::migrated();
    let mut published = PostgresPublished::open(&place.settings, place.begin()).unwrap();
    published.set_published(Epoch(5)).unwrap();
    published.set_published(Epoch(3)).unwrap();
    published.set_published(Epoch(5)).unwrap();
    assert_eq!(published.published().unwrap(), Epoch(5));
    place.terminate("published");
    assert!(matches!(published.set_published(Epoch(6)), Err(SinkError::Retry { .. })));
    published.set_published(Epoch(6)).unwrap();
    place.begin();
    let refused = published.set_published(Epoch(7));
    assert!(matches!(refused, Err(SinkError::Fenced { .. })), "{refused:?}");
    assert_eq!(place.reader().published().unwrap(), Epoch(6));
}

#[test]
#[ignore = "needs services"]
fn service_postgres_plans_are_kept_and_fenced() {
    let place = Place::migrated();
    let mut plans = crate::postgres::PostgresPlans::open(&place.settings, place.begin()).unwrap();
    let empty = plans.state().unwrap();
    assert_eq!((empty.loader_id.len(), empty.positions.len(), &empty.last), (32, 0, &None));
    let batch = |number: u64, to: u64| {
        let range = format!(r#"{{"topic":"facts.orders","partition":1,"from":0,"to":{to},"rows":3}}"#);
        format!(r#"{{"number":{number},"through":9,"attempt":1,"ranges":[{range}]}}"#)
    };
    plans.record(1, &batch(1, 5)).unwrap();
    plans.record_attempt(2).unwrap();
    let last = plans.state().unwrap().last.unwrap();
    let recorded: serde_json::Value = serde_json::from_str(&last.json).unwrap();
    assert_eq!((last.number, last.pending, &recorded["attempt"]), (1, true, &serde_json::json!(2)));
    place.terminate("loader");
    assert!(matches!(plans.done(), Err(SinkError::Retry { .. })));
    plans.done().unwrap();
    plans.record(2, &batch(2, 8)).unwrap();
    plans.done().unwrap();
    let state = plans.state().unwrap();
    assert_eq!(state.positions, [("facts.orders".to_owned(), 1, 8)]);
    assert_eq!((state.loader_id, state.last.unwrap().pending), (empty.loader_id, false));
    place.begin();
    let refused = plans.record(3, &batch(3, 9));
    assert!(matches!(refused, Err(SinkError::Fenced { .. })), "{refused:?}");
}

#[test]
#[ignore = "needs services"]
fn service_postgres_the_mirrors_document_is_replaced_whole_and_fenced() {
    use crate::clickhouse::mirror::MirrorStore as _;
    let place = Place::migrated();
    let mut older = crate::postgres::PostgresMirror::open(&place.settings, place.begin()).unwrap();
    assert_eq!(older.read().unwrap(), None);
    older.write("{}").unwrap();
    place.terminate("mirror");
    assert!(matches!(older.write("{\"a\":1}"), Err(SinkError::Retry { .. })));
    older.write("{\"a\":1}").unwrap();
    older.check().unwrap();
    let mut newer = crate::postgres::PostgresMirror::open(&place.settings, place.begin()).unwrap();
    let refused = older.write("{}");
    assert!(matches!(refused, Err(SinkError::Fenced { .. })), "{refused:?}");
    assert!(matches!(older.check(), Err(SinkError::Fenced { .. })), "it must not change a table, either");
    newer.check().unwrap();
    assert_eq!(newer.read().unwrap().as_deref(), Some("{\"a\":1}"));
    newer.write("{\"a\":2}").unwrap();
    assert_eq!(older.read().unwrap().as_deref(), Some("{\"a\":2}"));
}
