//! The API: commands in and decisions out over HTTP, in front of a pipeline it knows by traits alone.
//!
//! ```text
//!   POST ─ append.rs: one durable batch for all who ask at once ─> log
//!   GET  ─ reads.rs: pages of tables as of one decided frontier <─ tables
//!   SSE  ─ live.rs: what is told, from any place on            <─ decided.rs: one follower of facts
//! ```
//!
//! Everything a client is told was durable before: an accepted command lies in the log, a decision is decided. An
//! instance keeps nothing that another would need, so there may be any number of them and any may be killed.

mod after;
mod app;
mod append;
mod auth;
pub mod backend;
mod commands;
mod counts;
mod decided;
mod draws;
mod fields;
mod find;
mod health;
mod letters;
mod limits;
mod live;
pub mod openapi;
mod outcome;
mod page;
mod problem;
mod reads;
mod reference;
mod results;
mod routes;
mod server;
mod shapes;
mod ticket;
mod trace;
mod waiting;

pub use app::{ApiError, ApiSettings, Shop};
pub use auth::{AuthSettings, JwtSettings};
pub use counts::raise;
pub use routes::{Access, Method, ROUTES, Route};
pub use server::Server;
