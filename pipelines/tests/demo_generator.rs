//! The demo's traffic: the same seed gives the same bytes, and it is what it claims to be.

use pipelines::demo::generator::{Generator, Options};
use pipelines::demo::record::{Body, Timed};
use schemas::{Command, SchemaIds};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

fn options(seed: u64, orders: u64) -> Options {
    Options { seed, start_ms: 1_700_000_000_000, orders: Some(orders), orders_per_s: 1_000, draws: true }
}

fn digest(seed: u64) -> Vec<u8> {
    let (ids, mut sha) = (SchemaIds::fresh(), Sha256::new());
    for timed in Generator::new(options(seed, 3_000)) {
        let record = timed.body.encode(&ids, timed.at_ms);
        sha.update(timed.body.topic());
        sha.update(timed.at_ms.to_le_bytes());
        sha.update(record.key.unwrap_or_default());
        sha.update(record.value.unwrap_or_default());
    }
    sha.finalize().to_vec()
}

fn is_order(timed: &Timed) -> bool {
    matches!(&timed.body, Body::Command(Command::PlaceOrder(_)))
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn records_come_in_the_order_of_their_time() {
    let times: Vec<i64> = Generator::new(options(3, 5_000)).map(|t| t.at_ms).collect();
    assert!(times.is_sorted());
}

#[test]
fn every_command_id_names_one_command_but_for_the_careless_producers() {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for timed in Generator::new(options(4, 20_000)) {
        if let Body::Command(command) = &timed.body {
            *seen.entry(command.command_id().to_string()).or_default() += 1;
        }
    }
    let again = seen.values().filter(|count| **count > 1).count();
    assert!((150..350).contains(&again), "about 1.2 % of 20,000 orders come twice, not {again}");
}

#[test]
fn a_stream_without_end_goes_on() {
    let endless = Options { orders: None, ..options(5, 0) };
    assert_eq!(Generator::new(endless).filter(is_order).take(150_000).count(), 150_000);
}

#[test]
fn most_orders_are_paid_and_no_payment_exceeds_the_price_of_its_order() {
    let mut owed: HashMap<String, i64> = HashMap::new();
    let mut paid = 0;
    for timed in Generator::new(options(6, 10_000)) {
        match &timed.body {
            Body::Command(Command::PlaceOrder(order)) => {
                let amount = order.price_minor * i64::from(order.quantity);
                owed.entry(order.order_id.to_string()).or_insert(amount);
            }
            Body::Command(Command::PaymentCaptured(payment)) => {
                assert_eq!(owed[payment.order_id.as_str()], payment.amount_minor);
                paid += 1;
            }
            _ => {}
        }
    }
    assert!((6_000..9_500).contains(&paid), "{paid}");
}

/// Draws with a result, and corrections, until so many orders are placed.
fn results(options: Options, orders: usize) -> (usize, usize) {
    let (mut draws, mut corrected, mut placed) = (HashSet::new(), 0, 0);
    for timed in Generator::new(options).take_while(|timed| {
        placed += usize::from(is_order(timed));
        placed <= orders
    }) {
        match &timed.body {
            Body::Command(Command::ReportResult(report)) => {
                draws.insert((report.tenant.clone(), report.draw_id.clone()));
            }
            Body::Command(Command::CorrectResult(_)) => corrected += 1,
            _ => {}
        }
    }
    (draws.len(), corrected)
}

#[test]
fn a_demo_shows_a_handful_of_draws_with_a_correction_and_no_more_than_some_dozens() {
    let unpaced = |orders| Options { orders_per_s: 5_000, ..options(7, orders) };
    for (options, orders, wanted) in [
        (unpaced(5_000), usize::MAX, (10, 2)),
        (unpaced(50_000), usize::MAX, (10, 2)),
        (unpaced(1_000_000), usize::MAX, (32, 6)),
        // A minute at a thousand a second; the last closing's result comes later.
        (Options { orders: None, ..options(7, 0) }, 60_000, (10, 2)),
    ] {
        assert_eq!(results(options, orders), wanted, "{options:?}");
    }
}
