//! Live events: whoever comes back with the id of the last one misses none and gets none twice.

use super::house::{House, place};
use super::http::Live;
use std::collections::BTreeSet;

#[test]
fn a_client_that_breaks_off_anywhere_and_resumes_on_any_instance_gets_each_event_once() {
    let house = House::new();
    let (one, two) = (house.beside(), house.apart());
    let key = ("authorization", "Bearer acme-analyst-key");
    let (mut steady, mut last) = (Live::open(one.address, "?topics=orders,stock", &[key]), None);
    assert_eq!(steady.next().name, "hello");
    let mut broken = Vec::new();
    // Each round takes some events of what came meanwhile, then breaks off.
    for round in 0..8_usize {
        for number in 0..4 {
            let key = format!("{round}-{number}");
            assert_eq!(place(one.address, "acme-producer-key", &key, "").status, 200);
        }
        let at = if round % 2 == 0 { one.address } else { two.address };
        let headers: Vec<(&str, &str)> =
            [key].into_iter().chain(last.as_deref().map(|id| ("last-event-id", id))).collect();
        let mut live = Live::open(at, "?topics=orders,stock", &headers);
        let hello = live.next();
        last = last.or(hello.id);
        if round == 0 {
            // It begins here: what came before is none of its own.
            continue;
        }
        for _ in 0..(round * 3 % 7) {
            let event = live.next_fact();
            broken.push(format!("{} {}", event.name, event.data));
            last = event.id;
        }
    }
    let mut live = Live::open(two.address, "?topics=orders,stock", &[key, ("last-event-id", &last.unwrap())]);
    assert_eq!(live.next().name, "hello");
    // Eight rounds of four orders, each an order's event and a movement of stock; the first round came before.
    while broken.len() < 7 * 4 * 2 {
        let event = live.next_fact();
        broken.push(format!("{} {}", event.name, event.data));
    }
    let all: Vec<String> = (0..8 * 4 * 2)
        .map(|_| steady.next_fact())
        .map(|event| format!("{} {}", event.name, event.data))
        .collect();
    let distinct: BTreeSet<&String> = broken.iter().collect();
    assert_eq!(distinct.len(), broken.len(), "one came twice");
    let missed: Vec<&String> = all[4 * 2..].iter().filter(|event| !distinct.contains(event)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn an_id_that_is_none_of_ours_is_refused() {
    let house = House::new();
    let server = house.beside();
    let headers = [("authorization", "Bearer acme-analyst-key"), ("last-event-id", "yesterday")];
    assert_eq!(super::http::ask(server.address, "GET /v1/live", &headers, "").status, 422);
}
