//! The ClickHouse loader while its server is killed, stopped or away. Apart from the other tests, as the
//! server is shared: they would fail.
//!
//! `scripts/services` (or what TOMBOLA_SERVICES_SCRIPT names) must have started the server.

#![allow(clippy::unwrap_used)] // a test helper is a test too

#[allow(dead_code)] // the other test program needs more of it
#[path = "service_clickhouse/draws.rs"]
mod draws;
#[allow(dead_code)] // the same
#[path = "service_clickhouse/support.rs"]
mod support;
#[path = "service_clickhouse/world.rs"]
mod world;

use runtime::Epoch;
use sinks::clickhouse::{Loader, LoaderFigures, LoaderState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use support::{Bench, Database, assert_holds};

/// One at a time: there is one server.
static SERVER: Mutex<()> = Mutex::new(());

fn try_server(command: &str) -> std::io::Result<Output> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services");
    let script = std::env::var_os("TOMBOLA_SERVICES_SCRIPT").map_or(ours, Into::into);
    Command::new(script).args([command, "clickhouse"]).output()
}

fn server(command: &str) {
    let output = try_server(command).unwrap_or_else(|e| panic!("scripts/services {command}: {e}"));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What a loader holds at most.
const BATCH_ROWS: usize = 5_000;

/// More than any of these tests gets through.
const EPOCHS: u64 = 12_000;

/// How far what is decided may be ahead of what is published: however long a server takes to start, epochs don't run out.
const AHEAD_MAX: u64 = 2_000;

/// What no answer of a server that runs takes.
const TIMEOUT_MS: u64 = 30_000;

/// Epochs are decided, one every ten milliseconds, until `meanwhile` has done something to the server.
fn live(bench: &Bench, timeout_ms: u64, meanwhile: impl FnOnce(&Loader) + Send) {
    let database = Database::migrated();
    let settings = sinks::clickhouse::ClickHouseSettings {
        timeout_ms,
        batch_rows_max: BATCH_ROWS,
        ..database.settings.clone()
    };
    let (loader, over) = (bench.start(&settings), AtomicBool::new(false));
    let (status, goes_on) = (loader.status(), || !over.load(Ordering::SeqCst));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for epoch in (1..=EPOCHS).take_while(|_| goes_on()) {
                while goes_on() && epoch > status.get().published.0 + AHEAD_MAX {
                    pause(10);
                }
                bench.log.appended.store(epoch, Ordering::SeqCst);
                bench.decided.store(epoch, Ordering::SeqCst);
                pause(10);
            }
        });
        let done = catch_unwind(AssertUnwindSafe(|| meanwhile(&loader)));
        over.store(true, Ordering::SeqCst);
        done.unwrap_or_else(|panic| {
            // The tests after this one need the server; what this one died of is what is told.
            ["cont", "start"].iter().for_each(|command| drop(try_server(command)));
            resume_unwind(panic)
        });
    });
    let last = bench.decided.load(Ordering::SeqCst);
    let published = loader.status().wait_published(Epoch(last), Duration::from_secs(300));
    assert!(published, "{:?}", loader.status().get());
    assert_holds(&database, &bench.log.world, last);
    println!("{:?}", loader.status().get());
}

fn bench() -> Bench {
    let bench = Bench::of(EPOCHS, 10, 0);
    bench.log.appended.store(0, Ordering::SeqCst);
    bench
}

/// Until something has been loaded from now on.
fn loading(loader: &Loader) {
    let (before, begun) = (loader.status().get().batches, Instant::now());
    while loader.status().get().batches < before + 2 {
        assert!(begun.elapsed() < Duration::from_secs(180), "nothing is loaded: {:?}", loader.status().get());
        pause(1);
    }
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[test]
#[ignore = "needs services"]
fn service_a_server_killed_in_the_middle_of_inserts_has_every_fact_once() {
    let _alone = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    live(&bench(), TIMEOUT_MS, |loader| {
        for kill in 0..6 {
            loading(loader);
            pause(17 * kill);
            server("kill");
            server("start");
        }
        loading(loader);
        let figures = loader.status().get();
        assert!(figures.resent > 0, "no insert was hit: {figures:?}");
    });
}

#[test]
#[ignore = "needs services"]
fn service_a_server_that_stops_answering_and_goes_on_has_every_fact_once() {
    let _alone = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    live(&bench(), 3_000, |loader| {
        for _ in 0..2 {
            loading(loader);
            server("stop");
            pause(8_000);
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
    let bench = bench();
    live(&bench, TIMEOUT_MS, |loader| {
        loading(loader);
        server("kill");
        let (gone, mut most) = (Instant::now(), LoaderFigures::default());
        while gone.elapsed() < Duration::from_secs(20) {
            pause(100);
            let figures = loader.status().get();
            most = if figures.in_hand > most.in_hand { figures } else { most };
        }
        assert!(most.in_hand <= BATCH_ROWS as u64, "memory is bounded by the batch: {most:?}");
        let figures = loader.status().get();
        assert_eq!(figures.state, LoaderState::Waiting);
        let problem = figures.problem.unwrap();
        assert!(problem.contains("check that it is up"), "{problem}");
        let decided = bench.decided.load(Ordering::SeqCst);
        assert!(decided > figures.published.0 + 500, "facts kept coming: {decided} are decided");
        server("start");
    });
}
