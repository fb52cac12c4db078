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
mod lock;
mod plans;
mod reader;
mod serving;
#[cfg(test)]
mod tests;
mod turn;

pub use bindings::BindingsDb;
pub use compare::{RowDifference, compare, seed_digest};
pub use digest::{TableDigest, digest, fold_rows, hex};
pub use error::EmbeddedError;
pub use facts::FactsSink;
pub use lock::PipelineLock;
pub use plans::EmbeddedPlans;
pub use reader::{Found, Progress, Reader};
pub use serving::ServingSink;
