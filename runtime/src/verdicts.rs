//! Which records could be read when they were bound, and what a replay must therefore take them for.
//!
//! Whether a record can be decoded may hang on more than its bytes: a registry learns ids, forgets them, or is
//! restored without some; a newer version of the program reads more. So the binding of an epoch names the records of it that nobody
//! could read, each with the reason then given, and a replay asks here before it decodes:
//!
//! ```text
//!   bindings S+1..through ─> Verdicts ─┬─ Open           beyond what is bound, or of a row that says nothing: decode it
//!                                      ├─ Read           it was read: one that can't be read now stops the run
//!                                      └─ Unread(reason) it wasn't: it is what it was then, whatever could read it now
//! ```
//!
//! Invariant: a verdict is of one record, at its offset. The same bytes appended again are another record.

use crate::bindings::{Binding, Unread};
use crate::types::{Offset, PartitionId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a binding says of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Nothing: the reader judges it.
    #[default]
    Open,
    /// It was read when it was bound.
    Read,
    /// It could not be read when it was bound, for this reason.
    Unread(&'a str),
}

/// The verdicts of the rows that a run replays.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    partitions: BTreeMap<PartitionId, Past>,
}

/// The verdicts on one partition's records.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Where the first of its rows ends (exclusive).
    first_end: Offset,
    /// Where rows alike end (exclusive), ascending, and whether they tell verdicts. Only the last of several alike is kept.
    spans: Vec<(Offset, bool)>,
    unread: BTreeMap<Offset, Arc<str>>,
}

impl Verdicts {
    /// What these rows say, which come in the order of their epochs.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Binding>) -> Self {
        let mut recorded = Verdicts::default();
        for row in rows {
            for end in &row.ends {
                recorded.partitions.entry(end.partition).or_default().grow(end.end, row.unread.is_some());
            }
            for Unread { why, records } in row.unread.iter().flatten() {
                let why: Arc<str> = why.as_str().into();
                for (partition, offset) in records {
                    let past = recorded.partitions.entry(*partition).or_default();
                    past.unread.insert(*offset, Arc::clone(&why));
                }
            }
        }
        recorded
    }

    /// What is said of a partition; `None` where nothing of it is replayed.
    pub fn past(&self, partition: PartitionId) -> Option<&Past> {
        self.partitions.get(&partition)
    }
}

impl Past {
    fn grow(&mut self, end: Offset, told: bool) {
        if self.spans.is_empty() {
            self.first_end = end;
        }
        match self.spans.last_mut() {
            Some(last) if last.1 == told => last.0 = end,
            _ => self.spans.push((end, told)),
        }
    }

    /// Where the first epoch that took something of it ends (exclusive).
    pub fn first_end(&self) -> Offset {
        self.first_end
    }

    /// What is said of the record at an offset.
    pub fn verdict(&self, offset: Offset) -> Verdict<'_> {
        if self.spans.last().is_none_or(|(end, _)| offset >= *end) {
            return Verdict::Open;
        }
        let span = self.spans.partition_point(|(end, _)| *end <= offset);
        match (self.spans[span].1, self.unread.get(&offset)) {
            (false, _) => Verdict::Open,
            (true, None) => Verdict::Read,
            (true, Some(why)) => Verdict::Unread(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::PartitionEnd;
    use crate::types::{Epoch, Generation, TopicId};

    const P: PartitionId = PartitionId { topic: TopicId(0), partition: 3 };

    /// A row that takes the partition to `end`; `unread` as offset and reason, absent where it says nothing.
    fn row(end: u64, unread: Option<&[(u64, &str)]>) -> Binding {
        let unread = unread.map(|all| {
            let each = |(offset, why): &(u64, &str)| Unread {
                why: (*why).to_owned(),
                records: vec![(P, Offset(*offset))],
            };
            all.iter().map(each).collect()
        });
        let ends = vec![PartitionEnd { partition: P, end: Offset(end), time_max: 0 }];
        let (epoch, generation) = (Epoch(1), Generation(1));
        Binding { epoch, generation, now: 0, bound: None, ends, clamps: vec![], unread }
    }

    fn check(rows: &[Binding], verdicts: &str) {
        let recorded = Verdicts::of(rows);
        let said = |offset| match recorded.past(P).map_or(Verdict::Open, |past| past.verdict(Offset(offset)))
        {
            Verdict::Open => ".".to_owned(),
            Verdict::Read => "r".to_owned(),
            Verdict::Unread(why) => why.to_owned(),
        };
        let all: Vec<String> = (0..verdicts.split(' ').count() as u64).map(said).collect();
        assert_eq!(all.join(" "), verdicts);
    }

    #[test]
    fn the_first_row_of_a_partition_says_where_its_replay_must_begin_before() {
        let recorded = Verdicts::of(&[row(7, Some(&[])), row(9, Some(&[])), row(11, None)]);
        assert_eq!(recorded.past(P).map(Past::first_end), Some(Offset(7)));
    }

    #[test]
    fn a_replay_is_told_of_each_record_that_a_row_tells_of() {
        check(&[], ". . .");
        check(&[row(2, Some(&[]))], "r r . .");
        check(&[row(2, Some(&[(1, "a")])), row(4, Some(&[(2, "b"), (3, "a")]))], "r a b a . .");
        check(&[row(2, None)], ". . .");
        check(&[row(2, None), row(3, Some(&[(2, "a")])), row(4, None), row(6, Some(&[]))], ". . a . r r .");
    }
}
