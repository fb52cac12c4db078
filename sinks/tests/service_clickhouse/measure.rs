//! How fast: run it with `--release`, alone, and with `--nocapture`.

use crate::support::{Bench, Database, assert_holds};
use runtime::Epoch;
use sinks::clickhouse::ClickHouseSettings;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The settings of a real loader.
fn defaults(database: &Database) -> ClickHouseSettings {
    let ours = ClickHouseSettings::default();
    ClickHouseSettings {
        batch_interval_ms: ours.batch_interval_ms,
        batch_rows_max: ours.batch_rows_max,
        ..database.settings.clone()
    }
}

fn facts(bench: &Bench, through: u64) -> usize {
    schemas::Fact::TOPICS.iter().map(|topic| bench.log.world.facts(topic, through).count()).sum()
}

#[test]
#[ignore = "needs services"]
fn service_measure_catching_up() {
    let (database, bench) = (Database::migrated(), Bench::of(200, 500, 200));
    let (settings, begun) = (defaults(&database), Instant::now());
    let loader = bench.start(&settings);
    assert!(loader.status().wait_published(Epoch(200), Duration::from_secs(120)));
    let (facts, took) = (facts(&bench, 200), begun.elapsed());
    let batches = loader.status().get().batches;
    println!(
        "caught up {facts} facts in {took:?}, {batches} batches: {:.0}/s",
        facts as f64 / took.as_secs_f64()
    );
    assert_holds(&database, &bench.log.world, 200);
}

#[test]
#[ignore = "needs services"]
fn service_measure_freshness() {
    let (epochs, orders) = (200, 125);
    let (database, bench) = (Database::migrated(), Bench::of(epochs, orders, 0));
    bench.log.appended.store(0, Ordering::SeqCst);
    let loader = bench.start(&defaults(&database));
    let status = loader.status();
    let decide = || {
        let decide = |epoch| {
            bench.log.appended.store(epoch, Ordering::SeqCst);
            bench.decided.store(epoch, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(100));
            Instant::now() - Duration::from_millis(100)
        };
        (1..=epochs).map(decide).collect::<Vec<_>>()
    };
    let publish = || {
        let published = |epoch| {
            assert!(status.wait_published(Epoch(epoch), Duration::from_secs(60)));
            Instant::now()
        };
        (1..=epochs).map(published).collect::<Vec<_>>()
    };
    let (decided, published) = std::thread::scope(|scope| {
        let (decided, published) = (scope.spawn(decide), scope.spawn(publish));
        (decided.join().unwrap(), published.join().unwrap())
    });
    let mut ages: Vec<Duration> =
        decided.iter().zip(published).map(|(decided, seen)| seen - *decided).collect();
    ages.sort();
    let (p50, p99) = (ages[ages.len() / 2], ages[ages.len() * 99 / 100]);
    let per_second = facts(&bench, epochs) as f64 / (epochs as f64 / 10.0);
    println!("{per_second:.0} facts/s: decided to published p50 {p50:?}, p99 {p99:?}");
    assert_holds(&database, &bench.log.world, epochs);
}
