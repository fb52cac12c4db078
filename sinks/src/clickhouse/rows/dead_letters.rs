//! `dead-letters` → `facts_dead_letters`.

use super::Provenance;
use clickhouse::Row;
use schemas::facts::DeadLetter;
use serde::Serialize;
use serde_bytes::Bytes;

#[derive(Row, Serialize)]
pub(in super::super) struct DeadLetterRow<'a> {
    id: &'a str,
    source_topic: &'a str,
    source_partition: i32,
    source_offset: i64,
    reason: &'a str,
    payload: &'a Bytes,
    key: Option<&'a Bytes>,
    recorded_at: i64,
    epoch: u64,
    batch_epoch: u64,
    topic_partition: &'a str,
    offset: u64,
}

impl<'a> DeadLetterRow<'a> {
    pub fn of(fact: &'a DeadLetter, recorded_at: i64, from: Provenance<'a>) -> Self {
        DeadLetterRow {
            id: &fact.id,
            source_topic: &fact.topic,
            source_partition: fact.partition,
            source_offset: fact.offset,
            reason: &fact.reason,
            payload: Bytes::new(&fact.payload),
            key: fact.key.as_deref().map(Bytes::new),
            recorded_at,
            epoch: from.epoch,
            batch_epoch: from.batch_epoch,
            topic_partition: from.topic_partition,
            offset: from.offset,
        }
    }
}
