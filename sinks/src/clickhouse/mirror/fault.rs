//! Whose fault a failure is: everybody's, one table's, or that of a record in it.
//!
//! What is everybody's (the server is away, full, or lets nobody in) is tried again as a whole. What is one table's parks that
//! table, and the others go on; it is tried again by and by, so that taking the one for the other costs time and
//! nothing else. What is a record's makes it a row of `mirror_rejected`: only codes that speak of values count as that.

use crate::clickhouse::error::ClickHouseError;
use clickhouse::error::Error;
use runtime::sink::SinkError;
use runtime::source::LogError;

/// What to do about a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Ask everything again, and go on from there.
    Retry(String),
    /// Park the table of this topic, and go on with the others.
    Table { topic: String, reason: String },
    /// An operator is needed.
    Stop(String),
}

/// Whose fault it is that the server didn't do what it was asked to for one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Everyone,
    Table,
    /// A value in what was sent: smaller parts of it may be taken.
    Record,
}

/// Codes of ClickHouse that speak of a value.
const OF_RECORDS: [u32; 20] = [
    6, 27, 38, 41, // text, an input, a date, a time that can't be parsed
    69, 70, 72, 117, // out of bounds, not convertible, no number, incorrect
    128, 131, 153, 321, // an array or a string too large, a division by zero, out of its type's range
    349, 376, 395, 407, // NULL where none may be, no UUID, throwIf, a decimal's overflow
    469, 676, 677, 691, // a constraint, addresses, an element that its enum lacks
];

/// Codes that no table has anything to do with.
const OF_EVERYONE: [u32; 25] = [
    81, 159, 160, 164, 192, 193, 194, 201, 202, 209,
    210, // no database, too slow, nobody let in, quotas, network
    225, 236, 241, 243, 279, 394, 425, 439, 516,
    999, // Keeper, shutdown, memory, disk, cancelled, no threads
    285, 286, 289, 319, // too few replicas for a quorum, or one that isn't there yet
];

/// Decides about a failure that came while one table was dealt with.
pub(super) fn blame(error: &ClickHouseError) -> Blame {
    match error {
        ClickHouseError::Stop { .. } => Blame::Table,
        ClickHouseError::Request { source: Error::BadResponse(text), .. } => match code_of(text) {
            Some(code) if OF_RECORDS.contains(&code) => Blame::Record,
            Some(code) if !OF_EVERYONE.contains(&code) => Blame::Table,
            _ => Blame::Everyone,
        },
        _ => Blame::Everyone,
    }
}

/// `Code: 469. DB::Exception: …`.
fn code_of(text: &str) -> Option<u32> {
    let (code, _) = text.trim_start().strip_prefix("Code: ")?.split_once('.')?;
    code.parse().ok()
}

/// The failure of something that was done for the table of a topic.
pub(super) fn of_table(topic: &str, error: ClickHouseError) -> Failure {
    match blame(&error) {
        Blame::Everyone => error.into(),
        Blame::Table | Blame::Record => Failure::Table { topic: topic.to_owned(), reason: told(&error) },
    }
}

/// A failure in an operator's words: who answers a request with a code is up and lets us in.
pub(super) fn told(error: &ClickHouseError) -> String {
    match error {
        ClickHouseError::Request { place, doing, source: Error::BadResponse(text) } => {
            format!("{place}: {doing}: {text}; mend that in ClickHouse, or at the source")
        }
        other => other.to_string(),
    }
}

/// The same of its topic in the log.
pub(super) fn of_topic(topic: &str, error: LogError) -> Failure {
    match error {
        LogError::Stop { .. } => Failure::Table { topic: topic.to_owned(), reason: error.to_string() },
        LogError::Retry(_) => error.into(),
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Retry { .. } => Failure::Retry(error.to_string()),
            _ => Failure::Stop(error.to_string()),
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Retry(_) => Failure::Retry(error.to_string()),
            LogError::Stop { .. } => Failure::Stop(error.to_string()),
        }
    }
}

impl From<ClickHouseError> for Failure {
    fn from(error: ClickHouseError) -> Self {
        if error.is_passing() { Failure::Retry(error.to_string()) } else { Failure::Stop(error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> ClickHouseError {
        let source = Error::BadResponse(text.to_owned());
        ClickHouseError::Request { place: "ch".to_owned(), doing: "insert rows", source }
    }

    #[test]
    fn a_refusal_is_sorted_by_whose_fault_it_is() {
        for (text, expected) in [
            ("Code: 469. DB::Exception: Constraint `positive` is violated", Blame::Record),
            ("Code: 407. DB::Exception: Decimal math overflow", Blame::Record),
            ("Code: 60. DB::Exception: Table mirror.things does not exist", Blame::Table),
            ("Code: 524. DB::Exception: ALTER of key column id is forbidden", Blame::Table),
            ("Code: 252. DB::Exception: Too many parts", Blame::Table),
            ("Code: 473. DB::Exception: Locking attempt on mirror.things has timed out", Blame::Table),
            ("Code: 516. DB::Exception: default: Authentication failed", Blame::Everyone),
            ("Code: 241. DB::Exception: Memory limit (total) exceeded", Blame::Everyone),
            (
                "Code: 285. DB::Exception: Number of alive replicas (1) is less than requested quorum",
                Blame::Everyone,
            ),
            ("502 Bad Gateway", Blame::Everyone),
        ] {
            assert_eq!(blame(&answer(text)), expected, "{text}");
        }
        let late = ClickHouseError::TimedOut { place: "ch".to_owned(), doing: "insert rows", timeout_ms: 1 };
        assert_eq!(blame(&late), Blame::Everyone);
    }

    #[test]
    fn what_one_table_is_refused_says_so_and_not_that_the_server_is_away() {
        let Failure::Table { topic, reason } = of_table("oltp.public.things", answer("Code: 60. no table"))
        else {
            panic!("a table's fault")
        };
        assert_eq!(topic, "oltp.public.things");
        assert_eq!(reason, "ch: insert rows: Code: 60. no table; mend that in ClickHouse, or at the source");
        assert!(matches!(of_table("t", answer("Code: 999. Keeper")), Failure::Retry(_)));
    }
}
