//! Newest row wins, as text tables and against a plain map.
//!
//! ```text
//!   put ID @LSN | del ID @LSN | truncate @LSN | nothing  => +ID@LSN ; -ID
//! ```

use super::Table;
use crate::fixtures::{TENANT, offer, partner, record};
use crate::harness::{Course, Harness};
use crate::messages::TableChange;
use proptest::prelude::*;
use runtime::{Class, Envelope, Millis};
use schemas::reference::{Change, Offer, ReferenceTable, Standing};
use schemas::{Reference, ReferenceKey};
use std::collections::BTreeMap;

fn check(table: &str) {
    let mut harness = Harness::new(3, Table::default);
    for (index, line) in table.lines().filter(|line| !line.trim().is_empty()).enumerate() {
        let (said, expected) = line.split_once("=>").unwrap_or((line, ""));
        let time = index as Millis;
        let mut out = harness.epoch(vec![record(time, Class::Reference, time as u64, parse(said))], time);
        out.sort_by(|a, b| a.body.key.cmp(&b.body.key));
        let got: Vec<String> = out.iter().map(|envelope| tell(&envelope.body)).collect();
        assert_eq!(got.join(" ; "), expected.trim(), "after `{}`", said.trim());
        harness.snapshot(2);
        harness = harness.restored(index % 4 + 1);
    }
}

fn parse(said: &str) -> Change {
    let words: Vec<&str> = said.split_whitespace().collect();
    let lsn = |word: &str| word.strip_prefix('@').unwrap().parse().unwrap();
    match words[..] {
        ["put", id, at] => Change::Upsert { lsn: lsn(at), row: row(id, lsn(at)) },
        ["del", id, at] => Change::Delete { lsn: lsn(at), key: row(id, 0).key() },
        ["truncate", at] => Change::Truncate { lsn: lsn(at), table: ReferenceTable::Offers },
        ["nothing"] => Change::Nothing,
        _ => panic!("what is `{said}`?"),
    }
}

/// An offer whose price tells versions apart.
fn row(id: &str, price_minor: u64) -> Reference {
    Reference::Offer(Box::new(Offer { price_minor: price_minor as i64, ..offer(TENANT, id) }))
}

fn tell(change: &TableChange) -> String {
    match (&change.key, &change.row) {
        (key, None) => format!("-{}", key.parts().1),
        (key, Some(Reference::Offer(offer))) => format!("+{}@{}", key.parts().1, offer.price_minor),
        (key, Some(_)) => format!("+{}", key.parts().1),
    }
}

#[test]
fn what_is_delivered_again_or_late_is_dropped() {
    check(
        "
        put A @5 => +A@5
        put A @5
        put A @4
        nothing
        put A @6 => +A@6
        put B @1 => +B@1
        ",
    );
}

#[test]
fn a_deleted_row_stays_away_until_a_newer_one_comes() {
    check(
        "
        put A @5 => +A@5
        del A @4
        del A @7 => -A
        put A @6
        del A @7
        put A @8 => +A@8
        del Z @3
        put Z @2
        ",
    );
}

#[test]
fn a_truncate_removes_every_older_row_and_nothing_older_comes_back() {
    check(
        "
        put A @1 => +A@1
        put B @2 => +B@2
        put C @9 => +C@9
        del A @3 => -A
        truncate @5 => -B
        truncate @5
        put B @2
        put A @1
        put D @4
        put B @6 => +B@6
        del C @10 => -C
        ",
    );
}

#[test]
fn a_truncate_leaves_other_tables_alone() {
    let mut harness = Harness::new(2, Table::default);
    let put = Change::Upsert { lsn: 1, row: partner(TENANT, "A", Standing::Active) };
    assert_eq!(harness.epoch(vec![record(1, Class::Reference, 1, put.clone())], 1).len(), 1);
    assert!(harness.epoch(vec![record(2, Class::Reference, 2, parse("truncate @9"))], 2).is_empty());
    assert!(harness.epoch(vec![record(3, Class::Reference, 3, put)], 3).is_empty());
}

/// As a connector tells of an update that changes a row's key: both halves are one record.
#[test]
fn a_row_that_moves_to_another_key_is_put_before_it_is_removed_whoever_has_its_keys() {
    for workers in 1..=4 {
        for (from, to) in [("A", "B"), ("B", "A"), ("C", "D"), ("o1", "o2")] {
            let moved = [Change::Delete { lsn: 2, key: row(from, 0).key() }, parse(&format!("put {to} @2"))];
            let log: Vec<_> = [parse(&format!("put {from} @1"))]
                .into_iter()
                .map(|change| record(1, Class::Reference, 1, change))
                .chain(moved.into_iter().map(|change| record(2, Class::Reference, 2, change)))
                .collect();
            let course = Course { workers, ..Course::straight(9) };
            let out = course.run(Table::default, &log);
            let told: Vec<String> = out.iter().map(|envelope| tell(&envelope.body)).collect();
            assert_eq!(
                told,
                [format!("+{from}@1"), format!("+{to}@2"), format!("-{from}")],
                "{workers} workers"
            );
            assert!(out.windows(2).all(|pair| pair[0].at < pair[1].at), "each has a place of its own");
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let id = (0..20u8).prop_map(|id| format!("o{id}"));
    (id, 1..60u64, 0..12u8).prop_map(|(id, lsn, kind)| match kind {
        0 => Change::Truncate { lsn, table: ReferenceTable::Offers },
        1..4 => Change::Delete { lsn, key: row(&id, 0).key() },
        _ => Change::Upsert { lsn, row: row(&id, lsn) },
    })
}

/// What every key shows in the end: the newest thing said of it.
fn model(log: &[Envelope<Change>]) -> BTreeMap<ReferenceKey, Reference> {
    let (mut newest, mut truncated) = (BTreeMap::<ReferenceKey, (u64, Option<Reference>)>::new(), 0);
    for record in log {
        let (lsn, key, row) = match record.body.clone() {
            Change::Upsert { lsn, row } => (lsn, row.key(), Some(row)),
            Change::Delete { lsn, key } => (lsn, key, None),
            Change::Truncate { lsn, .. } => {
                truncated = truncated.max(lsn);
                continue;
            }
            Change::Nothing => continue,
        };
        if newest.get(&key).is_none_or(|(known, _)| lsn > *known) {
            newest.insert(key, (lsn, row));
        }
    }
    let stays = |(key, (lsn, row)): (_, (u64, Option<Reference>))| (lsn > truncated).then_some((key, row?));
    newest.into_iter().filter_map(stays).collect()
}

proptest! {
    #[test]
    fn the_changes_that_leave_add_up_to_the_newest_rows_in_one_order_whatever_the_course(
        changes in proptest::collection::vec(change(), 1..120),
        cuts in proptest::collection::btree_set(0..60i64, 0..8),
        crashes in proptest::collection::btree_map(0..8usize, 1..5usize, 0..4),
        workers in 1..5usize,
    ) {
        let place = |(offset, body)| record(offset as Millis / 2, Class::Reference, offset as u64, body);
        let log: Vec<_> = changes.into_iter().enumerate().map(place).collect();
        let pairs = |course: &Course| -> Vec<_> {
            course.run(Table::default, &log).into_iter().map(|out| (out.at, out.body)).collect()
        };
        let straight = pairs(&Course::straight(100));
        let course = Course { cuts: cuts.into_iter().collect(), crashes, workers, end_ms: 100 };
        prop_assert_eq!(&pairs(&course), &straight);
        let mut rows = BTreeMap::new();
        for (_, change) in straight {
            match change.row {
                Some(row) => drop(rows.insert(change.key, row)),
                None => prop_assert!(rows.remove(&change.key).is_some(), "only what is there goes"),
            }
        }
        prop_assert_eq!(rows, model(&log));
    }
}
