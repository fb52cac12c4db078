//! Messages as real connectors wrote them: each decodes, or gives a clear reason.
//!
//! They are read from `$TOMBOLA_DATA/debezium` and `/avro` (default `../shared/data` beside the
//! workspace); without them the tests say so and pass.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use schemas::debezium::{AvroSchemas, Cells, Datum, Envelope, Hints, Message, Semantic, key, message};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn data(folder: &str) -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let root = std::env::var_os("TOMBOLA_DATA").map_or_else(default, PathBuf::from);
    let folder = root.join(folder);
    if !folder.is_dir() {
        println!("skipped: {} is not there; point TOMBOLA_DATA at the data sets", folder.display());
        return None;
    }
    Some(folder)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The JSON values of a file, whatever separates them; a licence comment may come first.
fn messages(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let text =
        text.strip_prefix("/*").and_then(|rest| rest.split_once("*/")).map_or(text.as_str(), |(_, t)| t);
    serde_json::Deserializer::from_str(text).into_iter().map(Result::unwrap).collect()
}

/// What a message is, in a word or a reason.
fn outcome(value: &Value) -> String {
    match message(value.to_string().as_bytes(), &Hints::default()) {
        Ok(Message::Change(change)) => change.op.letter().to_owned(),
        Ok(Message::Notice(notice)) => format!("{notice:?}"),
        Ok(Message::Tombstone) => "tombstone".into(),
        Err(why) if why.contains("ExtractNewRecordState") => "refused: flattened".into(),
        Err(why) if why.contains("it has no `op`") => "refused: no op".into(),
        Err(why) => format!("refused: {why}"),
    }
}

/// What every file must give: its values' outcomes, counted.
const EXPECTED: &str = "
captured_from_docs/crm_users_snapshot_then_update.jsonl                     r 2, u 1
captured_from_docs/fraud_transactions_decimal_snapshot_payload.json         r 1
captured_from_docs/risingwave_transaction_metadata_EDITED_BY_ITS_AUTHORS.jsonl  Transaction 2, c 1
flink/debezium-data-schema-exclude.txt                                      c 11, d 1, u 4
iceberg/serde-unnested-delete-key-withschema.json                           refused: no op 1
iceberg/serde-unnested-delete-val-withschema.json                           d 1
iceberg/serde-unnested-order-key-withschema.json                            refused: no op 1
iceberg/serde-unnested-order-val-withschema.json                            r 1
iceberg/serde-update.json                                                   u 1
iceberg/serde-with-array.json                                               refused: flattened 1
iceberg/serde-with-array2.json                                              SchemaChange 1
iceberg/serde-with-schema.json                                              c 1
iceberg/serde-with-schema2.json                                             SchemaOnly 1
iceberg/serde-with-schema_geom.json                                         refused: flattened 1
iceberg/unwrap-with-schema.json                                             refused: flattened 1
paimon/debezium-avro/table/schema/alltype/debezium-avro-data-1.txt          c 2, refused: no op 2
paimon/debezium/database/schemaevolution/topic0/debezium-data-1.txt         c 2
paimon/debezium/database/schemaevolution/topic0/debezium-data-2.txt         c 2
paimon/debezium/database/schemaevolution/topic1/debezium-data-1.txt         c 2
paimon/debezium/database/schemaevolution/topic1/debezium-data-2.txt         c 2
paimon/debezium/table/schema/alltype/debezium-data-1.txt                    r 1
paimon/debezium/table/schema/computedcolumn/debezium-data-1.txt             c 1
paimon/debezium/table/schema/include/debezium-data-1.txt                    c 1
paimon/debezium/table/schema/schemaevolution/debezium-data-1.txt            c 1
paimon/debezium/table/schema/schemaevolution/debezium-data-2.txt            c 1
paimon/debezium/table/schema/schemaevolution/debezium-data-3.txt            c 1
paimon/debezium/table/schema/schemaevolution/debezium-data-4.txt            c 1
paimon/debezium/table/schema/schemaevolution/debezium-data-5.txt            c 1
paimon/debezium/table/schema/schemaevolution/debezium-data-with-delete.txt  d 1
paimon/debezium/table/schemaevolution/debezium-data-1.txt                   c 2
paimon/debezium/table/schemaevolution/debezium-data-2.txt                   c 2
paimon/debezium/table/schemaevolution/debezium-data-3.txt                   c 2, d 1, u 1
pathway/sample_debezium.txt                                                 c 1, d 1, r 4, refused: no op 8, tombstone 1, u 1
pg_transferia/arrays/debezium_msg_0_key.txt                                 refused: no op 1
pg_transferia/arrays/debezium_msg_0_val.txt                                 c 1
pg_transferia/crud/emitter_crud_test__debezium_delete.txt                   d 1
pg_transferia/crud/emitter_crud_test__debezium_insert.txt                   c 1
pg_transferia/crud/emitter_crud_test__debezium_update0val.txt               u 1
pg_transferia/crud/emitter_crud_test__debezium_update1val.txt               u 1
pg_transferia/crud/emitter_crud_test__debezium_update2val0.txt              d 1
pg_transferia/crud/emitter_crud_test__debezium_update2val2.txt              c 1
pg_transferia/crud/params__decimal.txt                                      refused: no op 1
pg_transferia/replica_identity/debezium_msg_delete_key.txt                  refused: no op 1
pg_transferia/replica_identity/debezium_msg_delete_val.txt                  d 1
pg_transferia/replica_identity/debezium_msg_update_key.txt                  refused: no op 1
pg_transferia/replica_identity/debezium_msg_update_val.txt                  u 1
pg_transferia/replication/debezium_msg_0_key.txt                            refused: no op 1
pg_transferia/replication/debezium_msg_0_val.txt                            c 1
pg_transferia/replication/debezium_msg_1_key.txt                            refused: no op 1
pg_transferia/replication/debezium_msg_1_val.txt                            u 1
pg_transferia/replication/debezium_msg_2_key.txt                            refused: no op 1
pg_transferia/replication/debezium_msg_2_val.txt                            u 1
pg_transferia/replication/debezium_msg_3_key.txt                            refused: no op 1
pg_transferia/replication/debezium_msg_3_val.txt                            d 1
pg_transferia/replication/debezium_msg_4_key.txt                            refused: no op 1
pg_transferia/replication/debezium_msg_5_key.txt                            refused: no op 1
pg_transferia/replication/debezium_msg_5_val.txt                            c 1
pg_transferia/replication/debezium_msg_6_key.txt                            refused: no op 1
pg_transferia/replication/debezium_msg_6_val.txt                            d 1
pg_transferia/replication/debezium_msg_7_key.txt                            refused: no op 1
";

#[test]
fn every_real_message_decodes_or_gives_its_reason() {
    let Some(folder) = data("debezium") else { return };
    let mut found = Vec::new();
    for path in files(&folder) {
        let mut counts = BTreeMap::<String, usize>::new();
        for value in messages(&path) {
            *counts.entry(outcome(&value)).or_default() += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(what, n)| format!("{what} {n}")).collect();
        found.push(format!("{} {}", path.strip_prefix(&folder).unwrap().display(), counts.join(", ")));
    }
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected: Vec<String> = EXPECTED.trim().lines().map(squeezed).collect();
    found.sort();
    for line in &found {
        println!("{line}");
    }
    assert_eq!(found, expected);
}

#[test]
fn every_real_key_decodes() {
    let Some(folder) = data("debezium") else { return };
    let keys = files(&folder).into_iter().filter(|path| path.to_string_lossy().contains("key"));
    for path in keys {
        let cells = key(messages(&path)[0].to_string().as_bytes(), "", &Hints::default()).unwrap();
        assert!(matches!(cells[..], [(_, Datum::Int(_))]), "{}: {cells:?}", path.display());
    }
}

fn change(path: &str) -> Option<Envelope> {
    let value = messages(&data("debezium")?.join(path)).remove(0);
    match message(value.to_string().as_bytes(), &Hints::default()).unwrap() {
        Message::Change(change) => Some(*change),
        other => panic!("{path}: {other:?}"),
    }
}

fn cell<'a>(cells: &'a Cells, name: &str) -> &'a Datum {
    &cells.iter().find(|(column, _)| column == name).unwrap_or_else(|| panic!("no column {name}")).1
}

fn check_decimal(cells: &Cells, name: &str, expected: &str) {
    match cell(cells, name) {
        Datum::Decimal(decimal) => assert_eq!(decimal.to_string(), expected, "{name}"),
        other => panic!("{name} is {other:?}"),
    }
}

const SECOND_NS: i128 = 1_000_000_000;

#[test]
fn postgres_columns_are_exact() {
    let Some(change) = change("pg_transferia/replication/debezium_msg_0_val.txt") else { return };
    let after = change.after.as_ref().unwrap();
    check_decimal(after, "numeric_", "1267650600228229401496703205376");
    check_decimal(after, "numeric_5", "12345");
    check_decimal(after, "numeric_5_2", "123.67");
    check_decimal(after, "decimal_", "123456");
    check_decimal(after, "decimal_5_2", "123.67");
    let check = |name: &str, expected: Datum| assert_eq!(*cell(after, name), expected, "{name}");
    check("date_", Datum::Date(10_599));
    check("time_", Datum::Time(14_706_000_000_000));
    check("time1", Datum::Time(14_706_100_000_000));
    check("time6", Datum::Time(14_706_123_456_000));
    check("timetz6", Datum::Time((17 * 3600 + 30 * 60 + 25) * 1_000_000_000 + 575_401_000));
    check("timestamp1", Datum::Timestamp(1_098_181_434_900 * 1_000_000));
    check("timestamp6", Datum::Timestamp(1_098_181_434_987_654 * 1_000));
    check("timestamp", Datum::Timestamp(1_098_181_434 * SECOND_NS));
    check("timestamptz_", Datum::Timestamp(1_098_174_234 * SECOND_NS));
    check("iv", Datum::Duration(90_000 * SECOND_NS));
    check("ba", Datum::Bytes(vec![0xca, 0xfe, 0xba, 0xbe]));
    check("b8", Datum::Bytes(vec![0xaf]));
    check("bid", Datum::Int(3_372_036_854_775_807));
    check("oid_", Datum::Null);
    check("bl", Datum::Bool(true));
    check("d", Datum::Float(3.14E-100));
    check("uid", Datum::Text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".into()));
    check("j", Datum::Text("{\"k1\": \"v1\"}".into()));
    assert_eq!(after.len(), 59);
    assert_eq!(change.source.position, Some(24_901_344));
    assert_eq!(change.source.ts_ms, Some(1_643_136_761_176));
    assert_eq!((change.source.schema.as_str(), change.source.table.as_str()), ("public", "basic_types"));
    assert!(!change.is_snapshot_read());
}

#[test]
fn postgres_arrays_keep_their_elements_types() {
    let Some(change) = change("pg_transferia/arrays/debezium_msg_0_val.txt") else { return };
    let after = change.after.unwrap();
    let texts = |name: &str| match cell(&after, name) {
        Datum::Array(items) => items.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!(
        texts("arr_numeric_"),
        ["1267650600228229401496703205376", "12676506002282294.01496703205376"]
    );
    assert_eq!(texts("arr_decimal_5_2"), ["123.67", "123.67"]);
    assert_eq!(texts("arr_date_"), ["day 10599", "day 10599"]);
    assert_eq!(*cell(&after, "arr_int"), Datum::Array(vec![Datum::Int(1), Datum::Int(2)]));
}

#[test]
fn a_primary_key_change_is_a_delete_and_a_create_at_one_position() {
    let Some(delete) = change("pg_transferia/replication/debezium_msg_3_val.txt") else { return };
    let create = change("pg_transferia/replication/debezium_msg_5_val.txt").unwrap();
    assert_eq!(*cell(delete.before.as_ref().unwrap(), "i"), Datum::Int(1));
    assert_eq!(*cell(create.after.as_ref().unwrap(), "i"), Datum::Int(2));
    assert_eq!(delete.source.position, create.source.position);
}

#[test]
fn replica_identity_full_brings_the_row_before() {
    let Some(change) = change("pg_transferia/replica_identity/debezium_msg_update_val.txt") else { return };
    let text = |cells: &Option<Cells>| cell(cells.as_ref().unwrap(), "val").clone();
    assert_eq!(text(&change.before), Datum::Text("blablabla".into()));
    assert_eq!(text(&change.after), Datum::Text("ururu".into()));
}

#[test]
fn a_hint_says_what_bare_json_can_not() {
    let Some(folder) = data("debezium") else { return };
    let path = folder.join("captured_from_docs/fraud_transactions_decimal_snapshot_payload.json");
    let bytes = messages(&path)[0].to_string().into_bytes();
    let mut hints = Hints::default();
    let amount = |hints: &Hints| match message(&bytes, hints).unwrap() {
        Message::Change(change) => {
            assert!(change.is_snapshot_read());
            cell(&change.after.unwrap(), "amount").to_string()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(amount(&hints), "\"A5lh\"");
    hints.say("transactions", "amount", Semantic::parse("decimal(2)").unwrap());
    assert_eq!(amount(&hints), "2358.73");
}

#[test]
fn mysql_columns_are_read_in_every_decimal_mode() {
    let Some(doubles) = change("paimon/debezium/table/schema/alltype/debezium-data-1.txt") else { return };
    let after = doubles.after.unwrap();
    assert_eq!(*cell(&after, "_datetime3"), Datum::Timestamp(1_679_581_805_123 * 1_000_000));
    assert_eq!(*cell(&after, "_datetime6"), Datum::Timestamp(1_679_581_805_123_456 * 1_000));
    assert_eq!(*cell(&after, "_time"), Datum::Time(36_803_000_000_000));
    assert_eq!(*cell(&after, "_year"), Datum::Int(2023));
    assert_eq!(*cell(&after, "_bit"), Datum::Bytes(vec![0xc7, 7, 0, 0, 0, 0, 0, 0]));
    check_decimal(&after, "_numeric", "12345.11");
    assert!(matches!(cell(&after, "_fixed"), Datum::Float(_)), "a number of 36 digits has lost some in JSON");
    let path =
        data("debezium").unwrap().join("paimon/debezium-avro/table/schema/alltype/debezium-avro-data-1.txt");
    let bytes = messages(&path).remove(1).to_string();
    let Message::Change(texts) = message(bytes.as_bytes(), &Hints::default()).unwrap() else {
        panic!("no change")
    };
    let after = texts.after.unwrap();
    assert_eq!(*cell(&after, "_fixed"), Datum::Text("123456789876543212345678987654321.110".into()));
}

/// Writes a record by a schema's text; what JSON lacks is null. A decimal's bytes are given as a text.
fn avro_message(id: u32, avsc: &str, mut record: Value) -> Vec<u8> {
    let plain = avsc.replace("\"logicalType\"", "\"was\"");
    let schema: serde_avro_fast::Schema = plain.parse().unwrap();
    add_nulls(&serde_json::from_str(&plain).unwrap(), &mut record);
    let mut bytes = vec![0];
    bytes.extend(id.to_be_bytes());
    let mut config = serde_avro_fast::ser::SerializerConfig::new(&schema);
    serde_avro_fast::to_datum(&record, &mut bytes, &mut config).unwrap();
    bytes
}

fn add_nulls(schema: &Value, record: &mut Value) {
    for field in schema["fields"].as_array().unwrap() {
        let name = field["name"].as_str().unwrap();
        if record.get(name).is_none() {
            record[name] = Value::Null;
        }
        if field["type"]["fields"].is_array() {
            add_nulls(&field["type"], &mut record[name]);
        }
    }
}

#[test]
fn avro_messages_of_a_real_connector_decode_by_their_writers_schemas() {
    let Some(folder) = data("avro/olist_mds_captured_writer_schemas") else { return };
    let mut schemas = AvroSchemas::default();
    let mut texts = BTreeMap::new();
    for path in files(&folder).iter().filter(|p| p.extension().is_some_and(|e| e == "avsc")) {
        let id: u32 = path.file_name().unwrap().to_string_lossy().split('-').nth(1).unwrap().parse().unwrap();
        let avsc = std::fs::read_to_string(path).unwrap();
        schemas.add(id, &avsc);
        texts.insert(id, avsc);
    }
    let row = json!({"order_id": "o", "order_item_id": 1, "product_id": "p", "seller_id": "s",
        "shipping_limit_date": 1_098_181_434_987_654_i64, "price": "0O", "freight_value": "\u{0}8"});
    let source = json!({"version": "2.7", "connector": "mysql", "name": "olist_cdc", "ts_ms": 1_500,
        "snapshot": "false", "db": "olist_oltp", "table": "order_items", "server_id": 1,
        "file": "mysql-bin.000002", "pos": 400, "row": 0});
    let envelope = json!({"after": row, "source": source, "op": "c", "ts_ms": 9});
    let bytes = avro_message(16, &texts[&16], envelope);
    let Message::Change(change) = schemas.message(&bytes, &Hints::default()).unwrap() else {
        panic!("no change")
    };
    let after = change.after.unwrap();
    check_decimal(&after, "price", "123.67");
    check_decimal(&after, "freight_value", "0.56");
    assert_eq!(*cell(&after, "shipping_limit_date"), Datum::Timestamp(1_098_181_434_987_654_000));
    assert_eq!(change.before, None);
    assert_eq!(change.source.position, Some(2 << 40 | 400 << 8));
    assert_eq!((change.source.table.as_str(), change.source.ts_ms), ("order_items", Some(1_500)));
    let key_bytes = avro_message(14, &texts[&14], json!({"order_id": "o", "order_item_id": 1}));
    let cells = schemas.key(&key_bytes, "order_items", &Hints::default()).unwrap();
    assert_eq!(*cell(&cells, "order_item_id"), Datum::Int(1));
    assert!(schemas.message(&[0, 0, 0, 0, 99], &Hints::default()).unwrap_err().to_string().contains("id 99"));
    for id in texts.keys() {
        let error =
            schemas.message(&[&[0, 0, 0, 0][..], &[*id as u8]].concat(), &Hints::default()).unwrap_err();
        assert!(!error.to_string().contains("not an Avro schema"), "{id}: {error}");
    }
}

#[test]
fn decimals_are_written_plainly() {
    use schemas::debezium::Decimal;
    let check = |bytes: &[u8], scale: i32, expected: &str, whole: Option<i64>| {
        let decimal = Decimal::from_bytes(bytes, scale).unwrap();
        assert_eq!((decimal.to_string().as_str(), decimal.to_i64()), (expected, whole));
    };
    check(&[0x03, 0x99, 0x61], 2, "2358.73", None);
    check(&[0xff, 0x38], 2, "-2.00", Some(-2));
    check(&[0xff], 3, "-0.001", None);
    check(&[], 2, "0.00", Some(0));
    check(&[5], -2, "500", Some(500));
    check(&[0x7f; 9], 0, "2351923699311548792703", None);
    for (text, expected) in
        [("12.50", "12.50"), ("-0.5", "-0.5"), ("1.5E3", "1500"), ("2E-2", "0.02"), ("+7", "7")]
    {
        assert_eq!(Decimal::parse(text).unwrap().to_string(), expected, "{text}");
    }
    assert_eq!(Decimal::from_bytes(&[1], -1_000_000_000), None, "no text of a gigabyte");
    for text in ["", "-", "1e999999999", ".", "1,5", "0x1", "1e", "١"] {
        assert_eq!(Decimal::parse(text), None, "{text}");
    }
}
