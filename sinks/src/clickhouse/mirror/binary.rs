//! ClickHouse's RowBinary: cells as the column of a table takes them.
//!
//! Nothing is rounded. What a column can't hold at all is a time beyond the years 1900 to 2299 (or 2262 where it counts
//! nanoseconds), `infinity` among them: it becomes the nearest the column can hold, and is counted.

use schemas::captured::{Cell, ColumnType};
use schemas::debezium::Decimal;

const DATE_MIN: i64 = -25_567;
const DATE_MAX: i64 = 120_529;
const SECOND_MIN: i128 = -2_208_988_800;
const SECOND_MAX: i128 = 10_413_791_999;
/// Where nanoseconds end.
const SECOND_MAX_OF_NANOS: i128 = 9_223_372_035;
const SECOND_MIN_OF_NANOS: i128 = -2_208_988_800;

/// Rows being written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub bytes: Vec<u8>,
    /// Times that were beyond what their column holds.
    pub clamped: u64,
}

impl Writer {
    /// A column that may be NULL.
    pub fn nullable(&mut self, cell: &Cell, from: &ColumnType, to: &ColumnType) -> Result<(), String> {
        if matches!(cell, Cell::Null | Cell::Unavailable) {
            self.bytes.push(1);
            return Ok(());
        }
        self.bytes.push(0);
        self.value(cell, from, to)
    }

    /// A value that is there: `from` says what the cell is, `to` what the column is.
    pub fn value(&mut self, cell: &Cell, from: &ColumnType, to: &ColumnType) -> Result<(), String> {
        use ColumnType as T;
        match (cell, to) {
            (Cell::Bool(flag), T::Bool) => self.bytes.push(u8::from(*flag)),
            (Cell::Int(int), T::Int16) => self.bytes.extend_from_slice(&narrow::<i16>(*int)?.to_le_bytes()),
            (Cell::Int(int), T::Int32) => self.bytes.extend_from_slice(&narrow::<i32>(*int)?.to_le_bytes()),
            (Cell::Int(int), T::Int64) => self.bytes.extend_from_slice(&int.to_le_bytes()),
            (Cell::Int(int), T::Float64) => self.bytes.extend_from_slice(&(*int as f64).to_le_bytes()),
            (Cell::Float(float), T::Float32) => self.bytes.extend_from_slice(&(*float as f32).to_le_bytes()),
            (Cell::Float(float), T::Float64) => self.bytes.extend_from_slice(&float.to_le_bytes()),
            (Cell::Int(int), T::Date) => self.date(*int),
            (Cell::Int(int), T::Time { digits }) => {
                let time = rescaled(*int, digits_of(from), *digits)?;
                self.bytes.extend_from_slice(&narrow::<i64>(time)?.to_le_bytes());
            }
            (Cell::Int(int), T::Timestamp { digits }) => self.timestamp(*int, digits_of(from), *digits)?,
            (_, T::Decimal { precision, scale }) => self.decimal(cell, from, *precision, *scale)?,
            (Cell::Text(text), T::Uuid) => self.uuid(text)?,
            (Cell::Bytes(bytes), T::Bytes) => self.string(bytes),
            (cell, T::Text | T::Bytes) => self.string(text_of(cell, from)?.as_bytes()),
            (Cell::Array(items), T::Array(of)) => {
                let T::Array(from) = from else { return Err(format!("{from:?} is no array")) };
                self.length(items.len());
                items.iter().try_for_each(|item| self.nullable(item, from, of))?;
            }
            (cell, to) => return Err(format!("{cell:?} does not go into {to:?}")),
        }
        Ok(())
    }

    pub fn string(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes or items follow: LEB128.
    pub fn length(&mut self, length: usize) {
        let mut rest = length;
        while rest >= 0x80 {
            self.bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }

    fn date(&mut self, days: i64) {
        let held = days.clamp(DATE_MIN, DATE_MAX);
        self.clamped += u64::from(held != days);
        self.bytes.extend_from_slice(&(held as i32).to_le_bytes());
    }

    fn timestamp(&mut self, ticks: i64, from: u8, to: u8) -> Result<(), String> {
        let (min, max) =
            if to > 6 { (SECOND_MIN_OF_NANOS, SECOND_MAX_OF_NANOS) } else { (SECOND_MIN, SECOND_MAX) };
        let unit = 10_i128.pow(u32::from(to));
        let ticks = rescaled(ticks, from, to)?;
        let held = ticks.clamp(min * unit, max * unit + unit - 1);
        self.clamped += u64::from(held != ticks);
        self.bytes.extend_from_slice(&narrow::<i64>(held)?.to_le_bytes());
        Ok(())
    }

    /// Two halves, each with its least byte first.
    fn uuid(&mut self, text: &str) -> Result<(), String> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
        let number = number.ok_or_else(|| format!("{text:.40} is no UUID"))?;
        self.bytes.extend_from_slice(&((number >> 64) as u64).to_le_bytes());
        self.bytes.extend_from_slice(&(number as u64).to_le_bytes());
        Ok(())
    }

    fn decimal(&mut self, cell: &Cell, from: &ColumnType, precision: u32, scale: u32) -> Result<(), String> {
        let decimal = decimal_of(cell, from)?;
        let bytes = decimal.to_le_bytes(scale as i32).ok_or_else(|| format!("{decimal} has more digits"))?;
        self.bytes.extend_from_slice(&bytes[..decimal_width(precision)]);
        Ok(())
    }
}

/// Bytes of a decimal with so many digits.
pub(super) fn decimal_width(precision: u32) -> usize {
    match precision {
        0..=9 => 4,
        10..=18 => 8,
        19..=38 => 16,
        _ => 32,
    }
}

fn decimal_of(cell: &Cell, from: &ColumnType) -> Result<Decimal, String> {
    let decimal = match (cell, from) {
        (Cell::Bytes(unscaled), ColumnType::Decimal { scale, .. }) => {
            Decimal::from_bytes(unscaled, *scale as i32)
        }
        (Cell::Int(int), _) => Decimal::from_bytes(&int.to_be_bytes(), 0),
        _ => None,
    };
    decimal.ok_or_else(|| format!("{cell:?} is no decimal"))
}

fn narrow<T: TryFrom<i128>>(value: impl Into<i128>) -> Result<T, String> {
    let value = value.into();
    T::try_from(value).map_err(|_| format!("{value} is beyond its column"))
}

/// Digits after the second.
fn digits_of(ty: &ColumnType) -> u8 {
    match ty {
        ColumnType::Time { digits } | ColumnType::Timestamp { digits } => *digits,
        _ => 6,
    }
}

/// Types only widen, so that nothing is cut off.
fn rescaled(ticks: i64, from: u8, to: u8) -> Result<i128, String> {
    let factor = 10_i128.pow(u32::from(to.checked_sub(from).ok_or("a time would lose digits")?));
    Ok(i128::from(ticks) * factor)
}

/// A value as text, where a column has become text: as ClickHouse writes the rows it had before.
fn text_of(cell: &Cell, from: &ColumnType) -> Result<String, String> {
    use ColumnType as T;
    Ok(match (cell, from) {
        (Cell::Text(text), _) => text.clone(),
        (Cell::Bool(flag), _) => flag.to_string(),
        (Cell::Float(float), _) => float.to_string(),
        (Cell::Bytes(_), T::Decimal { .. }) => decimal_of(cell, from)?.to_string(),
        (Cell::Bytes(bytes), _) => String::from_utf8_lossy(bytes).into_owned(),
        (Cell::Int(days), T::Date) => schemas::captured::date_text(*days),
        (Cell::Int(ticks), T::Time { digits }) => time_text(*ticks, *digits),
        (Cell::Int(ticks), T::Timestamp { .. } | T::ZonedTimestamp) => {
            let (day_ticks, digits) = (86_400 * 10_i64.pow(u32::from(digits_of(from))), digits_of(from));
            let (days, rest) = (ticks.div_euclid(day_ticks), ticks.rem_euclid(day_ticks));
            format!("{} {}", schemas::captured::date_text(days), time_text(rest, digits))
        }
        (Cell::Int(int), _) => int.to_string(),
        (cell, from) => return Err(format!("{cell:?} of {from:?} has no text")),
    })
}

fn time_text(ticks: i64, digits: u8) -> String {
    let unit = 10_i64.pow(u32::from(digits));
    let (seconds, fraction) = (ticks / unit, ticks % unit);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{fraction:0width$}", width = usize::from(digits))
}

/// The bytes that one value takes at the head of `bytes`; none where they are cut short.
pub(super) fn width(bytes: &[u8], ty: &ColumnType, nullable: bool) -> Option<usize> {
    use ColumnType as T;
    if nullable {
        return match bytes.first()? {
            0 => Some(1 + width(&bytes[1..], ty, false)?),
            _ => Some(1),
        };
    }
    let fixed = match ty {
        T::Bool => 1,
        T::Int16 => 2,
        T::Int32 | T::Float32 | T::Date => 4,
        T::Int64 | T::Float64 | T::Time { .. } | T::Timestamp { .. } | T::ZonedTimestamp => 8,
        T::Uuid => 16,
        T::Decimal { precision, .. } => decimal_width(*precision),
        T::Text | T::Bytes | T::AnyDecimal | T::Json => {
            let (length, head) = read_length(bytes)?;
            head + length
        }
        T::Array(of) => {
            let (items, mut at) = read_length(bytes)?;
            for _ in 0..items {
                at += width(bytes.get(at..)?, of, true)?;
            }
            at
        }
    };
    (bytes.len() >= fixed).then_some(fixed)
}

fn read_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (n, byte) in bytes.iter().take(9).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((length, n + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use ColumnType as T;

    /// The bytes of a value, in hexadecimal; `width` must find their end.
    fn check(cell: &Cell, from: &ColumnType, to: &ColumnType, expected: &str) -> u64 {
        let mut writer = Writer::default();
        writer.nullable(cell, from, to).unwrap();
        let hex: String = writer.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected, "{cell:?} from {from:?} to {to:?}");
        writer.bytes.extend_from_slice(&[7, 7]);
        assert_eq!(width(&writer.bytes, to, true), Some(writer.bytes.len() - 2));
        writer.clamped
    }

    #[test]
    fn numbers_keep_every_digit_when_their_column_is_wider() {
        let decimal = |precision, scale| T::Decimal { precision, scale };
        let price = Cell::Bytes(vec![0x04, 0xd2]);
        check(&price, &decimal(9, 2), &decimal(9, 2), "00d2040000");
        check(&price, &decimal(9, 2), &decimal(18, 3), "003430000000000000");
        check(&Cell::Bytes(vec![0xff]), &decimal(9, 2), &decimal(38, 2), &format!("00{}", "ff".repeat(16)));
        check(&Cell::Int(-2), &T::Int32, &decimal(9, 1), "00ecffffff");
        check(&Cell::Int(5), &T::Int16, &T::Int64, "000500000000000000");
        check(&price, &decimal(9, 2), &T::Text, "000531322e3334");
    }

    #[test]
    fn a_decimal_with_more_digits_than_its_column_is_refused() {
        let (from, to) = (T::Decimal { precision: 9, scale: 2 }, T::Decimal { precision: 9, scale: 1 });
        assert!(Writer::default().value(&Cell::Bytes(vec![1]), &from, &to).is_err());
    }

    #[test]
    fn times_are_exact_and_those_beyond_the_column_become_the_nearest() {
        let micros = T::Timestamp { digits: 6 };
        assert_eq!(check(&Cell::Int(-1), &micros, &micros, "00ffffffffffffffff"), 0);
        assert_eq!(check(&Cell::Int(1), &T::Timestamp { digits: 3 }, &micros, "00e803000000000000"), 0);
        assert_eq!(check(&Cell::Int(i64::MAX), &T::ZonedTimestamp, &micros, "00ffbfece449ff2400"), 1);
        assert_eq!(check(&Cell::Int(-1), &T::Date, &T::Date, "00ffffffff"), 0);
        assert_eq!(check(&Cell::Int(i64::from(i32::MAX)), &T::Date, &T::Date, "00d1d60100"), 1);
    }

    #[test]
    fn texts_uuids_and_arrays_have_their_end() {
        let uuid = Cell::Text("00010203-0405-0607-0809-0a0b0c0d0e0f".to_owned());
        check(&uuid, &T::Uuid, &T::Uuid, "0007060504030201000f0e0d0c0b0a0908");
        check(&Cell::Null, &T::Text, &T::Text, "01");
        let long = Cell::Text("a".repeat(200));
        check(&long, &T::Text, &T::Text, &format!("00c801{}", "61".repeat(200)));
        let items = Cell::Array(vec![Cell::Int(1), Cell::Null]);
        let array = T::Array(Box::new(T::Int16));
        check(&items, &array, &array, "000200010001");
    }
}
