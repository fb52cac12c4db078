//! The ClickHouse loader while its server is killed, stopped or away. Apart from the other tests, as the
//! server is shared: they would fail.
//!
//! `scripts/services` (or what TOMBOLA_SERVICES_SCRIPT names) must have started the server.

#![allow(clippy::unwrap_used)] // a test helper is a test too

#[allow(dead_code)] // the other test program needs more of it
#[path = "service_clickhouse/support.rs"]
mod support;
#[path = "service_clickhouse/world.rs"]
mod world;

use runtime::Epoch;
use sinks::clickhouse::{Loader, LoaderFigures, LoaderState};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use support::{Bench, Database, assert_holds};

/// One at a time: there is one server.
static SERVER: Mutex<()> = Mutex::new(());

fn server(command: &str) {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services");
    let script = std::env::var_os("TOMBOLA_SERVICES_SCRIPT").map_or(ours, Into::into);
    let output = Command::new(&script).args([command, "clickhouse"]).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", script.display()));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Epochs are decided, one every few milliseconds, while `meanwhile` does something to the server.
fn live(bench: &Bench, epochs: u64, meanwhile: impl FnOnce(&Loader) + Send) {
    let database = Database::migrated();
    let settings = sinks::clickhouse::ClickHouseSettings { timeout_ms: 2_000, ..database.settings.clone() };
    bench.log.appended.store(0, Ordering::SeqCst);
    let loader = bench.start(&settings);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for epoch in 1..=epochs {
                bench.log.appended.store(epoch, Ordering::SeqCst);
                bench.decided.store(epoch, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        meanwhile(&loader);
    });
    let published = loader.status().wait_published(Epoch(epochs), Duration::from_secs(60));
    assert!(published, "{:?}", loader.status().get());
    assert_holds(&database, &bench.log.world, epochs);
    println!("{:?}", loader.status().get());
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[test]
#[ignore = "needs services"]
fn service_a_server_killed_in_the_middle_of_inserts_has_every_fact_once() {
    let _alone = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    live(&Bench::of(2_000, 10, 0), 2_000, |loader| {
        for kill in 0..6 {
            pause(1_500 + 137 * kill);
            server("kill");
            server("start");
        }
        let figures = loader.status().get();
        assert!(figures.resent > 0, "no insert was hit: {figures:?}");
    });
}

#[test]
#[ignore = "needs services"]
fn service_a_server_that_stops_answering_and_goes_on_has_every_fact_once() {
    let _alone = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    live(&Bench::of(1_500, 10, 0), 1_500, |loader| {
        for _ in 0..2 {
            pause(1_500);
            server("stop");
            pause(4_000);
            server("cont");
        }
        let figures = loader.status().get();
        assert!(figures.retries > 0, "no request ran out of time: {figures:?}");
    });
}

#[test]
#[ignore = "needs services"]
fn service_facts_of_twenty_seconds_without_a_server_are_caught_up_with() {
    let _alone = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = Bench::of(2_400, 10, 0);
    live(&bench, 2_400, |loader| {
        pause(1_000);
        server("kill");
        let (gone, mut most) = (Instant::now(), LoaderFigures::default());
        while gone.elapsed() < Duration::from_secs(20) {
            pause(100);
            let figures = loader.status().get();
            most = if figures.in_hand > most.in_hand { figures } else { most };
        }
        assert!(most.in_hand <= 1_400, "memory is bounded by the batch: {most:?}");
        let figures = loader.status().get();
        assert_eq!(figures.state, LoaderState::Waiting);
        assert!(figures.problem.unwrap().contains("check that it is up"));
        assert!(figures.published < Epoch(2_000) && bench.decided.load(Ordering::SeqCst) > 1_800);
        server("start");
    });
}
