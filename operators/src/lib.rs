//! Reusable operators, one per file: deterministic state machines that the runtime calls in order.

pub mod ledger;
pub mod messages;
