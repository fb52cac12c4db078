//! One column's value, as exact as the message allows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigInt;

/// PostgreSQL's NUMERIC has the most: 16,383 digits after the point.
const SCALE_MAX: u32 = 16_383;

/// A number of any size with a decimal scale: unscaled / 10^scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    unscaled: BigInt,
    scale: i32,
}

/// A value of any captured column.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    Null,
    Bool(bool),
    Int(i64),
    /// Only what the source itself holds as a float, or a decimal in `decimal.handling.mode=double`.
    Float(f64),
    Decimal(Decimal),
    Text(String),
    Bytes(Vec<u8>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Nanoseconds since midnight.
    Time(i64),
    /// Nanoseconds since 1970-01-01T00:00.
    Timestamp(i128),
    /// Nanoseconds.
    Duration(i128),
    Array(Vec<Datum>),
    Struct(Vec<(String, Datum)>),
}

impl Decimal {
    /// From Kafka Connect's encoding: unscaled two's complement, big-endian. `None` where the scale is
    /// beyond any database's.
    pub fn from_bytes(unscaled: &[u8], scale: i32) -> Option<Self> {
        Self::new(BigInt::from_signed_bytes_be(unscaled), scale)
    }

    /// The same in base64, as JSON has it.
    pub fn from_base64(unscaled: &str, scale: i32) -> Option<Self> {
        Self::from_bytes(&STANDARD.decode(unscaled).ok()?, scale)
    }

    fn new(unscaled: BigInt, scale: i32) -> Option<Self> {
        (scale.unsigned_abs() <= SCALE_MAX).then_some(Decimal { unscaled, scale })
    }

    /// From plain or exponent notation: `-12.50`, `1.2E-3`.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = whole.strip_prefix(['-', '+']).unwrap_or(whole);
        let all_digits = digits.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
        if !all_digits || digits.len() + fraction.len() == 0 {
            return None;
        }
        let unscaled = format!("{whole}{fraction}").parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        Self::new(unscaled, scale)
    }

    /// A whole number.
    pub fn whole(value: u64) -> Self {
        Decimal { unscaled: value.into(), scale: 0 }
    }

    /// Unscaled at another scale, two's complement, least byte first; `None` where digits would be lost or 256 bits
    /// are too few.
    pub fn to_le_bytes(&self, scale: i32) -> Option<[u8; 32]> {
        let power = u32::try_from(scale.checked_sub(self.scale)?).ok()?;
        let unscaled = &self.unscaled * BigInt::from(10).pow(power);
        let bytes = unscaled.to_signed_bytes_le();
        let sign = if unscaled < BigInt::ZERO { 0xff } else { 0 };
        let mut all = [sign; 32];
        all.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        Some(all)
    }

    /// The value as a whole number, if it is one and fits.
    pub fn to_i64(&self) -> Option<i64> {
        let power = BigInt::from(10).pow(self.scale.unsigned_abs());
        if self.scale <= 0 {
            return i64::try_from(&self.unscaled * power).ok();
        }
        let whole = &self.unscaled / &power;
        (&whole * &power == self.unscaled).then(|| i64::try_from(whole).ok())?
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.scale <= 0 {
            let zeros = if self.unscaled == BigInt::ZERO { 0 } else { self.scale.unsigned_abs() as usize };
            return write!(f, "{}{}", self.unscaled, "0".repeat(zeros));
        }
        let scale = self.scale as usize;
        let digits = format!("{:0>width$}", self.unscaled.magnitude(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if self.unscaled < BigInt::ZERO { "-" } else { "" };
        write!(f, "{sign}{whole}.{fraction}")
    }
}

impl std::fmt::Display for Datum {
    /// As errors show a value: short, and never a whole blob.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Datum::Null => f.write_str("null"),
            Datum::Bool(value) => value.fmt(f),
            Datum::Int(value) => value.fmt(f),
            Datum::Float(value) => value.fmt(f),
            Datum::Decimal(value) => value.fmt(f),
            Datum::Text(value) => write!(f, "{:?}", value.chars().take(40).collect::<String>()),
            Datum::Bytes(value) => write!(f, "{} bytes", value.len()),
            Datum::Date(days) => write!(f, "day {days}"),
            Datum::Time(ns) => write!(f, "{ns} ns after midnight"),
            Datum::Timestamp(ns) => write!(f, "{ns} ns since 1970"),
            Datum::Duration(ns) => write!(f, "{ns} ns"),
            Datum::Array(items) => write!(f, "{} items", items.len()),
            Datum::Struct(fields) => write!(f, "a struct of {} fields", fields.len()),
        }
    }
}
