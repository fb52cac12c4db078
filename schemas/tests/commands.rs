//! What a command must satisfy, and what its payload hash depends on.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{an_order, command};
use proptest::prelude::*;
use schemas::Command;
use schemas::commands::PlaceOrder;
use std::collections::BTreeSet;

fn check(change: impl FnOnce(&mut PlaceOrder), expected: &str) {
    let mut order = an_order();
    change(&mut order);
    let verdict = Command::PlaceOrder(Box::new(order)).check();
    match verdict {
        Ok(()) => assert_eq!(expected, "ok"),
        Err(why) => assert!(why.contains(expected), "{why:?} should say {expected:?}"),
    }
}

#[test]
fn a_command_is_checked_for_what_no_job_could_handle() {
    check(|_| (), "ok");
    check(|o| o.quantity = -3, "ok");
    check(|o| o.price_minor = i64::MIN, "ok");
    check(|o| o.command_id = "".into(), "`command_id` is empty");
    check(|o| o.tenant = "x".repeat(129).into(), "`tenant` has 129 bytes");
    check(|o| o.tenant = "x".repeat(128).into(), "ok");
    check(|o| o.order_id = "ü".repeat(65).into(), "`order_id` has 130 bytes");
    check(|o| o.customer_id = "".into(), "`customer_id` is empty");
    check(|o| o.offer_id = "".into(), "`offer_id` is empty");
    check(|o| o.partner_id = Some("".into()), "`partner_id` is empty");
    check(|o| o.currency = "eur".into(), "`currency` is \"eur\"");
    check(|o| o.currency = "EURO".into(), "`currency`");
    check(|o| o.placed_at_ms = -1, "`placed_at_ms` is -1");
    check(|o| o.placed_at_ms = i64::MAX, "`placed_at_ms`");
    check(|o| o.numbers = vec![1; 257], "`numbers` has 257");
}

#[test]
fn every_field_counts_in_the_payload_hash() {
    let changes: Vec<fn(&mut PlaceOrder)> = vec![
        |_| (),
        |o| o.command_id.push('x'),
        |o| o.tenant.push('x'),
        |o| o.order_id.push('x'),
        |o| o.customer_id.push('x'),
        |o| o.partner_id = None,
        |o| o.partner_id = Some("partner-13".into()),
        |o| o.offer_id.push('x'),
        |o| o.quantity += 1,
        |o| o.price_minor += 1,
        |o| o.currency = "USD".into(),
        |o| o.placed_at_ms += 1,
        |o| o.card = None,
        |o| o.device = None,
        |o| o.ip = None,
        |o| o.numbers = vec![1, 2],
        |o| o.numbers = vec![2, 1],
        |o| o.seat = Some("12A".into()),
    ];
    let hashes: BTreeSet<u64> = changes
        .iter()
        .map(|change| {
            let mut order = an_order();
            change(&mut order);
            Command::PlaceOrder(Box::new(order)).payload_hash()
        })
        .collect();
    assert_eq!(hashes.len(), changes.len());
}

#[test]
fn the_payload_hash_never_changes() {
    // Snapshots keep it for 24 h: another figure here would turn every duplicate of a running system into a conflict.
    assert_eq!(Command::PlaceOrder(Box::new(an_order())).payload_hash(), HASH_OF_AN_ORDER);
}

const HASH_OF_AN_ORDER: u64 = 18_043_844_498_606_470_297;

proptest! {
    #[test]
    fn well_formed_commands_pass_and_differ(a in command(), b in command()) {
        prop_assert_eq!(a.check(), Ok(()));
        prop_assert_eq!(a == b, a.payload_hash() == b.payload_hash());
    }
}
