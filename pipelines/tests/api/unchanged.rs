//! Commands that bring nothing about: who waits hears so as soon as it is decided, and who has to wait still does.

use super::house::{House, get, order, place, row, six_of_49, wait_for};
use super::http::{Answer, ask};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const PRODUCER: &str = "acme-producer-key";

/// Half of what a command waits at most: who sat out its time took longer.
const SOON: Duration = Duration::from_secs(60);

/// Sends a command and waits for its decision, with a key of its own.
fn send(at: SocketAddr, who: &str, (route, key): (&str, &str), body: &str) -> Answer {
    let bearer = format!("Bearer {who}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    ask(at, &format!("POST {route}?wait_ms=120000"), &headers, body)
}

/// The same of what is answered when it is decided.
fn send_soon(at: SocketAddr, (route, key): (&str, &str), body: &str) -> Answer {
    let since = Instant::now();
    let answer = send(at, PRODUCER, (route, key), body);
    assert!(since.elapsed() < SOON, "{key}: it sat out its time: {:?}", since.elapsed());
    answer
}

fn declined(order_id: &str) -> String {
    format!(r#"{{"outcome":"declined","order_id":"{order_id}","payment_id":"none"}}"#)
}

fn captured(order_id: &str) -> String {
    format!(
        r#"{{"outcome":"captured","order_id":"{order_id}","payment_id":"paid","amount_minor":100,"currency":"EUR"}}"#
    )
}

/// Decided as this event, with the order in this status.
fn check(answer: &Answer, event: &str, status: &str) {
    let said = answer.json();
    assert_eq!(
        (answer.status, &said["status"], &said["event"]),
        (200, &"decided".into(), &event.into()),
        "{said}"
    );
    assert_eq!(said["order"]["status"], status, "{said}");
    let frontier: u64 = answer.headers["tombola-frontier"].parse().expect("a number");
    assert!(said["order"]["epoch"].as_u64().is_some_and(|epoch| epoch <= frontier), "{said}");
}

#[test]
fn what_changes_nothing_is_answered_when_it_is_decided_with_the_order_as_it_stands() {
    let house = House::new();
    for (name, server) in [("beside", house.beside()), ("apart", house.apart())] {
        let at = server.address;
        let [over, paid] = ["over", "paid"].map(|order| format!("{order}-{name}"));
        let key = |of: &str| format!("{of}-{name}");
        for order in [&over, &paid] {
            let placed = place(at, PRODUCER, order, &format!(r#","order_id":"{order}""#)).json();
            assert_eq!(placed["event"], "held", "{placed}");
        }
        let cancel = format!("/v1/orders/{over}/cancel");
        let cancelled = send(at, PRODUCER, (&cancel, &key("cancel")), "{}").json();
        assert_eq!(cancelled["event"], "cancelled", "{cancelled}");
        let confirmed = send(at, PRODUCER, ("/v1/payments", &key("pay")), &captured(&paid)).json();
        assert_eq!(confirmed["event"], "confirmed", "{confirmed}");
        let pay = "/v1/payments";
        check(&send_soon(at, (&cancel, &key("cancel again")), "{}"), "unchanged", "cancelled");
        check(&send_soon(at, (pay, &key("no")), &declined(&over)), "unchanged", "cancelled");
        check(&send_soon(at, (pay, &key("pay again")), &captured(&paid)), "unchanged", "confirmed");
        check(&send_soon(at, (pay, &key("late no")), &declined(&paid)), "unchanged", "confirmed");
        let again = send(at, PRODUCER, (&cancel, &key("cancel again")), "{}").json();
        assert_eq!((&again["event"], &again["replayed"]), (&"cancelled".into(), &true.into()), "{again}");
    }
}

#[test]
fn what_comes_before_its_order_waits_for_it_and_is_told_what_became_of_it() {
    let house = House::with(|config| config.orders.grace_ms = 60_000);
    let (one, two) = (house.beside(), house.apart());
    for (at, number) in [(one.address, 1), (two.address, 2)] {
        let early = |route: String, key: String, body: String| {
            std::thread::spawn(move || send(at, PRODUCER, (&route, &key), &body))
        };
        let (held, dear) = (format!("held-{number}"), format!("dear-{number}"));
        let cancel = early(format!("/v1/orders/{held}/cancel"), format!("c{number}"), "{}".to_owned());
        let nothing = early("/v1/payments".to_owned(), format!("d{number}"), declined(&dear));
        // Both are decided to wait, and nothing is said of them: an answer now would be a wrong one.
        wait_for("both commands to be in the log", || {
            let metrics = get(at, "", "/metrics").text;
            let appended = metrics.lines().filter(|line| line.starts_with("tombola_api_appended_total{"));
            appended.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() >= 2.0
        });
        std::thread::sleep(Duration::from_secs(1));
        assert!(!cancel.is_finished() && !nothing.is_finished(), "answered before its order was there");
        let placed = place(at, PRODUCER, &held, &format!(r#","order_id":"{held}""#)).json();
        assert_eq!(placed["event"], "held", "{placed}");
        let too_cheap = order(&format!(r#","order_id":"{dear}""#)).replace(":100,", ":99,");
        let refused = send(at, PRODUCER, ("/v1/orders", &dear), &too_cheap).json();
        assert_eq!(refused["event"], "refused", "{refused}");
        let cancelled = cancel.join().expect("it is answered").json();
        assert_eq!(
            (&cancelled["event"], &cancelled["order_id"]),
            (&"cancelled".into(), &held.into()),
            "{cancelled}"
        );
        check(&nothing.join().expect("it is answered"), "unchanged", "refused");
    }
}

#[test]
fn a_source_that_says_the_same_again_changes_nothing() {
    let house = House::new();
    let draws = [row(six_of_49("d", "6 of 49"))];
    let mut appender = house.stores.appender().expect("the log opens");
    appender.append_many(&[("oltp.public.draws", &draws)]).expect("a row can be appended");
    for server in [house.beside(), house.apart()] {
        let said = |key: &str| {
            let body = r#"{"draw_id":"d","source":"s","numbers":[3,11,19,27,40,44]}"#;
            let key = format!("{key}-{}", server.address.port());
            send(server.address, "acme-operator-key", ("/v1/draws/results", &key), body).json()
        };
        let _first: Value = said("first");
        let since = Instant::now();
        let again = said("again");
        assert_eq!((&again["status"], &again["event"]), (&"decided".into(), &"unchanged".into()), "{again}");
        assert_eq!(again["draw"]["numbers"], "3,11,19,27,40,44", "{again}");
        assert!(since.elapsed() < SOON, "it sat out its time: {:?}", since.elapsed());
    }
}
