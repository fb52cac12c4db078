//! The conversion itself: pure, from rows to the lines of each topic.
//!
//! Items are taken by (purchase time, order_id, item number). Each becomes an order of its own; where its
//! price differs from the offer's current one, a change of the offer carries the same time and so precedes
//! it. Orders that were canceled or unavailable are cancelled, created ones left held, the others captured.

use crate::input::{Item, Olist, Order};
use serde_json::{Value, json};
use std::collections::HashMap;

const TENANT: &str = "olist";
const MINUTE_MS: i64 = 60_000;

/// One record and the moment it speaks of.
pub struct Line {
    pub time_ms: i64,
    pub json: String,
}

/// The lines of each topic, by time.
#[derive(Default)]
pub struct Topics {
    pub orders: Vec<Line>,
    pub payments: Vec<Line>,
    pub offers: Vec<Line>,
    pub partners: Vec<Line>,
    pub rates: Vec<Line>,
}

impl Topics {
    /// Topic names and their lines.
    pub fn files(&self) -> [(&'static str, &[Line]); 5] {
        [
            ("oltp.public.partners", &self.partners),
            ("oltp.public.commission_rates", &self.rates),
            ("oltp.public.offers", &self.offers),
            ("commands.orders", &self.orders),
            ("commands.payments", &self.payments),
        ]
    }
}

/// An item with the order it belongs to and the person who bought it.
struct Sale<'a> {
    item: &'a Item,
    order: &'a Order,
    person: &'a str,
}

impl Sale<'_> {
    fn id(&self) -> String {
        format!("{}-{}", self.item.order_id, self.item.order_item_id)
    }

    fn offer_id(&self) -> String {
        format!("{}:{}", self.item.product_id, self.item.seller_id)
    }

    fn placed_ms(&self) -> i64 {
        self.order.order_purchase_timestamp
    }

    fn settled_ms(&self) -> i64 {
        self.order.order_approved_at.unwrap_or(self.placed_ms() + MINUTE_MS)
    }
}

/// Position in the invented database's change log: increasing over all tables.
struct Lsn(u64);

impl Lsn {
    fn next(&mut self) -> u64 {
        self.0 += 8;
        self.0
    }
}

/// Converts the whole set.
pub fn convert(olist: &Olist) -> Topics {
    let sales = sales_in_order(olist);
    let mut lsn = Lsn(1_000);
    let mut topics =
        Topics { partners: partners(olist, &mut lsn), offers: offers(&sales, &mut lsn), ..Topics::default() };
    topics.rates = TIERS.iter().map(|tier| rate("r", first_ms(olist), lsn.next(), *tier)).collect();
    for sale in &sales {
        topics.orders.push(place(sale));
        match sale.order.order_status.as_str() {
            "canceled" | "unavailable" => topics.orders.push(cancel(sale)),
            "created" => {}
            _ => topics.payments.push(captured(sale)),
        }
    }
    topics.orders.sort_by_key(|line| line.time_ms);
    topics.payments.sort_by_key(|line| line.time_ms);
    topics
}

fn sales_in_order<'a>(olist: &'a Olist) -> Vec<Sale<'a>> {
    let orders: HashMap<&str, &Order> = olist.orders.iter().map(|o| (o.order_id.as_str(), o)).collect();
    let people: HashMap<&str, &str> =
        olist.customers.iter().map(|c| (c.customer_id.as_str(), c.customer_unique_id.as_str())).collect();
    let sale = |item: &'a Item| {
        let order = orders[item.order_id.as_str()];
        Sale { item, order, person: people[order.customer_id.as_str()] }
    };
    let mut sales: Vec<Sale<'a>> = olist.items.iter().map(sale).collect();
    sales.sort_by_cached_key(|s| (s.placed_ms(), s.item.order_id.clone(), s.item.order_item_id));
    sales
}

fn partners(olist: &Olist, lsn: &mut Lsn) -> Vec<Line> {
    let mut ids: Vec<&str> = olist.sellers.iter().map(|s| s.seller_id.as_str()).collect();
    ids.sort_unstable();
    let first_ms = first_ms(olist);
    ids.into_iter()
        .map(|id| {
            let row = json!({"tenant": TENANT, "partner_id": id, "status": "active", "plan": "standard"});
            change("partners", "r", first_ms, lsn.next(), Value::Null, row)
        })
        .collect()
}

fn first_ms(olist: &Olist) -> i64 {
    olist.orders.iter().map(|o| o.order_purchase_timestamp).min().unwrap_or(0)
}

/// What the plan pays: floor in centavos, basis points.
const TIERS: [(i64, i32); 2] = [(0, 1_000), (100_000, 1_200)];

/// A tier of the plan, good from before the first sale on.
pub fn rate(op: &str, time_ms: i64, lsn: u64, (tier_floor_minor, rate_bps): (i64, i32)) -> Line {
    let row = json!({
        "tenant": TENANT,
        "plan": "standard",
        "offer_kind": "voucher",
        "currency": "BRL",
        "tier_floor_minor": tier_floor_minor,
        "rate_bps": rate_bps,
        "valid_from": "2016-01-01",
    });
    change("commission_rates", op, time_ms, lsn, Value::Null, row)
}

/// A month of the tenant is closed or opened.
#[allow(dead_code, reason = "tests change the data set with it")]
pub fn period(time_ms: i64, month: &str, status: &str) -> Line {
    let row = json!({"tenant": TENANT, "month": month, "status": status});
    change("commission_periods", "c", time_ms, time_ms as u64, Value::Null, row)
}

/// A create at an offer's first sale, an update whenever the price differs from the one before.
fn offers(sales: &[Sale], lsn: &mut Lsn) -> Vec<Line> {
    let mut stock_total: HashMap<String, u64> = HashMap::new();
    for sale in sales {
        *stock_total.entry(sale.offer_id()).or_default() += 1;
    }
    let mut current: HashMap<String, Value> = HashMap::new();
    let mut lines = Vec::new();
    for sale in sales {
        let id = sale.offer_id();
        let before = current.get(&id).cloned().unwrap_or(Value::Null);
        if before["price_minor"] == json!(sale.item.price) {
            continue;
        }
        let op = if before.is_null() { "c" } else { "u" };
        let row = offer_row(&id, sale.item.price, stock_total[&id]);
        lines.push(change("offers", op, sale.placed_ms(), lsn.next(), before, row.clone()));
        current.insert(id, row);
    }
    lines
}

fn offer_row(offer_id: &str, price_minor: i64, stock_total: u64) -> Value {
    json!({
        "tenant": TENANT,
        "offer_id": offer_id,
        "kind": "voucher",
        "price_minor": price_minor,
        "currency": "BRL",
        "stock_total": stock_total,
        "sale_opens_at_ms": null,
        "sale_closes_at_ms": null,
        "max_per_order": 1,
        "max_per_customer": null,
        "draw_id": null,
        "restock_on_refund": true,
        "status": "open",
    })
}

/// A change as Debezium's PostgreSQL connector writes it (envelope without schema).
fn change(table: &str, op: &str, time_ms: i64, lsn: u64, before: Value, after: Value) -> Line {
    let source = json!({
        "version": "3.0.0.Final",
        "connector": "postgresql",
        "name": "oltp",
        "ts_ms": time_ms,
        "snapshot": if op == "r" { "true" } else { "false" },
        "db": "olist",
        "schema": "public",
        "table": table,
        "txId": lsn / 8,
        "lsn": lsn,
    });
    let envelope = json!({"before": before, "after": after, "source": source, "op": op, "ts_ms": time_ms});
    Line { time_ms, json: envelope.to_string() }
}

fn place(sale: &Sale) -> Line {
    let json = json!({
        "type": "place_order",
        "command_id": sale.id(),
        "tenant": TENANT,
        "order_id": sale.id(),
        "customer_id": sale.person,
        "partner_id": sale.item.seller_id,
        "offer_id": sale.offer_id(),
        "quantity": 1,
        "price_minor": sale.item.price,
        "currency": "BRL",
        "placed_at_ms": sale.placed_ms(),
    });
    Line { time_ms: sale.placed_ms(), json: json.to_string() }
}

fn cancel(sale: &Sale) -> Line {
    let json = json!({
        "type": "cancel_order",
        "command_id": format!("{}-cancel", sale.id()),
        "tenant": TENANT,
        "order_id": sale.id(),
        "reason": sale.order.order_status,
        "requested_at_ms": sale.settled_ms(),
    });
    Line { time_ms: sale.settled_ms(), json: json.to_string() }
}

fn captured(sale: &Sale) -> Line {
    let json = json!({
        "type": "payment_captured",
        "command_id": format!("{}-captured", sale.id()),
        "tenant": TENANT,
        "order_id": sale.id(),
        "payment_id": format!("{}-payment", sale.id()),
        "amount_minor": sale.item.price,
        "currency": "BRL",
        "captured_at_ms": sale.settled_ms(),
    });
    Line { time_ms: sale.settled_ms(), json: json.to_string() }
}
