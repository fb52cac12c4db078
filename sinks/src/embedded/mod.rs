//! The embedded database: `tombola.db` in the data directory, an SQLite file that belongs to one pipeline.
//!
//! ```text
//!   worker 0 ── BindingsDb ──┐
//!   committer ─ ServingSink ─┴─ tombola.db ──> Reader (status, query, digest, verify)
//!   committer ─ FactsSink ───── log.db
//! ```
//!
//! Invariants: an epoch's rows and the decided frontier change in one transaction; whoever writes is the
//! newest generation. A crash leaves whole transactions; the lock goes with its process.

mod bindings;
mod checkpoint;
mod compare;
mod db;
mod digest;
mod error;
mod facts;
mod ledger;
mod lock;
mod mirror_store;
mod plans;
mod reader;
mod serving;
#[cfg(test)]
mod tests;
mod turn;

pub use crate::answers::{Found, Progress, RowDifference};
pub use crate::digest::{TableDigest, fold_rows, hex};
pub use bindings::BindingsDb;
pub use compare::{compare, seed_digest};
pub use digest::digest;
pub use error::EmbeddedError;
pub use facts::FactsSink;
pub use ledger::EmbeddedLedger;
pub use lock::PipelineLock;
pub use mirror_store::EmbeddedMirror;
pub use plans::EmbeddedPlans;
pub use reader::Reader;
pub(crate) use reader::each_row;
pub use serving::ServingSink;
