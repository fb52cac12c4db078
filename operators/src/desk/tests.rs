//! The desk as text tables: what comes in, what goes out.
//!
//! ```text
//!   TIME offer ID [price N] [max N] [in CURRENCY] [from T] [until T] [closed]
//!   TIME partner ID [suspended] | customer ID [blocked] | drop offer ID
//!   TIME order ID [of OFFER] [price N] [qty N] [in CURRENCY] [via PARTNER]      offer O unless told
//!   TIME cancel ID | pay ID | tick
//!   LINE => OUT ; OUT          ID as TENANT/ID, TENANT being acme unless told
//! ```
//!
//! The grace is 50 ms, orders are remembered 1,150 ms. Every table is run line by line and in one epoch.

use super::Desk;
use crate::fixtures::*;
use crate::harness::Harness;
use crate::messages::{BookIn, CommandMsg, DeskIn, DeskOut, Output};
use runtime::{Class, Envelope, Millis};
use schemas::facts::Reason;
use schemas::reference::{OfferStatus, Standing};
use schemas::{Fact, Reference, ReferenceKey};

fn desk() -> Desk {
    Desk::new(settings())
}

fn check(table: &str) {
    let lines: Vec<Line> = table.lines().filter(|line| !line.trim().is_empty()).map(parse).collect();
    let mut by_line = Harness::new(2, desk);
    let mut said = Vec::new();
    for (offset, line) in lines.iter().enumerate() {
        let out = by_line.epoch(line.record(offset), line.time);
        said.extend(out.iter().map(tell));
        let got = out.iter().map(tell).collect::<Vec<_>>().join(" ; ");
        assert_eq!(got, line.expected, "in `{}`", line.text);
    }
    let log = lines.iter().enumerate().flat_map(|(offset, line)| line.record(offset)).collect();
    let at_once = Harness::new(1, desk).epoch(log, lines.last().map_or(0, |line| line.time));
    assert_eq!(at_once.iter().map(tell).collect::<Vec<_>>(), said, "in one epoch");
}

struct Line {
    text: String,
    time: Millis,
    input: Option<DeskIn>,
    expected: String,
}

impl Line {
    fn record(&self, offset: usize) -> Vec<Envelope<DeskIn>> {
        let class = match self.input {
            Some(DeskIn::Change(_)) => Class::Reference,
            _ => Class::Command,
        };
        let record = |input: &DeskIn| record(self.time, class, offset as u64, input.clone());
        self.input.iter().map(record).collect()
    }
}

fn parse(line: &str) -> Line {
    let (text, expected) = line.split_once("=>").unwrap_or((line, ""));
    let mut words = text.split_whitespace();
    let time = words.next().unwrap().parse().unwrap();
    let words: Vec<&str> = words.collect();
    let command = |message: CommandMsg| Some(DeskIn::Command(message));
    let row = |row: Reference| Some(DeskIn::Change(Box::new(upsert(row))));
    let input = match words[..] {
        ["tick"] => None,
        ["offer", id, ref more @ ..] => row(offer_row(id, more)),
        ["partner", id, ref more @ ..] => row(partner(TENANT, id, standing(more))),
        ["customer", id, ref more @ ..] => {
            let (tenant, id) = scoped(id);
            row(customer(tenant, id, standing(more)))
        }
        ["drop", "offer", id] => Some(DeskIn::Change(Box::new(delete(ReferenceKey::Offer {
            tenant: TENANT.into(),
            offer_id: id.into(),
        })))),
        ["order", id, ref more @ ..] => command(order_command(id, more)),
        ["cancel", id] => command(cancel(scoped(id).0, scoped(id).1)),
        ["pay", id] => command(pay(scoped(id).0, scoped(id).1)),
        _ => panic!("what is `{text}`?"),
    };
    Line { text: text.trim().to_owned(), time, input, expected: expected.trim().to_owned() }
}

fn scoped(id: &str) -> (&str, &str) {
    id.split_once('/').unwrap_or((TENANT, id))
}

fn standing(words: &[&str]) -> Standing {
    match words {
        [] => Standing::Active,
        ["suspended"] => Standing::Suspended,
        ["blocked"] => Standing::Blocked,
        other => panic!("what standing is {other:?}?"),
    }
}

fn offer_row(id: &str, mut words: &[&str]) -> Reference {
    let mut row = offer(scoped(id).0, scoped(id).1);
    while let [word, rest @ ..] = words {
        let number = || rest[0].parse().unwrap();
        match *word {
            "price" => row.price_minor = number(),
            "max" => row.max_per_order = number() as i32,
            "in" => row.currency = rest[0].into(),
            "from" => row.sale_opens_at_ms = Some(number()),
            "until" => row.sale_closes_at_ms = Some(number()),
            "closed" => row.status = OfferStatus::Closed,
            other => panic!("what is an offer's `{other}`?"),
        }
        words = if *word == "closed" { rest } else { &rest[1..] };
    }
    Reference::Offer(Box::new(row))
}

fn order_command(id: &str, words: &[&str]) -> CommandMsg {
    let mut wanted = order(scoped(id).0, scoped(id).1, "O");
    for pair in words.chunks(2) {
        match *pair {
            ["of", offer] => wanted.offer_id = offer.into(),
            ["price", price] => wanted.price_minor = price.parse().unwrap(),
            ["qty", quantity] => wanted.quantity = quantity.parse().unwrap(),
            ["in", currency] => wanted.currency = currency.into(),
            ["via", partner] => wanted.partner_id = Some(partner.into()),
            ref other => panic!("what is an order's {other:?}?"),
        }
    }
    place(wanted)
}

fn tell(envelope: &Envelope<DeskOut>) -> String {
    let time = envelope.at.time();
    match &envelope.body {
        DeskOut::ToBook(BookIn::Order { order, reasons, .. }) => {
            format!("{} {} at {time}", order.order_id, names(reasons))
        }
        DeskOut::ToBook(BookIn::Settle(message)) => format!("{} at {time}", message.command.command_id()),
        DeskOut::ToBook(BookIn::SettleEarly { command, origin }) => {
            format!("{} of {} at {time}", command.command.command_id(), origin.time())
        }
        DeskOut::Out(Output::Fact(Fact::Order(fact))) => {
            format!("{} refused {} at {time}", fact.order_id, names(&fact.reasons))
        }
        DeskOut::Out(Output::DeadLetter(letter)) => {
            let payload = String::from_utf8(letter.payload.clone()).unwrap();
            format!("dead {} `{payload}` at {time}", letter.id)
        }
        other => panic!("the desk doesn't say {other:?}"),
    }
}

fn names(reasons: &[Reason]) -> String {
    if reasons.is_empty() {
        return "ok".to_owned();
    }
    let name = |reason: &Reason| serde_json::to_value(reason).unwrap().as_str().unwrap().to_owned();
    reasons.iter().map(name).collect::<Vec<_>>().join(",")
}

#[test]
fn a_good_order_goes_on_at_once() {
    check(
        "
        10 offer O
        20 order A => A ok at 20
        20 order B qty 4 => B ok at 20
        ",
    );
}

#[test]
fn every_reason_that_applies_is_given_in_the_order_of_the_list() {
    check(
        "
        10 offer O price 200 max 2
        10 partner P suspended
        10 customer eve blocked
        20 order A price 200 => A customer_blocked at 20
        21 order B in USD qty 3 via P => B price_mismatch,currency_mismatch,quantity_out_of_range,customer_blocked,partner_suspended at 21
        22 offer O closed
        23 order C qty 0 => C offer_closed,quantity_out_of_range,customer_blocked at 23
        ",
    );
}

#[test]
fn the_sale_window_opens_inclusively_and_closes_exclusively_in_record_time() {
    check(
        "
        1 offer O from 20 until 30
        19 order A => A offer_closed at 19
        20 order B => B ok at 20
        29 order C => C ok at 29
        30 order D => D offer_closed at 30
        ",
    );
}

#[test]
fn an_order_waits_for_its_rows_and_is_judged_when_the_last_one_comes() {
    check(
        "
        10 order A via P
        12 order B
        20 offer O => B ok at 20
        30 partner P => A ok at 30
        ",
    );
}

#[test]
fn orders_that_waited_for_one_row_are_judged_in_their_original_order_at_its_moment() {
    check(
        "
        10 order C
        11 order A qty 9
        12 order B of X
        30 offer O until 30 => C offer_closed at 30 ; A offer_closed,quantity_out_of_range at 30
        61 tick
        62 tick => B unknown_offer at 62
        ",
    );
}

#[test]
fn after_the_grace_an_order_is_judged_as_it_is_before_a_row_of_that_very_moment() {
    check(
        "
        10 order A via P qty 0
        11 order clubs/B of X
        60 offer O => A unknown_offer,unknown_partner,quantity_out_of_range at 60
        61 tick => B unknown_offer,unknown_customer at 61
        ",
    );
}

#[test]
fn only_tenants_that_require_it_wait_for_customers() {
    check(
        "
        1 offer O
        1 offer clubs/O
        10 order A => A ok at 10
        10 order clubs/B
        12 customer clubs/eve => B ok at 12
        ",
    );
}

#[test]
fn a_row_that_goes_while_an_order_waits_for_another_is_waited_for_again() {
    check(
        "
        10 order A via P
        20 offer O
        30 drop offer O
        40 partner P
        50 offer O => A ok at 50
        ",
    );
}

#[test]
fn an_order_id_is_used_once_within_its_tenant_as_long_as_it_is_remembered() {
    check(
        "
        1 offer O
        1 offer other/O
        10 order A => A ok at 10
        20 order A qty 9 => A refused quantity_out_of_range,duplicate_order at 20
        20 order other/A => A ok at 20
        1159 order A => A refused duplicate_order at 1159
        1160 order A => A ok at 1160
        ",
    );
}

#[test]
fn a_second_order_of_a_waiting_one_is_refused_at_once() {
    check(
        "
        10 order A
        11 order A of X => A refused unknown_offer,duplicate_order at 11
        20 offer O => A ok at 20
        ",
    );
}

#[test]
fn settlements_follow_their_order_directly_whatever_came_first() {
    check(
        "
        10 order A
        11 pay A
        12 order B
        13 cancel A
        20 offer O => A ok at 20 ; pay-A at 20 ; B ok at 20 ; cancel-A at 20
        21 cancel A => cancel-A at 21
        ",
    );
}

#[test]
fn a_settlement_before_its_order_waits_for_it_and_goes_behind_it() {
    check(
        "
        1 offer O
        10 pay A
        11 cancel A
        30 order A => A ok at 30 ; pay-A at 30 ; cancel-A at 30
        40 pay B
        41 order B of X
        42 cancel B
        80 tick
        91 tick => B unknown_offer at 91 ; pay-B of 40 at 91 ; cancel-B at 91
        ",
    );
}

#[test]
fn a_settlement_whose_order_never_comes_ends_as_a_dead_letter_with_its_own_bytes() {
    check(
        "
        10 pay A
        20 cancel A
        60 tick => dead commands/0/0 `payment_captured A` at 60
        70 order A of X => dead commands/0/1 `cancel_order A` at 70
        120 tick => A unknown_offer at 120
        ",
    );
}

#[test]
fn a_settlement_of_a_forgotten_order_is_a_dead_letter() {
    check(
        "
        1 offer O
        10 order A => A ok at 10
        1159 pay A => pay-A at 1159
        1160 cancel A
        1210 tick => dead commands/0/3 `cancel_order A` at 1210
        ",
    );
}
