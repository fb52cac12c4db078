//! A batch as inserts: one per range and month, as ClickHouse commits each of its partitions apart.

use super::gather::{Placed, Taken};
use super::plan::Batch;
use super::rows::recorded_ms;
use super::tables::{FactTable, of_topic};
use schemas::Month;

/// One insert: facts of one range and month, by offset.
pub(super) struct Piece<'a> {
    pub table: &'static FactTable,
    /// As ClickHouse names the partition: 202411.
    pub month: u32,
    /// `topic/partition`.
    pub topic_partition: String,
    pub from: u64,
    pub to: u64,
    pub facts: Vec<&'a Placed>,
}

impl Piece<'_> {
    /// The name under which the server takes it once. All that can make a difference is in it: whose plan and which
    /// batch, which offsets, which month; and which attempt, as one that got lost must not be taken for there.
    pub fn token(&self, loader_id: &str, batch: &Batch) -> String {
        let Piece { topic_partition, from, to, month, .. } = self;
        format!("{loader_id}/{}/{}/{topic_partition}/{from}-{to}/{month}", batch.number, batch.attempt)
    }
}

/// The inserts of one range, by month. Ranges of topics without a table are refused when the loader starts.
pub(super) fn pieces(taken: &Taken) -> Vec<Piece<'_>> {
    let range = &taken.range;
    let table = of_topic(&range.topic).expect("a loader starts with topics that have a table");
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    for fact in &taken.facts {
        assert_eq!(fact.body.fact.topic(), range.topic, "a topic of facts holds its own facts");
        let month = month_number(recorded_ms(&fact.body.fact));
        match pieces.iter_mut().find(|piece| piece.month == month) {
            Some(piece) => piece.facts.push(fact),
            None => pieces.push(Piece {
                table,
                month,
                topic_partition: format!("{}/{}", range.topic, range.partition),
                from: range.from,
                to: range.to,
                facts: vec![fact],
            }),
        }
    }
    pieces
}

/// What `toYYYYMM` makes of a moment.
fn month_number(ms: i64) -> u32 {
    let month = Month::of_ms(ms).0 as u32;
    (1970 + month / 12) * 100 + month % 12 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_numbered_as_clickhouse_numbers_them() {
        for (ms, number) in [(0, 197_001), (1_732_233_600_000, 202_411), (7_258_118_399_999, 219_912)] {
            assert_eq!(month_number(ms), number);
        }
    }
}
