//! How the runtime reads a log: the trait a connector implements.
//!
//! A log is a set of partitions of records with dense, increasing offsets. The runtime asks for records
//! from an offset it has bound; a connector never commits anything. Calls come from the worker's own
//! fetch thread, so they may block for I/O, but not for longer than it takes to say "nothing yet".

use crate::types::{Class, Millis, Offset, PartitionId};

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
}

/// What one fetch brought.
#[derive(Debug)]
pub struct Fetch<R> {
    /// In offset order, from the offset asked for (or the first one after it that exists).
    pub records: Vec<Fetched<R>>,
    /// The log's end (exclusive) as asked for *after* the fetch began: at it, the partition is drained.
    pub end: Offset,
    /// Of a topic that another pipeline writes: the time through which it had said everything *before* the
    /// fetch began. Drained, the partition counts with this time instead of the clock, so that nothing from
    /// elsewhere is handled before what that pipeline has yet to say.
    pub said_upto: Option<Millis>,
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

    /// Every partition of every input topic, as of now.
    ///
    /// # Errors
    /// See [`LogError`].
    fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError>;

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

    fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
        (**self).partitions()
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
