//! Facts into ClickHouse, exactly once, by a loader beside the pipeline.
//!
//! ```text
//!   facts.* ──> gather (up to an epoch) ──> plan, recorded ──> one insert per (table, month) ──> frontier
//!                     ^                     (PlanStore)         (token: the plan's)                          │
//!   decided frontier ─┘                                                                                     v
//!                                                     views `orders`, `stock`, ... stop here <── `frontiers`
//! ```
//!
//! Two frontiers: *decided* is the pipeline's, read from its serving store; *published* follows: everything up
//! to it is in ClickHouse. Facts are committed before the decided frontier moves, so whoever reads that first and
//! the logs' ends afterwards has every fact up to it once it has come to those ends; an epoch without facts is
//! published without an insert.
//!
//! Invariants
//! 1. A batch's offsets are recorded before it is sent, and its rows, their order and its tokens follow from
//!    that record. So it can be sent any number of times: the server takes each insert once.
//! 2. One insert is one block within one ClickHouse partition: it is there as a whole or not at all.
//! 3. At most one batch is recorded and not done. The server remembers the last 10,000 inserts of a partition.
//! 4. What was sent more than once is counted: a server that crashed between noting a token and writing its rows
//!    drops them in silence when they come again. Then they are sent under another token.
//! 5. Aggregates are compared with their facts in the same case, and made anew where they differ.
//! 6. Rows are visible to analysts up to the published frontier, which moves after the batch is done.
//!
//! A crash, step by step: before the plan is recorded, nothing has happened; after it, the batch is pending and
//! sent (again), which is doubtful and checked; after `done` the frontier is found behind and moved.
//!
//! A server that is away, slow or wrong stops nothing but its loader, which tries for ever, or says what an
//! operator has to do (its data was lost, restored or taken over) and stops alone.
//!
//! Not promised: reading `facts_*` tables directly shows unpublished rows. A process that was stopped for longer
//! than it takes 10,000 inserts and then goes on sending might repeat one: it finds out that it is fenced off
//! only with its next record.

mod client;
mod cut;
mod deliver;
mod error;
mod gather;
mod guard;
mod https;
mod insert;
mod loader;
mod migrate;
pub mod mirror;
mod pieces;
mod plan;
mod publish;
mod rows;
mod settings;
mod status;
mod tables;

pub use error::ClickHouseError;
pub use insert::INSERT_SETTINGS;
pub use loader::{Loader, LoaderSources};
pub use migrate::{create_database, migrate, plan, rendered};
pub use plan::{Batch, BatchRange, PlanState, PlanStore};
pub use settings::ClickHouseSettings;
pub use status::{LoaderFigures, LoaderState, LoaderStatus};
