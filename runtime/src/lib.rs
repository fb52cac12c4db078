//! Epochs, bindings, snapshots, recovery, fencing and frontiers, over timely dataflow.
//!
//! Knows no schema, no Kafka and no SQL. A job gives it operators, a log reader, a bindings store and
//! sinks; it gives back one answer, whatever the number of workers, however often it was killed.

pub mod bindings;
mod cells;
pub mod committer;
pub mod dataflow;
pub mod digest;
pub mod driver;
pub mod entries;
mod feed;
pub mod gathered;
pub mod killpoint;
pub mod log;
pub mod memory;
pub mod mint;
pub mod operator;
mod partition;
pub mod patience;
mod restore;
pub mod run;
pub mod shared;
pub mod sink;
pub mod snapshot;
pub mod source;
pub mod state;
mod steady;
pub mod timers;
pub mod trace;
pub mod types;
pub mod verdicts;

pub use dataflow::Messages;
pub use dataflow::flow::Flow;
pub use dataflow::relation;
pub use entries::{Entries, StateEntry};
pub use operator::{Ctx, Operator, Route};
pub use state::{KeyedState, State};
pub use timers::Timers;
pub use types::*;
