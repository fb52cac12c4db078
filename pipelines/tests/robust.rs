//! Company on a data directory and strange input: second pipelines, zombies, bad settings, new settings, garbage.
//!
//! Each has a clear message where there is something to say, and nothing is lost or doubled by it.

mod support;

use connectors::embedded::{Log, NewRecord};
use pipelines::demo::record::Body;
use schemas::debezium::Op;
use schemas::reference::{Customer, Standing};
use schemas::{Command, Fact, Reference};
use sinks::embedded::Reader;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use support::process::{self, Running, tombola};
use support::trial::{self, Scenario};
use support::{Folder, Pace, RULES, books, configure, workload};

const PACE: Pace = Pace { epoch_records_max: 60, epochs_in_flight_max: 3 };

/// Waits until `condition` holds; a panic where it doesn't come true.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(300), "it never came true: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn decided(dir: &Path) -> u64 {
    Reader::open(dir).and_then(|reader| reader.progress()).map_or(0, |progress| progress.decided.0)
}

#[test]
fn a_second_pipeline_is_refused_and_told_who_has_the_directory() {
    let mut scenario = Scenario::new(201, 100);
    let dir = scenario.directory();
    let mut first = Running::start(tombola(dir.path(), &["run"]));
    until("the first pipeline decides", || decided(dir.path()) > 0);
    let pid = format!("runs as process {}", first.pid());
    process::end_of(process::drain(dir.path(), 2))
        .assert(1, &["belongs to the pipeline", &pid, "stop it first"]);
    assert!(first.runs(), "the first one isn't disturbed");
    first.signal("TERM");
    first.wait().assert(0, &[]);
    process::verify(dir.path(), 3);
}

/// Whether nobody is in the middle of a write.
fn is_unlocked(dir: &Path) -> bool {
    let free = |file: &str| {
        let conn = rusqlite::Connection::open(dir.join(file)).expect("the file can be opened");
        conn.busy_timeout(Duration::ZERO).expect("a timeout can be set");
        conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
    };
    free("log.db") && free("tombola.db")
}

/// Stops a process at a moment at which it holds no lock of the files.
fn freeze(running: &mut Running, dir: &Path) {
    until("it can be stopped between two writes", || {
        running.stop();
        let unlocked = is_unlocked(dir);
        if !unlocked {
            running.signal("CONT");
        }
        unlocked
    });
}

/// A pipeline that stands still in the midst of its work.
fn frozen(scenario: &mut Scenario) -> (Folder, Running) {
    for _ in 0..20 {
        let dir = scenario.slow_directory();
        let mut zombie = Running::start(process::drain(dir.path(), scenario.workers()));
        until("the first pipeline decides", || decided(dir.path()) > 2);
        freeze(&mut zombie, dir.path());
        // On a busy machine it may have got through first. Asked only now: one whose end is known can't be stopped any more.
        if zombie.runs() {
            return (dir, zombie);
        }
    }
    panic!("it gets through before it can be stopped, again and again");
}

#[test]
fn a_zombie_of_an_older_generation_is_fenced_off_and_changes_nothing() {
    for seed in [202, 203, 204] {
        let mut scenario = Scenario::new(seed, 700);
        let (dir, mut zombie) = frozen(&mut scenario);
        let frozen_at = decided(dir.path());
        // As on a file system that doesn't honour locks.
        std::fs::remove_file(dir.path().join("pipeline.lock")).expect("it can be removed");
        let mut successor = Running::start(process::drain(dir.path(), scenario.workers()));
        if seed % 2 == 0 {
            // It comes back while its successor is at work.
            until("the successor binds", || decided(dir.path()) > frozen_at + 3 || !successor.runs());
            zombie.signal("CONT");
            successor.wait().assert(0, &[]);
        } else {
            successor.wait().assert(0, &[]);
            zombie.signal("CONT");
        }
        zombie.wait().assert(1, &["is fenced off by generation", "this one stops"]);
        scenario.finish(dir.path());
    }
}

#[test]
fn settings_that_cannot_be_used_are_refused_with_their_line() {
    let dir = Folder::new();
    for (text, wanted) in [
        ("[runtime]\nepoch_ms = \"ten\"\n", ":2: "),
        ("[runtime]\n\nepoch_mss = 10\n", ":3: unknown field `epoch_mss`"),
        ("[orders]\nhold_ttl_ms = 0\n", ":2: orders.hold_ttl_ms must be"),
        ("[orders\n", ":1: "),
    ] {
        std::fs::write(dir.path().join("tombola.toml"), text).expect("it can be written");
        for command in [&["run", "--until-drained"][..], &["verify"], &["produce", "commands.orders"]] {
            let ended = process::end_of(tombola(dir.path(), command));
            ended.assert(2, &[&format!("tombola.toml{wanted}"), "tombola config"]);
        }
    }
    std::fs::write(dir.path().join("tombola.toml"), [0xff, 0xfe]).expect("it can be written");
    process::end_of(process::drain(dir.path(), 1)).assert(2, &["tombola.toml"]);
    std::fs::remove_file(dir.path().join("tombola.toml")).expect("it can be removed");
    process::end_of(process::drain(dir.path(), 1)).assert(2, &["tombola.toml", "--config"]);
    assert!(!dir.path().join("tombola.db").exists(), "nothing was begun");
}

#[test]
fn recovery_replays_under_the_rules_of_each_generation() {
    trial::change_rules_at_every_restart(205, 400, 4);
}

#[test]
#[ignore = "long: run by scripts/test"]
fn recovery_replays_under_the_rules_of_each_of_many_generations() {
    trial::change_rules_at_every_restart(206, 700, 8);
}

#[test]
#[ignore = "long: run by scripts/test"]
fn recovery_replays_under_the_rules_of_each_of_many_other_generations() {
    trial::change_rules_at_every_restart(207, 700, 8);
}

/// Bytes that are no record of their topic.
fn garbage() -> Vec<(&'static str, Option<Vec<u8>>)> {
    let some = |bytes: &[u8]| Some(bytes.to_vec());
    vec![
        ("commands.orders", some(b"not a record at all")),
        ("commands.orders", some(b"")),
        ("commands.orders", None),
        ("commands.orders", some(&[0, 0, 0, 0, 99, 1, 2, 3])),
        ("commands.orders", some(&[0, 0, 0, 0, 1])),
        ("commands.payments", some(&[0xff; 300])),
        ("oltp.public.offers", some(b"{\"op\":")),
        ("oltp.public.offers", some(b"{\"op\":\"u\",\"after\":{\"nothing\":\"of ours\"}}")),
        ("oltp.public.partners", some(&[0x80; 5])),
    ]
}

fn append_garbage(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut appender = Log::appender(dir).expect("the log can be opened");
    let mut wanted = BTreeMap::new();
    for (topic, value) in garbage() {
        let record =
            NewRecord { value: value.clone(), timestamp_ms: workload::START_MS + 500, ..Default::default() };
        let placed = appender.append(topic, &[record]).expect("anything can be appended");
        let (partition, offset) = placed[0];
        wanted.insert(format!("{topic}/{partition}/{offset}"), value.unwrap_or_default());
    }
    wanted
}

/// Dead letters that aren't about commands in their wrong place, by id.
fn undecodable(dir: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let letters = books::facts(dir).into_iter().filter_map(|fact| match fact {
        Fact::DeadLetter(letter) if !letter.reason.starts_with("unknown_order") => Some(letter),
        _ => None,
    });
    letters.map(|letter| (letter.id.to_string(), (letter.reason, letter.payload))).collect()
}

#[test]
fn garbage_becomes_dead_letters_with_its_bytes_and_the_stream_goes_on() {
    let dir = Folder::new();
    configure(dir.path(), PACE, RULES);
    let ids = workload::prepare(dir.path());
    let records = workload::records(210, 200);
    let (before, after) = records.split_at(records.len() / 2);
    workload::append(dir.path(), &ids, before, 0);
    let wanted = append_garbage(dir.path());
    workload::append(dir.path(), &ids, after, 0);
    process::drain_well(dir.path(), 2);
    let letters = undecodable(dir.path());
    for (id, payload) in &wanted {
        let (reason, kept) = letters.get(id).unwrap_or_else(|| panic!("{id} is no dead letter"));
        assert_eq!(kept, payload, "{id} keeps its bytes");
        assert!(!reason.is_empty(), "{id} says what is wrong");
    }
    books::assert_balanced(dir.path());
    assert!(books::assert_each_order_decided_once(dir.path()).len() < 20, "the stream goes on");
    process::verify(dir.path(), 3);
}

/// A payment without an order, which ends as a dead letter.
fn stray_payment() -> workload::Timed {
    let records = workload::records(211, 50).into_iter();
    let is_payment =
        |record: &workload::Timed| matches!(&record.body, Body::Command(Command::PaymentCaptured(_)));
    records.into_iter().find(is_payment).expect("a payment among the records")
}

#[test]
fn a_dead_letter_is_sent_in_again_once_even_if_the_first_try_is_killed() {
    let dir = Folder::new();
    configure(dir.path(), PACE, RULES);
    let ids = workload::prepare(dir.path());
    workload::append(dir.path(), &ids, &[stray_payment()], 0);
    // Something later, so that the payment's grace runs out.
    let later = workload::records(212, 50);
    workload::append(dir.path(), &ids, &later, 10_000);
    process::drain_well(dir.path(), 1);
    let listed = process::end_of(tombola(dir.path(), &["dead-letters", "list", "--json"])).assert(0, &[]);
    let id =
        listed.stdout.lines().find(|line| line.contains("unknown_order")).expect("the payment is listed");
    let id: serde_json::Value = serde_json::from_str(id).expect("JSON lines");
    let id = id["id"].as_str().expect("an id").to_owned();
    let retry = || tombola(dir.path(), &["dead-letters", "retry", &id]);
    let end = || {
        Log::open_read_only(dir.path())
            .and_then(|log| {
                (0..3).map(|partition| log.end("commands.payments", partition)).sum::<Result<u64, _>>()
            })
            .expect("the log can be read")
    };
    let before = end();
    for (kill_at, wanted) in [("log.before_append:1", before), ("log.after_append:1", before + 1)] {
        let mut command = retry();
        command.env("TOMBOLA_KILL_AT", kill_at);
        assert!(process::end_of(command).was_killed(), "{kill_at} is reached");
        assert_eq!(end(), wanted, "{kill_at}");
    }
    let again = process::end_of(retry()).assert(0, &[]);
    assert!(again.stdout.contains("was retried before"), "{again:?}");
    assert_eq!(end(), before + 1, "it is in once");
    process::drain_well(dir.path(), 2);
    process::verify(dir.path(), 3);
}

/// Customers as a first snapshot of their table brings them: all before everything, in one partition.
fn snapshot_reads(count: usize) -> Vec<NewRecord> {
    let ids = schemas::SchemaIds::fresh();
    let read = |number: usize| {
        let customer = Customer {
            tenant: "tenant-0".into(),
            customer_id: format!("registered-{number}").into(),
            status: Standing::Active,
            daily_spend_limit_minor: None,
        };
        let after = Box::new(Reference::Customer(Box::new(customer)));
        let body = Body::Change { op: Op::Read, before: None, after, lsn: number as u64 + 1 };
        NewRecord { partition: Some(0), ..body.encode(&ids, workload::START_MS) }
    };
    (0..count).map(read).collect()
}

#[test]
fn a_table_snapshotted_while_the_pipeline_was_down_holds_nothing_up() {
    let mut scenario = Scenario::new(213, 200);
    for workers in 1..=2 {
        let dir = scenario.slow_directory();
        assert!(scenario.run_to_kill_point(dir.path(), "bindings.after_append", 12), "it is killed");
        let mut appender = Log::appender(dir.path()).expect("the log can be opened");
        // More of one time than are ever read ahead.
        appender.append("oltp.public.customers", &snapshot_reads(6_000)).expect("an append");
        process::drain_well(dir.path(), workers);
        process::verify(dir.path(), 3);
    }
}
