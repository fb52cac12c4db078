//! Reference rows by way of the API: a change that is sent again changes nothing again, on whatever instance, after a crash, too.

use super::house::{House, place};
use super::http::{Answer, ask, try_ask};
use super::killed::Instance;
use pipelines::stores::scan;
use serde_json::Value;
use std::net::SocketAddr;

const OPERATOR: &str = "acme-operator-key";

/// Sets what a box costs.
fn price(at: SocketAddr, who: &str, key: &str, price_minor: i64) -> std::io::Result<Answer> {
    let row = format!(
        r#"{{"row":{{"tenant":"acme","offer_id":"box","kind":"box","price_minor":{price_minor},"currency":"EUR","stock_total":1000,"max_per_order":10,"restock_on_refund":true,"status":"open"}}}}"#
    );
    let bearer = format!("Bearer {who}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    try_ask(at, "POST /v1/reference/offers", &headers, &row)
}

/// Where a change lies.
fn record(answer: std::io::Result<Answer>) -> Value {
    let answer = answer.expect("it is answered");
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["record"].clone()
}

/// Changes of offers in the log since the house was stocked: what each says a box costs, and its position.
fn changes(house: &House) -> Vec<(i64, u64)> {
    let (mut log, mut found) = (house.stores.log().expect("the log opens"), Vec::new());
    scan::<Box<pipelines::stores::StoreError>>(log.as_mut(), "oltp.public.offers", |_, record| {
        let message: Value = serde_json::from_slice(&record.value.unwrap_or_default()).expect("it is JSON");
        if message["op"] == "u" {
            let price = message["after"]["price_minor"].as_i64().expect("a price");
            found.push((price, message["source"]["lsn"].as_u64().expect("a position")));
        }
        Ok(())
    })
    .expect("the log can be read");
    found
}

#[test]
fn a_change_that_is_sent_again_is_the_same_change_and_undoes_none_that_came_after_it() {
    let house = House::new();
    let (one, two) = (house.beside(), house.apart());
    let first = record(price(one.address, OPERATOR, "dear", 300));
    let second = record(price(two.address, OPERATOR, "cheap", 50));
    assert_ne!(first, second);
    for at in [two.address, one.address] {
        assert_eq!(record(price(at, OPERATOR, "dear", 300)), first, "it is where it was");
        let other = price(at, OPERATOR, "dear", 301).expect("it is answered");
        let problem = other.json()["type"].clone();
        assert_eq!((other.status, problem), (422, "/problems/idempotency-conflict".into()), "{other:?}");
    }
    assert_eq!(record(price(two.address, OPERATOR, "cheap", 50)), second);
    let found = changes(&house);
    assert_eq!(found.iter().map(|(price, _)| *price).collect::<Vec<_>>(), [300, 50]);
    assert!(found[0].1 < found[1].1, "the later one counts: {found:?}");
    let order = super::house::order("").replace(":100,", ":50,");
    let headers = [("authorization", "Bearer acme-producer-key"), ("idempotency-key", "k")];
    let placed = ask(two.address, "POST /v1/orders?wait_ms=120000", &headers, &order).json();
    assert_eq!(placed["event"], "held", "the later price counts: {placed}");
    let refused = place(one.address, "acme-producer-key", "k2", "").json();
    assert_eq!(refused["reasons"][0], "price_mismatch", "{refused}");
    // The same key of somebody else is another change.
    assert_ne!(record(price(one.address, "everywhere-key", "dear", 300)), first);
}

#[test]
fn a_change_without_a_key_is_turned_away() {
    let house = House::new();
    let server = house.beside();
    let headers = [("authorization", "Bearer acme-operator-key")];
    let body = r#"{"delete":{"tenant":"acme","offer_id":"box"}}"#;
    let answer = ask(server.address, "POST /v1/reference/offers", &headers, body);
    assert_eq!((answer.status, answer.json()["type"].clone()), (400, "/problems/malformed".into()));
    assert_eq!(changes(&house), []);
}

#[test]
fn a_change_whose_answer_a_crash_took_is_sent_again_and_is_there_once() {
    let house = House::new();
    for (kill_at, price_minor) in [("log.before_append:1", 300), ("log.after_append:1", 200)] {
        let key = format!("price-{price_minor}");
        let mut dying = Instance::start_with(&house, &[("TOMBOLA_KILL_AT", kill_at)]);
        let cut = price(dying.1, OPERATOR, &key, price_minor);
        assert!(cut.is_err(), "{kill_at}: it was to die before it answers: {cut:?}");
        assert!(!dying.0.wait().expect("it ends").success());
        let next = Instance::start(&house);
        let first = record(price(next.1, OPERATOR, &key, price_minor));
        assert_eq!(record(price(next.1, OPERATOR, &key, price_minor)), first);
        let found = changes(&house);
        let of_it = found.iter().filter(|(price, _)| *price == price_minor).count();
        assert_eq!(of_it, 1, "{kill_at}: {found:?}");
    }
}
