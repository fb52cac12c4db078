//! A batch as inserts: one per table and month, as ClickHouse commits each of its partitions apart.
//!
//! Facts of all the topic's partitions go into one insert: each is a part to write, to sync and to merge, of every aggregate
//! too, whether it has a hundred rows or one.

use super::client::quoted;
use super::gather::{Placed, Taken, bytes_of};
use super::plan::Batch;
use super::rows::recorded_ms;
use super::settings::{BLOCK_BYTES_MAX, BLOCK_ROWS_MAX};
use super::tables::{FactTable, of_topic};
use schemas::Month;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One insert: facts of one table and month, range after range, by offset.
pub(super) struct Piece<'a> {
    pub table: &'static FactTable,
    /// As ClickHouse names the partition: 202411.
    pub month: u32,
    pub ranges: Vec<Range<'a>>,
    /// As recorded, see [`super::plan::BatchRange::insert`].
    insert: Option<u32>,
}

/// What a piece takes of one range: the facts of its month.
pub(super) struct Range<'a> {
    /// `topic/partition`.
    pub topic_partition: String,
    pub from: u64,
    pub to: u64,
    pub facts: Vec<&'a Placed>,
}

impl Piece<'_> {
    /// Rows of the insert.
    pub fn rows(&self) -> u64 {
        self.ranges.iter().map(|range| range.facts.len() as u64).sum()
    }

    /// The name under which the server takes it once. All that can make a difference is in it: whose plan and which
    /// batch, which offsets, which month; and which attempt, as one that got lost must not be taken for there.
    pub fn token(&self, loader_id: &str, batch: &Batch) -> String {
        let (Batch { number, attempt, .. }, Piece { month, .. }) = (batch, self);
        let offsets = match self.insert {
            // Goes into a URL: of many partitions it would be too long for one.
            Some(nth) => {
                format!("{}/{nth}/{:016x}", self.table.topic, runtime::stable_hash(self.place().as_bytes()))
            }
            None => {
                let Range { topic_partition, from, to, .. } = &self.ranges[0];
                format!("{topic_partition}/{from}-{to}")
            }
        };
        format!("{loader_id}/{number}/{attempt}/{offsets}/{month}")
    }

    /// Where its facts lie in the log: `facts.orders/0:7-12,facts.orders/3:0-4`.
    pub fn place(&self) -> String {
        let mut place = String::new();
        for Range { topic_partition, from, to, .. } in &self.ranges {
            let comma = if place.is_empty() { "" } else { "," };
            write!(place, "{comma}{topic_partition}:{from}-{to}")
                .expect("a text takes what is written to it");
        }
        place
    }

    /// What tells its rows from those of other pieces, in SQL.
    pub fn condition(&self) -> String {
        let of_range = |Range { topic_partition, from, to, .. }: &Range<'_>| {
            let topic_partition = quoted(topic_partition);
            format!("(topic_partition = {topic_partition} AND offset >= {from} AND offset < {to})")
        };
        let ranges: Vec<String> = self.ranges.iter().map(of_range).collect();
        format!("toYYYYMM(recorded_at) = {} AND ({})", self.month, ranges.join(" OR "))
    }
}

/// Says which insert each range goes into, before the batch is recorded: together with others of its topic, for as long as one
/// block takes them all. One that grew beyond it would be several steps.
pub(super) fn share_inserts(taken: &mut [Taken]) {
    let mut filling: BTreeMap<String, (u32, usize, usize)> = BTreeMap::new();
    for Taken { range, facts } in taken {
        let (rows, bytes) = (facts.len(), facts.iter().map(|fact| bytes_of(&fact.body.fact)).sum::<usize>());
        let (insert, rows_before, bytes_before) = filling.entry(range.topic.clone()).or_default();
        if *rows_before > 0
            && (*rows_before + rows > BLOCK_ROWS_MAX || *bytes_before + bytes > BLOCK_BYTES_MAX)
        {
            (*insert, *rows_before, *bytes_before) = (*insert + 1, 0, 0);
        }
        *rows_before += rows;
        *bytes_before += bytes;
        range.insert = Some(*insert);
    }
}

/// The inserts of a batch: they follow from its ranges as recorded, and from nothing else. Ranges of topics without a table
/// are refused when the loader starts.
pub(super) fn pieces(taken: &[Taken]) -> Vec<Piece<'_>> {
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    for Taken { range, facts } in taken {
        let (table, insert) = (of_topic(&range.topic), range.insert);
        let table = table.expect("a loader starts with topics that have a table");
        for (month, facts) in by_month(&range.topic, facts) {
            let topic_partition = format!("{}/{}", range.topic, range.partition);
            let range = Range { topic_partition, from: range.from, to: range.to, facts };
            let shared = |piece: &&mut Piece<'_>| {
                let same = std::ptr::eq(piece.table, table) && piece.month == month;
                same && insert.is_some() && piece.insert == insert
            };
            match pieces.iter_mut().find(shared) {
                Some(piece) => piece.ranges.push(range),
                None => pieces.push(Piece { table, month, ranges: vec![range], insert }),
            }
        }
    }
    pieces
}

/// The facts of a range, by the month in which they were recorded.
fn by_month<'a>(topic: &str, facts: &'a [Placed]) -> Vec<(u32, Vec<&'a Placed>)> {
    let mut months: Vec<(u32, Vec<&Placed>)> = Vec::new();
    for fact in facts {
        assert_eq!(fact.body.fact.topic(), topic, "a topic of facts holds its own facts");
        let month = month_number(recorded_ms(&fact.body.fact));
        match months.iter_mut().find(|(known, _)| *known == month) {
            Some((_, facts)) => facts.push(fact),
            None => months.push((month, vec![fact])),
        }
    }
    months
}

/// What `toYYYYMM` makes of a moment.
fn month_number(ms: i64) -> u32 {
    let month = Month::of_ms(ms).0 as u32;
    (1970 + month / 12) * 100 + month % 12 + 1
}

#[cfg(test)]
mod tests {
    use super::super::gather::tests::letter;
    use super::super::plan::BatchRange;
    use super::*;
    use runtime::Epoch;

    /// Letters of one partition, from offset 0 on, each recorded then and with as many bytes.
    fn letters(partition: u32, letters: &[(i64, usize)]) -> Taken {
        let facts: Vec<Placed> =
            letters.iter().zip(0..).map(|((at_ms, bytes), offset)| letter(offset, *at_ms, *bytes)).collect();
        let (topic, to) = ("dead-letters".to_owned(), facts.len() as u64);
        Taken { range: BatchRange { topic, partition, from: 0, to, rows: to, insert: None }, facts }
    }

    /// Each insert: its month, its ranges and how many facts it has of each.
    fn inserts(taken: &[Taken]) -> Vec<(u32, String, Vec<usize>)> {
        let facts = |piece: &Piece<'_>| piece.ranges.iter().map(|range| range.facts.len()).collect();
        pieces(taken).iter().map(|piece| (piece.month, piece.place(), facts(piece))).collect()
    }

    /// As a loader takes them.
    fn shared<const N: usize>(mut taken: [Taken; N]) -> [Taken; N] {
        share_inserts(&mut taken);
        taken
    }

    const NOVEMBER: i64 = 1_732_233_600_000;
    const DECEMBER: i64 = 1_733_100_000_000;
    const BATCH: Batch = Batch { number: 9, through: Epoch(7), attempt: 2, ranges: Vec::new() };

    fn two_partitions() -> [Taken; 2] {
        [letters(0, &[(NOVEMBER, 1), (DECEMBER, 1)]), letters(3, &[(NOVEMBER, 1), (NOVEMBER, 1)])]
    }

    #[test]
    fn a_batch_has_an_insert_for_each_month_whatever_partitions_its_facts_come_from() {
        let taken = shared(two_partitions());
        let both = "dead-letters/0:0-2,dead-letters/3:0-2".to_owned();
        let first = "dead-letters/0:0-2".to_owned();
        assert_eq!(inserts(&taken), [(202_411, both.clone(), vec![1, 2]), (202_412, first.clone(), vec![1])]);
        let token = |place: &str, month| {
            format!("ab/9/2/dead-letters/0/{:016x}/{month}", runtime::stable_hash(place.as_bytes()))
        };
        let tokens: Vec<String> = pieces(&taken).iter().map(|piece| piece.token("ab", &BATCH)).collect();
        assert_eq!(tokens, [token(&both, 202_411), token(&first, 202_412)]);
        assert_eq!(
            pieces(&taken)[1].condition(),
            "toYYYYMM(recorded_at) = 202412 AND ((topic_partition = 'dead-letters/0' AND offset >= 0 AND offset < 2))"
        );
    }

    #[test]
    fn a_batch_that_was_recorded_range_by_range_is_sent_so() {
        let taken = two_partitions();
        let tokens: Vec<String> = pieces(&taken).iter().map(|piece| piece.token("ab", &BATCH)).collect();
        let [first, second] = ["dead-letters/0/0-2", "dead-letters/3/0-2"];
        let expected = [(first, 202_411), (first, 202_412), (second, 202_411)];
        assert_eq!(tokens, expected.map(|(range, month)| format!("ab/9/2/{range}/{month}")));
        let old = r#"{"topic":"dead-letters","partition":0,"from":0,"to":2,"rows":2}"#;
        assert_eq!(serde_json::from_str::<BatchRange>(old).unwrap(), taken[0].range);
    }

    #[test]
    fn no_insert_grows_beyond_a_block() {
        let large = |partition| letters(partition, &[(NOVEMBER, 90 << 20)]);
        let taken = shared([large(0), large(1), large(2)]);
        let places: Vec<String> = inserts(&taken).into_iter().map(|(_, place, _)| place).collect();
        assert_eq!(places, ["dead-letters/0:0-1,dead-letters/1:0-1", "dead-letters/2:0-1"]);
        // Whatever is thought of sizes later: as recorded.
        assert_eq!(taken.map(|taken| taken.range.insert), [Some(0), Some(0), Some(1)]);
    }

    #[test]
    fn months_are_numbered_as_clickhouse_numbers_them() {
        for (ms, number) in [(0, 197_001), (1_732_233_600_000, 202_411), (7_258_118_399_999, 219_912)] {
            assert_eq!(month_number(ms), number);
        }
    }
}
