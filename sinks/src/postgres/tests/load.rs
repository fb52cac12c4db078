//! Figures: commit latency by size, and rows a second. Run it in release, alone, with `--nocapture`.

use super::*;
use runtime::sink::Sink;
use std::time::{Duration, Instant};

/// Rows of a sales pipeline, no two of one key: orders out of a million, so that after a while many are known,
/// and the stock of offers.
fn sales(run: u64, rows: u64) -> Vec<Row> {
    let row = |n: u64| {
        let id = format!("order-{:012}", (run * rows + n) * 7_919 % 1_000_003);
        let status = if run.is_multiple_of(2) { OrderStatus::Held } else { OrderStatus::Confirmed };
        if n.is_multiple_of(5) { stock(&format!("offer-{n}"), n as i64) } else { order(&id, status) }
    };
    (0..rows).map(row).collect()
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1_000.0
}

#[test]
#[ignore = "needs services; measures"]
fn measure_postgres_commits() {
    let place = Place::migrated();
    let mut sink = place.serving(place.begin());
    let mut number = 0;
    println!("rows/commit  commits   p50 ms   p99 ms     rows/s");
    for rows in [1, 10, 100, 500, 1_000, 4_000, 20_000, 60_000] {
        let (mut times, start) = (Vec::new(), Instant::now());
        while start.elapsed() < Duration::from_secs(6) {
            number += 1;
            let run = [epoch(number, &sales(number, rows))];
            let begun = Instant::now();
            sink.commit(&run).unwrap();
            times.push(begun.elapsed());
        }
        let spent: Duration = times.iter().sum();
        let rate = (rows as f64 * times.len() as f64) / spent.as_secs_f64();
        times.sort();
        let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
        println!("{rows:>11}  {:>7}  {p50:>7.2}  {p99:>7.2}  {rate:>9.0}", times.len());
    }
}

#[test]
#[ignore = "needs services; measures"]
fn measure_postgres_bindings() {
    let place = Place::migrated();
    let (mut store, generation) = place.bindings();
    let (mut times, mut next) = (Vec::new(), 1);
    for _ in 0..2_000 {
        let rows = [binding(next, generation), binding(next + 1, generation)];
        let begun = Instant::now();
        store.append(&rows).unwrap();
        times.push(begun.elapsed());
        next += 2;
    }
    times.sort();
    println!("append of 2 rows: p50 {:.2} ms, p99 {:.2} ms", percentile(&times, 50), percentile(&times, 99));
}
