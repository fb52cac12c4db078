//! What a column means beyond its plain JSON type, and how to say so where the message doesn't.

use std::collections::BTreeMap;

/// What a column's plain number, text or bytes stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantic {
    /// Unscaled two's complement, big-endian, base64 in JSON; the value is unscaled / 10^scale.
    Decimal { scale: i32 },
    /// A struct of scale and unscaled bytes, for NUMERIC without a declared scale.
    VariableScaleDecimal,
    /// Base64 in JSON.
    Bytes,
    /// Days since 1970-01-01.
    Date,
    /// Since midnight, in units of so many nanoseconds.
    Time { unit_ns: i64 },
    /// Since 1970-01-01T00:00 (UTC, or the server's local time without a zone), in units of so many nanoseconds.
    Timestamp { unit_ns: i64 },
    /// A length of time, in units of so many nanoseconds.
    Duration { unit_ns: i64 },
    /// ISO 8601 with an offset.
    ZonedTimestamp,
    /// ISO 8601 time of day with an offset.
    ZonedTime,
}

const NANO: i64 = 1;
const MICRO: i64 = 1_000;
const MILLI: i64 = 1_000_000;

impl Semantic {
    /// The meaning of a Kafka Connect schema name, `None` where it is no more than its plain type.
    pub fn of_connect_name(name: &str, scale: Option<i32>) -> Option<Self> {
        if let Some(short) = name.strip_prefix("io.debezium.time.") {
            return Self::of_time_name(short);
        }
        match name {
            "org.apache.kafka.connect.data.Decimal" => {
                Some(Semantic::Decimal { scale: scale.unwrap_or_default() })
            }
            "org.apache.kafka.connect.data.Date" => Some(Semantic::Date),
            "org.apache.kafka.connect.data.Time" => Some(Semantic::Time { unit_ns: MILLI }),
            "org.apache.kafka.connect.data.Timestamp" => Some(Semantic::Timestamp { unit_ns: MILLI }),
            "io.debezium.data.VariableScaleDecimal" => Some(Semantic::VariableScaleDecimal),
            _ => None,
        }
    }

    /// The meaning of a name under `io.debezium.time`.
    fn of_time_name(name: &str) -> Option<Self> {
        Some(match name {
            "Date" => Semantic::Date,
            "Time" => Semantic::Time { unit_ns: MILLI },
            "MicroTime" => Semantic::Time { unit_ns: MICRO },
            "NanoTime" => Semantic::Time { unit_ns: NANO },
            "Timestamp" => Semantic::Timestamp { unit_ns: MILLI },
            "MicroTimestamp" => Semantic::Timestamp { unit_ns: MICRO },
            "NanoTimestamp" => Semantic::Timestamp { unit_ns: NANO },
            "MicroDuration" => Semantic::Duration { unit_ns: MICRO },
            "NanoDuration" => Semantic::Duration { unit_ns: NANO },
            "ZonedTimestamp" => Semantic::ZonedTimestamp,
            "ZonedTime" => Semantic::ZonedTime,
            _ => return None,
        })
    }

    /// Reads a hint as the configuration spells it: `decimal(2)`, `bytes`, or a name under
    /// `io.debezium.time` such as `MicroTimestamp`.
    ///
    /// # Errors
    /// Lists what can be said.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(scale) = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
            let scale = scale.parse().map_err(|_| format!("`{text}`: the scale is no number"))?;
            return Ok(Semantic::Decimal { scale });
        }
        match text {
            "bytes" => Ok(Semantic::Bytes),
            _ => Self::of_time_name(text).ok_or_else(|| {
                format!(
                    "`{text}` is no column type; say decimal(SCALE), bytes, Date, Time, MicroTime, NanoTime, \
                     Timestamp, MicroTimestamp, NanoTimestamp, ZonedTimestamp or ZonedTime"
                )
            }),
        }
    }
}

/// What columns mean where messages come without a schema, by `table.column`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints(BTreeMap<String, Semantic>);

impl Hints {
    /// Says what a column means.
    pub fn say(&mut self, table: &str, column: &str, semantic: Semantic) {
        self.0.insert(format!("{table}.{column}"), semantic);
    }

    /// What was said about a column.
    pub fn of(&self, table: &str, column: &str) -> Option<Semantic> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&format!("{table}.{column}")).copied()
    }
}
