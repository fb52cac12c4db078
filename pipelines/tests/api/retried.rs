//! Commands that are sent again: answered as the first time, whatever became of them.

use super::house::{House, get, place, row, six_of_49};
use super::http::{Answer, ask};
use std::net::SocketAddr;

const PRODUCER: &str = "acme-producer-key";

fn send(at: SocketAddr, who: &str, what: &str, key: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {who}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    ask(at, &format!("POST {what}"), &headers, body)
}

/// The dead letter that an answer names; a panic where it names none.
fn letter(answer: &Answer) -> (String, String) {
    let said = answer.json();
    assert_eq!((answer.status, &said["type"]), (422, &"/problems/dead-letter".into()), "{said}");
    let text = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("no {name}: {said}")).to_owned();
    assert!(said["epoch"].is_u64() && said["command_id"].is_string(), "{said}");
    (text("id"), text("detail"))
}

/// Sends until it is decided; what it was told then.
fn until_decided(mut send: impl FnMut() -> Answer) -> Answer {
    for _ in 0..600 {
        let answer = send();
        if answer.status != 202 {
            return answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    panic!("it is accepted for ever");
}

#[test]
fn a_command_that_became_a_dead_letter_is_one_however_often_it_is_sent() {
    let house = House::with(|config| config.orders.grace_ms = 300);
    let servers = [house.beside(), house.apart()];
    for (name, server) in ["beside", "apart"].iter().zip(&servers) {
        let at = server.address;
        let held =
            place(at, PRODUCER, &format!("held-{name}"), &format!(r#","order_id":"held-{name}""#)).json();
        assert_eq!(held["event"], "held", "{held}");
        let wrong = format!(
            r#"{{"outcome":"captured","order_id":"held-{name}","payment_id":"p-{name}","amount_minor":99,"currency":"EUR"}}"#
        );
        let unknown = format!("/v1/orders/nobody-{name}/cancel");
        for (what, body) in [("/v1/payments", wrong.as_str()), (&unknown, "{}")] {
            // Who waits at once.
            let (waits, key) = (format!("{what}?wait_ms=120000"), format!("waits-{name}-{what}"));
            let first = letter(&send(at, PRODUCER, &waits, &key, body));
            for server in &servers {
                assert_eq!(letter(&send(server.address, PRODUCER, &waits, &key, body)), first, "{what}");
            }
            // Who doesn't, and asks later.
            let key = format!("later-{name}-{what}");
            for _ in 0..2 {
                assert_eq!(send(at, PRODUCER, what, &key, body).status, 202, "{what}");
            }
            let later = letter(&until_decided(|| send(at, PRODUCER, &waits, &key, body)));
            assert!(
                later.0 != first.0 && later.1.split(':').next() == first.1.split(':').next(),
                "{later:?}"
            );
        }
        let order = get(at, "acme-analyst-key", &format!("/v1/orders/held-{name}")).json();
        assert_eq!(order["status"], "held", "{order}");
    }
    // A command is taken for no other that has gone wrong.
    let at = servers[0].address;
    for _ in 0..2 {
        let cancel = send(at, PRODUCER, "/v1/orders/held-beside/cancel?wait_ms=120000", "good", "{}").json();
        assert_eq!(cancel["event"], "cancelled", "{cancel}");
    }
}

#[test]
fn a_result_that_is_reported_again_is_answered_with_the_draw_as_it_stands() {
    let house = House::new();
    let draws = [row(six_of_49("d", "6 of 49"))];
    let mut appender = house.stores.appender().expect("the log opens");
    appender.append_many(&[("oltp.public.draws", &draws)]).expect("a row can be appended");
    let servers = [house.beside(), house.apart()];
    let report = |at: SocketAddr| {
        let body = r#"{"draw_id":"d","source":"s","numbers":[3,11,19,27,40,44]}"#;
        send(at, "acme-operator-key", "/v1/draws/results?wait_ms=120000", "once", body).json()
    };
    let first = report(servers[0].address);
    assert_eq!((&first["status"], &first["replayed"]), (&"decided".into(), &false.into()), "{first}");
    for server in &servers {
        let again = report(server.address);
        assert_eq!((&again["status"], &again["replayed"]), (&"decided".into(), &true.into()), "{again}");
        assert_eq!(again["draw_id"], "d", "{again}");
        assert_eq!(again["draw"]["numbers"], "3,11,19,27,40,44", "{again}");
        assert_eq!(again["event"], again["draw"]["status"], "{again}");
    }
}
