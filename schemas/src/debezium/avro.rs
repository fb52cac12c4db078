//! Debezium messages in Avro, in the Confluent wire format.
//!
//! A message is turned into what Kafka Connect's JSON converter would have written, schema included, and
//! then read by the one path that knows what columns mean. Change topics are small beside the commands,
//! so this may cost microseconds where the commands' codec costs nanoseconds.

use super::envelope::{Cells, Message, key, of_json};
use super::hints::Hints;
use crate::avro::{DecodeError, split_header};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Writers' schemas of change messages, by registry id.
#[derive(Debug, Default)]
pub struct AvroSchemas {
    /// Each with the Connect schema it stands for, or why it can't be read.
    writers: BTreeMap<u32, Result<(Schema, Value), String>>,
}

impl AvroSchemas {
    /// Whether the id has been added, readable or not.
    pub fn knows(&self, id: u32) -> bool {
        self.writers.contains_key(&id)
    }

    /// Takes in the writer's schema of an id.
    pub fn add(&mut self, id: u32, avsc: &str) {
        self.writers.entry(id).or_insert_with(|| {
            let schema = Schema::parse_str(avsc).map_err(|e| format!("not an Avro schema: {e}"))?;
            let json = serde_json::from_str(avsc).map_err(|e| format!("not JSON: {e}"))?;
            Ok((schema, connect_schema_of(&json)))
        });
    }

    /// Reads a value.
    ///
    /// # Errors
    /// The schema is unknown or unreadable, the bytes don't fit it, or it is no Debezium message.
    pub fn message(&self, bytes: &[u8], hints: &Hints) -> Result<Message, DecodeError> {
        let (id, wrapped) = self.wrapped(bytes)?;
        of_json(&wrapped, hints).map_err(|why| DecodeError::UnreadableSchema { id, why })
    }

    /// Reads a key.
    ///
    /// # Errors
    /// As [`message`](Self::message).
    pub fn key(&self, bytes: &[u8], table: &str, hints: &Hints) -> Result<Cells, DecodeError> {
        let (id, wrapped) = self.wrapped(bytes)?;
        key(wrapped.to_string().as_bytes(), table, hints)
            .map_err(|why| DecodeError::UnreadableSchema { id, why })
    }

    /// The message as `{"schema", "payload"}`.
    fn wrapped(&self, bytes: &[u8]) -> Result<(u32, Value), DecodeError> {
        let (id, mut body) = split_header(bytes)?;
        let unreadable = |why: String| DecodeError::UnreadableSchema { id, why };
        let known = self.writers.get(&id).ok_or(DecodeError::UnknownSchema(id))?;
        let (schema, connect) = known.as_ref().map_err(|why| unreadable(why.clone()))?;
        let reader = GenericDatumReader::builder(schema).build().map_err(|e| unreadable(e.to_string()))?;
        let value = reader.read_value(&mut body).map_err(|e| unreadable(e.to_string()))?;
        let payload = connect_value(value).map_err(unreadable)?;
        Ok((id, json!({ "schema": connect, "payload": payload })))
    }
}

/// The Connect schema an Avro schema was made from.
pub fn connect_schema_of(avro: &Value) -> Value {
    connect_schema(avro, "", &mut BTreeMap::new())
}

/// The same of a part. `names` has the named types met so far.
fn connect_schema(avro: &Value, namespace: &str, names: &mut BTreeMap<String, Value>) -> Value {
    match avro {
        Value::String(name) => primitive(name).unwrap_or_else(|| reference(name, namespace, names)),
        Value::Array(branches) => branches
            .iter()
            .find(|branch| *branch != "null")
            .map_or(Value::Null, |branch| connect_schema(branch, namespace, names)),
        Value::Object(fields) => of_object(fields, namespace, names),
        _ => Value::Null,
    }
}

fn primitive(name: &str) -> Option<Value> {
    let ty = match name {
        "int" => "int32",
        "long" => "int64",
        "enum" => "string",
        "fixed" => "bytes",
        "string" | "boolean" | "bytes" | "float" | "double" | "null" => name,
        _ => return None,
    };
    Some(json!({ "type": ty }))
}

fn reference(name: &str, namespace: &str, names: &BTreeMap<String, Value>) -> Value {
    let full = if name.contains('.') { name.to_owned() } else { format!("{namespace}.{name}") };
    names.get(&full).cloned().unwrap_or(Value::Null)
}

fn of_object(avro: &Map<String, Value>, namespace: &str, names: &mut BTreeMap<String, Value>) -> Value {
    let namespace = avro.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
    let ty = avro.get("type").unwrap_or(&Value::Null);
    let mut schema = match ty.as_str() {
        Some("record") => of_record(avro, namespace, names),
        Some("array") => {
            let items = connect_schema(avro.get("items").unwrap_or(&Value::Null), namespace, names);
            json!({ "type": "array", "items": items })
        }
        _ => connect_schema(ty, namespace, names),
    };
    if let Some(name) = avro.get("connect.name").or_else(|| logical_name(avro)) {
        schema["name"] = name.clone();
        schema["parameters"] = avro.get("connect.parameters").cloned().unwrap_or_default();
    }
    if avro.get("connect.type").and_then(Value::as_str) == Some("int16") {
        schema["type"] = "int16".into();
    }
    if let Some(scale) = avro.get("scale") {
        schema["parameters"] = json!({ "scale": scale.to_string() });
        if let Some(precision) = avro.get("precision") {
            schema["parameters"]["connect.decimal.precision"] = precision.to_string().into();
        }
    }
    if let Some(name) = avro.get("name").and_then(Value::as_str) {
        names.insert(format!("{namespace}.{name}"), schema.clone());
    }
    schema
}

/// The Connect name of an Avro logical type where the writer left out its own.
fn logical_name(avro: &Map<String, Value>) -> Option<&'static Value> {
    static NAMES: std::sync::LazyLock<BTreeMap<&str, Value>> = std::sync::LazyLock::new(|| {
        BTreeMap::from([
            ("decimal", json!("org.apache.kafka.connect.data.Decimal")),
            ("date", json!("org.apache.kafka.connect.data.Date")),
            ("time-millis", json!("org.apache.kafka.connect.data.Time")),
            ("time-micros", json!("io.debezium.time.MicroTime")),
            ("timestamp-millis", json!("org.apache.kafka.connect.data.Timestamp")),
            ("timestamp-micros", json!("io.debezium.time.MicroTimestamp")),
            ("timestamp-nanos", json!("io.debezium.time.NanoTimestamp")),
        ])
    });
    NAMES.get(avro.get("logicalType")?.as_str()?)
}

fn of_record(avro: &Map<String, Value>, namespace: &str, names: &mut BTreeMap<String, Value>) -> Value {
    let fields = avro.get("fields").and_then(Value::as_array).into_iter().flatten();
    let each = fields.map(|field| {
        let mut schema = connect_schema(&field["type"], namespace, names);
        if schema.is_null() {
            schema = json!({});
        }
        schema["field"] = field["name"].clone();
        if let Some(default) = field.get("default").filter(|default| !default.is_null()) {
            schema["default"] = default_value(default, &schema);
        }
        schema
    });
    let fields: Vec<Value> = each.collect();
    json!({ "type": "struct", "fields": fields })
}

/// A default as Connect's JSON has it: Avro writes bytes as a text of one character each.
fn default_value(default: &Value, schema: &Value) -> Value {
    match (default.as_str(), schema["type"].as_str()) {
        (Some(text), Some("bytes")) => {
            STANDARD.encode(text.chars().map(|c| c as u8).collect::<Vec<_>>()).into()
        }
        _ => default.clone(),
    }
}

/// The value as Connect's JSON converter writes it: bytes in base64, unions bare.
fn connect_value(value: Avro) -> Result<Value, String> {
    Ok(match value {
        Avro::Null => Value::Null,
        Avro::Boolean(flag) => flag.into(),
        Avro::Int(int) | Avro::Date(int) | Avro::TimeMillis(int) => int.into(),
        Avro::Long(int)
        | Avro::TimeMicros(int)
        | Avro::TimestampMillis(int)
        | Avro::TimestampMicros(int)
        | Avro::TimestampNanos(int)
        | Avro::LocalTimestampMillis(int)
        | Avro::LocalTimestampMicros(int)
        | Avro::LocalTimestampNanos(int) => int.into(),
        Avro::Float(float) => f64::from(float).into(),
        Avro::Double(float) => float.into(),
        Avro::String(text) | Avro::Enum(_, text) => text.into(),
        Avro::Uuid(uuid) => uuid.to_string().into(),
        Avro::Bytes(bytes) | Avro::Fixed(_, bytes) => STANDARD.encode(bytes).into(),
        Avro::Decimal(decimal) => {
            let bytes = Vec::<u8>::try_from(&decimal).map_err(|e| format!("a decimal: {e}"))?;
            STANDARD.encode(bytes).into()
        }
        Avro::Union(_, inner) => connect_value(*inner)?,
        Avro::Array(items) => {
            Value::Array(items.into_iter().map(connect_value).collect::<Result<_, String>>()?)
        }
        Avro::Record(fields) => of_pairs(fields)?,
        Avro::Map(fields) => of_pairs(fields)?,
        Avro::BigDecimal(_) | Avro::Duration(_) => return Err("a type Debezium does not write".into()),
    })
}

fn of_pairs(pairs: impl IntoIterator<Item = (String, Avro)>) -> Result<Value, String> {
    let each = pairs.into_iter().map(|(name, value)| Ok((name, connect_value(value)?)));
    Ok(Value::Object(each.collect::<Result<_, String>>()?))
}
