//! Bindings: which offsets an epoch is made of. Durable before anything of the epoch is visible.
//!
//! The store is fenced by the generation: an append by any but the newest generation fails, so a process
//! that was paused, declared dead and replaced can't write history. Replaying the rows in order gives the
//! same epochs, byte for byte: recovery, rescaling and audit are this.

use crate::types::{Epoch, Generation, Millis, Offset, PartitionId};
use serde::{Deserialize, Serialize};

/// Where one partition stands at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionEnd {
    pub partition: PartitionId,
    /// Exclusive.
    pub end: Offset,
    /// The running maximum of effective time up to `end`.
    pub time_max: Millis,
}

/// A record whose claim lay too far ahead of the clock, and the effective time it got instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clamp {
    pub partition: PartitionId,
    pub offset: Offset,
    pub time: Millis,
}

/// One epoch's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub epoch: Epoch,
    pub generation: Generation,
    /// The moment up to which timers fire at the end of this epoch.
    pub now: Millis,
    /// Record-time bound (inclusive) while catching up; absent where it was open.
    pub bound: Option<Millis>,
    /// Partitions that moved in this epoch (the others stand where an earlier row left them), by partition.
    pub ends: Vec<PartitionEnd>,
    pub clamps: Vec<Clamp>,
}

/// What a generation was run with: replay uses what was recorded, not what is configured today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationInfo {
    pub generation: Generation,
    pub code_version: String,
    /// The settings that change decisions, as JSON.
    pub settings: String,
    pub workers: usize,
    pub started_ms: Millis,
    /// The last epoch bound before it began.
    pub first_after: Epoch,
}

/// A bindings store's failure, by what the runtime must do.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    #[error("bindings: not appended, will be tried again: {0}")]
    Retry(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "bindings: generation {ours} is fenced off by generation {theirs}: another pipeline has taken over this store; this one stops"
    )]
    Fenced { ours: Generation, theirs: Generation },
    #[error("bindings: {problem}; {remedy}")]
    Stop { problem: String, remedy: String },
}

/// Where bindings live. Owned by one thread.
pub trait BindingStore: Send {
    /// Takes the next generation: from here on every older one is fenced.
    ///
    /// # Errors
    /// See [`BindingError`].
    fn begin_generation(
        &mut self,
        code_version: &str,
        settings: &str,
        workers: usize,
        started_ms: Millis,
    ) -> Result<GenerationInfo, BindingError>;

    /// Appends rows with consecutive epochs, all or none, durable on return.
    ///
    /// # Errors
    /// [`BindingError::Fenced`] where a newer generation has begun.
    fn append(&mut self, rows: &[Binding]) -> Result<(), BindingError>;

    /// The last epoch bound.
    ///
    /// # Errors
    /// See [`BindingError`].
    fn last(&mut self) -> Result<Epoch, BindingError>;

    /// Rows after `after`, in order, at most `max`.
    ///
    /// # Errors
    /// See [`BindingError`].
    fn read(&mut self, after: Epoch, max: usize) -> Result<Vec<Binding>, BindingError>;

    /// Every generation, oldest first.
    ///
    /// # Errors
    /// See [`BindingError`].
    fn generations(&mut self) -> Result<Vec<GenerationInfo>, BindingError>;
}
