//! How results leave: the trait a sink implements, and what it is promised.
//!
//! ```text
//!   workers ─ items of epoch e ─> committer thread: sink 1 ─> sink 2 ─> decided frontier ≥ e
//! ```
//!
//! Promised to a sink: it sees whole epochs, in order, whose binding row is durable, with their items in
//! the one order of [`At`]; after a crash it sees again, byte for byte, those it may not have committed.
//! It promises: `commit` is atomic with the sink's own progress and fenced by the generation, and
//! returns only when the outside world has it for good.

use crate::types::{At, Epoch, Generation, Millis};
use std::time::Duration;

/// One thing to deliver.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Item<I> {
    pub at: At,
    /// Which operator said it: orders items of one `at` from several operators.
    pub stage: u8,
    pub body: I,
}

/// Everything one epoch delivers, in order.
#[derive(Clone, Debug)]
pub struct EpochItems<I> {
    pub epoch: Epoch,
    pub now: Millis,
    pub items: Vec<Item<I>>,
}

/// A sink's failure, by what the runtime must do.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Nothing was committed; the same call may succeed later (busy, disconnected).
    #[error("{sink}: not committed, will be tried again: {source}")]
    Retry { sink: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// A newer generation owns the store: this process must stop and touch nothing more.
    #[error(
        "{sink}: generation {ours} is fenced off by generation {theirs}: another pipeline has taken over this store; this one stops"
    )]
    Fenced { sink: &'static str, ours: Generation, theirs: Generation },
    /// Stop: an operator is needed.
    #[error("{sink}: {problem}; {remedy}")]
    Stop { sink: &'static str, problem: String, remedy: String },
}

/// An exactly-once destination. Owned by one committer thread.
pub trait Sink<I>: Send {
    /// Name in metrics and errors.
    fn name(&self) -> &'static str;

    /// The last epoch this sink has for good.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn committed(&mut self) -> Result<Epoch, SinkError>;

    /// How far apart commits should begin at least, where one costs much however little is in it: epochs that come meanwhile
    /// share the next one. Nothing waits that is as much as a commit may hold.
    fn commit_interval(&self) -> Duration {
        Duration::ZERO
    }

    /// Commits a run of consecutive epochs, all above [`Sink::committed`], in one transaction with the progress.
    ///
    /// # Errors
    /// See [`SinkError`]. After `Retry` nothing of the run may be visible.
    fn commit(&mut self, run: &[EpochItems<I>]) -> Result<(), SinkError>;
}
