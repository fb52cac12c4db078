//! Kafka Connect's JSON: a value read by its schema, or by a hint where there is none.
//!
//! A schema is `{"type", "name", "parameters", "fields" | "items", "field"}`; it is read where it stands.

use super::datum::{Datum, Decimal};
use super::hints::Semantic;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Reads a value by its Connect schema (`None`: bare JSON).
///
/// # Errors
/// The value does not fit its schema.
pub fn by_schema(value: &Value, schema: Option<&Value>) -> Result<Datum, String> {
    let Some(schema) = schema.filter(|_| !value.is_null()) else { return bare(value) };
    let name = schema["name"].as_str().unwrap_or_default();
    let scale = schema["parameters"]["scale"].as_str().and_then(|scale| scale.parse().ok());
    if let Some(semantic) = Semantic::of_connect_name(name, scale) {
        return by_semantic(value, semantic);
    }
    match schema["type"].as_str().unwrap_or_default() {
        "bytes" => by_semantic(value, Semantic::Bytes),
        "float" | "float32" | "double" | "float64" => {
            value.as_f64().map(Datum::Float).ok_or_else(|| misfit(value, "a float"))
        }
        "struct" => by_fields(value, schema),
        "array" => {
            let items = value.as_array().ok_or_else(|| misfit(value, "an array"))?;
            let each = items.iter().map(|item| by_schema(item, Some(&schema["items"])));
            Ok(Datum::Array(each.collect::<Result<_, _>>()?))
        }
        _ => bare(value),
    }
}

fn by_fields(value: &Value, schema: &Value) -> Result<Datum, String> {
    let row = value.as_object().ok_or_else(|| misfit(value, "a struct"))?;
    let mut fields = Vec::with_capacity(row.len());
    for field in schema["fields"].as_array().into_iter().flatten() {
        let name = field["field"].as_str().unwrap_or_default();
        let value = row.get(name).unwrap_or(&Value::Null);
        let datum = by_schema(value, Some(field)).map_err(|why| format!("`{name}`: {why}"))?;
        fields.push((name.to_owned(), datum));
    }
    Ok(Datum::Struct(fields))
}

/// Reads a value that came without a schema.
fn bare(value: &Value) -> Result<Datum, String> {
    Ok(match value {
        Value::Null => Datum::Null,
        Value::Bool(value) => Datum::Bool(*value),
        Value::String(text) => Datum::Text(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Datum::Int(int),
            (None, Some(int)) => Datum::Decimal(Decimal::whole(int)),
            (None, None) => Datum::Float(number.as_f64().ok_or_else(|| misfit(value, "a number"))?),
        },
        Value::Array(items) => Datum::Array(items.iter().map(bare).collect::<Result<_, _>>()?),
        Value::Object(fields) => {
            let each = fields.iter().map(|(name, value)| Ok((name.clone(), bare(value)?)));
            Datum::Struct(each.collect::<Result<_, String>>()?)
        }
    })
}

/// Reads a value by what it stands for.
///
/// # Errors
/// The value is no such thing.
pub fn by_semantic(value: &Value, semantic: Semantic) -> Result<Datum, String> {
    if value.is_null() {
        return Ok(Datum::Null);
    }
    match semantic {
        Semantic::Bytes => base64_of(value).map(Datum::Bytes),
        Semantic::Decimal { scale } => decimal(value, scale),
        Semantic::VariableScaleDecimal => {
            let scale = int(&value["scale"])?.try_into().map_err(|_| misfit(value, "a decimal's scale"))?;
            unscaled(&value["value"], scale).map(Datum::Decimal)
        }
        Semantic::Date => {
            let days = int(value)?.try_into().map_err(|_| misfit(value, "a number of days"))?;
            Ok(Datum::Date(days))
        }
        Semantic::Time { unit_ns } => {
            let ns = int(value)?.checked_mul(unit_ns).ok_or_else(|| misfit(value, "a time of day"))?;
            Ok(Datum::Time(ns))
        }
        Semantic::Timestamp { unit_ns } => {
            Ok(Datum::Timestamp(i128::from(int(value)?) * i128::from(unit_ns)))
        }
        Semantic::Duration { unit_ns } => Ok(Datum::Duration(i128::from(int(value)?) * i128::from(unit_ns))),
        Semantic::ZonedTimestamp => zoned_timestamp(text(value)?)
            .map(Datum::Timestamp)
            .ok_or_else(|| misfit(value, "an ISO 8601 time")),
        Semantic::ZonedTime => {
            zoned_time(text(value)?).map(Datum::Time).ok_or_else(|| misfit(value, "an ISO 8601 time of day"))
        }
    }
}

/// Nanoseconds since 1970 of an ISO 8601 time with an offset.
pub fn zoned_timestamp(text: &str) -> Option<i128> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond)
}

const DAY_NS: i64 = 86_400_000_000_000;

/// Nanoseconds after midnight UTC of `08:51:02.746572Z` or `10:15:30+02:00`.
fn zoned_time(text: &str) -> Option<i64> {
    let at = text.find(['Z', '+', '-']).unwrap_or(text.len());
    let time: jiff::civil::Time = text[..at].parse().ok()?;
    let midnight = jiff::civil::Time::midnight();
    let local_ns = time.duration_since(midnight).as_nanos();
    let offset_ns = offset_minutes(&text[at..])? * 60_000_000_000;
    Some((i64::try_from(local_ns).ok()? - offset_ns).rem_euclid(DAY_NS))
}

fn offset_minutes(text: &str) -> Option<i64> {
    let sign = match text.bytes().next() {
        None | Some(b'Z') => return Some(0),
        Some(b'-') => -1,
        Some(_) => 1,
    };
    let (hours, minutes) = text[1..].split_once(':').unwrap_or((&text[1..], "0"));
    Some(sign * (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?))
}

/// Bytes mode (base64), or a plain number where the converter writes decimals as numbers.
fn decimal(value: &Value, scale: i32) -> Result<Datum, String> {
    match value {
        Value::Number(number) => decimal_of_number(number).ok_or_else(|| misfit(value, "a decimal")),
        _ => unscaled(value, scale).map(Datum::Decimal),
    }
}

/// Decimal digits that a double always keeps.
const DOUBLE_DIGITS: usize = 15;

/// A whole number is exact, and so is one of few digits; others have lost digits on their way through JSON.
fn decimal_of_number(number: &serde_json::Number) -> Option<Datum> {
    let text = number.to_string();
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    if number.is_f64() && digits > DOUBLE_DIGITS {
        return number.as_f64().map(Datum::Float);
    }
    Decimal::parse(&text).map(Datum::Decimal)
}

fn unscaled(value: &Value, scale: i32) -> Result<Decimal, String> {
    Decimal::from_bytes(&base64_of(value)?, scale)
        .ok_or_else(|| format!("a decimal's scale can't be {scale}"))
}

fn base64_of(value: &Value) -> Result<Vec<u8>, String> {
    STANDARD.decode(text(value)?).map_err(|_| misfit(value, "base64"))
}

fn int(value: &Value) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| misfit(value, "a whole number"))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| misfit(value, "a text"))
}

fn misfit(value: &Value, expected: &str) -> String {
    let shown: String = value.to_string().chars().take(60).collect();
    format!("{shown} is not {expected}, as its schema or hint says")
}
