//! Rows of tables that nobody described beforehand, out of real messages of Debezium 3.7.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

use schemas::captured::{Captured, Cell, ColumnType, TableDecoder, TableSchema};
use serde_json::{Value, json};

const KEY: &str = r#"{"type":"record","name":"Key","namespace":"p.public.t","fields":[{"name":"id","type":"int"}],"connect.name":"p.public.t.Key"}"#;

/// The Avro schema of an envelope whose rows have these columns.
fn envelope(columns: &str) -> String {
    format!(
        r#"{{"type":"record","name":"Envelope","namespace":"p.public.t","fields":[
        {{"name":"before","type":["null",{{"type":"record","name":"Value","fields":[{columns}],"connect.name":"p.public.t.Value"}}],"default":null}},
        {{"name":"after","type":["null","Value"],"default":null}},
        {{"name":"source","type":{{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":[
            {{"name":"version","type":"string"}},{{"name":"ts_ms","type":"long"}},
            {{"name":"snapshot","type":[{{"type":"string","connect.default":"false"}},"null"],"default":"false"}},
            {{"name":"lsn","type":["null","long"],"default":null}}]}}}},
        {{"name":"op","type":"string"}}]}}"#
    )
}

fn column(name: &str, ty: &str) -> String {
    format!(r#"{{"name":"{name}","type":["null",{ty}],"default":null}}"#)
}

const ID: &str = r#"{"name":"id","type":"int"}"#;

fn decoder(columns: &[String]) -> TableDecoder {
    let mut decoder = TableDecoder::default();
    decoder.add(1, KEY);
    let columns = [ID.to_owned()].into_iter().chain(columns.iter().cloned()).collect::<Vec<_>>();
    decoder.add(2, &envelope(&columns.join(",")));
    decoder
}

fn header(id: u32) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes()].concat()
}

fn zigzag(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    zigzag(out, text.len() as i64);
    out.extend_from_slice(text);
}

/// A message with these rows, each already in Avro.
fn message(op: &str, before: Option<&[u8]>, after: Option<&[u8]>, lsn: i64) -> Vec<u8> {
    let mut out = header(2);
    for row in [before, after] {
        zigzag(&mut out, i64::from(row.is_some()));
        out.extend_from_slice(row.unwrap_or_default());
    }
    text(&mut out, b"3.7.0.Final");
    zigzag(&mut out, 1_700_000_000_000);
    zigzag(&mut out, 0);
    text(&mut out, b"false");
    zigzag(&mut out, 1);
    zigzag(&mut out, lsn);
    text(&mut out, op.as_bytes());
    out
}

fn key(id: i64) -> Vec<u8> {
    let mut out = header(1);
    zigzag(&mut out, id);
    out
}

fn cells(captured: &Captured) -> Vec<Cell> {
    match captured {
        Captured::Rows { rows, .. } => rows.last().unwrap().cells.clone(),
        other => panic!("{other:?}"),
    }
}

/// One column of a type, with a value in Avro.
fn check(ty: &str, value: impl FnOnce(&mut Vec<u8>), expected_type: &ColumnType, expected: Cell) {
    let mut decoder = decoder(&[column("c", ty)]);
    let mut row = Vec::new();
    zigzag(&mut row, 7);
    zigzag(&mut row, 1);
    value(&mut row);
    let captured = decoder.decode(Some(&key(7)), Some(&message("c", None, Some(&row), 50)));
    let Captured::Rows { schema, .. } = &captured else { panic!("{captured:?}") };
    assert_eq!(schema.columns[1].ty, *expected_type);
    assert_eq!(cells(&captured), [Cell::Int(7), expected]);
}

#[test]
fn every_type_comes_exactly_as_it_was_written() {
    use ColumnType as T;
    let decimal = r#"{"type":"bytes","scale":2,"precision":10,"connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}"#;
    let ty = T::Decimal { precision: 10, scale: 2 };
    check(decimal, |out| text(out, &[0x04, 0xd2]), &ty, Cell::Bytes(vec![0x04, 0xd2]));
    let any = r#"{"type":"record","name":"VariableScaleDecimal","namespace":"io.debezium.data","fields":[{"name":"scale","type":"int"},{"name":"value","type":"bytes"}],"connect.name":"io.debezium.data.VariableScaleDecimal"}"#;
    let value = |out: &mut Vec<u8>| {
        zigzag(out, 3);
        text(out, &[0xff, 0x38]);
    };
    check(any, value, &T::AnyDecimal, Cell::Text("-0.200".to_owned()));
    let zoned = r#"{"type":"string","connect.name":"io.debezium.time.ZonedTimestamp"}"#;
    let at = |text_of: &'static str| move |out: &mut Vec<u8>| text(out, text_of.as_bytes());
    let micros = Cell::Int(1_709_202_896_123_456);
    check(zoned, at("2024-02-29T10:34:56.123456Z"), &T::ZonedTimestamp, micros);
    check(zoned, at("infinity"), &T::ZonedTimestamp, Cell::Int(i64::MAX));
    check(zoned, at("-infinity"), &T::ZonedTimestamp, Cell::Int(i64::MIN));
    let float = |out: &mut Vec<u8>| out.extend_from_slice(&1.5_f32.to_le_bytes());
    check(r#""float""#, float, &T::Float32, Cell::Float(1.5));
    let small = r#"{"type":"int","connect.type":"int16"}"#;
    check(small, |out| zigzag(out, -3), &T::Int16, Cell::Int(-3));
    let items = |out: &mut Vec<u8>| {
        zigzag(out, 2);
        zigzag(out, 1);
        text(out, b"a");
        zigzag(out, 0);
        zigzag(out, 0);
    };
    let array = r#"{"type":"array","items":["null","string"]}"#;
    let ty = T::Array(Box::new(T::Text));
    check(array, items, &ty, Cell::Array(vec![Cell::Text("a".to_owned()), Cell::Null]));
    check(r#""bytes""#, |out| text(out, &[0, 255]), &T::Bytes, Cell::Bytes(vec![0, 255]));
}

#[test]
fn a_value_that_was_not_told_is_no_value() {
    let untold = |out: &mut Vec<u8>| text(out, b"__debezium_unavailable_value");
    check(r#""string""#, untold, &ColumnType::Text, Cell::Unavailable);
    check(r#""bytes""#, untold, &ColumnType::Bytes, Cell::Unavailable);
    let array = r#"{"type":"array","items":["null","int"]}"#;
    let untold = |out: &mut Vec<u8>| {
        let bytes = b"__debezium_unavailable_value";
        zigzag(out, bytes.len() as i64);
        for byte in bytes {
            zigzag(out, 1);
            zigzag(out, i64::from(*byte));
        }
        zigzag(out, 0);
    };
    check(array, untold, &ColumnType::Array(Box::new(ColumnType::Int32)), Cell::Unavailable);
}

fn row(id: i64, name: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    zigzag(&mut out, id);
    zigzag(&mut out, 1);
    text(&mut out, name);
    out
}

#[test]
fn the_row_before_has_what_was_not_told_again() {
    let mut decoder = decoder(&[column("c", r#""string""#)]);
    let (before, after) = (row(7, b"long"), row(7, b"__debezium_unavailable_value"));
    let captured = decoder.decode(Some(&key(7)), Some(&message("u", Some(&before), Some(&after), 50)));
    assert_eq!(cells(&captured), [Cell::Int(7), Cell::Text("long".to_owned())]);
}

#[test]
fn a_change_that_moves_the_key_ends_the_old_row() {
    let mut decoder = decoder(&[column("c", r#""string""#)]);
    let (before, after) = (row(7, b"a"), row(8, b"a"));
    let captured = decoder.decode(Some(&key(8)), Some(&message("u", Some(&before), Some(&after), 50)));
    let Captured::Rows { rows, .. } = captured else { panic!("{captured:?}") };
    let seen: Vec<_> = rows.iter().map(|row| (row.deleted, row.cells[0].clone(), row.position)).collect();
    assert_eq!(seen, [(true, Cell::Int(7), 50), (false, Cell::Int(8), 50)]);
}

#[test]
fn a_delete_is_of_the_messages_key_whatever_the_row_before_says() {
    let mut decoder = decoder(&[column("c", r#""string""#)]);
    for before in [None, Some(&row(7, b"a")[..])] {
        let captured = decoder.decode(Some(&key(7)), Some(&message("d", before, None, 50)));
        let Captured::Rows { rows, .. } = captured else { panic!("{captured:?}") };
        assert!(rows[0].deleted && rows.len() == 1);
        assert_eq!(rows[0].cells, [Cell::Int(7), Cell::Null]);
    }
}

#[test]
fn truncates_and_tombstones_are_told_without_a_row() {
    let mut decoder = decoder(&[]);
    assert_eq!(decoder.decode(None, Some(&message("t", None, None, 9))), Captured::Truncate { position: 9 });
    assert_eq!(decoder.decode(Some(&key(7)), None), Captured::Nothing);
}

fn reason(captured: Captured) -> String {
    match captured {
        Captured::Unreadable { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_read_is_told_with_its_reason() {
    let mut decoder = decoder(&[]);
    let keyless = reason(decoder.decode(None, Some(&message("c", None, Some(&[14]), 9))));
    assert!(keyless.contains("no key"), "{keyless}");
    let unknown = reason(decoder.decode(Some(&header(9)), Some(&message("c", None, Some(&[14]), 9))));
    assert!(unknown.contains("schema id 9 is not registered"), "{unknown}");
    let bare = reason(decoder.decode(Some(b"{}"), Some(br#"{"op":"c"}"#)));
    assert!(bare.contains("schemas.enable"), "{bare}");
}

#[test]
fn json_with_its_schema_says_the_same_as_avro() {
    let field = |name: &str, ty: &str, semantic: &str| json!({"field": name, "type": ty, "name": semantic});
    let columns = json!([
        {"field": "id", "type": "int32"},
        {"field": "price", "type": "bytes", "name": "org.apache.kafka.connect.data.Decimal",
         "parameters": {"scale": "2", "connect.decimal.precision": "10"}},
        field("at", "int64", "io.debezium.time.MicroTimestamp"),
        {"field": "raw", "type": "bytes"},
    ]);
    let row = json!({"type": "struct", "field": "after", "fields": columns});
    let schema = json!({"type": "struct", "fields": [row]});
    let payload = json!({"op": "u", "source": {"lsn": 5, "ts_ms": 3, "snapshot": "false"}, "before": null,
        "after": {"id": 1, "price": "BNI=", "at": 1_709_210_096_123_456_i64, "raw": "AAH/"}});
    let key = json!({"schema": {"type": "struct", "fields": [{"field": "id", "type": "int32"}]}, "payload": {"id": 1}});
    let value: Value = json!({"schema": schema, "payload": payload});
    let (key, value) = (key.to_string().into_bytes(), value.to_string().into_bytes());
    let captured = TableDecoder::default().decode(Some(&key), Some(&value));
    let expected = [
        Cell::Int(1),
        Cell::Bytes(vec![0x04, 0xd2]),
        Cell::Int(1_709_210_096_123_456),
        Cell::Bytes(vec![0, 1, 255]),
    ];
    assert_eq!(cells(&captured), expected);
}

#[test]
fn widening_keeps_every_value_of_both() {
    use ColumnType as T;
    let decimal = |precision, scale| T::Decimal { precision, scale };
    for (a, b, expected) in [
        (T::Int32, T::Int64, T::Int64),
        (decimal(10, 2), decimal(12, 2), decimal(12, 2)),
        (decimal(10, 2), decimal(10, 4), decimal(12, 4)),
        (T::Int64, decimal(5, 2), decimal(21, 2)),
        (decimal(76, 0), decimal(76, 10), T::Text),
        (T::Float32, T::Float64, T::Float64),
        (T::Int64, T::Float64, T::Text),
        (T::Timestamp { digits: 3 }, T::ZonedTimestamp, T::Timestamp { digits: 6 }),
        (T::Text, T::Int32, T::Text),
    ] {
        assert_eq!((a.widened(&b), b.widened(&a)), (expected.clone(), expected), "{a:?} and {b:?}");
    }
}

#[test]
fn a_default_comes_with_its_column() {
    let with_default = r#"{"name":"added","type":[{"type":"int","connect.default":7},"null"],"default":7}"#;
    let mut decoder = decoder(&[with_default.to_owned()]);
    let mut row = Vec::new();
    zigzag(&mut row, 1);
    zigzag(&mut row, 0);
    zigzag(&mut row, 9);
    let captured = decoder.decode(Some(&key(1)), Some(&message("c", None, Some(&row), 1)));
    let Captured::Rows { schema, .. } = &captured else { panic!("{captured:?}") };
    let TableSchema { columns, key } = &**schema;
    assert_eq!((columns[1].default.clone(), key.as_slice()), (Some(json!(7)), &[0][..]));
}
