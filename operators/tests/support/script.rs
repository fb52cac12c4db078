//! Scripts for the book: what comes in, and the facts and rows that follow.
//!
//! ```text
//!   TIME offer ID STOCK [max N] [keep] [ticket|seat]    the offer's row (keep: a refund doesn't restock)
//!   TIME drop ID | customer ID LIMIT|none | forget ID   the offer's row goes; the customer's comes, goes
//!   TIME order ID OFFER CUSTOMER UNITS [day N] [REASON] [flag|review|block]
//!                                                       units cost 100 EUR; REASON: what the desk found
//!   TIME pay ID SUM [PAYMENT] | decline ID | cancel ID | refund ID | release ID | refuse ID
//!   TIME tick                                           time passes
//!   LINE => FACT ; FACT                                 in order; nothing where none is given
//!   row KEY: WORDS                                      at the end
//! ```
//!
//! Holds last 1,000 ms, reviews 5,000 ms, an order is remembered 100,000 ms after its end.

use super::*;
use operators::harness::Harness;
use std::collections::BTreeMap;

pub const T: &str = "acme";

struct Line {
    text: String,
    time: i64,
    input: Option<BookIn>,
    expected: Vec<String>,
}

fn parse(text: &str) -> Line {
    let (step, expected) = text.split_once("=>").unwrap_or((text, ""));
    let words: Vec<&str> = step.split_whitespace().collect();
    let time = words[0].parse().unwrap_or_else(|_| panic!("no time in `{text}`"));
    let expected = expected.split(';').map(|fact| fact.trim().to_owned()).filter(|fact| !fact.is_empty());
    Line { text: text.to_owned(), time, input: input(time, &words[1..]), expected: expected.collect() }
}

fn input(time: i64, words: &[&str]) -> Option<BookIn> {
    let int = |word: &str| word.parse::<i64>().unwrap();
    Some(match *words {
        ["tick"] => return None,
        ["offer", id, stock, ref more @ ..] => upsert_offer(offer_with(id, int(stock), more)),
        ["drop", id] => delete_offer(T, id),
        ["customer", id, limit] => upsert_customer(T, id, limit.parse().ok()),
        ["forget", id] => delete_customer(T, id),
        ["order", id, offer, customer, units, ref more @ ..] => {
            let day = more.iter().position(|word| *word == "day").map_or(0, |at| int(more[at + 1]));
            let order = place(T, id, offer, customer, int(units) as i32, time + day * 86_400_000);
            let reasons: Vec<Reason> = more.iter().filter_map(|word| Reason::parse(word)).collect();
            let screening = more.iter().find_map(|word| FraudAction::parse(word));
            screened(order, &reasons, screening)
        }
        ["pay", id, sum] => BookIn::Settle(capture(T, id, "p1", int(sum), "EUR")),
        ["pay", id, sum, payment] => BookIn::Settle(capture(T, id, payment, int(sum), "EUR")),
        ["decline", id] => BookIn::Settle(decline(T, id)),
        ["cancel", id] => BookIn::Settle(cancel(T, id)),
        ["release", id] => BookIn::Settle(review(T, id, ReviewVerdict::Release)),
        ["refuse", id] => BookIn::Settle(review(T, id, ReviewVerdict::Refuse)),
        ["refund", id] => BookIn::Settle(refund(T, id)),
        _ => panic!("what is {words:?}?"),
    })
}

fn offer_with(id: &str, stock: i64, more: &[&str]) -> schemas::reference::Offer {
    let mut row = offer(T, id, stock);
    row.restock_on_refund = !more.contains(&"keep");
    if let Some(at) = more.iter().position(|word| *word == "max") {
        row.max_per_customer = Some(more[at + 1].parse().unwrap());
    }
    match more {
        _ if more.contains(&"ticket") => row.kind = OfferKind::Ticket,
        _ if more.contains(&"seat") => row.kind = OfferKind::Seat,
        _ => (),
    }
    row
}

/// How a script is run; its answers must be the same.
#[derive(Clone, Copy)]
enum How {
    /// An epoch per line.
    Lines,
    /// An epoch per line, and a crash after each, onto 1 to 4 workers.
    Crashes,
    /// All in one epoch.
    Once,
}

/// The facts of each line (of all, where run at once), and the rows at the end.
fn run(make: fn() -> Book, lines: &[Line], how: How) -> (Vec<Vec<String>>, BTreeMap<String, String>) {
    let records: Vec<(i64, Option<Envelope<BookIn>>)> = (0u64..)
        .zip(lines)
        .map(|(offset, line)| (line.time, line.input.clone().map(|body| envelope(line.time, offset, body))))
        .collect();
    let end = records.last().unwrap().0;
    let epochs: Vec<(i64, Vec<Envelope<BookIn>>)> = match how {
        How::Once => vec![(end, records.into_iter().filter_map(|(_, record)| record).collect())],
        _ => records.into_iter().map(|(time, record)| (time, record.into_iter().collect())).collect(),
    };
    let mut harness = Harness::new(1, make);
    let (mut facts, mut rows) = (Vec::new(), BTreeMap::new());
    for (index, (now, records)) in epochs.into_iter().enumerate() {
        let out = harness.epoch(records, now);
        rows.extend(out.iter().filter_map(|envelope| brief_row(&envelope.body)));
        facts.push(out.iter().filter_map(|envelope| brief(&envelope.body)).collect());
        if matches!(how, How::Crashes) {
            harness.snapshot(1);
            harness = harness.restored(index % 4 + 1);
        }
    }
    (facts, rows)
}

/// Every line leads to its facts and no others, the rows at the end are as said, and neither depends on
/// how epochs are cut or on crashes.
pub fn check(script: &str) {
    check_with(book, script);
}

pub fn check_with(make: fn() -> Book, script: &str) {
    let all = script.lines().map(str::trim).filter(|line| !line.is_empty());
    let (rows, steps): (Vec<&str>, Vec<&str>) = all.partition(|line| line.starts_with("row "));
    let lines: Vec<Line> = steps.into_iter().map(parse).collect();
    let (facts, told) = run(make, &lines, How::Lines);
    for (line, facts) in lines.iter().zip(&facts) {
        assert_eq!(facts, &line.expected, "`{}`", line.text);
    }
    for row in rows {
        let (key, said) = row.trim_start_matches("row ").split_once(": ").unwrap();
        let (kind, id) = key.split_once(' ').unwrap();
        assert_eq!(told.get(&format!("{kind} {T}/{id}")).map(String::as_str), Some(said), "`{row}`");
    }
    let flat = |facts: Vec<Vec<String>>| facts.into_iter().flatten().collect::<Vec<_>>();
    for how in [How::Crashes, How::Once] {
        let (again, told_again) = run(make, &lines, how);
        assert_eq!(flat(again), flat(facts.clone()), "facts depend on how the script is run");
        assert_eq!(told_again, told, "rows depend on how the script is run");
    }
}
