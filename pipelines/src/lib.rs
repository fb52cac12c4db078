//! Jobs, their wiring and configuration, and what the `tombola` binary's commands do.
//!
//! ```text
//!   main ─> commands/* ─> config, demo, engine ─> jobs/* ─> operators, connectors, sinks ─> runtime
//! ```

pub mod commands;
pub mod config;
pub mod demo;
pub mod engine;
pub mod explain;
pub mod feeds;
pub mod intake;
pub mod jobs;
pub mod logging;
pub mod metrics;
pub mod pipeline;
pub mod publishing;
pub mod retry;
pub mod serve;
pub mod stores;
pub mod traces;
pub mod verify;

/// The clock, UTC milliseconds. Only the edges read it: producers, status, the minting of epochs.
pub fn clock_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock stands after 1970").as_millis() as i64
}
