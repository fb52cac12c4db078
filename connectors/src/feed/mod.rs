//! Draw results from their publishers' own files: fetched over HTTP, mapped by configuration, sent as `report_result`.
//!
//! ```text
//!   URL ── fetch ──> document ── rows ──> row ── map ──┬─ result ── changed since it was last sent? ──> commands.draws
//!        ETag, limits   csv, json, tar.gz              └─ problem: the original bytes with the reason ─> commands.draws
//!                                                                                                        (header)
//!   DATA_DIR/feeds/SOURCE.json: validators, what was last sent of every draw, what is being sent
//! ```
//!
//! Invariants
//! 1. A row that doesn't fit its mapping is never guessed at: it goes into the log as it came, with the reason in the
//!    header [`crate::decode::REJECTED`], and the pipeline makes a dead letter of it.
//! 2. What was fetched is sent before its validators (ETag) are remembered, so that nothing is skipped after a crash.
//! 3. What is about to be sent is written down before it is sent: a crash in between sends the same bytes again,
//!    which the pipeline knows by their `command_id`.
//!
//! Not promised: that two processes poll one source, the second waits for the first; and that a publisher who
//! corrects a draw twice between two polls is heard both times.

mod archive;
mod csv_rows;
mod draw;
mod fetch;
mod fields;
mod json_rows;
pub mod mapping;
mod poll;
mod result;
mod rows;
pub mod schedule;
mod state;
mod template;

pub use draw::{Mapped, Problem, map};
pub use fetch::{FetchError, Fetched, Http, Limits, Validators};
pub use mapping::{Mapping, MappingError};
pub use poll::{Deliver, Feed, PollError, Polled, TOPIC, When};
pub use result::{DrawResult, Prize};
pub use rows::Row;
pub use state::{State, StateError};
