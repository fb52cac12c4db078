//! The NDJSON codec: what goes in comes out, it says the same as Avro, and a bad line is explained.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{an_order, command};
use proptest::prelude::*;
use schemas::debezium::{Op, envelope};
use schemas::ndjson::{input_topics, parse_command};
use schemas::reference::{Customer, Reference, Standing};
use schemas::{Command, NdjsonRecord, parse_line, to_line};
use serde_json::{Value, json};

proptest! {
    #[test]
    fn a_command_comes_back_as_it_went(command in command()) {
        let line = to_line(&command);
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(parse_command(&line), Ok(command.clone()));
        let record = parse_line(command.record().topic(), &line).unwrap();
        prop_assert_eq!(record.event_time_ms(), Some(command.event_time_ms()));
        let NdjsonRecord::Command(parsed) = record else { panic!("not a command") };
        prop_assert_eq!(parsed.payload_hash(), command.payload_hash());
    }

    #[test]
    fn any_line_is_read_or_refused_without_panic(line in "\\PC{0,80}") {
        for topic in input_topics() {
            let _ = parse_line(topic, &line);
        }
    }
}

/// An order's line with some fields changed; a field set to the text "absent" is taken away.
fn line(changes: Value) -> String {
    let mut fields: Value =
        serde_json::from_str(&to_line(&Command::PlaceOrder(Box::new(an_order())))).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if *value == json!("absent") {
            fields.as_object_mut().unwrap().remove(name);
        } else {
            fields[name] = value.clone();
        }
    }
    fields.to_string()
}

fn check(topic: &str, line: &str, expected: &str) {
    match parse_line(topic, line) {
        Ok(_) => assert_eq!(expected, "ok", "{line}"),
        Err(why) => assert!(why.contains(expected), "{why:?} should say {expected:?}"),
    }
}

#[test]
fn lines_are_accepted_or_explained() {
    let check = |changes: Value, expected: &str| check("commands.orders", &line(changes), expected);
    check(json!({}), "ok");
    check(json!({"partner_id": null, "card": "absent", "numbers": "absent"}), "ok");
    check(json!({"order_id": "absent"}), "missing field `order_id`");
    check(json!({"colour": "red"}), "unknown field `colour`");
    check(json!({"quantity": "2"}), "`quantity`: invalid type: string \"2\", expected i32");
    check(json!({"quantity": 2.5}), "`quantity`");
    check(json!({"quantity": 3_000_000_000_u64}), "`quantity`");
    check(json!({"numbers": [1, "x"]}), "`numbers[1]`");
    check(json!({"type": "absent"}), "`type` is missing; say one of place_order, cancel_order");
    check(json!({"type": "buy"}), "`type` is \"buy\"");
    check(json!({"currency": "eur"}), "`currency` is \"eur\"");
    check(json!({"tenant": ""}), "`tenant` is empty");
}

#[test]
fn lines_that_are_no_object_or_belong_elsewhere_are_explained() {
    check("commands.orders", "", "not a JSON object");
    check("commands.orders", "[]", "not a JSON object");
    check("commands.orders", "{\"type\":", "not a JSON object");
    check("commands.orders", &format!("{} x", line(json!({}))), "not a JSON object");
    check("commands.payments", &line(json!({})), "`place_order` belongs on `commands.orders`");
    check(
        "commands.orders",
        &line(json!({})).replacen('{', "{\"tenant\":\"x\",", 1),
        "duplicate field `tenant`",
    );
    check("facts.orders", &line(json!({})), "nothing is produced to `facts.orders`");
    check(
        "oltp.public.planets",
        "{}",
        "the topics are commands.orders, commands.payments, oltp.public.offers",
    );
    check("oltp.public.offers", "{\"op\":\"c\"}", "change of `offers`");
}

#[test]
fn a_change_line_is_kept_as_it_is() {
    let row = Reference::Customer(Box::new(Customer {
        tenant: "t".into(),
        customer_id: "c".into(),
        status: Standing::Active,
        daily_spend_limit_minor: None,
    }));
    let bare = envelope(Op::Update, None, Some(&row), 77, 5);
    let wrapped = format!("{{\"schema\":null,\"payload\":{bare}}}");
    for line in [bare, wrapped] {
        let record = parse_line("oltp.public.customers", &line).unwrap();
        assert_eq!(record.event_time_ms(), Some(77));
        assert_eq!(record, NdjsonRecord::Change { value: line.into_bytes(), source_ts_ms: Some(77) });
    }
}
