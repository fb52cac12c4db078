//! Tests of whole processes: a workload from a seed, a pipeline to start and kill, and books that must balance.
//!
//! ```text
//!   seed ─> workload ─> log.db ─┬─> undisturbed run ───────────────────────────┐
//!                               └─> run · kill · run at other workers · kill … ─┴─> equal, and verified
//! ```

#![allow(dead_code)] // each test program uses a part of it

pub mod analytics;
pub mod beside;
pub mod books;
pub mod captured;
pub mod connector;
pub mod disk;
pub mod load;
pub mod mirrored;
pub mod past;
pub mod process;
pub mod services;
pub mod shop;
pub mod told;
pub mod trial;
pub mod workload;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// Says that all is over once it goes, so that whoever fails ends the threads beside it, too.
pub struct Ending<'a>(pub &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A data directory that goes with its test, unless the test fails: then it stays to be looked at.
pub struct Folder(Option<TempDir>);

impl Folder {
    /// An empty one.
    pub fn new() -> Self {
        Folder(Some(tempfile::tempdir().expect("a temporary directory")))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.as_ref().expect("it is there until it is dropped").path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(dir) = self.0.take().filter(|_| std::thread::panicking()) {
            eprintln!("the data directory is left at {}", dir.keep().display());
        }
    }
}

/// What varies from one directory to the next: nothing of it may change an answer.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub epoch_records_max: usize,
    pub epochs_in_flight_max: u64,
}

/// What changes decisions.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub hold_ttl_ms: i64,
    pub grace_ms: i64,
    /// The tenant whose customers must be registered.
    pub requiring: Option<&'static str>,
}

/// Rules that make holds and graces run out within a workload.
pub const RULES: Rules =
    Rules { hold_ttl_ms: workload::HOLD_TTL_MS, grace_ms: workload::GRACE_MS, requiring: None };

/// Writes the settings of a directory, `DIR/tombola.toml`.
pub fn configure(dir: &Path, pace: Pace, rules: Rules) {
    let Pace { epoch_records_max, epochs_in_flight_max } = pace;
    let Rules { hold_ttl_ms, grace_ms, requiring } = rules;
    let requiring = Vec::from_iter(requiring);
    let text = format!(
        "[runtime]\n\
         epoch_records_max = {epoch_records_max}\n\
         epochs_in_flight_max = {epochs_in_flight_max}\n\
         snapshot_every_ms = 100\n\
         [orders]\n\
         hold_ttl_ms = {hold_ttl_ms}\n\
         grace_ms = {grace_ms}\n\
         tenants_requiring_customers = {requiring:?}\n\
         [tickets]\n\
         key = \"a key for tests, not for tickets\"\n"
    );
    std::fs::write(dir.join("tombola.toml"), text).expect("the directory can be written");
}
