//! What the columns of a captured table are, out of a Kafka Connect schema.

use super::cell::micros;
use crate::debezium::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// More digits than that have no number type in the stores we know.
const DIGITS_MAX: u32 = 76;

/// A table as one message's writer knew it.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSchema {
    pub columns: Vec<Column>,
    /// The key's columns, as places in `columns`, in the key's order. Never empty.
    pub key: Vec<usize>,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub ty: ColumnType,
    /// What rows have that were there before the column was, where the writer says so: numbers and decimals as their
    /// digits, dates in days, moments in microseconds.
    pub default: Option<Value>,
}

/// What a column holds. `Timestamp` and `Time` count in units of 10^-digits seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnType {
    Bool,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Decimal {
        precision: u32,
        scale: u32,
    },
    /// A number of any size and scale, as its digits.
    AnyDecimal,
    Text,
    Uuid,
    Bytes,
    /// Days since 1970-01-01.
    Date,
    /// Since midnight.
    Time {
        digits: u8,
    },
    /// Since 1970; of a type without a zone, as if its clock showed UTC.
    Timestamp {
        digits: u8,
    },
    /// The same, written in ISO 8601: microseconds.
    ZonedTimestamp,
    Array(Box<ColumnType>),
    /// Anything else, as JSON.
    Json,
}

impl TableSchema {
    /// A table out of the schemas of a message's key and of its value.
    ///
    /// # Errors
    /// There is no key, or no row in the value.
    pub fn of_connect(key: &Value, value: &Value) -> Result<TableSchema, String> {
        let row = ["after", "before"].iter().find_map(|side| field(value, side));
        let row = row.and_then(|row| row["fields"].as_array());
        let row = row.ok_or("the value's schema has no row `after`; it is no Debezium change")?;
        let columns: Vec<Column> = row.iter().map(Column::of_connect).collect();
        let names = key["fields"].as_array().map_or(&[][..], Vec::as_slice);
        let place = |of: &Value| {
            let name = of["field"].as_str().unwrap_or_default();
            let place = columns.iter().position(|column| column.name == name);
            place.ok_or_else(|| format!("the key's column `{name}` is not among the row's"))
        };
        let key: Vec<usize> = names.iter().map(place).collect::<Result<_, _>>()?;
        if key.is_empty() {
            return Err(
                "the table has no key, so its rows can't be told apart; give it a primary key, or the connector `message.key.columns`"
                    .to_owned(),
            );
        }
        Ok(TableSchema { columns, key })
    }
}

fn field<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema["fields"].as_array()?.iter().find(|field| field["field"] == name)
}

impl Column {
    fn of_connect(schema: &Value) -> Column {
        let ty = ColumnType::of_connect(schema);
        let default = schema.get("default").filter(|default| !default.is_null());
        Column {
            name: schema["field"].as_str().unwrap_or_default().to_owned(),
            default: default.and_then(|default| default_of(default, &ty)),
            ty,
        }
    }
}

/// A default that stays what it is when its column is widened: a decimal as its digits, a moment in microseconds.
/// Debezium says 1970 where a function makes the default, so that is none.
fn default_of(default: &Value, ty: &ColumnType) -> Option<Value> {
    use ColumnType as T;
    Some(match (ty, default) {
        (T::Decimal { scale, .. }, Value::String(base64)) => {
            Decimal::from_base64(base64, *scale as i32)?.to_string().into()
        }
        (T::ZonedTimestamp, Value::String(text)) => Value::from(micros(text).ok().filter(|at| *at != 0)?),
        (T::Timestamp { digits }, Value::Number(number)) => {
            let ticks = number.as_i64().filter(|ticks| *ticks != 0)?;
            match digits {
                3 => ticks.checked_mul(1_000)?,
                6 => ticks,
                _ => ticks / 1_000,
            }
            .into()
        }
        (T::Date, number) if *number == 0 => return None,
        _ => default.clone(),
    })
}

impl ColumnType {
    /// What a Connect schema stands for.
    pub fn of_connect(schema: &Value) -> ColumnType {
        let name = schema["name"].as_str().unwrap_or_default();
        if let Some(ty) = Self::of_name(name, schema) {
            return ty;
        }
        match schema["type"].as_str().unwrap_or_default() {
            "boolean" => ColumnType::Bool,
            "int8" | "int16" => ColumnType::Int16,
            "int32" => ColumnType::Int32,
            "int64" => ColumnType::Int64,
            "float" | "float32" => ColumnType::Float32,
            "double" | "float64" => ColumnType::Float64,
            "bytes" => ColumnType::Bytes,
            "string" => ColumnType::Text,
            "array" => match Self::of_connect(&schema["items"]) {
                // An array within an array could not hold NULL there.
                ColumnType::Array(_) => ColumnType::Json,
                items => ColumnType::Array(Box::new(items)),
            },
            _ => ColumnType::Json,
        }
    }

    fn of_name(name: &str, schema: &Value) -> Option<ColumnType> {
        Some(match name {
            "org.apache.kafka.connect.data.Decimal" => Self::decimal(schema),
            "io.debezium.data.VariableScaleDecimal" => ColumnType::AnyDecimal,
            "io.debezium.data.Uuid" => ColumnType::Uuid,
            "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => ColumnType::Date,
            "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => ColumnType::Time { digits: 3 },
            "io.debezium.time.MicroTime" => ColumnType::Time { digits: 6 },
            "io.debezium.time.NanoTime" => ColumnType::Time { digits: 9 },
            "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => {
                ColumnType::Timestamp { digits: 3 }
            }
            "io.debezium.time.MicroTimestamp" => ColumnType::Timestamp { digits: 6 },
            "io.debezium.time.NanoTimestamp" => ColumnType::Timestamp { digits: 9 },
            "io.debezium.time.ZonedTimestamp" => ColumnType::ZonedTimestamp,
            _ => return None,
        })
    }

    fn decimal(schema: &Value) -> ColumnType {
        let number = |name: &str| schema["parameters"][name].as_str().and_then(|text| text.parse().ok());
        match (number("connect.decimal.precision"), number("scale")) {
            (Some(precision), Some(scale)) if precision <= DIGITS_MAX && scale <= precision => {
                ColumnType::Decimal { precision, scale }
            }
            // Its digits are kept as they are, whatever its scale.
            _ => ColumnType::AnyDecimal,
        }
    }

    /// The narrowest type that holds every value of both exactly; text where nothing less does.
    pub fn widened(&self, other: &ColumnType) -> ColumnType {
        use ColumnType as T;
        let integer_digits = |ty: &T| match ty {
            T::Int16 => Some((5, 0)),
            T::Int32 => Some((10, 0)),
            T::Int64 => Some((19, 0)),
            T::Decimal { precision, scale } => Some((precision - scale, *scale)),
            _ => None,
        };
        match (self, other) {
            (a, b) if a == b => a.clone(),
            (T::Int16, T::Int32) | (T::Int32, T::Int16) => T::Int32,
            (T::Int16 | T::Int32, T::Int64) | (T::Int64, T::Int16 | T::Int32) => T::Int64,
            (T::Float32 | T::Int16, T::Float64) | (T::Float64, T::Float32 | T::Int16) => T::Float64,
            (T::Int32, T::Float64) | (T::Float64, T::Int32) => T::Float64,
            (T::Timestamp { digits: a }, T::Timestamp { digits: b }) => T::Timestamp { digits: *a.max(b) },
            (T::Timestamp { digits }, T::ZonedTimestamp) | (T::ZonedTimestamp, T::Timestamp { digits }) => {
                T::Timestamp { digits: *digits.max(&6) }
            }
            (T::Time { digits: a }, T::Time { digits: b }) => T::Time { digits: *a.max(b) },
            (T::Array(a), T::Array(b)) => T::Array(Box::new(a.widened(b))),
            _ => match (integer_digits(self), integer_digits(other)) {
                (Some((whole, scale)), Some((other_whole, other_scale))) => {
                    let (whole, scale) = (whole.max(other_whole), scale.max(other_scale));
                    let precision = whole + scale;
                    if precision <= DIGITS_MAX { T::Decimal { precision, scale } } else { T::Text }
                }
                _ => T::Text,
            },
        }
    }
}
