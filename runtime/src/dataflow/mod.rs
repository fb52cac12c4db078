//! The wiring of a run on timely dataflow: what turns operators, a log and sinks into one job.
//!
//! ```text
//!            ticks                 data, ticks                       items
//!   mint ──────────> source ─────────────────────> operators ... ──────────> sink ──> committer thread
//!    ↑  (worker 0)      │ reports, status            │ changelog             ↑ │
//!    │                  └──────────> bind ───────────┼──── bound ────────────┘ │ decided
//!    │                            (worker 0)         └──> snapshot files       │
//!    └── credit, snapshot done ──── close <──────────────────┴─────────────────┘
//!                                 (worker 0)
//! ```
//!
//! There is no feedback edge: mint, bind and close all live on worker 0 and share one cell. Each
//! epoch's capability travels with its tick, so timely itself knows when an epoch is complete anywhere.
//!
//! Invariant: nothing of an epoch leaves a sink before its binding is durable, because sinks wait for the
//! frontier of bind's output. Invariant: every worker builds the same operators in the same order.

pub mod bind;
pub mod close;
pub mod flow;
pub mod mint_op;
pub mod outlets;
pub mod relation;
pub mod sink_op;
pub mod snapshot_op;
pub mod source_op;
pub mod stateful;

use crate::bindings::{Clamp, PartitionEnd};
use crate::mint::Status;
use crate::types::{Envelope, Epoch, EpochTs, Generation, Millis, Offset, PartitionId};
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::progress::frontier::MutableAntichain;

/// A stream of messages in the order of their `At` within an epoch.
pub type Messages<'s, B> = StreamVec<'s, EpochTs, Envelope<B>>;

/// What an epoch takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Take {
    /// All up to a bound of record time (inclusive).
    Upto { bound: Millis },
    /// What had been read when it was reported, of each partition that was.
    Reported { upto: Vec<(PartitionId, Offset)> },
    /// Exactly what a binding recorded. After the `last` one, the source goes live.
    Recorded { ends: Vec<PartitionEnd>, clamps: Vec<Clamp>, last: bool },
}

/// The beginning of an epoch, as worker 0 tells it to all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    pub target: usize,
    pub epoch: Epoch,
    pub generation: Generation,
    pub now: Millis,
    pub take: Take,
    pub snapshot: bool,
    /// The settings in force from this epoch on, where they change.
    pub settings: Option<String>,
}

/// What a worker took for an epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub epoch: Epoch,
    pub ends: Vec<PartitionEnd>,
    pub clamps: Vec<Clamp>,
    pub unread: Vec<(PartitionId, Offset, Box<str>)>,
    pub records: usize,
}

/// What travels from sources to worker 0 outside the order of epochs.
pub type StatusMessage = Status;

/// Whether an input frontier has passed `epoch`: nothing of it can come any more.
pub fn passed(frontier: &MutableAntichain<EpochTs>, epoch: Epoch) -> bool {
    !frontier.less_equal(&epoch.0)
}
