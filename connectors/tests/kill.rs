//! Kills writers of the log at every durable step, starts them again, and wants every fact once and every record whole.

#![allow(clippy::unwrap_used)] // a test helper is a test too

use connectors::embedded::{Log, LogEpochs, NewRecord, StoredRecord};
use runtime::log::{EpochLog, OutRecord};
use runtime::{Epoch, Generation};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

const EPOCHS: u64 = 6;
const DIR: &str = "TOMBOLA_TEST_DIR";

fn facts(epoch: u64) -> Vec<OutRecord> {
    let fact = |topic, n: u64| OutRecord {
        topic,
        key: vec![n as u8],
        value: format!("{epoch}/{n}").into_bytes(),
        timestamp: n as i64,
        epoch: Epoch(epoch),
        trace: None,
    };
    vec![fact("facts.orders", 1), fact("facts.stock", 2), fact("facts.orders", 3)]
}

/// What the pipeline does after a start: fences the log, and appends what isn't there yet.
fn append_facts(dir: &Path) {
    let mut log = LogEpochs::open(dir, "sales").unwrap();
    let generation = log.committed().unwrap().0 + 1;
    log.fence(Generation(generation)).unwrap();
    for epoch in log.committed().unwrap().0 + 1..=EPOCHS {
        log.append(&facts(epoch), Epoch(epoch), 0).unwrap();
    }
}

fn append_records(dir: &Path) {
    let mut appender = Log::appender(dir).unwrap();
    for n in 0..10_u8 {
        let record = |m: u8| NewRecord { value: Some(vec![n, m]), ..NewRecord::default() };
        appender.append_many(&[("a", &[record(0), record(1)]), ("b", &[record(2)])]).unwrap();
    }
}

#[test]
#[ignore = "the process that the test below kills"]
fn facts_writer() {
    // Without a directory it was started by `--include-ignored`: there is nothing to do.
    if let Some(dir) = std::env::var_os(DIR) {
        append_facts(Path::new(&dir));
    }
}

#[test]
#[ignore = "the process that the test below kills"]
fn producer() {
    // Without a directory it was started by `--include-ignored`: there is nothing to do.
    if let Some(dir) = std::env::var_os(DIR) {
        append_records(Path::new(&dir));
    }
}

fn killed(dir: &Path, who: &str, kill_at: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", who]).env(DIR, dir).env("TOMBOLA_KILL_AT", kill_at);
    let status = child.output().unwrap().status;
    assert_eq!(status.signal(), Some(9), "{kill_at} was not reached: {status}");
}

fn topic(dir: &Path, topic: &str) -> Vec<StoredRecord> {
    Log::open_read_only(dir).unwrap().read(topic, 0, 0, 1_000).unwrap()
}

#[test]
fn facts_are_in_the_log_once_wherever_the_writer_was_killed() {
    let undisturbed = tempfile::tempdir().unwrap();
    append_facts(undisturbed.path());
    for point in ["facts.before_commit", "facts.after_commit"] {
        let dir = tempfile::tempdir().unwrap();
        for turn in ["3", "1", "2"] {
            killed(dir.path(), "facts_writer", &format!("{point}:{turn}"));
        }
        append_facts(dir.path());
        for name in ["facts.orders", "facts.stock"] {
            assert_eq!(topic(dir.path(), name), topic(undisturbed.path(), name), "{name} after {point}");
        }
        let digests = |dir| LogEpochs::open(dir, "sales").unwrap().digests(Epoch(0), 100).unwrap();
        assert_eq!(digests(dir.path()), digests(undisturbed.path()));
        assert_eq!(digests(dir.path()).len() as u64, EPOCHS);
    }
}

#[test]
fn a_producer_killed_in_an_append_leaves_all_of_it_or_nothing() {
    for (point, appends) in [("log.before_append:4", 3), ("log.after_append:4", 4)] {
        let dir = tempfile::tempdir().unwrap();
        killed(dir.path(), "producer", point);
        assert_eq!((topic(dir.path(), "a").len(), topic(dir.path(), "b").len()), (2 * appends, appends));
        append_records(dir.path());
        assert_eq!(topic(dir.path(), "a").len(), 2 * appends + 20);
    }
}
