//! The workload through the engine: the job `sales` as it is, on the folder's reader and the tally.

use super::folder::{self, FolderReader, References};
use super::outcome::Outcome;
use super::parts::Parts;
use super::tally::Tally;
use connectors::decode::Input;
use operators::settings::Settings;
use pipelines::jobs::sales::Sales;
use runtime::bindings::BindingStore;
use runtime::memory::MemoryBindings;
use runtime::run::{Job, Mode, Options, Stores};
use runtime::shared::Shared;
use runtime::sink::Sink;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far enough.
const NEVER_MS: i64 = i64::MAX / 4;
/// A hundred years: no line is that far ahead of the clock.
const AHEAD_MS: i64 = 100 * 366 * 86_400_000;
/// How long an order is remembered after its end: nothing is refunded here.
const RETENTION_MS: i64 = 60_000;

/// How the engine is run.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub workers: usize,
    /// Order lines of an epoch, about.
    pub epoch_lines: usize,
}

fn settings() -> Settings {
    Settings {
        grace_ms: 0,
        hold_ttl_ms: 0,
        review_timeout_ms: 0,
        order_retention_ms: RETENTION_MS,
        fraud_lateness_ms: 2_000,
        tenants_billing_later: [folder::TENANT.into()].into(),
        topics: folder::TOPICS.map(str::to_owned).into(),
        ..Settings::default()
    }
}

fn options(pace: Pace) -> Options {
    Options {
        workers: pace.workers,
        epoch_ms: 10,
        idle_epoch_ms: 100,
        // Two partitions share an epoch, and the rows' is empty soon.
        epoch_records_max: 2 * pace.epoch_lines,
        epochs_in_flight_max: 16,
        snapshot_every_ms: NEVER_MS,
        claim_ahead_ms_max: AHEAD_MS,
        until_drained: true,
    }
}

/// Which wiring is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// The job `sales` with `fraud` and `commissions`, as the program runs it.
    Whole,
    /// Its operators, wired to what the workload asks: [`super::parts`].
    Parts,
}

/// Decides on every line of a folder; and how long that took, from the start of the run to its last result.
///
/// # Errors
/// Where a file can't be read.
///
/// # Panics
/// Where the run fails.
pub fn decide(folder: &Path, wiring: Wiring, pace: Pace) -> io::Result<(Outcome, Duration)> {
    let settings = settings();
    match wiring {
        Wiring::Whole => run(Sales { settings }, &self::settings(), folder, pace),
        Wiring::Parts => run(Parts { settings }, &self::settings(), folder, pace),
    }
}

fn run<J>(job: J, settings: &Settings, folder: &Path, pace: Pace) -> io::Result<(Outcome, Duration)>
where
    J: Job<Record = Input>,
    Tally: Sink<J::Item>,
{
    let references = Arc::new(References::read(folder)?);
    let mut bindings = MemoryBindings::default();
    let generation = bindings
        .begin_generation("bench", &settings.to_recorded(), pace.workers, 0)
        .expect("memory doesn't fail");
    let tally = Tally::default();
    let reader = || FolderReader::new(folder, Arc::clone(&references));
    let stores = Stores {
        readers: (0..pace.workers).map(|_| reader()).collect(),
        bindings: Box::new(bindings),
        sinks: vec![Box::new(tally.clone())],
        snapshots: None,
    };
    let (shared, mode) = (Arc::new(Shared::default()), Mode::Live { generation });
    let began = Instant::now();
    runtime::run::run(Arc::new(job), &options(pace), mode, stores, &shared, &Arc::default())
        .unwrap_or_else(|error| panic!("a run in memory doesn't fail: {error}"));
    let took = began.elapsed();
    Ok((tally.outcome(&references.rates_bps), took))
}
