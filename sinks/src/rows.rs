//! What a run of epochs comes down to: the last row of each key.
//!
//! Every serving store writes rows through this, so that all of them agree on what a run says.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use runtime::Epoch;
use runtime::sink::EpochItems;
use rustc_hash::FxBuildHasher;
use schemas::rows::{Row, TableSpec};
use schemas::tables::RowKey;
use std::hash::BuildHasher;

/// An epoch applied twice could put an old row over a new one: nothing but a fault in the runtime asks for it.
pub(crate) fn assert_new<I>(done: Epoch, run: &[EpochItems<I>]) {
    assert!(run.iter().is_sorted_by(|a, b| a.epoch < b.epoch), "epochs come in order, each once");
    assert!(run.iter().all(|e| e.epoch > done), "epochs up to {done} are in the serving tables already");
}

/// A row, and the epoch that wrote it.
pub(crate) type Written<'a> = (&'a Row, Epoch);

/// The rows of one table.
pub(crate) struct TableRows<'a> {
    pub table: &'static TableSpec,
    pub rows: Vec<Written<'a>>,
}

/// A row found by its key: its key's hash, the number of its table, its place in it.
struct Found {
    hash: u64,
    table: u32,
    at: u32,
}

/// The last row of the run for each key, by table; within one, in the order in which keys first came, so
/// that ids that grow are written side by side.
pub(crate) fn newest_rows<I>(run: &[EpochItems<I>], row_of: fn(&I) -> Option<&Row>) -> Vec<TableRows<'_>> {
    let items = run.iter().flat_map(|e| e.items.iter().map(|item| (&item.body, e.epoch)));
    let mut tables: Vec<TableRows<'_>> = Vec::new();
    // About every other item is a row. Growing would mean looking at all of them again.
    let mut seen: HashTable<Found> =
        HashTable::with_capacity(run.iter().map(|epoch| epoch.items.len()).sum::<usize>() / 2);
    for (row, epoch) in items.filter_map(|(body, epoch)| Some((row_of(body)?, epoch))) {
        let (key, table) = (row.key(), table_of(&mut tables, row.table()) as u32);
        let hash = hash(&key);
        let rows = &tables[table as usize].rows;
        let same = |known: &Found| {
            known.hash == hash && known.table == table && rows[known.at as usize].0.key() == key
        };
        match seen.entry(hash, same, |known| known.hash) {
            Entry::Occupied(known) => {
                let at = known.get().at as usize;
                tables[table as usize].rows[at] = (row, epoch);
            }
            Entry::Vacant(free) => {
                free.insert(Found { hash, table, at: rows.len() as u32 });
                tables[table as usize].rows.push((row, epoch));
            }
        }
    }
    tables
}

/// For this run only: it needn't be stable, but fast.
fn hash(key: &RowKey<'_>) -> u64 {
    FxBuildHasher.hash_one((key.parts, key.number))
}

/// The number of a table: there are a handful.
fn table_of(tables: &mut Vec<TableRows<'_>>, table: &'static TableSpec) -> usize {
    tables.iter().position(|t| std::ptr::eq(t.table, table)).unwrap_or_else(|| {
        tables.push(TableRows { table, rows: Vec::new() });
        tables.len() - 1
    })
}
