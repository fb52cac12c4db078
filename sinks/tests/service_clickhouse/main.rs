//! The ClickHouse loader against a real server: `scripts/services up clickhouse`, its endpoints in the
//! environment, then `cargo test -p tombola-sinks -- --ignored service_`.

#![allow(clippy::unwrap_used)] // a test helper is a test too

mod dashboards;
mod draws;
mod frontier;
mod kill;
mod loading;
mod measure;
mod queries;
mod support;
mod tls;
mod traps;
mod world;
