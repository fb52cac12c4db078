//! How the runtime reads a log: the trait a connector implements.
//!
//! A log is a set of partitions of records with increasing offsets; some offsets may hold nothing. The runtime
//! asks for records from an offset it has bound; a connector never commits anything. Calls come from the worker's
//! own fetch thread, so they may block for I/O, but not for longer than it takes to say "nothing yet".
//!
//! ```text
//!   clock ─> begin_round(clock) ─> fetch, fetch, fetch … (one per partition) ─> wait ─┐
//!     ↑──────────────────────────────────────────────────────────────────────────────┘
//! ```

use crate::types::{Class, Millis, Offset, PartitionId};
use crate::verdicts::Verdicts;
use std::sync::Arc;

/// What a record claims about its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    At(Millis),
    /// A snapshot read: comes before everything, where it stands at the head of its partition.
    BeforeEverything,
    /// Says nothing (a tombstone, a record that can't be decoded): the partition's running maximum.
    Nothing,
}

/// One record as read from the log.
#[derive(Clone, Debug)]
pub struct Fetched<R> {
    pub offset: Offset,
    pub claim: Claim,
    pub class: Class,
    pub body: R,
    /// Why nobody can read it, where nobody can: the epoch's binding keeps that.
    pub unread: Option<Box<str>>,
}

/// What one fetch brought.
#[derive(Debug)]
pub struct Fetch<R> {
    /// In offset order, from the offset asked for (or the first one after it that exists).
    pub records: Vec<Fetched<R>>,
    /// Where reading goes on: after the last record, and after offsets that hold nothing.
    pub next: Offset,
    /// The log's end (exclusive) as asked for *after* `as_of`: once `next` is at it, the partition is drained as
    /// of then. [`Offset::MAX`] while it isn't known.
    pub end: Offset,
    /// The clock as of which `end` was asked for; absent where that was in this fetch.
    pub as_of: Option<Millis>,
    /// Of a topic that another pipeline writes: the time through which it had said everything *before* `end`
    /// was asked for. Drained, the partition counts with this time instead of the clock, so that nothing from
    /// elsewhere is handled before what that pipeline has yet to say.
    pub said_upto: Option<Millis>,
}

impl<R> Fetch<R> {
    /// Of a log without gaps, its end asked for in this fetch.
    pub fn dense(from: Offset, records: Vec<Fetched<R>>, end: Offset) -> Self {
        let next = records.last().map_or(from, |last| Offset(last.offset.0 + 1));
        Fetch { records, next, end, as_of: None, said_upto: None }
    }
}

/// A log that can't go on being read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Try again: the service is away or busy.
    #[error("the log can't be read just now: {0}")]
    Retry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Stop the run: going on would lose or invent records.
    #[error("{place}: {problem}; {remedy}")]
    Stop { place: String, problem: String, remedy: String },
}

/// Reads the partitions of a job's inputs. Each worker has its own.
pub trait LogReader: Send + 'static {
    /// A decoded record; one that can't be decoded is a record too, bound for the dead letters.
    type Record: Send + 'static;

    /// What bindings say of the records that this run replays, before any of them is asked for. A log whose records
    /// are read alike whenever they are read has no need of it.
    fn replays(&mut self, _recorded: &Arc<Verdicts>) {}

    /// Every partition of every input topic, as of now.
    ///
    /// # Errors
    /// See [`LogError`].
    fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError>;

    /// Begins a round of fetches at `clock`: a log that can't say its end with each fetch asks for all ends here.
    ///
    /// # Errors
    /// See [`LogError`].
    fn begin_round(&mut self, _clock: Millis) -> Result<(), LogError> {
        Ok(())
    }

    /// Records of one partition from `from`, at most about `max`.
    ///
    /// # Errors
    /// [`LogError::Stop`] where the log ends before `from`, has lost it to retention, or is damaged.
    fn fetch(
        &mut self,
        partition: PartitionId,
        from: Offset,
        max: usize,
    ) -> Result<Fetch<Self::Record>, LogError>;

    /// How a partition is called in messages.
    fn place(&self, partition: PartitionId) -> String {
        format!("topic {}, partition {}", partition.topic.0, partition.partition)
    }

    /// Blocks until something may have been appended, or `timeout_ms` has passed.
    fn wait(&mut self, timeout_ms: u64);
}

/// A reader whose kind is known only when the program runs.
impl<R: Send + 'static> LogReader for Box<dyn LogReader<Record = R>> {
    type Record = R;

    fn replays(&mut self, recorded: &Arc<Verdicts>) {
        (**self).replays(recorded);
    }

    fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
        (**self).partitions()
    }

    fn begin_round(&mut self, clock: Millis) -> Result<(), LogError> {
        (**self).begin_round(clock)
    }

    fn fetch(
        &mut self,
        partition: PartitionId,
        from: Offset,
        max: usize,
    ) -> Result<Fetch<Self::Record>, LogError> {
        (**self).fetch(partition, from, max)
    }

    fn place(&self, partition: PartitionId) -> String {
        (**self).place(partition)
    }

    fn wait(&mut self, timeout_ms: u64) {
        (**self).wait(timeout_ms);
    }
}
