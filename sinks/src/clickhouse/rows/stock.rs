//! `facts.stock` → `facts_stock`.

use super::Provenance;
use clickhouse::Row;
use schemas::facts::StockFact;
use serde::Serialize;

#[derive(Row, Serialize)]
pub(in super::super) struct StockRow<'a> {
    tenant: &'a str,
    offer_id: &'a str,
    order_id: Option<&'a str>,
    debit: &'a str,
    credit: &'a str,
    quantity: i64,
    stock_total: i64,
    available: i64,
    held: i64,
    sold: i64,
    shrink_due: i64,
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

impl<'a> StockRow<'a> {
    pub fn of(fact: &'a StockFact, recorded_at: i64, from: Provenance<'a>) -> Self {
        StockRow {
            tenant: &fact.tenant,
            offer_id: &fact.offer_id,
            order_id: fact.order_id.as_deref(),
            debit: fact.debit.as_str(),
            credit: fact.credit.as_str(),
            quantity: fact.quantity,
            stock_total: fact.stock_total,
            available: fact.available,
            held: fact.held,
            sold: fact.sold,
            shrink_due: fact.shrink_due,
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
