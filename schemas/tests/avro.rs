//! The Avro codec: what goes in comes out, writers may evolve, and damage is named.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{an_order, command, fact};
use proptest::prelude::*;
use schemas::{Command, DecodeError, Decoder, Record, SchemaIds, encode_command, encode_fact};
use serde_json::{Value, json};
use std::sync::LazyLock;

static DECODER: LazyLock<Decoder> = LazyLock::new(|| Decoder::with_own(ids));

fn ids(record: Record) -> u32 {
    SchemaIds::fresh().of(record)
}

fn encoded(command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(command, ids, &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn a_command_comes_back_as_it_went(command in command()) {
        prop_assert_eq!(DECODER.decode_command(&encoded(&command)), Ok(command));
    }

    #[test]
    fn a_fact_comes_back_as_it_went(fact in fact()) {
        let mut bytes = Vec::new();
        encode_fact(&fact, ids, &mut bytes);
        prop_assert_eq!(DECODER.decode_fact(&bytes), Ok(fact));
    }

    #[test]
    fn the_binary_is_what_the_avro_reference_library_reads(command in command()) {
        let bytes = encoded(&command);
        let schema = apache_avro::Schema::parse_str(command.record().avsc()).unwrap();
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
        let value = reader.read_value(&mut &bytes[5..]).unwrap();
        let apache_avro::types::Value::Record(fields) = value else { panic!("not a record") };
        prop_assert_eq!(&fields[0].1, &apache_avro::types::Value::String(command.command_id().to_string()));
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut framed = vec![0, 0, 0, 0, 1];
        framed.extend(&bytes);
        let _ = DECODER.decode_command(&framed);
        let _ = DECODER.decode_command(&bytes);
    }

    #[test]
    fn a_cut_message_is_refused(command in command(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&command);
        let cut = cut.index(bytes.len());
        prop_assert!(DECODER.decode_command(&bytes[..cut]).is_err());
    }
}

/// Changes our contract of PlaceOrder as another version of a producer might.
fn evolved(change: impl FnOnce(&mut Vec<Value>)) -> String {
    let mut schema: Value = serde_json::from_str(Record::PlaceOrder.avsc()).unwrap();
    change(schema["fields"].as_array_mut().unwrap());
    schema.to_string()
}

fn position(fields: &[Value], name: &str) -> usize {
    fields.iter().position(|f| f["name"] == name).unwrap()
}

/// What our order looks like to a writer whose schema has these fields.
fn written_under(avsc: &str) -> Vec<u8> {
    let schema: serde_avro_fast::Schema = avsc.parse().unwrap();
    let mut order = serde_json::to_value(an_order()).unwrap();
    order["channel"] = json!("web");
    let fields: Value = serde_json::from_str(avsc).unwrap();
    let known: serde_json::Map<String, Value> = fields["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["name"].as_str().unwrap().to_owned(), order[f["name"].as_str().unwrap()].clone()))
        .collect();
    let mut bytes = vec![0, 0, 0, 0, 77];
    let mut config = serde_avro_fast::ser::SerializerConfig::new(&schema);
    serde_avro_fast::to_datum(&known, &mut bytes, &mut config).unwrap();
    bytes
}

fn decode_under(avsc: &str) -> Result<Command, DecodeError> {
    let mut decoder = Decoder::default();
    decoder.add(77, avsc);
    decoder.decode_command(&written_under(avsc))
}

#[test]
fn a_writer_with_one_more_field_is_read() {
    let avsc = evolved(|fields| fields.insert(3, json!({"name": "channel", "type": "string"})));
    assert_eq!(decode_under(&avsc), Ok(Command::PlaceOrder(Box::new(an_order()))));
}

#[test]
fn a_writer_without_the_fields_that_have_defaults_is_read() {
    let avsc = evolved(|fields| fields.retain(|f| f.get("default").is_none()));
    let mut expected = an_order();
    (expected.partner_id, expected.card, expected.device, expected.ip) = (None, None, None, None);
    assert_eq!(decode_under(&avsc), Ok(Command::PlaceOrder(Box::new(expected))));
}

#[test]
fn a_writer_with_its_fields_in_another_order_is_read() {
    let avsc = evolved(|fields| fields.reverse());
    assert_eq!(decode_under(&avsc), Ok(Command::PlaceOrder(Box::new(an_order()))));
}

#[test]
fn a_writer_with_a_narrower_or_certain_type_is_read() {
    let avsc = evolved(|fields| {
        let price = position(fields, "price_minor");
        fields[price]["type"] = json!("int");
        let partner = position(fields, "partner_id");
        fields[partner] = json!({"name": "partner_id", "type": "string"});
    });
    assert_eq!(decode_under(&avsc), Ok(Command::PlaceOrder(Box::new(an_order()))));
}

/// The reason a writer's schema is refused with.
fn refusal(avsc: &str) -> String {
    let mut decoder = Decoder::default();
    decoder.add(77, avsc);
    match decoder.decode_command(&[0, 0, 0, 0, 77, 0]) {
        Err(DecodeError::UnreadableSchema { id: 77, why }) => why,
        other => panic!("should have been refused: {other:?}"),
    }
}

#[test]
fn a_writer_that_can_not_be_read_is_refused_once_with_its_reason() {
    let check = |avsc: &str, reason: &str| {
        let why = refusal(avsc);
        assert!(why.contains(reason), "{why:?} should say {reason:?}");
    };
    check(&evolved(|f| drop(f.remove(position(f, "offer_id")))), "offer_id");
    check(&evolved(|f| f[6]["type"] = json!("string")), "quantity");
    let micros = json!({"type": "long", "logicalType": "timestamp-micros"});
    check(&evolved(|f| f[9]["type"] = micros), "timestamp-micros");
    check(
        r#"{"type":"record","name":"Other","namespace":"x","fields":[]}"#,
        "`x.Other` is no record of Tombola",
    );
    check(r#""string""#, "no record");
    check("{", "not an Avro schema");
}

#[test]
fn damaged_messages_are_named() {
    let order = Command::PlaceOrder(Box::new(an_order()));
    let check = |bytes: &[u8], reason: &str| {
        let error = DECODER.decode_command(bytes).unwrap_err().to_string();
        assert!(error.contains(reason), "{error:?} should say {reason:?}");
    };
    check(b"", "empty");
    check(b"{\"type\":\"place_order\"}", "0x7b");
    check(&[0, 0, 0], "cut it short");
    check(&[0, 0, 0, 3, 231, 1], "schema id 999 is not registered");
    check(&[0, 0, 0, 0, 9, 1], "`order_fact`, expected a command");
    check(&encoded(&order)[..20], "`place_order` under schema id 1");
    check(&[&encoded(&order)[..], &[1, 2]].concat(), "2 bytes left over");
    let mut unfit = an_order();
    unfit.currency = "euro".into();
    check(&encoded(&Command::PlaceOrder(Box::new(unfit))), "`currency` is \"euro\"");
}

#[test]
fn serde_supplies_the_defaults_the_contracts_declare() {
    let schema: Value = serde_json::from_str(Record::PlaceOrder.avsc()).unwrap();
    for field in schema["fields"].as_array().unwrap().iter().filter(|f| f.get("default").is_some()) {
        let name = field["name"].as_str().unwrap();
        let mut order = serde_json::to_value(an_order()).unwrap();
        order.as_object_mut().unwrap().remove(name);
        let read: schemas::commands::PlaceOrder = serde_json::from_value(order).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap()[name], field["default"], "{name}");
    }
}

/// `cargo test --release -p tombola-schemas --test avro -- --ignored --nocapture`
#[test]
#[ignore = "prints times; meaningful in a release build only"]
fn measure_times_of_the_codecs() {
    let order = Command::PlaceOrder(Box::new(an_order()));
    let bytes = encoded(&order);
    let mut out = Vec::with_capacity(512);
    time("encode", || {
        out.clear();
        encode_command(std::hint::black_box(&order), ids, &mut out);
    });
    time("decode and check", || drop(std::hint::black_box(DECODER.decode_command(&bytes))));
    time("payload_hash", || {
        std::hint::black_box(order.payload_hash());
    });
    time("check", || drop(std::hint::black_box(order.check())));
}

fn time(what: &str, mut run: impl FnMut()) {
    let rounds = 1_000_000;
    let start = std::time::Instant::now();
    (0..rounds).for_each(|_| run());
    println!("{what}: {:.0} ns", start.elapsed().as_nanos() as f64 / f64::from(rounds));
}
