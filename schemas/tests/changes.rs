//! Debezium messages of our own reference tables, as changes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::reference;
use proptest::prelude::*;
use schemas::debezium::{ChangeDecoder, Op, Semantic, decode_change, envelope, key_of, truncate};
use schemas::reference::{Change, Offer, Reference, ReferenceTable};
use serde_json::{Value, json};

const OFFERS: ReferenceTable = ReferenceTable::Offers;

/// One change in words: `upsert 7 o1 250`, `delete 7 o1`, `truncate 7`, `nothing`.
fn words(change: &Change) -> String {
    match change {
        Change::Upsert { lsn, row: Reference::Offer(o) } => {
            format!("upsert {lsn} {} {}", o.offer_id, o.price_minor)
        }
        Change::Upsert { lsn, row } => format!("upsert {lsn} {}", row.key().parts().1),
        Change::Delete { lsn, key } => format!("delete {lsn} {}", key.parts().1),
        Change::Truncate { lsn, .. } => format!("truncate {lsn}"),
        Change::Nothing => "nothing".into(),
    }
}

/// What a message says, changes joined by `; `, with its claim of time; or why it says nothing.
fn said(decoder: &ChangeDecoder, key: &str, value: &str) -> String {
    match decoder.decode_change(OFFERS, Some(key.as_bytes()), Some(value.as_bytes())) {
        Err(error) => error.to_string(),
        Ok(decoded) => {
            let changes: Vec<String> = decoded.changes.iter().map(words).collect();
            let read = if decoded.snapshot_read { " (read)" } else { "" };
            format!(
                "{}{read} @{}",
                changes.join("; "),
                decoded.source_ts_ms.map_or("-".into(), |t| t.to_string())
            )
        }
    }
}

fn offer() -> Value {
    json!({
        "tenant": "t", "offer_id": "o1", "kind": "ticket", "price_minor": 250, "currency": "EUR", "stock_total": 10,
        "sale_opens_at_ms": null, "sale_closes_at_ms": null, "max_per_order": 4, "max_per_customer": null,
        "draw_id": null, "restock_on_refund": true, "status": "open",
    })
}

/// An update of the offer with some columns changed; `null` takes a column away.
fn update(columns: Value) -> String {
    let mut row = offer();
    for (name, value) in columns.as_object().unwrap() {
        row[name] = value.clone();
    }
    json!({"before": null, "after": row, "source": {"ts_ms": 5, "lsn": 7}, "op": "u"}).to_string()
}

fn check(value: &str, expected: &str) {
    let said = said(&ChangeDecoder::default(), "", value);
    assert!(said.contains(expected), "{value}\n  said {said:?}, expected {expected:?}");
}

fn check_row(columns: Value, expected: &str) {
    check(&update(columns), expected);
}

#[test]
fn operations_become_changes() {
    let op = |op: &str, before: Value, after: Value| {
        json!({"op": op, "before": before, "after": after, "source": {"ts_ms": 5, "lsn": 7}}).to_string()
    };
    let mut moved = offer();
    moved["offer_id"] = json!("o2");
    let key_only = json!({"tenant": "t", "offer_id": "o1"});
    check(&op("c", Value::Null, offer()), "upsert 7 o1 250 @5");
    check(&op("u", Value::Null, offer()), "upsert 7 o1 250 @5");
    check(&op("u", offer(), offer()), "upsert 7 o1 250 @5");
    check(&op("u", key_only.clone(), moved), "delete 7 o1; upsert 7 o2 250 @5");
    check(&op("r", Value::Null, offer()), "upsert 7 o1 250 (read) @5");
    check(&op("d", offer(), Value::Null), "delete 7 o1 @5");
    check(&op("d", key_only, Value::Null), "delete 7 o1 @5");
    check(&op("u", json!({"plan": "x"}), offer()), "upsert 7 o1 250 @5");
    check(&op("t", Value::Null, Value::Null), "truncate 7 @5");
    check(&op("m", Value::Null, Value::Null), "nothing @5");
    check(&op("x", Value::Null, Value::Null), "`op` is \"x\"");
    check(&op("u", offer(), Value::Null), "no row `after` it");
    check(&op("d", Value::Null, Value::Null), "REPLICA IDENTITY");
}

#[test]
fn a_delete_without_a_row_is_found_by_its_key() {
    let delete = json!({"op": "d", "before": null, "after": null, "source": {"lsn": 7}}).to_string();
    let key = json!({"tenant": "t", "offer_id": "o1"});
    let decoder = ChangeDecoder::default();
    assert_eq!(said(&decoder, &key.to_string(), &delete), "delete 7 o1 @-");
    let wrapped = json!({"schema": {"type": "struct", "fields": [
        {"type": "string", "field": "tenant"}, {"type": "string", "field": "offer_id"}]}, "payload": key});
    assert_eq!(said(&decoder, &wrapped.to_string(), &delete), "delete 7 o1 @-");
}

#[test]
fn what_says_nothing_about_a_row_is_nothing() {
    check("", "nothing");
    check("null", "nothing");
    check(r#"{"schema":null,"payload":null}"#, "nothing");
    check(r#"{"ts_ms":1}"#, "nothing");
    check(r#"{"status":"BEGIN","id":"1","event_count":null}"#, "nothing");
    let tombstone = decode_change(OFFERS, Some(b"{}"), None).unwrap();
    assert_eq!(tombstone.changes, vec![Change::Nothing]);
}

#[test]
fn what_is_no_change_is_refused_with_its_reason() {
    check("{", "change of `offers`: not JSON");
    check("[1]", "no JSON object");
    check(r#"{"tenant":"t","price":1}"#, "it has no `op`, but price, tenant");
    check(r#"{"tenant":"t","__op":"c"}"#, "ExtractNewRecordState");
    check(r#"{"op":"c","after":{},"source":{"lsn":1}}"#, "`tenant` is missing");
    check(r#"{"op":"c","after":5,"source":{"lsn":1}}"#, "`after`: no row");
    check(r#"{"op":"c","after":{}}"#, "no position");
}

#[test]
fn columns_take_every_form_a_connector_may_give_them() {
    check_row(json!({"price_minor": "250"}), "upsert 7 o1 250");
    check_row(json!({"price_minor": "250.00"}), "upsert 7 o1 250");
    check_row(json!({"price_minor": 250.0}), "upsert 7 o1 250");
    check_row(json!({"price_minor": 2.5}), "`price_minor` is 2.5, not a whole number");
    check_row(json!({"price_minor": "2.50"}), "`price_minor` is \"2.50\", not a whole number");
    check_row(json!({"price_minor": 1e300}), "`price_minor`");
    check_row(json!({"price_minor": -1}), "`price_minor` is -1; it can't be negative");
    check_row(json!({"price_minor": null}), "`price_minor` is missing or null");
    check_row(json!({"max_per_order": 3_000_000_000_u64}), "`max_per_order`");
    check_row(json!({"stock_total": -2}), "`stock_total` is -2");
    check_row(json!({"restock_on_refund": 1}), "upsert");
    check_row(json!({"restock_on_refund": "yes"}), "`restock_on_refund` is \"yes\", not true or false");
    check_row(json!({"kind": "boat"}), "`kind`: unknown variant `boat`, expected one of `ticket`");
    check_row(json!({"currency": "eur"}), "`currency`");
    check_row(json!({"draw_id": "__debezium_unavailable_value"}), "REPLICA IDENTITY FULL");
    check_row(json!({"a_new_column": {"x": 1}}), "upsert");
    check_row(json!({"offer_id": ""}), "`offer_id` is empty");
}

/// When the sale opens, by a column value and what its schema or a hint says it is.
fn opens_at(value: Value, schema_name: Option<&str>) -> Option<i64> {
    let message = json!({"op": "c", "before": null, "after": {
        "tenant": "t", "offer_id": "o1", "kind": "ticket", "price_minor": "AfQ=", "currency": "EUR", "stock_total": 1,
        "sale_opens_at_ms": value, "max_per_order": 1, "restock_on_refund": false, "status": "open",
    }, "source": {"lsn": 1, "table": "offers"}});
    let mut decoder = ChangeDecoder::default();
    decoder.hints.say("offers", "price_minor", Semantic::parse("decimal(0)").unwrap());
    if let Some(name) = schema_name {
        decoder.hints.say("offers", "sale_opens_at_ms", Semantic::parse(name).unwrap());
    }
    let decoded = decoder.decode_change(OFFERS, None, Some(message.to_string().as_bytes())).unwrap();
    match &decoded.changes[0] {
        Change::Upsert { row: Reference::Offer(offer), .. } => {
            assert_eq!(offer.price_minor, 500, "AfQ= is 0x01f4");
            offer.sale_opens_at_ms
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn times_arrive_as_milliseconds_whatever_their_type() {
    let at = Some(1_098_181_434_987);
    assert_eq!(opens_at(json!(1_098_181_434_987_i64), None), at);
    assert_eq!(opens_at(json!(1_098_181_434_987_i64), Some("Timestamp")), at);
    assert_eq!(opens_at(json!(1_098_181_434_987_654_i64), Some("MicroTimestamp")), at);
    assert_eq!(opens_at(json!(1_098_181_434_987_654_321_i64), Some("NanoTimestamp")), at);
    assert_eq!(opens_at(json!("2004-10-19T10:23:54.987Z"), None), at);
    assert_eq!(opens_at(json!("2004-10-19T12:23:54.987654+02:00"), Some("ZonedTimestamp")), at);
    assert_eq!(opens_at(Value::Null, Some("MicroTimestamp")), None);
}

#[test]
fn positions_grow_with_the_binary_log() {
    let at = |file: &str, pos: u64, row: u64| {
        let source = json!({"file": file, "pos": pos, "row": row, "ts_ms": 1});
        let message = json!({"op": "c", "after": offer(), "source": source}).to_string();
        match &decode_change(OFFERS, None, Some(message.as_bytes())).unwrap().changes[0] {
            Change::Upsert { lsn, .. } => *lsn,
            other => panic!("{other:?}"),
        }
    };
    let places = [
        at("mysql-bin.000003", 154, 0),
        at("mysql-bin.000003", 154, 1),
        at("mysql-bin.000003", 155, 0),
        at("mysql-bin.000003", 4_000_000_000, 0),
        at("mysql-bin.000004", 4, 0),
        at("mysql-bin.1000000", 4, 0),
    ];
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
}

/// The one column of a wrapped message, by its schema's type and name.
fn wrapped(ty: &str, name: &str, value: Value) -> String {
    let row = json!({"type": "struct", "field": "after",
        "fields": [{"type": ty, "name": name, "parameters": {"scale": "2"}, "field": "x"}]});
    let message =
        json!({"schema": {"type": "struct", "fields": [row]}, "payload": {"op": "c", "after": {"x": value}}});
    match schemas::debezium::message(message.to_string().as_bytes(), &Default::default()) {
        Ok(schemas::debezium::Message::Change(change)) => format!("{:?}", change.after.unwrap()[0].1),
        Ok(other) => format!("{other:?}"),
        Err(why) => why,
    }
}

#[test]
fn every_time_type_keeps_its_precision() {
    let check = |ty: &str, name: &str, value: Value, expected: &str| {
        let found = wrapped(ty, name, value);
        assert!(found.contains(expected), "{name}: {found:?} should say {expected:?}");
    };
    check("int32", "io.debezium.time.Date", json!(-1), "Date(-1)");
    check("int32", "io.debezium.time.Time", json!(5), "Time(5000000)");
    check("int64", "io.debezium.time.MicroTime", json!(5), "Time(5000)");
    check("int64", "io.debezium.time.NanoTime", json!(5), "Time(5)");
    check("int64", "io.debezium.time.Timestamp", json!(-5), "Timestamp(-5000000)");
    check("int64", "io.debezium.time.MicroTimestamp", json!(5), "Timestamp(5000)");
    check("int64", "io.debezium.time.NanoTimestamp", json!(i64::MAX), "Timestamp(9223372036854775807)");
    check("int64", "io.debezium.time.MicroTimestamp", json!(i64::MAX), "Timestamp(9223372036854775807000)");
    check(
        "string",
        "io.debezium.time.ZonedTimestamp",
        json!("1970-01-01T01:00:00.000001+01:00"),
        "Timestamp(1000)",
    );
    check(
        "string",
        "io.debezium.time.ZonedTimestamp",
        json!("soon"),
        "`after`: `x`: \"soon\" is not an ISO 8601 time",
    );
    check("string", "io.debezium.time.ZonedTime", json!("00:30:00+01:00"), "Time(84600000000000)");
    check("string", "io.debezium.time.ZonedTime", json!("00:00:01.5Z"), "Time(1500000000)");
    check("string", "io.debezium.time.ZonedTime", json!("25:00:00Z"), "is not an ISO 8601 time of day");
    check("int32", "org.apache.kafka.connect.data.Date", json!(19_000), "Date(19000)");
    check("int32", "org.apache.kafka.connect.data.Time", json!(7), "Time(7000000)");
    check("int64", "org.apache.kafka.connect.data.Timestamp", json!(7), "Timestamp(7000000)");
    check("int64", "io.debezium.time.MicroDuration", json!(7), "Duration(7000)");
    check("int64", "io.debezium.time.NanoTime", json!("7"), "\"7\" is not a whole number");
    check("bytes", "org.apache.kafka.connect.data.Decimal", json!("/zg="), "unscaled: -200, scale: 2");
    check("bytes", "org.apache.kafka.connect.data.Decimal", json!("%"), "is not base64");
    check("bytes", "", Value::Null, "Null");
}

/// The contract of an offer's envelope as a connector with an Avro converter registers it.
fn avro_envelope() -> String {
    let field = |name: &str, ty: Value| json!({"name": name, "type": ty});
    let decimal = json!({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 0,
        "connect.name": "org.apache.kafka.connect.data.Decimal", "connect.parameters": {"scale": "0"}});
    let micros = json!({"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"});
    let row = json!({"type": "record", "name": "Value", "fields": [
        field("tenant", json!("string")), field("offer_id", json!("string")), field("kind", json!("string")),
        field("price_minor", decimal), field("currency", json!("string")), field("stock_total", json!("long")),
        field("sale_opens_at_ms", json!(["null", micros])), field("max_per_order", json!("int")),
        field("restock_on_refund", json!("boolean")), field("status", json!("string"))]});
    let source = json!({"type": "record", "name": "Source", "namespace": "io.debezium.connector.postgresql",
        "fields": [field("ts_ms", json!("long")), field("lsn", json!(["null", "long"])), field("table", json!("string"))]});
    json!({"type": "record", "name": "Envelope", "namespace": "oltp.public.offers", "fields": [
        field("before", json!(["null", row])), field("after", json!(["null", "Value"])), field("source", source),
        field("op", json!("string"))]})
    .to_string()
}

#[test]
fn avro_changes_arrive_like_json_ones() {
    let row = json!({"tenant": "t", "offer_id": "o1", "kind": "seat", "price_minor": "\u{1}\u{2}", "currency": "EUR",
        "stock_total": 3, "sale_opens_at_ms": 5_000_000, "max_per_order": 1, "restock_on_refund": false, "status": "open"});
    let change =
        json!({"before": null, "after": row, "source": {"ts_ms": 5, "lsn": 7, "table": "offers"}, "op": "u"});
    let plain: serde_avro_fast::Schema =
        avro_envelope().replace("\"logicalType\"", "\"was\"").parse().unwrap();
    let mut bytes = vec![0, 0, 0, 0, 42];
    serde_avro_fast::to_datum(&change, &mut bytes, &mut serde_avro_fast::ser::SerializerConfig::new(&plain))
        .unwrap();

    let mut decoder = ChangeDecoder::default();
    let unknown = decoder.decode_change(OFFERS, None, Some(&bytes)).unwrap_err();
    assert_eq!(unknown, schemas::DecodeError::UnknownSchema(42));
    decoder.avro.add(42, &avro_envelope());
    let decoded = decoder.decode_change(OFFERS, None, Some(&bytes)).unwrap();
    let Change::Upsert { lsn: 7, row: Reference::Offer(offer) } = &decoded.changes[0] else {
        panic!("{decoded:?}")
    };
    assert_eq!(
        (offer.price_minor, offer.sale_opens_at_ms, decoded.source_ts_ms),
        (258, Some(5_000), Some(5))
    );
    let cut = decoder.decode_change(OFFERS, None, Some(&bytes[..30])).unwrap_err().to_string();
    assert!(cut.contains("schema id 42"), "{cut}");
}

proptest! {
    #[test]
    fn an_envelope_comes_back_as_it_went(before in reference(), after in reference(), lsn in any::<u64>(), ts in 0..i64::MAX) {
        let acceptable = before.check().is_ok() && after.check().is_ok();
        let table = after.table();
        let value = envelope(Op::Create, None, Some(&after), ts, lsn);
        let decoded = decode_change(table, None, Some(value.as_bytes()));
        prop_assert_eq!(decoded.is_ok(), after.check().is_ok());
        prop_assume!(acceptable);
        prop_assert_eq!(decoded.unwrap().changes, vec![Change::Upsert { lsn, row: after.clone() }]);

        let value = envelope(Op::Delete, Some(&after), None, ts, lsn);
        let decoded = decode_change(table, Some(key_of(&after.key()).as_bytes()), Some(value.as_bytes())).unwrap();
        prop_assert_eq!(decoded.changes, vec![Change::Delete { lsn, key: after.key() }]);
        prop_assert_eq!((decoded.source_ts_ms, decoded.snapshot_read), (Some(ts), false));

        if before.table() == table {
            let value = envelope(Op::Update, Some(&before), Some(&after), ts, lsn);
            let decoded = decode_change(table, None, Some(value.as_bytes())).unwrap();
            prop_assert_eq!(decoded.changes.len(), if before.key() == after.key() { 1 } else { 2 });
        }
        let value = truncate(table, ts, lsn);
        prop_assert_eq!(decode_change(table, None, Some(value.as_bytes())).unwrap().changes, vec![Change::Truncate { lsn, table }]);
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = decode_change(OFFERS, Some(&bytes), Some(&bytes));
    }
}

#[test]
fn the_contracts_of_reference_rows_have_the_columns_of_their_types() {
    use schemas::Record;
    let row: Offer = serde_json::from_value(offer()).unwrap();
    let columns = serde_json::to_value(row).unwrap();
    let schema: Value = serde_json::from_str(Record::Offer.avsc()).unwrap();
    let mut declared: Vec<&str> =
        schema["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    declared.sort_unstable();
    assert_eq!(declared, columns.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>());
}

fn said_of(table: ReferenceTable, row: Value) -> String {
    let value =
        json!({"before": null, "after": row, "source": {"ts_ms": 5, "lsn": 7}, "op": "c"}).to_string();
    match decode_change(table, None, Some(value.as_bytes())) {
        Ok(decoded) => decoded.changes.iter().map(words).collect(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_commission_rate_is_known_by_six_columns_and_its_date_may_be_a_text_or_days() {
    let check = |columns: Value, expected: &str| {
        let mut row = json!({"tenant": "t", "plan": "a/b", "offer_kind": "voucher", "currency": "BRL",
            "tier_floor_minor": 100_000, "rate_bps": 1_200, "valid_from": "2016-01-01"});
        columns.as_object().unwrap().iter().for_each(|(name, value)| row[name] = value.clone());
        let said = said_of(ReferenceTable::CommissionRates, row.clone());
        assert!(said.contains(expected), "{row} said {said:?}, expected {expected:?}");
    };
    check(json!({}), "upsert 7 voucher/BRL/100000/2016-01-01/a/b");
    check(json!({"valid_from": 16_801}), "upsert 7 voucher/BRL/100000/2016-01-01/a/b");
    check(json!({"tier_floor_minor": "0"}), "upsert 7 voucher/BRL/0/2016-01-01/a/b");
    check(json!({"valid_from": "2016-01-02"}), "send the first day of a month");
    check(json!({"rate_bps": 10_001}), "send 0 to 10000 basis points");
    check(json!({"rate_bps": -1}), "send 0 to 10000 basis points");
    check(json!({"tier_floor_minor": -1}), "can't be negative");
    check(json!({"currency": "reais"}), "ISO 4217");
    check(json!({"offer_kind": "bus"}), "`offer_kind`");
}

#[test]
fn a_deleted_rate_is_found_by_its_message_key() {
    let key = schemas::ReferenceKey::CommissionRate {
        tenant: "t".into(),
        rate_id: "voucher/BRL/0/2016-01-01/a/b".into(),
    };
    let value =
        json!({"before": null, "after": null, "source": {"ts_ms": 5, "lsn": 7}, "op": "d"}).to_string();
    let decoded =
        decode_change(ReferenceTable::CommissionRates, Some(key_of(&key).as_bytes()), Some(value.as_bytes()));
    assert_eq!(decoded.map(|d| d.changes), Ok(vec![Change::Delete { lsn: 7, key }]));
}

#[test]
fn a_commission_period_is_a_month_of_the_calendar() {
    let check = |month: &str, status: &str, expected: &str| {
        let row = json!({"tenant": "t", "month": month, "status": status});
        let said = said_of(ReferenceTable::CommissionPeriods, row);
        assert!(said.contains(expected), "{month} {status} said {said:?}, expected {expected:?}");
    };
    check("2017-11", "closed", "upsert 7 2017-11");
    check("2017-11", "shut", "`status`");
    check("2017-13", "open", "send YYYY-MM");
}
