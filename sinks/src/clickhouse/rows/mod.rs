//! Facts as rows of ClickHouse: one type per table, borrowed from the facts.
//!
//! A row ends with where it comes from: the cause, the epoch, and topic, partition and offset of the fact. The
//! client compares these types with the server's columns before the first row of each goes out.

mod commissions;
mod dead_letters;
mod draws;
mod fraud;
mod orders;
mod screening;
mod stock;
mod tickets;

pub(super) use commissions::CommissionRow;
pub(super) use dead_letters::DeadLetterRow;
pub(super) use draws::{DrawRow, PublicationRow, WinningRow};
pub(super) use fraud::FraudRow;
pub(super) use orders::OrderRow;
pub(super) use screening::ScreeningRow;
pub(super) use stock::StockRow;
pub(super) use tickets::TicketRow;

use schemas::Fact;

/// 1970-01-01.
const RECORDED_MS_MIN: i64 = 0;
/// 2199-12-31T23:59:59.999Z: ClickHouse's `toYYYYMM` is exact up to there and beyond.
const RECORDED_MS_MAX: i64 = 7_258_118_399_999;

/// Where a row belongs, other than what its fact says.
#[derive(Clone, Copy)]
pub(super) struct Provenance<'a> {
    pub epoch: u64,
    /// The epoch with which the whole batch becomes visible.
    pub batch_epoch: u64,
    /// `topic/partition`.
    pub topic_partition: &'a str,
    pub offset: u64,
}

/// Record time, which decides the month a row lies in. Only a dead letter's can be out of bounds: it is what a
/// broken record claimed. Such a row lies at the border; its source's place tells where to look.
pub(super) fn recorded_ms(fact: &Fact) -> i64 {
    fact.record_time_ms().clamp(RECORDED_MS_MIN, RECORDED_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_moment_of_the_bound_is_the_end_of_a_year() {
        let month = |ms| schemas::Month::of_ms(ms).to_string();
        assert_eq!(month(RECORDED_MS_MAX), "2199-12");
        assert_eq!(month(RECORDED_MS_MAX + 1), "2200-01");
    }
}
