//! What the book's facts carry and what its state keeps: causes, signatures, and nothing of what has ended.
#![allow(clippy::unwrap_used)] // a test may

mod support;

use operators::book::Book;
use operators::harness::Harness;
use operators::messages::{BookIn, Output};
use runtime::Operator;
use schemas::reference::OfferKind;
use schemas::{Fact, Row};
use support::*;

const T: &str = "acme";

/// Runs some inputs at one place after the other, as one epoch.
fn outputs(inputs: Vec<BookIn>) -> Vec<Output> {
    let records: Vec<_> = (1..).zip(inputs).map(|(n, body)| envelope(n, n as u64, body)).collect();
    let out = Harness::new(1, book as fn() -> Book).epoch(records, 100);
    out.into_iter().map(|envelope| envelope.body).collect()
}

#[test]
fn a_ticket_carries_what_was_chosen_and_its_signature_holds() {
    let mut row = offer(T, "lotto", 3);
    row.kind = OfferKind::Ticket;
    let mut order = place(T, "o1", "lotto", "ann", 1, 2);
    (order.numbers, order.seat) = (vec![7, 13], Some("4C".into()));
    let paid = BookIn::Settle(capture(T, "o1", "p1", 100, "EUR"));
    let out = outputs(vec![upsert_offer(row), judged(order, &[]), paid]);
    let fact = out.iter().find_map(|o| if let Output::Fact(Fact::Ticket(f)) = o { Some(f) } else { None });
    let row = out.iter().find_map(|o| if let Output::Row(Row::Ticket(r)) = o { Some(r) } else { None });
    let (fact, row) = (fact.unwrap(), row.unwrap());
    assert_eq!(fact.payload, row.payload);
    let content = operators::ticket::verify(&row.payload, KEY).unwrap();
    assert_eq!((content.numbers, content.seat.as_deref()), (vec![7, 13], Some("4C")));
    assert_eq!((&*content.ticket_id, &*content.offer_id, &*content.tenant), ("o1-1", "lotto", T));
    assert!(operators::ticket::verify(&row.payload, b"another key").is_err());
}

#[test]
fn facts_name_the_record_they_go_back_to() {
    let out = outputs(vec![
        upsert_offer(offer(T, "x", 3)),
        judged(place(T, "o1", "x", "ann", 1, 2), &[]),
        BookIn::Settle(capture(T, "o1", "p1", 100, "EUR")),
    ]);
    let causes: Vec<String> = out
        .iter()
        .filter_map(|output| match output {
            Output::Fact(Fact::Order(f)) => Some((&f.cause, f.at_ms)),
            Output::Fact(Fact::Stock(f)) => Some((&f.cause, f.at_ms)),
            _ => None,
        })
        .map(|(c, at_ms)| format!("{}/{}/{} {:?} at {at_ms}", c.topic, c.partition, c.offset, c.command_id))
        .collect();
    let expected = [
        "offers/0/1 \"\" at 1",
        "orders/0/2 \"place-o1\" at 2",
        "orders/0/2 \"place-o1\" at 2",
        "orders/0/3 \"p1-o1\" at 3",
        "orders/0/3 \"p1-o1\" at 3",
    ];
    assert_eq!(causes, expected);
}

#[test]
fn an_expiry_goes_back_to_the_order_it_ends() {
    let mut harness = Harness::new(1, book as fn() -> Book);
    let records = vec![
        envelope(1, 1, upsert_offer(offer(T, "x", 3))),
        envelope(2, 2, judged(place(T, "o1", "x", "ann", 1, 2), &[])),
    ];
    harness.epoch(records, 2);
    let out = harness.epoch(vec![], 5_000);
    let Output::Fact(Fact::Order(fact)) = &out[0].body else { panic!("{out:?}") };
    assert_eq!((&*fact.cause.command_id, fact.cause.offset, fact.cause.record_time_ms), ("place-o1", 2, 2));
    assert_eq!(fact.at_ms, 2 + HOLD_TTL_MS);
}

#[test]
fn an_early_settle_is_a_dead_letter_of_its_own_record() {
    let early = envelope(9, 9, BookIn::Settle(refund(T, "o1"))).at.origin;
    let out = outputs(vec![
        upsert_offer(offer(T, "x", 3)),
        judged(place(T, "o1", "x", "ann", 1, 2), &[]),
        BookIn::SettleEarly { command: Box::new(refund(T, "o1")), origin: early },
    ]);
    let letter = out.iter().find_map(|o| if let Output::DeadLetter(d) = o { Some(d) } else { None }).unwrap();
    assert_eq!(
        (&*letter.id, letter.record_time_ms, &*letter.payload),
        ("orders/0/9", 9, &b"refund_order o1"[..])
    );
}

#[test]
fn nothing_is_left_of_what_has_ended() {
    let mut harness = Harness::new(1, book as fn() -> Book);
    let mut records = vec![envelope(1, 0, upsert_offer(offer(T, "x", 50)))];
    for n in 1..=40u64 {
        let id = format!("o{n}");
        records.push(envelope(
            1 + n as i64,
            n,
            judged(place(T, &id, "x", &format!("c{}", n % 7), 1, 0), &[]),
        ));
        let settle = match n % 4 {
            0 => capture(T, &id, "p", 100, "EUR"),
            1 => cancel(T, &id),
            2 => decline(T, &id),
            _ => continue,
        };
        records.push(envelope(100, n, BookIn::Settle(settle)));
        if n % 4 == 0 {
            records.push(envelope(101, n, BookIn::Settle(refund(T, &id))));
        }
    }
    records.push(envelope(5_000, 0, delete_offer(T, "x")));
    harness.epoch(records, 5_000);
    harness.epoch(vec![], 5_000 + 2 * RETENTION_MS);
    let left: Vec<(&str, usize)> = harness.workers()[0]
        .states()
        .into_iter()
        .map(|s| (s.name(), s.len()))
        .filter(|(_, n)| *n > 0)
        .collect();
    assert_eq!(left, [("numbers.v1", 1)]);
}
