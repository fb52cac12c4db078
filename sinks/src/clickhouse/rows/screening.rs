//! `facts.screening` → `facts_screening`.

use super::Provenance;
use clickhouse::Row;
use schemas::screening::ScreeningFact;
use serde::Serialize;

#[derive(Row, Serialize)]
pub(in super::super) struct ScreeningRow<'a> {
    event: &'a str,
    tenant: &'a str,
    order_id: &'a str,
    customer_id: Option<&'a str>,
    partner_id: Option<&'a str>,
    card: Option<&'a str>,
    device: Option<&'a str>,
    ip: Option<&'a str>,
    amount_minor: Option<i64>,
    currency: Option<&'a str>,
    event_at: i64,
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

impl<'a> ScreeningRow<'a> {
    pub fn of(fact: &'a ScreeningFact, recorded_at: i64, from: Provenance<'a>) -> Self {
        ScreeningRow {
            event: fact.event.as_str(),
            tenant: &fact.tenant,
            order_id: &fact.order_id,
            customer_id: fact.customer_id.as_deref(),
            partner_id: fact.partner_id.as_deref(),
            card: fact.card.as_deref(),
            device: fact.device.as_deref(),
            ip: fact.ip.as_deref(),
            amount_minor: fact.amount_minor,
            currency: fact.currency.as_deref(),
            event_at: fact.event_at_ms,
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
