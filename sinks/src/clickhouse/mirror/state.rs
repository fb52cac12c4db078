//! What the mirror knows, in one document that is replaced whole: so it is always of one moment.

use runtime::sink::SinkError;
use schemas::captured::ColumnType;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Where the document lies: durable on return, fenced by the pipeline's generation. Calls may block.
///
/// Errors are a sink's: `Retry` may have written or not (the same again does no harm), `Fenced` and `Stop` end the mirror.
#[allow(clippy::missing_errors_doc)]
pub trait MirrorStore: Send {
    /// The document; none before the first.
    fn read(&mut self) -> Result<Option<String>, SinkError>;

    /// Replaces it.
    fn write(&mut self, document: &str) -> Result<(), SinkError>;

    /// Whether this is still whom it would let write: `Fenced` where a newer generation has begun.
    fn check(&mut self) -> Result<(), SinkError>;
}

/// Everything that is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MirrorState {
    /// Random, made once: part of every token.
    pub mirror_id: String,
    /// Number of the last batch recorded; 0 before the first.
    pub batch: u64,
    /// By topic and partition: what the batches that are done have taken.
    pub positions: BTreeMap<String, BTreeMap<u32, Position>>,
    /// By topic, as of the positions, or as the pending batch needs them: what the server has is never newer.
    pub tables: Tables,
    /// Recorded, not done.
    pub pending: Option<Batch>,
    /// By topic: tables that stand aside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parked: BTreeMap<String, Parked>,
}

/// A table that stands aside until it can be gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parked {
    pub reason: String,
    /// UTC.
    pub since_ms: i64,
    /// What was recorded of it and isn't done.
    pub batch: Option<Numbered>,
}

/// A batch that others have overtaken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Numbered {
    pub number: u64,
    pub batch: Batch,
}

/// By topic.
pub(super) type Tables = BTreeMap<String, Table>;

/// How far a partition has been taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub next: u64,
    /// Position in the source of the newest snapshot met before `next`.
    pub snapshot: u64,
}

/// One batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Batch {
    /// 1, and one more each time the server turned out to have lost what it said it had, and, after that, each time
    /// the batch is taken up again.
    pub attempt: u32,
    pub ranges: Vec<Range>,
}

/// What a batch takes of one partition: offsets from `from` to before `to`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub topic: String,
    pub partition: u32,
    pub from: u64,
    pub to: u64,
    /// Fewer than `to - from` where the log has gaps.
    pub records: u64,
    /// By the number of an insert that was refused: the offsets at which it was cut.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cuts: BTreeMap<usize, BTreeSet<u64>>,
    /// By offset: records that the server refuses, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<u64, String>,
}

/// A mirrored table as it is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Table {
    pub name: String,
    pub key: Vec<String>,
    /// In the source's order, as of `position`.
    pub columns: Vec<TableColumn>,
    /// The newest change whose schema has been seen.
    pub position: u64,
    /// Names of columns that were dropped once.
    pub gone: BTreeSet<String>,
    /// The server's columns that this batch drops: of others it may have, nothing is known here.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dropping: BTreeSet<String>,
}

/// One of its columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TableColumn {
    pub name: String,
    /// Its name in the mirror's table: another one where a column of this name was dropped before, so that the two are
    /// never taken for each other.
    pub stored: String,
    pub ty: ColumnType,
    /// Rows of earlier changes don't have it: theirs, if any, was another one of this name.
    pub since: u64,
    /// What those rows show.
    pub default: Option<Value>,
}

impl MirrorState {
    pub fn position(&self, topic: &str, partition: u32) -> Position {
        self.positions.get(topic).and_then(|all| all.get(&partition)).copied().unwrap_or_default()
    }
}

impl Table {
    pub fn is_key(&self, column: &str) -> bool {
        self.key.iter().any(|key| key == column)
    }
}
