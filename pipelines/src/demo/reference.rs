//! The demo's reference tables as Debezium's PostgreSQL connector would write them.

use super::record::{Body, Timed};
use super::world::Business;
use compact_str::{CompactString as Text, format_compact};
use schemas::reference::{Customer, Offer, Partner};
use serde::Serialize;
use serde_json::{Value, json};

/// Writes changes, each at a higher source position than the one before.
pub struct Changes {
    start_ms: i64,
    lsn: u64,
}

impl Changes {
    /// For a stream that starts at this moment.
    pub fn new(start_ms: i64) -> Self {
        Changes { start_ms, lsn: 1_000 }
    }

    /// Every row of every table, as snapshot reads.
    pub fn snapshot(&mut self, businesses: &[Business]) -> Vec<Timed> {
        let mut rows = Vec::new();
        for business in businesses {
            rows.extend(business.offers.iter().map(|offer| self.read("offers", &offer_key(offer), offer)));
            rows.extend(
                business.partners().map(|partner| self.read("partners", &partner_key(&partner), &partner)),
            );
            rows.extend(
                business
                    .customers()
                    .map(|customer| self.read("customers", &customer_key(&customer), &customer)),
            );
        }
        rows
    }

    /// An update of an offer.
    pub fn update(&mut self, before: &Offer, after: &Offer, at_ms: i64) -> Body {
        self.change("offers", "u", &offer_key(after), row(before), row(after), at_ms)
    }

    fn read(&mut self, table: &'static str, key: &Text, after: &impl Serialize) -> Timed {
        let at_ms = self.start_ms;
        Timed { at_ms, body: self.change(table, "r", key, Value::Null, row(after), at_ms) }
    }

    fn change(
        &mut self,
        table: &'static str,
        op: &str,
        key: &Text,
        before: Value,
        after: Value,
        at_ms: i64,
    ) -> Body {
        self.lsn += 8;
        let source = json!({
            "connector": "postgresql", "name": "oltp", "db": "demo", "schema": "public", "table": table,
            "snapshot": if op == "r" { "true" } else { "false" }, "ts_ms": at_ms, "lsn": self.lsn,
        });
        let envelope = json!({"before": before, "after": after, "source": source, "op": op, "ts_ms": at_ms});
        Body::Change { topic: topic(table), key: key.clone(), json: envelope.to_string() }
    }
}

fn topic(table: &str) -> &'static str {
    match table {
        "offers" => "oltp.public.offers",
        "partners" => "oltp.public.partners",
        _ => "oltp.public.customers",
    }
}

fn row(row: &impl Serialize) -> Value {
    serde_json::to_value(row).expect("a reference row is plain data")
}

fn offer_key(offer: &Offer) -> Text {
    format_compact!("{}/{}", offer.tenant, offer.offer_id)
}

fn partner_key(partner: &Partner) -> Text {
    format_compact!("{}/{}", partner.tenant, partner.partner_id)
}

fn customer_key(customer: &Customer) -> Text {
    format_compact!("{}/{}", customer.tenant, customer.customer_id)
}
