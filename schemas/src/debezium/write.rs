//! Envelopes as Debezium's PostgreSQL connector would write them, for the demo, examples and tests.

use super::envelope::Op;
use crate::reference::{Reference, ReferenceKey, ReferenceTable};
use serde_json::{Value, json};

/// The bare JSON value of one change. The table is that of the rows given.
///
/// # Panics
/// If neither row is given: a truncate is written by [`truncate`].
pub fn envelope(
    op: Op,
    before: Option<&Reference>,
    after: Option<&Reference>,
    ts_ms: i64,
    lsn: u64,
) -> String {
    let table = after.or(before).expect("a change of a row has the row before or after it").table();
    write(op, before.map(row), after.map(row), table, ts_ms, lsn)
}

/// The bare JSON value of a truncate.
pub fn truncate(table: ReferenceTable, ts_ms: i64, lsn: u64) -> String {
    write(Op::Truncate, None, None, table, ts_ms, lsn)
}

/// The bare JSON key of a row.
pub fn key_of(key: &ReferenceKey) -> String {
    let (tenant, id) = key.parts();
    if let ReferenceKey::CommissionRate { rate_id, .. } = key {
        return rate_key(tenant, rate_id).to_string();
    }
    json!({ "tenant": tenant, id_column(key.table()): id }).to_string()
}

/// A rate's key has five columns besides the tenant, the plan last because its name may hold anything.
fn rate_key(tenant: &str, rate_id: &str) -> Value {
    let columns = ["offer_kind", "currency", "tier_floor_minor", "valid_from", "plan"];
    let mut key = json!({ "tenant": tenant });
    for (column, part) in columns.into_iter().zip(rate_id.splitn(columns.len(), '/')) {
        key[column] = part.into();
    }
    key
}

/// The second column of a reference table's primary key; the first is `tenant`.
pub(super) fn id_column(table: ReferenceTable) -> &'static str {
    match table {
        ReferenceTable::Offers => "offer_id",
        ReferenceTable::Partners => "partner_id",
        ReferenceTable::Customers => "customer_id",
        ReferenceTable::CommissionRates => "rate_id",
        ReferenceTable::CommissionPeriods => "month",
        ReferenceTable::VelocityRules => "rule_id",
        ReferenceTable::Draws => "draw_id",
        ReferenceTable::Channels => "channel_id",
    }
}

fn write(
    op: Op,
    before: Option<Value>,
    after: Option<Value>,
    table: ReferenceTable,
    ts_ms: i64,
    lsn: u64,
) -> String {
    json!({
        "before": before,
        "after": after,
        "source": {
            "version": "3.0.0.Final", "connector": "postgresql", "name": "oltp", "ts_ms": ts_ms,
            "snapshot": if op == Op::Read { "true" } else { "false" }, "db": "oltp", "sequence": null,
            "schema": "public", "table": table.as_str(), "txId": null, "lsn": lsn, "xmin": null,
        },
        "op": op.letter(),
        "ts_ms": ts_ms,
        "transaction": null,
    })
    .to_string()
}

fn row(reference: &Reference) -> Value {
    match reference {
        Reference::Offer(row) => serde_json::to_value(row),
        Reference::Partner(row) => serde_json::to_value(row),
        Reference::Customer(row) => serde_json::to_value(row),
        Reference::CommissionRate(row) => serde_json::to_value(row),
        Reference::CommissionPeriod(row) => serde_json::to_value(row),
        Reference::VelocityRule(row) => serde_json::to_value(row),
        Reference::Draw(row) => serde_json::to_value(row),
        Reference::Channel(row) => serde_json::to_value(row),
    }
    .expect("rows are structs of numbers, texts and words, which JSON can say")
}
