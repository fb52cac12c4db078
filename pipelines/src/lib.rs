//! Jobs, their wiring and configuration, and what the `tombola` binary's commands do.
//!
//! ```text
//!   main ─> commands/* ─> config, demo, engine ─> jobs/* ─> operators, connectors, sinks ─> runtime
//! ```

pub mod config;
pub mod demo;
