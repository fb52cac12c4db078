//! One value, as a message holds it, and as its column's type has it.

use super::types::ColumnType;
use crate::debezium::Decimal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What Debezium writes for a large value that it was not told, as it was not changed.
const UNAVAILABLE: &str = "__debezium_unavailable_value";
/// "Later than all others", as text.
const INFINITY: &str = "infinity";

/// A value. Which of these a column has follows from its type:
/// whole numbers, dates and times are `Int`; `Decimal` has its unscaled bytes, big-endian, in `Bytes`; texts,
/// UUIDs, numbers of any scale and JSON are `Text`. Any of them may be `Null` or `Unavailable`.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Cell>),
    Struct(Vec<(String, Cell)>),
    /// Not changed, and not told: as it was before.
    Unavailable,
}

impl Cell {
    /// The value as its column has it.
    ///
    /// # Errors
    /// It isn't of that type.
    pub(super) fn settle(self, ty: &ColumnType) -> Result<Cell, String> {
        use ColumnType as T;
        if self.is_unavailable() {
            return Ok(Cell::Unavailable);
        }
        Ok(match (self, ty) {
            (Cell::Null, _) => Cell::Null,
            (Cell::Text(text), T::Decimal { .. } | T::Bytes) => Cell::Bytes(of_base64(&text)?),
            (Cell::Text(text), T::ZonedTimestamp) => Cell::Int(micros(&text)?),
            (Cell::Int(int), T::Float32 | T::Float64) => Cell::Float(int as f64),
            (cell, T::AnyDecimal) => Cell::Text(cell.digits()?),
            (Cell::Array(items), T::Array(of)) => {
                Cell::Array(items.into_iter().map(|item| item.settle(of)).collect::<Result<_, _>>()?)
            }
            (Cell::Text(text), T::Json) => Cell::Text(text),
            (cell, T::Json) => Cell::Text(cell.json().to_string()),
            (cell, ty) if cell.fits(ty) => cell,
            (cell, ty) => return Err(format!("{} is not of type {ty:?}", cell.json())),
        })
    }

    fn fits(&self, ty: &ColumnType) -> bool {
        use ColumnType as T;
        match self {
            Cell::Bool(_) => *ty == T::Bool,
            Cell::Int(int) => match ty {
                T::Int16 => i16::try_from(*int).is_ok(),
                T::Int32 | T::Date => i32::try_from(*int).is_ok(),
                T::Int64 | T::Time { .. } | T::Timestamp { .. } => true,
                _ => false,
            },
            Cell::Float(_) => matches!(ty, T::Float32 | T::Float64),
            Cell::Text(_) => matches!(ty, T::Text | T::Uuid),
            Cell::Bytes(_) => matches!(ty, T::Bytes | T::Decimal { .. }),
            _ => false,
        }
    }

    fn is_unavailable(&self) -> bool {
        match self {
            Cell::Text(text) => text == UNAVAILABLE || *text == STANDARD.encode(UNAVAILABLE),
            Cell::Bytes(bytes) => bytes == UNAVAILABLE.as_bytes(),
            Cell::Array(items) => match items.as_slice() {
                [Cell::Text(text)] => text == UNAVAILABLE,
                items => {
                    let same = |(item, byte): (&Cell, u8)| *item == Cell::Int(i64::from(byte));
                    items.len() == UNAVAILABLE.len() && items.iter().zip(UNAVAILABLE.bytes()).all(same)
                }
            },
            _ => false,
        }
    }

    /// The digits of a decimal that brings its scale with it.
    fn digits(self) -> Result<String, String> {
        let Cell::Struct(fields) = &self else { return Err("a decimal without its scale".to_owned()) };
        let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, cell)| cell);
        let unscaled = match field("value") {
            Some(Cell::Bytes(bytes)) => bytes.clone(),
            Some(Cell::Text(text)) => of_base64(text)?,
            _ => return Err("a decimal without its digits".to_owned()),
        };
        let Some(Cell::Int(scale)) = field("scale") else {
            return Err("a decimal without its scale".to_owned());
        };
        let decimal = i32::try_from(*scale).ok().and_then(|scale| Decimal::from_bytes(&unscaled, scale));
        decimal
            .map(|decimal| decimal.to_string())
            .ok_or_else(|| format!("a decimal's scale can't be {scale}"))
    }

    fn json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Cell::Null | Cell::Unavailable => Value::Null,
            Cell::Bool(flag) => (*flag).into(),
            Cell::Int(int) => (*int).into(),
            Cell::Float(float) => (*float).into(),
            Cell::Text(text) => text.as_str().into(),
            Cell::Bytes(bytes) => STANDARD.encode(bytes).into(),
            Cell::Array(items) => items.iter().map(Cell::json).collect(),
            Cell::Struct(fields) => {
                Value::Object(fields.iter().map(|(name, cell)| (name.clone(), cell.json())).collect())
            }
        }
    }
}

fn of_base64(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|_| format!("{:.40} is not base64", text))
}

/// Microseconds since 1970. Years that ISO 8601 writes with a sign are beyond any store's times.
pub(super) fn micros(text: &str) -> Result<i64, String> {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(time.as_microsecond()),
        Err(_) if text == INFINITY || text.starts_with('+') => Ok(i64::MAX),
        Err(_) if text.starts_with('-') => Ok(i64::MIN),
        Err(_) => Err(format!("{text:.40} is not a time in ISO 8601")),
    }
}

/// A day, counted from 1970-01-01, as text: `2024-02-29`.
pub fn date_text(days: i64) -> String {
    let epoch = jiff::civil::date(1970, 1, 1);
    let date = jiff::Span::new().try_days(days).and_then(|span| epoch.checked_add(span));
    // Beyond the year 9999 nobody writes dates.
    date.map_or_else(|_| format!("day {days}"), |date| date.to_string())
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column's value")
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_none<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Cell, D::Error> {
        Cell::deserialize(inner)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Cell, E> {
        Ok(Cell::Bool(flag))
    }

    fn visit_i64<E>(self, int: i64) -> Result<Cell, E> {
        Ok(Cell::Int(int))
    }

    fn visit_u64<E: serde::de::Error>(self, int: u64) -> Result<Cell, E> {
        i64::try_from(int).map(Cell::Int).map_err(|_| E::custom("a whole number beyond 64 bits"))
    }

    fn visit_f64<E>(self, float: f64) -> Result<Cell, E> {
        Ok(Cell::Float(float))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell, E> {
        Ok(Cell::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Cell, E> {
        Ok(Cell::Text(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Cell, E> {
        Ok(Cell::Bytes(bytes.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Cell, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Cell::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Cell, A::Error> {
        let mut all = Vec::new();
        while let Some(field) = fields.next_entry()? {
            all.push(field);
        }
        Ok(Cell::Struct(all))
    }
}
