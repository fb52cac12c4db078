//! What couldn't be read when it was bound stays a dead letter in every replay, whatever the registry has learnt since; what was
//! read is never lost in silence; and a registry that is away makes no dead letters.

mod support;

use connectors::embedded::{Log, NewRecord, Registry};
use connectors::kafka::{KafkaAppender, KafkaSettings};
use pipelines::demo::record::Body;
use schemas::commands::PlaceOrder;
use schemas::{Command, Fact, Record, SchemaIds};
use std::path::Path;
use std::time::Duration;
use support::process::{self, Running, tombola};
use support::services::{Services, counted_in_words, env, records_in, register, sql, wait_until};
use support::{Folder, Pace, RULES, books, configure, load, told, workload};

const PACE: Pace = Pace { epoch_records_max: 60, epochs_in_flight_max: 3 };
/// None but the one at the end of a run.
const NO_SNAPSHOT: &str = "snapshot_every_ms = 3600000";
const ORDERS: &str = "commands.orders";
/// The start of a pipeline on a busy machine included.
const PATIENCE: Duration = Duration::from_secs(240);

/// An order that nobody else places, as a record under some schema id.
fn order(name: &str, under: u32, at_ms: i64) -> NewRecord {
    let order = PlaceOrder {
        command_id: format!("place-{name}").into(),
        tenant: "tenant-0".into(),
        order_id: name.into(),
        customer_id: "customer-1".into(),
        partner_id: None,
        offer_id: "offer-5".into(),
        quantity: 1,
        price_minor: 1,
        currency: "EUR".into(),
        placed_at_ms: at_ms,
        card: None,
        device: None,
        ip: None,
        numbers: Vec::new(),
        seat: None,
    };
    let command = Command::PlaceOrder(Box::new(order));
    let mut value = Vec::new();
    schemas::encode_command(&command, |_| under, &mut value);
    let partition = Some(0);
    NewRecord { value: Some(value), partition, ..Body::Command(command).encode(&SchemaIds::fresh(), at_ms) }
}

/// The contract of an order as somebody else may have written it down.
fn written_otherwise() -> String {
    let theirs = Record::PlaceOrder.avsc().replacen("\"doc\"", "\"remark\"", 1);
    assert_ne!(theirs, Record::PlaceOrder.avsc());
    theirs
}

/// A directory with a workload in it.
fn directory() -> (Folder, SchemaIds, i64) {
    let dir = Folder::new();
    configure(dir.path(), PACE, RULES);
    let file = dir.path().join("tombola.toml");
    let settings = std::fs::read_to_string(&file).expect("it has just been written");
    std::fs::write(&file, settings.replace("snapshot_every_ms = 100", NO_SNAPSHOT))
        .expect("it can be written");
    let ids = workload::prepare(dir.path());
    let records = workload::records(301, 80);
    workload::append(dir.path(), &ids, &records, 0);
    let end_ms = records.last().expect("there are records").at_ms;
    (dir, ids, end_ms)
}

/// Lets the next run replay from the beginning: the last one took a snapshot at its end.
fn forget_snapshots(dir: &Path) {
    std::fs::remove_dir_all(dir.join("snapshots")).expect("it has some");
}

fn append(dir: &Path, records: &[NewRecord]) {
    Log::appender(dir).and_then(|mut log| log.append(ORDERS, records)).expect("anything can be appended");
}

/// Dead letters whose reason says this, by id.
fn letters(dir: &Path, reason: &str) -> Vec<String> {
    let facts = books::facts(dir).into_iter();
    let letters = facts.filter_map(|fact| match fact {
        Fact::DeadLetter(letter) if letter.reason.contains(reason) => Some(letter.id.to_string()),
        _ => None,
    });
    letters.collect()
}

/// How often something was decided of an order.
fn told_of(dir: &Path, name: &str) -> usize {
    let is_its = |fact: &Fact| matches!(fact, Fact::Order(fact) if fact.order_id == name);
    books::facts(dir).iter().filter(|fact| is_its(fact)).count()
}

#[test]
fn an_id_that_is_registered_later_changes_no_replay_and_a_retry_is_read() {
    let (dir, _, end_ms) = directory();
    let dir = dir.path();
    let registry = || Registry::open(dir).expect("the registry can be opened");
    let unreadable = registry().register("elsewhere", "\"string\"").expect("any schema can be registered");
    let unknown = unreadable + 1;
    let strange = [order("unreadable", unreadable, end_ms + 1), order("unknown", unknown, end_ms + 2)];
    append(dir, &strange);
    process::drain_well(dir, 2);
    assert_eq!(letters(dir, "the schema is no record").len(), 1);
    let late = letters(dir, &format!("schema id {unknown} is not registered here"));
    assert_eq!(late.len(), 1);
    // The one id is registered at last; the other's schema is one that a newer version can read.
    assert_eq!(registry().register("theirs", &written_otherwise()).expect("it can be registered"), unknown);
    let log = rusqlite::Connection::open(dir.join("log.db")).expect("the log can be opened");
    let changed = log.execute(
        "UPDATE schemas SET schema = ?1 WHERE id = ?2",
        rusqlite::params![Record::PlaceOrder.avsc(), unreadable],
    );
    assert_eq!(changed.expect("it can be written"), 1);
    process::verify(dir, 3);
    let retried = process::end_of(tombola(dir, &["dead-letters", "retry", &late[0]])).assert(0, &[]);
    assert!(retried.stdout.contains("appended again"), "{retried:?}");
    // All of it is replayed first: had it been an order there, this one would be its duplicate.
    forget_snapshots(dir);
    process::drain_well(dir, 3);
    assert_eq!((told_of(dir, "unknown"), told_of(dir, "unreadable")), (1, 0));
    process::verify(dir, 1);
}

#[test]
fn a_record_that_was_read_when_it_was_bound_is_no_dead_letter_in_a_replay() {
    let (dir, _, end_ms) = directory();
    let dir = dir.path();
    let mut registry = Registry::open(dir).expect("the registry can be opened");
    let theirs = registry.register("theirs", &written_otherwise()).expect("any schema can be registered");
    append(dir, &[order("read", theirs, end_ms + 1)]);
    process::drain_well(dir, 2);
    assert_eq!(told_of(dir, "read"), 1);
    let log = rusqlite::Connection::open(dir.join("log.db")).expect("the log can be opened");
    log.execute("DELETE FROM schemas WHERE id = ?1", [theirs]).expect("it can be written");
    let lost = format!("can't be read now: schema id {theirs} is not registered here");
    let said = ["topic commands.orders, partition 0", "was read when it was bound", &lost];
    forget_snapshots(dir);
    process::end_of(process::drain(dir, 3)).assert(1, &said);
    process::end_of(tombola(dir, &["verify"])).assert(1, &said);
    assert_eq!(registry.register("theirs", &written_otherwise()).expect("it can be registered"), theirs);
    process::drain_well(dir, 1);
    process::verify(dir, 3);
}

/// A schema that nobody has registered yet.
fn fresh(name: &str, avsc: &str) -> String {
    avsc.replacen("\"remark\":", &format!("\"{name}-{}\": 1, \"remark\":", pipelines::clock_ms()), 1)
}

fn produce(records: &[NewRecord]) {
    let settings = KafkaSettings::new(env("KAFKA_BOOTSTRAP"));
    let mut appender = KafkaAppender::open(&settings).expect("Kafka answers");
    appender.append(ORDERS, records).expect("Kafka takes it");
}

/// Rows of a table of the serving store.
fn rows(question: &str) -> i64 {
    sql(&env("PG_URL"), &format!("SELECT count(*) FROM tombola.{question}")).parse().expect("a number")
}

fn rows_of(name: &str) -> i64 {
    rows(&format!("orders WHERE order_id = '{name}'"))
}

#[test]
#[ignore = "needs services"]
fn service_an_id_that_is_registered_later_changes_no_replay_and_a_retry_is_read() {
    let (services, dir) = (Services::empty(), Folder::new());
    let dir = dir.path();
    services.configure(dir, &format!("[runtime]\n{NO_SNAPSHOT}\n[orders]\ngrace_ms = 500\n"));
    let ids = load::schema_ids(dir);
    load::produce(&ids, 91, 200, 2_000);
    // Ids are given one after the other.
    let theirs = fresh("later", &written_otherwise());
    let unknown = register(&env("REGISTRY_URL"), "before", &fresh("before", &written_otherwise())) + 1;
    produce(&[order("unknown", unknown, pipelines::clock_ms())]);
    process::drain_well(dir, 2);
    let late = format!("dead_letters WHERE reason LIKE 'schema id {unknown} is not registered here%'");
    assert_eq!(rows(&late), 1);
    assert_eq!(register(&env("REGISTRY_URL"), "theirs", &theirs), unknown);
    process::verify(dir, 3);
    let id = sql(&env("PG_URL"), &format!("SELECT id FROM tombola.{late}"));
    process::end_of(tombola(dir, &["dead-letters", "retry", &id])).assert(0, &[]);
    forget_snapshots(dir);
    // It waits for its offer's row, in vain.
    let running = Running::start(tombola(dir, &["run"]));
    wait_until("the retry is decided", PATIENCE, || rows_of("unknown") == 1);
    drop(running);
    assert_eq!(rows(&late), 1, "it stays what it was");
    process::drain_well(dir, 3);
    process::verify(dir, 1);
}

#[test]
#[ignore = "needs services"]
fn service_a_new_id_waits_for_a_registry_that_is_away_and_nothing_becomes_a_dead_letter() {
    let (services, dir) = (Services::empty(), Folder::new());
    let dir = dir.path();
    services.configure(dir, &format!("[runtime]\n{NO_SNAPSHOT}\n[orders]\ngrace_ms = 500\n"));
    let ids = load::schema_ids(dir);
    let known = ids.of(Record::PlaceOrder);
    let new = register(&env("REGISTRY_URL"), "theirs", &fresh("away", &written_otherwise()));
    let mut running = Running::start(tombola(dir, &["run"]));
    produce(&[order("before", known, pipelines::clock_ms())]);
    wait_until("an order is decided", PATIENCE, || rows_of("before") == 1);
    services.kill("registry");
    // What follows in its partition waits, too.
    let now = pipelines::clock_ms();
    produce(&[order("new", new, now), order("after", known, now)]);
    std::thread::sleep(Duration::from_secs(8));
    assert!(running.runs(), "it waits");
    assert_eq!((rows_of("new"), rows_of("after"), rows("dead_letters")), (0, 0, 0));
    services.start("registry");
    wait_until("both are decided", PATIENCE, || rows_of("new") + rows_of("after") == 2);
    assert_eq!(rows("dead_letters"), 0);
    running.terminate();
    running.wait().assert(0, &[]);
    process::verify(dir, 2);
}

fn hex(bytes: Option<&Vec<u8>>) -> String {
    bytes.into_iter().flatten().map(|byte| format!("{byte:02x}")).collect()
}

/// Dead letters as a consumer that isn't ours reads them: where from, the bytes, the key.
fn letters_in_kafka() -> Vec<(String, String, String)> {
    let letters = told::read(&["dead-letters"]);
    let told_of = |letter: &serde_json::Value| {
        let letter = &letter["record"];
        let text = |name: &str| letter[name].as_str().expect("a text").to_owned();
        let place = format!("{}/{}/{}", text("topic"), letter["partition"], letter["offset"]);
        assert_eq!(text("id"), place);
        assert!(text("reason").contains("can't be read as"), "{letter}");
        (place, text("payload"), text("key"))
    };
    letters.iter().map(told_of).collect()
}

/// Sends a dead letter in again and is killed, each time a little later, until it gets through.
fn retry_killed_ever_later(dir: &Path, id: &str) {
    let mut pause = Duration::from_millis(60);
    for kills in 0.. {
        let mut retry = Running::start(tombola(dir, &["dead-letters", "retry", id]));
        std::thread::sleep(pause);
        retry.kill();
        let ended = retry.wait();
        if !ended.was_killed() {
            assert!(kills > 2, "{kills} kills");
            eprintln!("killed {kills} times, then: {}", ended.assert(0, &[]).stdout);
            return;
        }
        pause = pause.mul_f32(1.2);
    }
}

#[test]
#[ignore = "needs services"]
fn service_a_record_whose_schema_does_not_fit_is_a_dead_letter_with_its_bytes_that_enters_again_once() {
    let (services, dir) = (Services::empty(), Folder::new());
    let dir = dir.path();
    services.configure(dir, &format!("[runtime]\n{NO_SNAPSHOT}\n[orders]\ngrace_ms = 500\n"));
    let known = load::schema_ids(dir).of(Record::PlaceOrder);
    let theirs = register(
        &env("REGISTRY_URL"),
        "incompatible",
        &fresh("incompatible", &counted_in_words(&written_otherwise())),
    );
    let now = pipelines::clock_ms();
    let strange = order("strange", theirs, now);
    let [value, key] = [&strange.value, &strange.key].map(|bytes| hex(bytes.as_ref()));
    produce(&[strange, order("after", known, now)]);
    let running = Running::start(tombola(dir, &["run"]));
    wait_until("the next record is decided", PATIENCE, || rows_of("after") == 1);
    drop(running);
    let first = (format!("{ORDERS}/0/0"), value.clone(), key.clone());
    assert_eq!(letters_in_kafka(), std::slice::from_ref(&first));
    retry_killed_ever_later(dir, &first.0);
    let again = process::end_of(tombola(dir, &["dead-letters", "retry", &first.0])).assert(0, &[]);
    assert!(again.stdout.contains("was retried before; nothing done"), "{again:?}");
    process::drain_well(dir, 2);
    assert_eq!(records_in(ORDERS), 3, "it came in again once");
    // No better for that, as nobody has mended it.
    let mut all = letters_in_kafka();
    all.sort();
    assert_eq!((all.len(), &all[0]), (2, &first), "{all:?}");
    assert_eq!((&all[1].1, &all[1].2), (&value, &key), "{all:?}");
    assert_eq!((rows("dead_letters"), rows_of("strange")), (2, 0));
    process::verify(dir, 3);
}

#[test]
#[ignore = "needs services"]
fn service_facts_whose_topics_got_partitions_are_verified_as_before() {
    let (services, dir) = (Services::empty(), Folder::new());
    let dir = dir.path();
    services.configure(dir, "[orders]\ngrace_ms = 500\n");
    let ids = load::schema_ids(dir);
    load::produce(&ids, 92, 200, 2_000);
    process::drain_well(dir, 2);
    let file = dir.join("tombola.toml");
    let settings = std::fs::read_to_string(&file).expect("it has been written");
    std::fs::write(&file, settings.replace("[kafka]\n", "[kafka]\nfacts_partitions = 7\n"))
        .expect("it can be written");
    let applied = process::end_of(tombola(dir, &["topics", "apply"])).assert(0, &[]);
    assert!(applied.stdout.contains("grow    facts.orders: 4 -> 7 partitions"), "{applied:?}");
    load::produce(&ids, 93, 200, 2_000);
    process::drain_well(dir, 3);
    process::verify(dir, 1);
}
