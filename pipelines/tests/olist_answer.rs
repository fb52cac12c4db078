//! The real orders through the whole pipeline: one answer, whatever the workers, epochs and order of arrival.
//!
//! Skipped, with a note, where the data set is absent (see `olist.rs`).

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

#[path = "../examples/olist/convert.rs"]
mod convert;
#[path = "../examples/olist/input.rs"]
mod input;

use clap::Parser as _;
use pipelines::commands::Cli;
use pipelines::config::Config;
use pipelines::engine::{self, EngineOptions};
use schemas::{ALL_TABLES, Value};
use sinks::embedded::Reader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SETTINGS: &str = include_str!("../examples/olist/tombola.toml");

fn data() -> Option<PathBuf> {
    let root = std::env::var_os("TOMBOLA_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let folder = root.join("olist");
    if !folder.is_dir() {
        eprintln!("skipped: no Olist data at {} (set TOMBOLA_DATA)", folder.display());
    }
    folder.is_dir().then_some(folder)
}

/// A data directory with the orders in its log, produced topic by topic in this order.
fn produced(data: &Path, topics: [usize; 4]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tombola.toml"), SETTINGS).unwrap();
    let converted = convert::convert(&input::read(data).unwrap());
    for topic in topics {
        let (topic, lines) = converted.files()[topic];
        let path = dir.path().join("lines.ndjson");
        let text: String = lines.iter().map(|line| format!("{}\n", line.json)).collect();
        std::fs::write(&path, text).unwrap();
        let settings = dir.path().join("tombola.toml");
        let [path, config, data_dir] = [path.as_path(), &settings, dir.path()].map(|p| p.to_str().unwrap());
        let cli =
            ["tombola", "produce", topic, path, "--event-time", "--config", config, "--data-dir", data_dir];
        Cli::parse_from(cli).run().unwrap();
    }
    dir
}

/// The same log, not yet run.
fn fresh(produced: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["log.db", "log.db-wal", "tombola.toml"] {
        if produced.join(file).exists() {
            std::fs::copy(produced.join(file), dir.path().join(file)).unwrap();
        }
    }
    dir
}

/// Runs until drained; the digests of all tables.
fn run(dir: &Path, workers: usize, pace: impl FnOnce(&mut Config)) -> Vec<(u64, String)> {
    let mut config = Config::parse(Path::new("tombola.toml"), SETTINGS).unwrap();
    pace(&mut config);
    let (shared, data_dir) = (Arc::default(), dir.to_owned());
    engine::run(&EngineOptions { config, data_dir, workers, until_drained: true, shared, progress: None })
        .unwrap();
    let reader = Reader::open(dir).unwrap();
    let digests = ALL_TABLES.iter().map(|table| reader.digest(table).unwrap());
    digests.map(|digest| (digest.rows, digest.sha256)).collect()
}

fn numbers(dir: &Path, sql: &str) -> Vec<i64> {
    let found = Reader::open(dir).unwrap().query(sql, 10, 60_000).unwrap();
    let int =
        |value: &Value| if let Value::Int(int) = value { *int } else { panic!("{value:?} is no number") };
    found.rows[0].iter().map(int).collect()
}

#[test]
fn the_real_orders_come_to_what_the_data_set_says() {
    let Some(data) = data() else { return };
    let dir = produced(&data, [0, 1, 2, 3]);
    run(dir.path(), 2, |_| {});
    let orders = numbers(
        dir.path(),
        "SELECT count(*), sum(status = 'refused'), sum(status = 'confirmed'), sum(status = 'cancelled'),
                sum(status = 'held'), sum(CASE status WHEN 'confirmed' THEN amount_minor ELSE 0 END) FROM orders",
    );
    assert_eq!(orders, [8_365, 0, 7_816, 549, 0, 99_602_139]);
    let stock =
        "SELECT count(*), sum(sold), sum(available + held + sold = stock_total), sum(shrink_due) FROM stock";
    assert_eq!(numbers(dir.path(), stock), [5_566, 7_816, 5_566, 0]);
    assert_eq!(numbers(dir.path(), "SELECT count(*) FROM dead_letters"), [0]);
}

#[test]
fn a_log_that_is_complete_before_the_start_has_one_answer() {
    let Some(data) = data() else { return };
    let log = produced(&data, [0, 1, 2, 3]);
    let changes_last = produced(&data, [3, 2, 1, 0]);
    let answer = run(fresh(log.path()).path(), 1, |_| {});
    for workers in [2, 4] {
        assert_eq!(run(fresh(log.path()).path(), workers, |_| {}), answer, "{workers} workers");
    }
    let short = |config: &mut Config| {
        (config.runtime.epoch_ms, config.runtime.epoch_records_max, config.runtime.snapshot_every_ms) =
            (1, 700, 100);
    };
    assert_eq!(run(fresh(log.path()).path(), 2, short), answer, "short epochs, many snapshots");
    let long = |config: &mut Config| config.runtime.epoch_records_max = 1_000_000;
    assert_eq!(run(fresh(log.path()).path(), 1, long), answer, "one epoch for everything");
    assert_eq!(run(changes_last.path(), 2, |_| {}), answer, "reference changes produced last");
}
