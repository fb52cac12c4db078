//! Postgres: bindings and serving tables in a schema that belongs to one pipeline.
//!
//! ```text
//!   worker 0 ── PostgresBindings ──┐
//!   committer ─ PostgresServing ───┼─ schema `tombola` ──> PostgresReader (status, query, digest, verify)
//!   loader ──── PostgresPublished ─┘        PostgresLock: whose schema it is
//! ```
//!
//! Invariants: an epoch's rows and the decided frontier change in one transaction; whoever writes is the newest
//! generation (`frontier.rs`). A crash of ours or the server's leaves whole transactions; an answer that was
//! lost is found out, never guessed. Tables are made by `migrate`, never in passing.

mod bindings;
mod columns;
mod compare;
mod error;
mod frontier;
mod ledger;
mod lock;
mod migrate;
mod mirror_store;
mod plan_store;
mod plans;
mod published;
mod query;
mod reader;
mod serving;
mod session;
mod settings;
mod sslmode;
#[cfg(test)]
mod tests;

pub use bindings::PostgresBindings;
pub use error::PostgresError;
pub use ledger::PostgresLedger;
pub use lock::PostgresLock;
pub use migrate::{MigrationSet, grant_roles, migrate, plan};
pub use mirror_store::PostgresMirror;
pub use plan_store::PostgresPlanStore;
pub use plans::{PlannedBatch, Plans, PostgresPlans};
pub use published::PostgresPublished;
pub use reader::PostgresReader;
pub use serving::PostgresServing;
pub use settings::{PASSWORD_VARIABLE, PostgresSettings};
pub use sslmode::SslMode;
