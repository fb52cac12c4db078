//! What a serving store answers to whoever looks at it from outside, whichever store it is.

use runtime::{Epoch, Millis};
use schemas::rows::Value;

/// Where the pipeline stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last epoch bound.
    pub bound: Epoch,
    /// The last epoch whose rows can be seen.
    pub decided: Epoch,
    /// `now` of that epoch.
    pub decided_now: Millis,
}

/// What a query found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    /// There would have been more rows than were asked for.
    pub more: bool,
}

/// A row that isn't the same on both sides. Rows are given as `column=value` lists.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RowDifference {
    pub table: &'static str,
    pub key: String,
    /// The epoch that wrote it: the replay's where the replay has the row.
    pub epoch: Epoch,
    pub committed: Option<String>,
    pub replayed: Option<String>,
}
