//! Reusable operators, one per file: deterministic state machines that the runtime calls in order.

pub mod book;
pub mod cause;
pub mod commission;
pub mod dedup;
pub mod desk;
pub mod draws;
#[cfg(test)]
mod fixtures;
#[cfg(any(test, feature = "testing"))]
pub mod harness;
pub mod keys;
pub mod ledger;
pub mod messages;
pub mod probe;
pub mod screen;
pub mod screening;
pub mod settings;
pub mod settlement;
pub mod table;
pub mod ticket;
pub mod velocity;
