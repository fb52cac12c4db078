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

/// Records that nobody could read when they were bound, whatever may read them later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// The reason that was given then, and is given in every replay.
    pub why: String,
    pub records: Vec<(PartitionId, Offset)>,
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
    /// What could not be read of the epoch's records, by reason; all others were read. Absent in a row of a
    /// version that didn't tell: a replay of it judges anew.
    pub unread: Option<Vec<Unread>>,
}

/// The part of a row that stores keep packed.
///
/// ```text
///   postcard: ends, clamps │ unread     what ends after the clamps is of a version that didn't tell verdicts
/// ```
impl Binding {
    /// Ends, clamps and verdicts as they are stored.
    pub fn packed_places(&self) -> Vec<u8> {
        let packed = postcard::to_stdvec(&(&self.ends, &self.clamps));
        let packed = match &self.unread {
            Some(unread) => packed.and_then(|places| postcard::to_extend(unread, places)),
            None => packed,
        };
        packed.expect("plain data can be encoded")
    }

    /// The same row with its places as they were stored.
    ///
    /// # Errors
    /// The bytes are no places.
    pub fn with_places(self, packed: &[u8]) -> Result<Binding, postcard::Error> {
        let ((ends, clamps), rest) = postcard::take_from_bytes(packed)?;
        let unread = if rest.is_empty() { None } else { Some(postcard::from_bytes(rest)?) };
        Ok(Binding { ends, clamps, unread, ..self })
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopicId;

    type Places = (Vec<PartitionEnd>, Vec<Clamp>);

    #[test]
    fn rows_are_read_by_versions_that_tell_verdicts_and_by_those_that_do_not() {
        let partition = PartitionId { topic: TopicId(1), partition: 2 };
        let ends = vec![PartitionEnd { partition, end: Offset(9), time_max: 5 }];
        let clamps = vec![Clamp { partition, offset: Offset(7), time: 5 }];
        let told = vec![Unread { why: "cut short".to_owned(), records: vec![(partition, Offset(8))] }];
        let (epoch, generation) = (Epoch(3), Generation(1));
        let bare =
            Binding { epoch, generation, now: 6, bound: None, ends: vec![], clamps: vec![], unread: None };
        for unread in [None, Some(vec![]), Some(told)] {
            let row = Binding { ends: ends.clone(), clamps: clamps.clone(), unread, ..bare.clone() };
            let packed = row.packed_places();
            assert_eq!(bare.clone().with_places(&packed), Ok(row));
            let by_an_older_version: Places = postcard::from_bytes(&packed).expect("more may follow");
            assert_eq!(by_an_older_version, (ends.clone(), clamps.clone()));
        }
        assert!(bare.with_places(&[7]).is_err(), "bytes that are no places");
    }
}
