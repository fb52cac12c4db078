//! Epochs, bindings, snapshots, recovery, fencing and frontiers, over timely dataflow.
//!
//! Knows no schema, no Kafka and no SQL. A job gives it operators, a log reader, a bindings store and
//! sinks; it gives back one answer, whatever the number of workers, however often it was killed.

pub mod bindings;
pub mod digest;
pub mod killpoint;
pub mod log;
pub mod operator;
pub mod sink;
pub mod source;
pub mod state;
pub mod timers;
pub mod types;

pub use operator::{Ctx, Operator, Route};
pub use state::{KeyedState, State, StateEntry};
pub use timers::Timers;
pub use types::*;
