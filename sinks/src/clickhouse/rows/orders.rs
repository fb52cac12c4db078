//! `facts.orders` → `facts_orders`.

use super::Provenance;
use clickhouse::Row;
use schemas::facts::OrderFact;
use serde::Serialize;

#[derive(Row, Serialize)]
pub(in super::super) struct OrderRow<'a> {
    tenant: &'a str,
    order_id: &'a str,
    event: &'a str,
    command_id: &'a str,
    offer_id: &'a str,
    offer_kind: Option<&'a str>,
    partner_id: Option<&'a str>,
    customer_id: &'a str,
    quantity: i32,
    amount_minor: i64,
    currency: &'a str,
    reasons: Vec<&'a str>,
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

impl<'a> OrderRow<'a> {
    pub fn of(fact: &'a OrderFact, recorded_at: i64, from: Provenance<'a>) -> Self {
        OrderRow {
            tenant: &fact.tenant,
            order_id: &fact.order_id,
            event: fact.event.as_str(),
            command_id: &fact.command_id,
            offer_id: &fact.offer_id,
            offer_kind: fact.offer_kind.map(|kind| kind.as_str()),
            partner_id: fact.partner_id.as_deref(),
            customer_id: &fact.customer_id,
            quantity: fact.quantity,
            amount_minor: fact.amount_minor,
            currency: &fact.currency,
            reasons: fact.reasons.iter().map(|reason| reason.as_str()).collect(),
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
