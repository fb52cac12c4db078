//! Tables that are at fault stand aside, and inserts are cut until the records at fault are found.
//!
//! ```text
//!   pending: ranges of all tables ── one is refused ──> parked: its ranges, under the number they were recorded with
//!                                                          │ tried again, by and by
//!                                                          └──> sent under the tokens they had; its topic goes on
//! ```
//!
//! Invariants
//! 1. A parked table's ranges keep number, attempt and cuts, hence their tokens: what of them the server has isn't written twice.
//! 2. An insert is cut only after it was refused, and the cut is recorded before its halves are sent. What was taken
//!    is never cut, so that it keeps its token.
//! 3. A record is left out of its table only after that was recorded, and lies in `mirror_rejected` then.
//! 4. While a table is parked nothing is read of its topic: its position stands.

use super::state::{Batch, MirrorState, Numbered, Parked, Range};
use std::collections::BTreeMap;

/// How many records of a range may be refused, and how many in a row: more are no single records any more, and their
/// table is parked.
pub(super) const REFUSED_MAX: usize = 16;

/// A table that stands aside, as an operator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedTable {
    pub topic: String,
    pub reason: String,
    pub since_ms: i64,
}

/// The parked tables of a mirror's document.
///
/// # Errors
/// Where it is no such document.
pub fn parked_tables(document: &str) -> Result<Vec<ParkedTable>, String> {
    let state: MirrorState = serde_json::from_str(document)
        .map_err(|e| format!("the mirror's document can't be read: {e}; run the version that wrote it"))?;
    let told = |(topic, parked): (String, Parked)| {
        let Parked { reason, since_ms, .. } = parked;
        ParkedTable { topic, reason, since_ms }
    };
    Ok(state.parked.into_iter().map(told).collect())
}

/// Which recorded batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    /// The pending one, of every table that isn't parked.
    All,
    /// A parked table's.
    Parked(&'a str),
}

impl MirrorState {
    /// Takes a table aside, with what was begun of it. Whether that is news.
    pub fn park(&mut self, topic: &str, reason: &str, now_ms: i64) -> bool {
        let before = (self.parked.get(topic).cloned(), self.pending.clone());
        let begun = self.take_begun(topic);
        let parked = self.parked.entry(topic.to_owned()).or_insert_with(|| Parked {
            reason: String::new(),
            since_ms: now_ms,
            batch: None,
        });
        parked.reason = reason.to_owned();
        parked.batch = begun.or(parked.batch.take());
        // Its records are judged anew when it is tried again: what was wrong may be mended by then.
        let ranges = parked.batch.iter_mut().flat_map(|numbered| &mut numbered.batch.ranges);
        ranges.for_each(|range| range.refused.clear());
        before != (self.parked.get(topic).cloned(), self.pending.clone())
    }

    fn take_begun(&mut self, topic: &str) -> Option<Numbered> {
        let pending = self.pending.as_mut()?;
        let (its, others): (Vec<Range>, Vec<Range>) =
            std::mem::take(&mut pending.ranges).into_iter().partition(|range| range.topic == topic);
        let attempt = pending.attempt;
        pending.ranges = others;
        if pending.ranges.is_empty() {
            self.pending = None;
        }
        let batch = Batch { attempt, ranges: its };
        (!batch.ranges.is_empty()).then_some(Numbered { number: self.batch, batch })
    }

    /// What was begun of a topic is begun no more.
    pub fn give_up(&mut self, topic: &str) {
        let _ = self.take_begun(topic);
        if let Some(parked) = self.parked.get_mut(topic) {
            parked.batch = None;
        }
    }

    /// A recorded batch and its number.
    pub fn recorded(&self, whose: Whose<'_>) -> Option<(u64, &Batch)> {
        match whose {
            Whose::All => self.pending.as_ref().map(|batch| (self.batch, batch)),
            Whose::Parked(topic) => {
                let numbered = self.parked.get(topic)?.batch.as_ref()?;
                Some((numbered.number, &numbered.batch))
            }
        }
    }

    /// The same, to be changed and recorded again.
    pub fn recorded_mut(&mut self, whose: Whose<'_>) -> Option<&mut Batch> {
        match whose {
            Whose::All => self.pending.as_mut(),
            Whose::Parked(topic) => Some(&mut self.parked.get_mut(topic)?.batch.as_mut()?.batch),
        }
    }
}

impl Batch {
    /// What is recorded of a partition.
    pub fn range(&self, topic: &str, partition: u32) -> Option<&Range> {
        self.ranges.iter().find(|range| range.topic == topic && range.partition == partition)
    }

    /// Those of one partition, to be changed.
    pub fn range_mut(&mut self, topic: &str, partition: u32) -> Option<&mut Range> {
        self.ranges.iter_mut().find(|range| range.topic == topic && range.partition == partition)
    }
}

impl Range {
    /// An insert of these offsets, which ascend, was refused for a value in it: it is cut in two; what holds one record is that record's fault.
    pub fn narrow(&mut self, insert: usize, offsets: &[u64], reason: &str) {
        let Some((first, middle)) = offsets.first().zip(offsets.get(offsets.len() / 2)) else { return };
        let beyond = |bound: u64| offsets.iter().copied().find(|offset| *offset > bound);
        let cut = if middle > first { Some(*middle) } else { beyond(*first) };
        match cut {
            Some(cut) => {
                self.cuts.entry(insert).or_default().insert(cut);
            }
            None => {
                self.refused.insert(*first, reason.to_owned());
            }
        }
    }

    /// The parts that an insert is sent in: from which offset to before which.
    pub fn parts(&self, insert: usize) -> Vec<(u64, u64)> {
        let cuts = self.cuts.get(&insert).into_iter().flatten().copied();
        let mut bounds = vec![self.from];
        bounds.extend(cuts);
        bounds.push(self.to);
        bounds.windows(2).map(|pair| (pair[0], pair[1])).collect()
    }
}

/// How many records were refused of a topic since one was taken, told by what a batch brought.
pub(super) fn in_a_row(known: &mut BTreeMap<String, usize>, topic: &str, refused: usize, taken: bool) {
    if taken {
        known.remove(topic);
    } else if refused > 0 {
        *known.entry(topic.to_owned()).or_default() += refused;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test: what fails here fails the test
mod tests {
    use super::*;

    fn range(topic: &str, from: u64, to: u64) -> Range {
        Range { topic: topic.to_owned(), partition: 0, from, to, records: to - from, ..Range::default() }
    }

    fn pending(topics: &[&str]) -> MirrorState {
        let ranges = topics.iter().map(|topic| range(topic, 5, 9)).collect();
        MirrorState { batch: 7, pending: Some(Batch { attempt: 2, ranges }), ..MirrorState::default() }
    }

    #[test]
    fn a_table_at_fault_takes_what_was_begun_of_it_aside_under_its_number_and_the_others_go_on() {
        let mut state = pending(&["a", "b"]);
        assert!(state.park("b", "no", 1_000));
        let (number, batch) = state.recorded(Whose::Parked("b")).unwrap();
        assert_eq!((number, batch.attempt, batch.ranges[0].topic.as_str()), (7, 2, "b"));
        let (number, batch) = state.recorded(Whose::All).unwrap();
        assert_eq!((number, batch.ranges.len(), batch.ranges[0].topic.as_str()), (7, 1, "a"));
        state.batch = 8;
        assert!(!state.park("b", "no", 2_000), "the same again is no news");
        assert!(state.park("b", "still no", 2_000));
        let parked = &state.parked["b"];
        assert_eq!((parked.since_ms, parked.batch.as_ref().unwrap().number), (1_000, 7));
        assert!(state.park("a", "no", 3_000));
        assert_eq!(state.pending, None, "a batch of nothing is none");
    }

    #[test]
    fn a_document_tells_what_is_parked_and_one_of_an_older_version_is_read() {
        let mut state = pending(&["a"]);
        state.park("a", "Code: 60. no table", 1_000);
        let told = parked_tables(&serde_json::to_string(&state).unwrap()).unwrap();
        let expected =
            ParkedTable { topic: "a".to_owned(), reason: "Code: 60. no table".to_owned(), since_ms: 1_000 };
        assert_eq!(told, [expected]);
        let older = r#"{"mirror_id":"x","batch":3,"positions":{"t":{"0":{"next":5,"snapshot":1}}},
            "tables":{"t":{"name":"t","key":["id"],"columns":[],"position":4,"gone":[]}},
            "pending":{"attempt":1,"ranges":[{"topic":"t","partition":0,"from":5,"to":6,"records":1}]}}"#;
        assert_eq!(parked_tables(older).unwrap(), []);
        let read: MirrorState = serde_json::from_str(older).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), older.replace(['\n', ' '], ""), "and by it");
    }

    /// A server that refuses every insert with one of these offsets; what it took, and what is refused.
    fn sent(offsets: &[u64], bad: &[u64]) -> (Vec<(u64, u64)>, Vec<u64>) {
        let mut range = range("t", offsets[0], offsets[offsets.len() - 1] + 1);
        let mut taken = Vec::new();
        loop {
            let mut refused = Vec::new();
            for (from, to) in range.parts(0) {
                let of_part =
                    |offset: &u64| (from..to).contains(offset) && !range.refused.contains_key(offset);
                let part: Vec<u64> = offsets.iter().copied().filter(of_part).collect();
                if taken.contains(&(from, to)) || part.is_empty() {
                    continue;
                }
                match part.iter().any(|offset| bad.contains(offset)) {
                    true => refused.push(part),
                    false => taken.push((from, to)),
                }
            }
            if refused.is_empty() {
                taken.sort_unstable();
                return (taken, range.refused.into_keys().collect());
            }
            refused.iter().for_each(|part| range.narrow(0, part, "no"));
        }
    }

    #[test]
    fn an_insert_is_cut_until_the_records_at_fault_are_found_and_nothing_is_sent_twice() {
        assert_eq!(sent(&[5, 6, 7, 8], &[6]), (vec![(5, 6), (7, 9)], vec![6]));
        assert_eq!(sent(&[5], &[5]), (vec![], vec![5]));
        assert_eq!(sent(&[5, 5], &[5]), (vec![], vec![5]), "a moved key's two rows are of one record");
        assert_eq!(sent(&[5, 5, 6], &[6]), (vec![(5, 6)], vec![6]));
        assert_eq!(sent(&[5, 9, 20], &[5, 20]), (vec![(9, 20)], vec![5, 20]));
        let many: Vec<u64> = (0..50_000).collect();
        let (taken, refused) = sent(&many, &[0, 777, 49_999]);
        assert_eq!(refused, [0, 777, 49_999]);
        assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0), "no two overlap");
        assert_eq!(taken.iter().map(|(from, to)| to - from).sum::<u64>(), 50_000 - 3);
    }

    #[test]
    fn refusals_count_in_a_row_until_a_row_is_taken() {
        let mut known = BTreeMap::new();
        in_a_row(&mut known, "t", 3, false);
        in_a_row(&mut known, "t", 0, false);
        in_a_row(&mut known, "t", 2, false);
        assert_eq!(known["t"], 5);
        in_a_row(&mut known, "t", 2, true);
        assert!(known.is_empty());
    }
}
