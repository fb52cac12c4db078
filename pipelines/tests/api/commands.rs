//! Commands and what becomes of them: decisions, retries on several instances, reads that see one's own writes.

use super::house::{House, get, order, place};
use super::http::ask;
use serde_json::Value;

const PRODUCER: &str = "acme-producer-key";
const ANALYST: &str = "acme-analyst-key";

fn texts<'a>(body: &'a Value, names: &[&str]) -> Vec<&'a str> {
    names.iter().map(|name| body[*name].as_str().unwrap_or("-")).collect()
}

#[test]
fn an_order_is_decided_paid_and_read_and_every_retry_on_any_instance_is_the_same_order() {
    let house = House::new();
    let (one, two) = (house.beside(), house.apart());
    let first = place(one.address, PRODUCER, "k1", "");
    assert_eq!(first.status, 200, "{first:?}");
    let placed = first.json();
    assert_eq!(texts(&placed, &["status", "event", "tenant"]), ["decided", "held", "acme"]);
    for server in [&two, &one] {
        let again = place(server.address, PRODUCER, "k1", "").json();
        assert_eq!(again["replayed"], true, "{again}");
        assert_eq!(texts(&again, &["event", "order_id"]), ["held", placed["order_id"].as_str().unwrap()]);
        let other = place(server.address, PRODUCER, "k1", r#","seat":"7""#);
        assert_eq!(
            (other.status, other.json()["type"].as_str()),
            (422, Some("/problems/idempotency-conflict"))
        );
    }
    let order_id = placed["order_id"].as_str().unwrap();
    let payment = format!(
        r#"{{"outcome":"captured","order_id":"{order_id}","payment_id":"p","amount_minor":100,"currency":"EUR"}}"#
    );
    let headers = [("authorization", "Bearer acme-producer-key"), ("idempotency-key", "k1-paid")];
    let paid = ask(two.address, "POST /v1/payments?wait_ms=120000", &headers, &payment);
    assert_eq!(paid.json()["event"], "confirmed", "{paid:?}");
    let paid = ask(one.address, "POST /v1/payments?wait_ms=120000", &headers, &payment);
    assert_eq!(paid.json()["event"], "confirmed", "{paid:?}");
    let orders = get(one.address, ANALYST, "/v1/orders").items();
    assert_eq!(orders.len(), 1, "{orders:?}");
    assert_eq!(texts(&orders[0], &["order_id", "status"]), [order_id, "confirmed"]);
    let stock = &get(two.address, ANALYST, "/v1/stock").items()[0];
    assert_eq!((stock["sold"].as_i64(), stock["held"].as_i64()), (Some(1), Some(0)));
}

#[test]
fn an_order_whose_id_is_taken_is_refused_however_often_it_is_sent_and_never_shows_the_other() {
    let house = House::new();
    let (one, two) = (house.beside(), house.apart());
    let first = place(one.address, PRODUCER, "first", r#","order_id":"mine","seat":"7""#).json();
    assert_eq!(first["event"], "held", "{first}");
    for at in [one.address, two.address, one.address] {
        let other = place(at, "acme-seller-key", "other", r#","order_id":"mine""#);
        let said = other.json();
        assert_eq!((other.status, texts(&said, &["event", "status"])), (200, vec!["refused", "decided"]));
        assert_eq!(said["reasons"], serde_json::json!(["duplicate_order"]), "{said}");
        assert_eq!(said["order"]["command_id"], said["command_id"], "{said}");
        assert_eq!(said["order"]["partner_id"], "p1", "{said}");
    }
    assert_eq!(
        place(two.address, PRODUCER, "first", r#","order_id":"mine","seat":"7""#).json()["event"],
        "held"
    );
}

#[test]
fn who_does_not_wait_is_told_where_to_look_and_sees_it_there() {
    let house = House::new();
    for server in [house.beside(), house.apart()] {
        let key = format!("k-{}", server.address.port());
        let headers = [("authorization", "Bearer acme-producer-key"), ("idempotency-key", key.as_str())];
        let accepted = ask(server.address, "POST /v1/orders", &headers, &order(""));
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let location = &accepted.headers["location"];
        assert_eq!(accepted.json()["status_url"].as_str(), Some(location.as_str()));
        let found = get(server.address, PRODUCER, &format!("{location}&wait_ms=120000"));
        assert_eq!((found.status, found.json()["status"].as_str()), (200, Some("held")), "{found:?}");
        let known =
            [("authorization", "Bearer acme-producer-key"), ("if-none-match", &found.headers["etag"])];
        assert_eq!(ask(server.address, &format!("GET {location}"), &known, "").status, 304);
        let described = get(server.address, "", "/openapi.json").json();
        assert!(described["paths"]["/v1/orders/{order_id}"]["get"]["responses"]["304"].is_object());
        let frontier: u64 = found.headers["tombola-frontier"].parse().unwrap();
        assert!(frontier >= found.json()["epoch"].as_u64().unwrap());
    }
}

#[test]
fn pages_follow_each_other_without_gap_or_repeat_and_an_unchanged_one_is_not_sent_again() {
    let house = House::new();
    let server = house.beside();
    for number in 0..7 {
        let more = format!(r#","order_id":"o{number}""#);
        assert_eq!(place(server.address, PRODUCER, &format!("k{number}"), &more).status, 200);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(server.address, ANALYST, &format!("/v1/orders?limit=3{cursor}"));
        seen.extend(page.items().iter().map(|item| item["order_id"].as_str().unwrap().to_owned()));
        match page.json()["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["o0", "o1", "o2", "o3", "o4", "o5", "o6"]);
    let page = get(server.address, ANALYST, "/v1/orders?offer_id=box&status=held");
    let tag = page.headers["etag"].as_str();
    let headers = [("authorization", "Bearer acme-analyst-key"), ("if-none-match", tag)];
    let again = ask(server.address, "GET /v1/orders?offer_id=box&status=held", &headers, "");
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    place(server.address, PRODUCER, "k-more", "");
    assert_eq!(ask(server.address, "GET /v1/orders?offer_id=box&status=held", &headers, "").status, 200);
}

#[test]
fn a_refusal_says_why_and_a_payment_for_nothing_is_a_dead_letter() {
    let house = House::new();
    let server = house.beside();
    let refused = place(server.address, PRODUCER, "k", r#","partner_id":"p1","numbers":[1]"#);
    assert_eq!(refused.json()["event"], "held", "{refused:?}");
    let headers = [("authorization", "Bearer acme-producer-key"), ("idempotency-key", "dear")];
    let dear = order("").replace(":100,", ":99,");
    let refused = ask(server.address, "POST /v1/orders?wait_ms=120000", &headers, &dear).json();
    assert_eq!(
        (refused["event"].as_str(), refused["reasons"][0].as_str()),
        (Some("refused"), Some("price_mismatch"))
    );
    let headers = [("authorization", "Bearer acme-producer-key"), ("idempotency-key", "lost")];
    let cancel = ask(server.address, "POST /v1/orders/nobody/cancel?wait_ms=120000", &headers, "{}");
    assert_eq!(
        (cancel.status, cancel.json()["type"].as_str()),
        (422, Some("/problems/dead-letter")),
        "{cancel:?}"
    );
    let id = cancel.json()["id"].as_str().unwrap().to_owned();
    let letters = get(server.address, "everywhere-key", "/v1/dead-letters").items();
    assert_eq!(letters[0]["id"].as_str(), Some(id.as_str()));
    let headers = [("authorization", "Bearer everywhere-key")];
    let retry = |ids: &str| ask(server.address, "POST /v1/dead-letters/retry", &headers, ids);
    let body = format!(r#"{{"ids":["{id}"]}}"#);
    let outcomes = [retry(&body), retry(&body)].map(|answer| answer.items()[0]["outcome"].clone());
    assert_eq!(outcomes, ["appended", "already"]);
    let listed = |query: &str| {
        let letters = get(server.address, "everywhere-key", &format!("/v1/dead-letters{query}")).items();
        let found = letters.into_iter().find(|letter| letter["id"].as_str() == Some(id.as_str()));
        found.map(|letter| letter["status"].as_str().unwrap().to_owned())
    };
    for (query, wanted) in [
        ("", Some("retried")),
        ("?status=retried", Some("retried")),
        ("?status=retried&limit=1", Some("retried")),
        ("?status=open", None),
    ] {
        assert_eq!(listed(query).as_deref(), wanted, "{query}");
    }
    // What isn't a dead letter can't be sent in again by calling it one.
    assert_eq!(retry(r#"{"ids":["commands.orders/0/0"]}"#).status, 422);
}

#[test]
fn a_ticket_is_bought_with_a_key_or_without_and_never_with_one_that_cannot_be_used() {
    let house = House::new();
    let server = house.shop();
    let bearer = ("authorization", "Bearer acme-producer-key");
    let buy = |headers: &[(&str, &str)]| ask(server.address, "POST /api/ticket/buy", headers, "{}");
    for unusable in ["", &"x".repeat(256), "\u{e9}"] {
        let answer = buy(&[bearer, ("idempotency-key", unusable)]);
        assert_eq!(
            (answer.status, &answer.json()["type"]),
            (400, &"/problems/malformed".into()),
            "{unusable}"
        );
    }
    assert_eq!(get(server.address, ANALYST, "/v1/orders").items().len(), 0);
    let bought =
        [buy(&[bearer]), buy(&[bearer, ("idempotency-key", "k")]), buy(&[bearer, ("idempotency-key", "k")])];
    let orders = bought.each_ref().map(|answer| answer.json()["order_id"].clone());
    assert!(orders[0] != orders[1] && orders[1] == orders[2], "{bought:?}");
    assert_eq!(get(server.address, ANALYST, "/v1/orders").items().len(), 2);
    // As `curl -X POST` sends it: without a body.
    let bare = ask(server.address, "POST /api/ticket/buy", &[bearer], "");
    assert_eq!((bare.status, &bare.json()["message"]), (200, &"payment confirmed".into()), "{bare:?}");
}
