//! Where draws and channels stand, as the serving tables have it: for `tombola status` and for metrics.
//!
//! Tables tell it for a pipeline that runs and for one that doesn't, and across restarts.

use super::secret_name;
use crate::stores::{StoreError, Tables};
use schemas::Value;
use std::collections::BTreeMap;

const TIMEOUT_MS: u64 = 2_000;

/// Draws of one status.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Waiting {
    pub draws: u64,
    /// When anything was last said of the one of which it is longest ago, UTC milliseconds.
    pub oldest_ms: Option<i64>,
}

/// Draws of which something was reported and nothing is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Undecided {
    /// Too few sources have spoken.
    pub waiting: Waiting,
    /// Sources contradict each other.
    pub disagreement: Waiting,
}

/// Posts of one channel, of every revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ChannelPosts {
    /// For their image, or for the publisher.
    pub waiting: u64,
    /// Given up; a dead letter each, until somebody resumes it.
    pub parked: u64,
    pub posted: u64,
    /// Too old, or of a revision that was corrected.
    pub left_out: u64,
    /// Of the post that has waited longest, UTC milliseconds.
    pub oldest_ms: Option<i64>,
}

/// Draws without a result.
///
/// # Errors
/// Where the tables can't be read.
pub fn undecided(tables: &mut dyn Tables) -> Result<Undecided, StoreError> {
    let sql = "SELECT status, count(*), min(at_ms) FROM draws \
               WHERE status IN ('waiting', 'disagreement') GROUP BY status";
    let mut undecided = Undecided::default();
    for row in tables.query(sql, 2, TIMEOUT_MS)?.rows {
        let waiting = Waiting { draws: int(&row[1]).unwrap_or(0) as u64, oldest_ms: int(&row[2]) };
        match text(&row[0]) {
            "disagreement" => undecided.disagreement = waiting,
            _ => undecided.waiting = waiting,
        }
    }
    Ok(undecided)
}

/// Posts by channel, as `TENANT/CHANNEL`.
///
/// # Errors
/// Where the tables can't be read.
pub fn channels(tables: &mut dyn Tables) -> Result<BTreeMap<String, ChannelPosts>, StoreError> {
    let sql = "SELECT tenant, channel, status, count(*), min(at_ms) FROM publications \
               GROUP BY tenant, channel, status";
    let mut channels: BTreeMap<String, ChannelPosts> = BTreeMap::new();
    for row in tables.query(sql, usize::MAX, TIMEOUT_MS)?.rows {
        let posts = channels.entry(secret_name(text(&row[0]), text(&row[1]))).or_default();
        posts.add(text(&row[2]), int(&row[3]).unwrap_or(0) as u64, int(&row[4]));
    }
    Ok(channels)
}

impl ChannelPosts {
    fn add(&mut self, status: &str, count: u64, oldest_ms: Option<i64>) {
        match status {
            "posted" => self.posted += count,
            "failed" => self.parked += count,
            "waiting" | "requested" => {
                self.waiting += count;
                self.oldest_ms = self.oldest_ms.into_iter().chain(oldest_ms).min();
            }
            _ => self.left_out += count,
        }
    }
}

fn int(value: &Value) -> Option<i64> {
    if let Value::Int(int) = value { Some(*int) } else { None }
}

fn text(value: &Value) -> &str {
    if let Value::Text(text) = value { text } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_a_post_is_counted_as_what_an_operator_makes_of_it() {
        let mut posts = ChannelPosts::default();
        for (status, oldest_ms) in [
            ("waiting", 7),
            ("requested", 5),
            ("posted", 1),
            ("failed", 2),
            ("skipped", 3),
            ("superseded", 4),
        ] {
            posts.add(status, 2, Some(oldest_ms));
        }
        let expected = ChannelPosts { waiting: 4, parked: 2, posted: 2, left_out: 4, oldest_ms: Some(5) };
        assert_eq!(posts, expected);
    }
}
