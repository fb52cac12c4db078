//! `facts.fraud` → `facts_fraud`.

use super::Provenance;
use clickhouse::Row;
use schemas::velocity::FraudFact;
use serde::Serialize;

#[derive(Row, Serialize)]
pub(in super::super) struct FraudRow<'a> {
    event: &'a str,
    tenant: &'a str,
    order_id: &'a str,
    command_id: &'a str,
    rule_id: Option<&'a str>,
    key: &'a str,
    key_value: &'a str,
    metric: Option<&'a str>,
    value: Option<i64>,
    threshold: Option<i64>,
    window_ms: Option<i64>,
    action: Option<&'a str>,
    exact_since: Option<i64>,
    late_by_ms: Option<i64>,
    placed_at: i64,
    at: i64,
    recorded_at: i64,
    cause_command_id: &'a str,
    cause_topic: &'a str,
    cause_partition: i32,
    cause_offset: i64,
    epoch: u64,
    batch_epoch: u64,
    topic_partition: &'a str,
    offset: u64,
}

impl<'a> FraudRow<'a> {
    pub fn of(fact: &'a FraudFact, recorded_at: i64, from: Provenance<'a>) -> Self {
        FraudRow {
            event: fact.event.as_str(),
            tenant: &fact.tenant,
            order_id: &fact.order_id,
            command_id: &fact.command_id,
            rule_id: fact.rule_id.as_deref(),
            key: fact.key.as_str(),
            key_value: &fact.key_value,
            metric: fact.metric.map(|word| word.as_str()),
            value: fact.value,
            threshold: fact.threshold,
            window_ms: fact.window_ms,
            action: fact.action.map(|word| word.as_str()),
            exact_since: fact.exact_since_ms,
            late_by_ms: fact.late_by_ms,
            placed_at: fact.placed_at_ms,
            at: fact.at_ms,
            recorded_at,
            cause_command_id: &fact.cause.command_id,
            cause_topic: &fact.cause.topic,
            cause_partition: fact.cause.partition,
            cause_offset: fact.cause.offset,
            epoch: from.epoch,
            batch_epoch: from.batch_epoch,
            topic_partition: from.topic_partition,
            offset: from.offset,
        }
    }
}
