//! `facts.commissions` → `facts_commissions`.

use super::Provenance;
use clickhouse::Row;
use schemas::facts::{CommissionCause, CommissionFact};
use serde::Serialize;

#[derive(Row, Serialize)]
pub(in super::super) struct CommissionRow<'a> {
    tenant: &'a str,
    partner_id: &'a str,
    month: &'a str,
    currency: &'a str,
    offer_kind: &'a str,
    base_delta_minor: i64,
    commission_delta_minor: i64,
    adjustment_delta_minor: i64,
    base_minor: i64,
    commission_minor: i64,
    adjustment_minor: i64,
    computed_minor: i64,
    status: &'a str,
    commission_base_minor: i64,
    plan: Option<&'a str>,
    valid_from: Option<&'a str>,
    tiers: Vec<(i64, i32)>,
    causes: Vec<Cause<'a>>,
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

impl<'a> CommissionRow<'a> {
    pub fn of(fact: &'a CommissionFact, recorded_at: i64, from: Provenance<'a>) -> Self {
        CommissionRow {
            tenant: &fact.tenant,
            partner_id: &fact.partner_id,
            month: &fact.month,
            currency: &fact.currency,
            offer_kind: fact.offer_kind.as_str(),
            base_delta_minor: fact.base_delta_minor,
            commission_delta_minor: fact.commission_delta_minor,
            adjustment_delta_minor: fact.adjustment_delta_minor,
            base_minor: fact.base_minor,
            commission_minor: fact.commission_minor,
            adjustment_minor: fact.adjustment_minor,
            computed_minor: fact.computed_minor,
            status: fact.status.as_str(),
            commission_base_minor: fact.commission_base_minor,
            plan: fact.plan.as_deref(),
            valid_from: fact.valid_from.as_deref(),
            tiers: fact.tiers.iter().map(|tier| (tier.floor_minor, tier.rate_bps)).collect(),
            causes: fact.causes.iter().map(cause).collect(),
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

/// Kind, month, count, amount_minor, effect_minor, topic, partition, offset, recorded_at.
type Cause<'a> = (&'a str, &'a str, i64, i64, i64, &'a str, i32, i64, i64);

fn cause(cause: &CommissionCause) -> Cause<'_> {
    (
        cause.kind.as_str(),
        &cause.month,
        cause.count,
        cause.amount_minor,
        cause.effect_minor,
        &cause.topic,
        cause.partition,
        cause.offset,
        cause.record_time_ms,
    )
}
