//! A house in which every list has rows, of every tenant: what is to be kept apart has to be there.

use super::house::{TENANTS, get, wait_for};
use super::http::{Answer, ask};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Who fills it.
const EVERYWHERE: &str = "everywhere-key";
/// On every ticket, and drawn.
const NUMBERS: &str = "[3,11,19,27,40,44]";

/// Sends a body with a key of its own.
pub fn post(at: SocketAddr, who: &str, (what, key): (&str, &str), body: &str) -> Answer {
    let bearer = format!("Bearer {who}");
    ask(at, &format!("POST {what}"), &[("authorization", &bearer), ("idempotency-key", key)], body)
}

/// The month of sales that are made now.
pub fn month() -> String {
    let now = jiff::Timestamp::from_millisecond(pipelines::clock_ms()).expect("a moment");
    now.strftime("%Y-%m").to_string()
}

fn change(at: SocketAddr, key: &str, table: &str, row: &Value) {
    let body = json!({ "row": row }).to_string();
    let answer = post(at, EVERYWHERE, (&format!("/v1/reference/{table}"), key), &body);
    assert_eq!(answer.status, 202, "{table}: {answer:?}");
}

fn draw(tenant: &str, closes_at_ms: i64) -> Value {
    json!({
        "tenant": tenant, "draw_id": format!("draw-of-{tenant}"), "game": "6 of 49", "main_count": 6, "main_min": 1,
        "main_max": 49, "closes_at_ms": closes_at_ms, "sources_required": 1, "currency": "EUR",
        "prize_tiers": r#"[{"tier":"1","main":6,"fixed_minor":700}]"#,
    })
}

/// Every rule and thing on sale that rows follow from.
fn furnish(at: SocketAddr, tenant: &str) {
    let change = |table: &str, row: Value| change(at, &format!("{table}-{tenant}"), table, &row);
    change("draws", draw(tenant, pipelines::clock_ms() + 3_600_000));
    change(
        "velocity_rules",
        json!({
            "tenant": tenant, "rule_id": "everybody", "key": "customer", "metric": "count", "window_ms": 3_600_000,
            "threshold": 0, "action": "flag", "status": "active",
        }),
    );
    change(
        "commission_rates",
        json!({
            "tenant": tenant, "plan": "standard", "offer_kind": "box", "currency": "EUR", "tier_floor_minor": 0,
            "rate_bps": 1_000, "valid_from": "2020-01-01",
        }),
    );
    change(
        "channels",
        json!({
            "tenant": tenant, "channel_id": format!("channel-of-{tenant}"), "network": "webhook",
            "endpoint": "http://127.0.0.1:9/", "target": "", "template": "card", "locale": "en", "games": "",
            "status": "active",
        }),
    );
    change(
        "offers",
        json!({
            "tenant": tenant, "offer_id": "lotto", "kind": "ticket", "price_minor": 100, "currency": "EUR",
            "stock_total": 1_000, "max_per_order": 10, "draw_id": format!("draw-of-{tenant}"),
            "restock_on_refund": false, "status": "open",
        }),
    );
}

/// Places an order and pays for it.
fn sell(at: SocketAddr, tenant: &str, order_id: &str, what: &str) {
    let order = format!(
        r#"{{"tenant":"{tenant}","order_id":"{order_id}","quantity":1,"price_minor":100,"currency":"EUR",{what}}}"#
    );
    let answer = post(at, EVERYWHERE, ("/v1/orders?wait_ms=120000", order_id), &order);
    assert_eq!(answer.json()["event"], "held", "{answer:?}");
    let paid = format!(
        r#"{{"tenant":"{tenant}","outcome":"captured","order_id":"{order_id}","payment_id":"{order_id}","amount_minor":100,"currency":"EUR"}}"#
    );
    let key = format!("{order_id}-paid");
    let answer = post(at, EVERYWHERE, ("/v1/payments?wait_ms=120000", &key), &paid);
    assert_eq!(answer.json()["event"], "confirmed", "{answer:?}");
}

/// Fills every list: orders `TENANT-p1` and `TENANT-p2` through partners, and a ticket that wins.
pub fn fill(at: SocketAddr) {
    for tenant in TENANTS {
        furnish(at, tenant);
        for partner in ["p1", "p2"] {
            let box_of = format!(r#""customer_id":"anna","offer_id":"box","partner_id":"{partner}""#);
            sell(at, tenant, &format!("{tenant}-{partner}"), &box_of);
        }
        let ticket = format!(r#""customer_id":"berta","offer_id":"lotto","numbers":{NUMBERS}"#);
        sell(at, tenant, &format!("{tenant}-lotto"), &ticket);
        let closed = draw(tenant, pipelines::clock_ms());
        change(at, &format!("closed-{tenant}"), "draws", &closed);
        let result = format!(
            r#"{{"tenant":"{tenant}","draw_id":"draw-of-{tenant}","source":"s","numbers":{NUMBERS}}}"#
        );
        let answer = post(at, EVERYWHERE, ("/v1/draws/results", &format!("result-{tenant}")), &result);
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    for list in
        ["orders", "stock", "tickets", "alerts", "draws", "winning-tickets", "publications", "statements"]
    {
        wait_for(&format!("every tenant to have {list}"), || {
            let items = get(at, EVERYWHERE, &format!("/v1/{list}?limit=500")).items();
            TENANTS.iter().all(|tenant| items.iter().any(|item| item["tenant"] == *tenant))
        });
    }
}
