//! Kills a writer at every durable step of the embedded database, starts it again, and wants the same tables.

#![allow(clippy::unwrap_used)] // a test helper is a test too

use runtime::bindings::{Binding, BindingStore};
use runtime::sink::{EpochItems, Item, Sink};
use runtime::{At, Class, Epoch, Offset, PartitionId, Position, TopicId};
use schemas::rows::{Row, StockRow};
use schemas::tables::STOCK;
use sinks::embedded::{BindingsDb, PipelineLock, Reader, ServingSink, TableDigest};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

const EPOCHS: u64 = 9;
const DIR: &str = "TOMBOLA_TEST_DIR";

fn rows(epoch: u64) -> EpochItems<Row> {
    let place = PartitionId { topic: TopicId(0), partition: 0 };
    let at = At::record(Position::record(1, Class::Command, place, Offset(epoch)));
    let row = |n: u64| {
        let (offer_id, available) = (format!("offer-{}", n % 7).into(), (epoch * 10 + n) as i64);
        let tenant = "t".into();
        Row::Stock(Box::new(StockRow {
            tenant,
            offer_id,
            stock_total: 9,
            available,
            held: 0,
            sold: 0,
            shrink_due: 0,
        }))
    };
    let items = (epoch..epoch + 4).map(|n| Item { at, stage: 0, body: row(n) }).collect();
    EpochItems { epoch: Epoch(epoch), now: epoch as i64, items }
}

/// What a pipeline does: takes the next generation, then binds and commits what isn't yet.
fn work(dir: &Path) {
    let _lock = PipelineLock::take(dir).unwrap();
    let mut bindings = BindingsDb::open(dir).unwrap();
    let generation = bindings.begin_generation("1.0", "{}", 1, 0).unwrap().generation;
    let mut sink: ServingSink<Row> = ServingSink::open(dir, generation, |row| Some(row)).unwrap();
    let (bound, committed) = (bindings.last().unwrap(), sink.committed().unwrap());
    assert!(committed <= bound, "epoch {committed} is visible, but only {bound} is bound");
    for epoch in committed.0 + 1..=EPOCHS {
        if epoch > bound.0 {
            let (ends, clamps) = (vec![], vec![]);
            let row =
                Binding { epoch: Epoch(epoch), generation, now: 0, bound: None, ends, clamps, unread: None };
            bindings.append(&[row]).unwrap();
        }
        sink.commit(&[rows(epoch)]).unwrap();
    }
}

#[test]
#[ignore = "the process that the test below kills"]
fn writer() {
    // Without a directory it was started by `--include-ignored`: there is nothing to do.
    if let Some(dir) = std::env::var_os(DIR) {
        work(Path::new(&dir));
    }
}

fn start(dir: &Path, kill_at: &str) -> std::process::ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "writer"]).env(DIR, dir).env("TOMBOLA_KILL_AT", kill_at);
    child.output().unwrap().status
}

type Outcome = (TableDigest, Vec<(Epoch, [u8; 32])>, Epoch);

fn outcome(dir: &Path) -> Outcome {
    let reader = Reader::open(dir).unwrap();
    let progress = reader.progress().unwrap();
    assert_eq!(progress.bound, progress.decided);
    (reader.digest(&STOCK).unwrap(), reader.epoch_digests(Epoch(0), 100).unwrap(), progress.decided)
}

#[test]
fn a_writer_killed_at_any_durable_step_goes_on_as_if_nothing_had_happened() {
    let undisturbed = tempfile::tempdir().unwrap();
    work(undisturbed.path());
    let points =
        ["bindings.before_append", "bindings.after_append", "serving.before_commit", "serving.after_commit"];
    for (n, point) in (1..).zip(points) {
        let dir = tempfile::tempdir().unwrap();
        for turn in [n, 1, 2] {
            let status = start(dir.path(), &format!("{point}:{turn}"));
            assert_eq!(status.signal(), Some(9), "{point}:{turn} was not reached: {status}");
        }
        work(dir.path());
        assert_eq!(outcome(dir.path()), outcome(undisturbed.path()), "after {point}");
        assert_eq!(Reader::open(dir.path()).unwrap().generations().unwrap().len(), 4);
    }
}
