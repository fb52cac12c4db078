//! The Olist conversion: its arithmetic always, its counts where the data set is at hand.
//!
//! The data is looked for under `$TOMBOLA_DATA/olist`, else `../shared/data/olist` beside the workspace;
//! where it is absent the tests that need it say so and pass.

#[path = "../examples/olist/convert.rs"]
mod convert;
#[path = "../examples/olist/input.rs"]
mod input;

use serde_json::Value;
use std::path::PathBuf;

fn data() -> Option<PathBuf> {
    let root = std::env::var_os("TOMBOLA_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let folder = root.join("olist");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no Olist data at {} (set TOMBOLA_DATA)", folder.display());
    None
}

fn values(lines: &[convert::Line]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(&line.json).expect("lines are JSON")).collect()
}

fn count(values: &[Value], kind: &str) -> usize {
    values.iter().filter(|v| v["type"] == kind).count()
}

#[test]
fn prices_become_centavos_without_floats() {
    for (text, wanted) in
        [("99.9", Some(9990)), ("144.0", Some(14400)), ("21.99", Some(2199)), ("7", Some(700))]
    {
        assert_eq!(input::parse_centavos(text).ok(), wanted, "{text}");
    }
    for text in ["", ".5", "1.234", "-1.0", "1e3", "1.x"] {
        assert!(input::parse_centavos(text).is_err(), "{text:?} must be refused");
    }
}

#[test]
fn times_are_taken_as_utc() {
    assert_eq!(input::parse_time("2017-07-09 21:57:05"), Ok(1_499_637_425_000));
    assert!(input::parse_time("09/07/2017 21:57").is_err());
}

#[test]
fn the_settings_it_writes_are_good() {
    let text = include_str!("../examples/olist/tombola.toml");
    let config = pipelines::config::Config::parse(std::path::Path::new("tombola.toml"), text);
    assert_eq!(config.map(|c| c.orders.hold_ttl_ms), Ok(365 * 86_400_000));
}

#[test]
fn the_counts_are_those_of_the_data_set() {
    let Some(data) = data() else { return };
    let topics = convert::convert(&input::read(&data).unwrap());
    let (orders, payments) = (values(&topics.orders), values(&topics.payments));
    assert_eq!(count(&orders, "place_order"), 8_365);
    assert_eq!(count(&orders, "cancel_order"), 549);
    assert_eq!(count(&payments, "payment_captured"), 7_816);
    let confirmed: i64 = payments.iter().map(|v| v["amount_minor"].as_i64().unwrap()).sum();
    assert_eq!(confirmed, 99_602_139);
    let offers = values(&topics.offers);
    assert_eq!(offers.iter().filter(|v| v["op"] == "c").count(), 5_566);
    assert_eq!((topics.partners.len(), topics.rates.len()), (1_610, 2));
}

#[test]
fn every_file_is_in_the_order_of_its_record_time() {
    let Some(data) = data() else { return };
    let topics = convert::convert(&input::read(&data).unwrap());
    for (topic, lines) in topics.files() {
        assert!(lines.is_sorted_by_key(|line| line.time_ms), "{topic}");
    }
}

#[test]
fn an_order_is_placed_at_the_price_the_offer_has_at_that_moment() {
    let Some(data) = data() else { return };
    let topics = convert::convert(&input::read(&data).unwrap());
    let mut price = std::collections::HashMap::new();
    let mut changes = topics.offers.iter().zip(values(&topics.offers)).peekable();
    let mut lsn = 0;
    for (line, order) in topics.orders.iter().zip(values(&topics.orders)) {
        while let Some((_, change)) = changes.next_if(|(change, _)| change.time_ms <= line.time_ms) {
            assert!(change["source"]["lsn"].as_u64().unwrap() > lsn, "lsn increases");
            lsn = change["source"]["lsn"].as_u64().unwrap();
            price.insert(change["after"]["offer_id"].to_string(), change["after"]["price_minor"].clone());
        }
        if order["type"] == "place_order" {
            assert_eq!(price[&order["offer_id"].to_string()], order["price_minor"], "{}", line.json);
        }
    }
}
