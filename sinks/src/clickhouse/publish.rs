//! The published frontier: told to ClickHouse first, where the views stop at it, then to the serving store.

use super::client::{Client, quoted};
use super::error::Result;
use std::sync::atomic::AtomicBool;

/// Moves the frontier of every topic of a pipeline at once: one block, seen as a whole. Rows are never changed,
/// and the largest counts, so a repeated or late one does no harm. Several pipelines write this table: none waits here for
/// another's quorum, as nothing is decided by what a replica has of it.
pub(super) fn publish(
    client: &Client,
    stop: &AtomicBool,
    (pipeline, topics): (&str, &[String]),
    epoch: u64,
) -> Result<()> {
    let row = |topic: &String| format!("({}, {}, {epoch})", quoted(topic), quoted(pipeline));
    let rows: Vec<String> = topics.iter().map(row).collect();
    let sql = format!(
        "INSERT INTO frontiers (topic, pipeline, epoch) SETTINGS async_insert = 0, insert_quorum = 0 VALUES {}",
        rows.join(", ")
    );
    client.run("publish the frontier", Some(stop), &sql)
}
