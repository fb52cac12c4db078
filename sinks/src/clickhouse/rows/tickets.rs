//! `facts.tickets` → `facts_tickets`.

use super::Provenance;
use clickhouse::Row;
use schemas::facts::TicketFact;
use serde::Serialize;

#[derive(Row, Serialize)]
pub(in super::super) struct TicketRow<'a> {
    tenant: &'a str,
    ticket_id: &'a str,
    order_id: &'a str,
    offer_id: &'a str,
    numbers: &'a [i32],
    seat: Option<&'a str>,
    payload: &'a str,
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

impl<'a> TicketRow<'a> {
    pub fn of(fact: &'a TicketFact, recorded_at: i64, from: Provenance<'a>) -> Self {
        TicketRow {
            tenant: &fact.tenant,
            ticket_id: &fact.ticket_id,
            order_id: &fact.order_id,
            offer_id: &fact.offer_id,
            numbers: &fact.numbers,
            seat: fact.seat.as_deref(),
            payload: &fact.payload,
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
