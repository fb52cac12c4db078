//! What a batch is, and where the loader records it before it is sent.

use runtime::Epoch;
use runtime::sink::SinkError;
use serde::{Deserialize, Serialize};

/// What one batch takes of one partition of the log: offsets from `from` to before `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRange {
    pub topic: String,
    pub partition: u32,
    pub from: u64,
    pub to: u64,
    /// How many facts: fewer than `to - from` where the log has gaps, as Kafka's have.
    pub rows: u64,
    /// The insert its facts go into, by number among those of its topic. Absent: one of its own, as all had at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insert: Option<u32>,
}

/// One batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// 1, 2, 3 and so on.
    pub number: u64,
    /// Its facts are of epochs up to this one, and become visible with it.
    pub through: Epoch,
    /// 1, and one more each time the server turned out to have lost what it said it had.
    pub attempt: u32,
    /// Never empty, and none of them is.
    pub ranges: Vec<BatchRange>,
}

/// What a loader has recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanState {
    /// Random, made once: part of every token, so that another log's facts are never taken for ours.
    pub loader_id: String,
    /// Number of the last batch recorded; 0 before the first.
    pub last: u64,
    /// Topic, partition and the next offset: what the batches that are done have taken.
    pub positions: Vec<(String, u32, u64)>,
    /// Recorded, not done.
    pub pending: Option<Batch>,
}

/// Where plans are recorded: durably on return, fenced by the pipeline's generation. Calls may block.
///
/// Errors are a sink's: `Retry` leaves everything as it was, `Fenced` and `Stop` end the loader.
#[allow(clippy::missing_errors_doc)]
pub trait PlanStore: Send {
    /// The decided frontier of the serving store, read anew.
    fn decided(&mut self) -> Result<Epoch, SinkError>;

    /// The published frontier; 0 before the first.
    fn published(&mut self) -> Result<Epoch, SinkError>;

    /// What is recorded. The first call makes the loader's id.
    fn state(&mut self) -> Result<PlanState, SinkError>;

    /// Records a batch that is about to be sent: it is pending then. None may be, and its number is the next one.
    fn record(&mut self, batch: &Batch) -> Result<(), SinkError>;

    /// Raises the attempt of the pending batch.
    fn record_attempt(&mut self, attempt: u32) -> Result<(), SinkError>;

    /// The pending batch is in ClickHouse: its ranges' ends become the positions, and nothing is pending, in one step.
    fn done(&mut self) -> Result<(), SinkError>;

    /// Moves the published frontier, never back.
    fn set_published(&mut self, epoch: Epoch) -> Result<(), SinkError>;
}
