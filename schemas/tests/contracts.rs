//! Contracts evolve BACKWARD: today's reads everything ever written.
//!
//! `avro/history/<name>/v1.avsc`, `v2.avsc`, … keep every version that was ever released. To change a contract, change
//! `avro/<name>.avsc` and add the new text as the next version.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use schemas::Record;
use schemas::compat::can_read_all;
use std::path::PathBuf;

/// Every released version of a contract, oldest first.
fn history(record: Record) -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("avro/history").join(record.as_str());
    let version = |n: usize| std::fs::read_to_string(folder.join(format!("v{n}.avsc"))).ok();
    let texts: Vec<String> = (1..).map_while(version).collect();
    let files = std::fs::read_dir(&folder).map_or(0, Iterator::count);
    assert_eq!(texts.len(), files, "{}: versions must be numbered v1, v2, … without a gap", folder.display());
    texts
}

#[test]
fn every_contract_reads_its_whole_history() {
    for &record in Record::ALL {
        for (index, old) in history(record).iter().enumerate() {
            if let Err(why) = can_read_all(old, record.avsc()) {
                panic!("avro/{record}.avsc can't read its v{}: {why}", index + 1);
            }
        }
    }
}

#[test]
fn the_newest_version_of_every_contract_is_the_current_one() {
    for &record in Record::ALL {
        let history = history(record);
        let newest = history.last().map(String::as_str);
        assert_eq!(
            newest,
            Some(record.avsc()),
            "avro/{record}.avsc has changed: add its text as avro/history/{record}/v{}.avsc",
            history.len() + 1
        );
    }
}

#[test]
fn the_check_can_fail() {
    let current = Record::CancelOrder.avsc();
    let check = |from: &str, to: &str, reason: &str| {
        let changed = current.replace(from, to);
        assert_ne!(changed, current, "nothing was changed by {from:?}");
        let why = can_read_all(current, &changed).unwrap_err();
        assert!(why.contains(reason), "{why:?} should say {reason:?}");
    };
    check(r#""name": "order_id""#, r#""name": "order""#, "order");
    check(r#""name": "tenant", "type": "string""#, r#""name": "tenant", "type": "long""#, "tenant");
    check("CancelOrder", "CancelledOrder", "CancelledOrder");
    check("timestamp-millis", "timestamp-micros", "timestamp-micros");
    let fact = Record::StockFact.avsc();
    let fewer_symbols = fact.replace(r#", "sold"]"#, "]");
    assert_ne!(fewer_symbols, fact);
    assert!(can_read_all(fact, &fewer_symbols).is_err(), "a symbol once written must stay readable");
}

#[test]
fn a_new_optional_field_is_compatible() {
    let current = Record::CancelOrder.avsc();
    let grown = current.replacen(
        "\"fields\": [",
        "\"fields\": [ { \"name\": \"channel\", \"type\": [\"null\", \"string\"], \"default\": null },",
        1,
    );
    assert_eq!(can_read_all(current, &grown), Ok(()));
}
