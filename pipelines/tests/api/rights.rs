//! Who may do what: every route of the table, by everybody, and never another's rows.

use super::filled::{fill, month, post};
use super::house::{House, KEYS, get, order, place};
use super::http::{Live, ask};
use api::{Access, Method, ROUTES, Route};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A body that the route takes.
fn body(route: &Route) -> String {
    match route.id {
        "placeOrder" => order(""),
        "reportPayment" => r#"{"outcome":"declined","order_id":"o","payment_id":"p"}"#.to_owned(),
        "reportResult" => r#"{"draw_id":"d","source":"s","numbers":[1]}"#.to_owned(),
        "retryDeadLetters" => r#"{"ids":["commands.orders/0/0"]}"#.to_owned(),
        _ => "{}".to_owned(),
    }
}

fn request(route: &Route) -> String {
    let path = route.path.replace("{month}", "2026-01").replace("{file}", "app.js");
    let path: Vec<&str> =
        path.split('/').map(|part| if part.starts_with('{') { "p1" } else { part }).collect();
    let method = if route.method == Method::Get { "GET" } else { "POST" };
    format!("{method} {}", path.join("/"))
}

fn status(at: SocketAddr, route: &Route, key: Option<&str>) -> u16 {
    let bearer = key.map(|key| format!("Bearer {key}"));
    let mut headers = vec![("idempotency-key", route.id)];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    if route.id == "followLive" {
        // One that is let in never ends: ask for what doesn't exist, which is looked at after who asks.
        return ask(at, "GET /v1/live?topics=nothing", &headers, "").status;
    }
    let body = if route.method == Method::Post { body(route) } else { String::new() };
    ask(at, &request(route), &headers, &body).status
}

#[test]
fn every_route_lets_in_those_it_names_and_nobody_else() {
    let house = House::new();
    let server = house.beside();
    for route in ROUTES {
        for (key, role, tenant, _) in KEYS {
            let status = status(server.address, route, Some(key));
            let allowed = match route.access {
                Access::Anyone => true,
                Access::Roles(roles) => {
                    role == "operator"
                        || roles.iter().any(|known| format!("{known:?}").to_lowercase() == role)
                }
            };
            let what = format!("{} by {key}: {status}", request(route));
            let everywhere_only = ["listDeadLetters", "retryDeadLetters"].contains(&route.id);
            if !allowed || everywhere_only && tenant.is_some() {
                assert_eq!(status, 403, "{what}");
            } else if route.id != "changeReference" {
                assert_ne!(status, 403, "{what}");
            }
            assert!(status < 500 && status != 401 || status == 503 && route.id == "isReady", "{what}");
        }
        for stranger in [None, Some("no-such-key"), Some("a.b.c"), Some("")] {
            let status = status(server.address, route, stranger);
            let open = matches!(route.access, Access::Anyone);
            assert_eq!(status == 401, !open, "{} by {stranger:?}: {status}", request(route));
        }
    }
}

#[test]
fn nobody_sees_or_touches_what_is_another_tenants_or_partners() {
    let house = House::new();
    let server = house.beside();
    let at = server.address;
    fill(at);
    let mut seen = BTreeSet::new();
    for route in ROUTES.iter().filter(|route| route.method == Method::Get && route.path.starts_with("/v1/")) {
        let named = route.query.iter().any(|field| field.name == "tenant");
        for (key, _, tenant, partner) in KEYS {
            let Some(tenant) = tenant else { continue };
            let other = if tenant == "acme" { "other" } else { "acme" };
            if named {
                let path = request(route).replace("GET ", "");
                let answer = get(at, key, &format!("{path}?tenant={other}"));
                assert_eq!(answer.status, 403, "{path} of {other} by {key}: {answer:?}");
            }
            let list = request(route).replace("GET ", "");
            if route.path.contains('{') || route.id == "followLive" || route.id == "getStatus" {
                continue;
            }
            let answer = get(at, key, &list);
            if answer.status != 200 {
                assert_eq!(answer.status, 403, "{list} by {key}: {answer:?}");
                continue;
            }
            let items = answer.items();
            assert!(!items.is_empty(), "{list}: {key} sees its own");
            for item in &items {
                assert_eq!(item["tenant"], tenant, "{list} by {key}: {item}");
                assert!(partner.is_none_or(|own| item["partner_id"] == own), "{list} by {key}: {item}");
            }
            seen.insert(route.id);
        }
    }
    assert_eq!(seen.len(), 8, "every list was looked at: {seen:?}");
    assert_eq!(get(at, "acme-partner-key", "/v1/orders/acme-p1").status, 200);
    assert_eq!(get(at, "acme-partner-key", "/v1/orders/acme-p2").status, 404);
    assert_eq!(get(at, "acme-partner-key", "/v1/orders?partner_id=p2").status, 403);
    assert_eq!(get(at, "acme-partner-key", "/v1/statements/p2/2026-01/explanation").status, 403);
    for path in ["/v1/orders/other-p1", "/v1/draws/draw-of-other"] {
        assert_eq!(get(at, "acme-analyst-key", path).status, 404, "{path}");
        assert_eq!(get(at, "acme-analyst-key", &format!("{path}?tenant=other")).status, 403, "{path}");
        assert_eq!(get(at, "everywhere-key", &format!("{path}?tenant=other")).status, 200, "{path}");
    }
    nobody_speaks_for_another(at);
    statements_are_explained_to_those_whose_they_are(at);
}

/// What is sent under a tenant's name comes from it alone.
fn nobody_speaks_for_another(at: SocketAddr) {
    assert_eq!(place(at, "acme-producer-key", "x", r#","tenant":"other""#).status, 403);
    let captured = r#"{"tenant":"other","outcome":"captured","order_id":"other-p1","payment_id":"x","amount_minor":100,"currency":"EUR"}"#;
    let offer = r#"{"delete":{"tenant":"other","offer_id":"box"}}"#;
    for (who, what, body) in [
        ("acme-producer-key", "/v1/orders/other-p1/cancel", r#"{"tenant":"other"}"#),
        ("acme-producer-key", "/v1/orders/other-p1/refund", r#"{"tenant":"other"}"#),
        ("acme-producer-key", "/v1/payments", captured),
        ("acme-seller-key", "/v1/payments", captured),
        (
            "acme-operator-key",
            "/v1/draws/results",
            r#"{"tenant":"other","draw_id":"draw-of-other","source":"x","numbers":[1,2,3,4,5,6]}"#,
        ),
        ("acme-operator-key", "/v1/reference/offers", offer),
        (
            "acme-operator-key",
            "/v1/reference/partners",
            r#"{"row":{"tenant":"other","partner_id":"p1","status":"blocked","plan":"standard"}}"#,
        ),
    ] {
        let answer = post(at, who, (what, "of another"), body);
        let kind = answer.json()["type"].clone();
        assert_eq!((answer.status, kind), (403, "/problems/forbidden".into()), "{what} by {who}: {answer:?}");
    }
}

fn statements_are_explained_to_those_whose_they_are(at: SocketAddr) {
    let path = format!("/v1/statements/p1/{}/explanation", month());
    for (key, tenants) in [
        ("acme-partner-key", &["acme"][..]),
        ("acme-analyst-key", &["acme"]),
        ("other-partner-key", &["other"]),
        ("everywhere-key", &["acme", "other"]),
    ] {
        let answer = get(at, key, &path);
        assert_eq!(answer.status, 200, "{key}: {answer:?}");
        let items = answer.items();
        let whose: Vec<_> = items.iter().map(|item| item["tenant"].as_str().unwrap_or_default()).collect();
        assert_eq!(whose, tenants, "{key}");
        let frontier: u64 = answer.headers["tombola-frontier"].parse().expect("a number");
        for item in &items {
            assert_eq!((&item["adds_up"], &item["base_minor"]), (&true.into(), &100.into()), "{item}");
            let deltas = item["deltas"].as_array().expect("a list");
            assert!(!deltas.is_empty(), "{item}");
            assert!(
                deltas.iter().all(|delta| delta["epoch"].as_u64() <= Some(frontier)),
                "{frontier}: {item}"
            );
        }
    }
    for key in ["acme-producer-key", "acme-seller-key"] {
        assert_eq!(get(at, key, &path).status, 403, "{key}");
    }
}

#[test]
fn who_sells_for_a_partner_touches_its_orders_alone() {
    let house = House::new();
    let server = house.beside();
    let at = server.address;
    for (partner, id) in [("p1", "own"), ("p2", "others")] {
        let more = format!(r#","partner_id":"{partner}","order_id":"{id}""#);
        assert_eq!(place(at, "acme-producer-key", id, &more).json()["event"], "held");
    }
    assert_eq!(place(at, "acme-producer-key", "nobodys", r#","order_id":"nobodys""#).json()["event"], "held");
    let post = |key: &str, what: &str, body: &str| {
        let headers = [("authorization", "Bearer acme-seller-key"), ("idempotency-key", key)];
        ask(at, &format!("POST {what}?wait_ms=120000"), &headers, body)
    };
    for id in ["others", "nobodys", "none"] {
        let paid = format!(
            r#"{{"outcome":"captured","order_id":"{id}","payment_id":"{id}","amount_minor":100,"currency":"EUR"}}"#
        );
        let declined = format!(r#"{{"outcome":"declined","order_id":"{id}","payment_id":"{id}"}}"#);
        for (key, what, body) in [
            ("cancel", format!("/v1/orders/{id}/cancel"), "{}"),
            ("refund", format!("/v1/orders/{id}/refund"), "{}"),
            ("paid", "/v1/payments".to_owned(), paid.as_str()),
            ("declined", "/v1/payments".to_owned(), declined.as_str()),
        ] {
            let answer = post(&format!("{key}-{id}"), &what, body);
            assert_eq!(answer.status, 404, "{what}: {answer:?}");
        }
    }
    for key in ["first", "again"] {
        let answer = post("cancel-own", "/v1/orders/own/cancel", "{}");
        assert_eq!((answer.status, &answer.json()["event"]), (200, &"cancelled".into()), "{key}: {answer:?}");
    }
    for id in ["others", "nobodys"] {
        assert_eq!(get(at, "acme-analyst-key", &format!("/v1/orders/{id}")).json()["status"], "held");
    }
}

#[test]
fn a_live_client_gets_its_own_tenants_events_and_a_partner_its_own_orders() {
    let house = House::new();
    let server = house.beside();
    let at = server.address;
    let follow = |key: &str| Live::open(at, "", &[("authorization", &format!("Bearer {key}"))]);
    let (mut analyst, mut partner) = (follow("acme-analyst-key"), follow("acme-partner-key"));
    assert_eq!((analyst.next().name, partner.next().name), ("hello".to_owned(), "hello".to_owned()));
    for (number, tenant, partner) in [(0, "other", "p1"), (1, "acme", "p2"), (2, "acme", "p1")] {
        let more = format!(r#","tenant":"{tenant}","partner_id":"{partner}","order_id":"o{number}""#);
        place(at, "everywhere-key", &format!("{number}"), &more);
    }
    let event = partner.next_fact();
    assert_eq!((event.name.as_str(), event.data["order_id"].as_str()), ("order", Some("o2")));
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(name, order)| (name, order) != (&"order".to_owned(), &"o2".to_owned())) {
        let event = analyst.next_fact();
        assert_eq!(event.data["tenant"], "acme", "{event:?}");
        seen.push((event.name, event.data["order_id"].as_str().unwrap_or_default().to_owned()));
    }
    assert!(seen.contains(&("order".to_owned(), "o1".to_owned())), "{seen:?}");
}

#[test]
fn a_live_client_gets_what_it_asks_for_and_alerts_as_they_fire() {
    let house = House::new();
    let server = house.beside();
    let at = server.address;
    let follow = |query: &str| {
        let mut live = Live::open(at, query, &[("authorization", "Bearer acme-analyst-key")]);
        assert_eq!(live.next().name, "hello");
        live
    };
    let mut of_partner = follow("?partner=p2");
    let mut of_offer = follow("?offer=lotto&topics=orders,stock");
    let mut alerts = follow("?topics=alerts");
    fill(at);
    let told = of_partner.next_fact();
    assert_eq!((told.name.as_str(), &told.data["partner_id"]), ("order", &"p2".into()), "{told:?}");
    assert_eq!((&told.data["order_id"], &told.data["event"]), (&"acme-p2".into(), &"held".into()));
    let told = of_partner.next_fact();
    assert_eq!((&told.data["order_id"], &told.data["event"]), (&"acme-p2".into(), &"confirmed".into()));
    let mut names = BTreeSet::new();
    while names.len() < 2 {
        let told = of_offer.next_fact();
        assert_eq!(
            (&told.data["offer_id"], &told.data["tenant"]),
            (&"lotto".into(), &"acme".into()),
            "{told:?}"
        );
        names.insert(told.name);
    }
    let told = alerts.next_fact();
    assert_eq!(told.name, "alert");
    let of_it = ["tenant", "rule_id", "action"].map(|name| told.data[name].as_str().unwrap_or_default());
    assert_eq!(of_it, ["acme", "everybody", "flag"], "{told:?}");
}
