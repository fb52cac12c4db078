//! The real orders through the whole pipeline: one answer, whatever the workers, epochs and order of arrival.
//!
//! Skipped, with a note, where the data set is absent (see `olist.rs`).

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

#[path = "../examples/olist/convert.rs"]
mod convert;
#[path = "../examples/olist/input.rs"]
mod input;

use clap::Parser as _;
use convert::{Line, Topics};
use pipelines::commands::Cli;
use pipelines::config::Config;
use pipelines::engine::{self, EngineOptions};
use pipelines::explain::{self, Question};
use pipelines::stores::Stores;
use schemas::tables::COMMISSION_STATEMENTS;
use schemas::{ALL_TABLES, Value};
use sinks::embedded::Reader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

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
fn produced(data: &Path, topics: [usize; 5]) -> tempfile::TempDir {
    produced_with(data, topics, |_| {})
}

/// The same, of a data set that `change` has changed.
fn produced_with(data: &Path, topics: [usize; 5], change: impl FnOnce(&mut Topics)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tombola.toml"), SETTINGS).unwrap();
    let mut converted = convert::convert(&input::read(data).unwrap());
    change(&mut converted);
    for topic in topics {
        let (topic, lines) = converted.files()[topic];
        produce(dir.path(), topic, lines);
    }
    dir
}

fn produce(dir: &Path, topic: &str, lines: &[Line]) {
    let path = dir.join("lines.ndjson");
    let text: String = lines.iter().map(|line| format!("{}\n", line.json)).collect();
    std::fs::write(&path, text).unwrap();
    let settings = dir.join("tombola.toml");
    let [path, config, data_dir] = [path.as_path(), &settings, dir].map(|p| p.to_str().unwrap());
    let cli = ["tombola", "produce", topic, path, "--event-time", "--config", config, "--data-dir", data_dir];
    Cli::parse_from(cli).run().unwrap();
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
    let (progress, pulse) = (None, None);
    engine::run(&EngineOptions { config, data_dir, workers, until_drained: true, shared, progress, pulse })
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
    let dir = produced(&data, [0, 1, 2, 3, 4]);
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
    let log = produced(&data, [0, 1, 2, 3, 4]);
    let changes_last = produced(&data, [4, 3, 2, 1, 0]);
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

const STATEMENTS: &str = "SELECT count(*), sum(base_minor), sum(commission_minor), sum(adjustment_minor),
    sum(CASE WHEN partner_id = '4869f7a5dfa277a7dca6462dcf3b52b2' THEN commission_minor ELSE 0 END),
    sum(CASE WHEN partner_id = '7e93a43ef30c4f03f38b393420bc753a' THEN commission_minor ELSE 0 END),
    sum(CASE WHEN month = '2017-11' THEN commission_minor ELSE 0 END) FROM commission_statements";

/// Long after the last order.
const LATER_MS: i64 = 1_600_000_000_000;

fn statements_digest(dir: &Path) -> (u64, String) {
    let digest = Reader::open(dir).unwrap().digest(&COMMISSION_STATEMENTS).unwrap();
    (digest.rows, digest.sha256)
}

/// The first tier pays 11 % instead of 10 %, from the first month on.
fn raised(op: &str, time_ms: i64) -> Line {
    convert::rate(op, time_ms, 1_000_000_000, (0, 1_100))
}

#[test]
fn a_rate_changed_later_ends_where_it_would_have_stood_from_the_start() {
    let Some(data) = data() else { return };
    let changed = produced(&data, [0, 1, 2, 3, 4]);
    run(changed.path(), 2, |_| {});
    let expected = [4_215, 99_602_139, 10_171_316, 0, 166_923, 148_649, 724_110];
    assert_eq!(numbers(changed.path(), STATEMENTS), expected);
    produce(changed.path(), "oltp.public.commission_rates", &[raised("u", LATER_MS)]);
    run(changed.path(), 3, |_| {});

    let from_start = produced_with(&data, [0, 1, 2, 3, 4], |topics| {
        topics.rates[0] = raised("r", topics.rates[0].time_ms);
    });
    run(from_start.path(), 1, |_| {});
    assert_eq!(statements_digest(changed.path()), statements_digest(from_start.path()));
    let [statements, base, commission, ..] = numbers(from_start.path(), STATEMENTS)[..] else { panic!() };
    assert!(statements == 4_215 && base == 99_602_139 && commission > 10_171_316, "{commission}");

    closed_months_keep_their_figure(&data, commission);
}

/// The same change after 2017-11 was closed: it keeps its figure, and the difference is posted a month later.
fn closed_months_keep_their_figure(data: &Path, raised_in_all: i64) {
    let dir = produced(data, [0, 1, 2, 3, 4]);
    run(dir.path(), 1, |_| {});
    produce(dir.path(), "oltp.public.commission_periods", &[convert::period(LATER_MS, "2017-11", "closed")]);
    produce(dir.path(), "oltp.public.commission_rates", &[raised("u", LATER_MS + 1)]);
    run(dir.path(), 2, |_| {});
    let [_, base, commission, adjustment, _, _, of_month] = numbers(dir.path(), STATEMENTS)[..] else {
        panic!()
    };
    assert_eq!((base, of_month), (99_602_139, 724_110));
    assert_eq!(commission + adjustment, raised_in_all, "nothing is lost, nothing paid twice");
    let posted = "SELECT sum(adjustment_minor), sum(adjustment_minor <> 0 AND month <> '2017-12'),
        (SELECT sum(status = 'closed') = count(*) FROM commission_statements WHERE month = '2017-11')
        FROM commission_statements";
    assert_eq!(numbers(dir.path(), posted), [adjustment, 0, 1]);
    assert!(adjustment > 0);
    the_closed_month_is_explained(dir.path());
}

fn the_closed_month_is_explained(dir: &Path) {
    let explained = |month| {
        let question = Question { partner: "4869f7a5dfa277a7dca6462dcf3b52b2", month, tenant: Some("olist") };
        let stores = Stores::of(&Config::default(), dir);
        let (mut tables, mut log) = (stores.tables().unwrap(), stores.log().unwrap());
        let (_, mut accounts) = explain::accounts(tables.as_mut(), log.as_mut(), question, None).unwrap();
        assert_eq!(accounts.len(), 1);
        assert!(accounts[0].adds_up);
        let late = explain::accounts(tables.as_mut(), log.as_mut(), question, Some(Instant::now()));
        assert!(late.is_err(), "it reads on though its time is up");
        accounts.remove(0)
    };
    let closed = explained("2017-11").reckoning.unwrap();
    assert_eq!(
        (closed.base_minor, closed.commission_minor, closed.computed_minor),
        (167_090, 18_051, 19_051)
    );
    let slices: Vec<_> = closed.slices.iter().map(|slice| (slice.slice_minor, slice.rate_bps)).collect();
    assert_eq!(slices, [(100_000, 1_000), (67_090, 1_200)], "the rates of its close");
    let next = explained("2017-12");
    let because: Vec<_> = next.deltas.iter().flat_map(|delta| &delta.fact.causes).collect();
    let posted: Vec<_> = because.iter().filter(|cause| cause.month == "2017-11").collect();
    assert_eq!(posted.len(), 1);
    assert_eq!((posted[0].effect_minor, posted[0].topic.as_str()), (1_000, "oltp.public.commission_rates"));
}
