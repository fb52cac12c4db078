//! Compaction: a base and its deltas become one base, off the workers' threads.

use super::file::Block;
use super::rolling::Rolling;
use super::store::SnapshotStore;
use super::{FileRef, SnapshotError};
use crate::entries::StateEntry;
use crate::types::Epoch;
use std::collections::BTreeMap;

/// Entries of one block of a base.
const BLOCK_ENTRIES: usize = 4096;

/// Whether the deltas outweigh the base, so that a new base costs less than it saves.
pub fn is_due(base: &[FileRef], deltas: &[FileRef]) -> bool {
    let bytes = |files: &[FileRef]| files.iter().map(|file| file.bytes).sum::<u64>();
    // The deltas of one snapshot follow each other.
    let snapshots = deltas.chunk_by(|a, b| snapshot_of(a) == snapshot_of(b)).count();
    snapshots >= 8 && (bytes(deltas) > bytes(base) || snapshots >= 64)
}

/// What the names of one snapshot's deltas have in common: all but worker and number.
fn snapshot_of(delta: &FileRef) -> &str {
    delta.path.rsplitn(3, '-').last().unwrap_or(&delta.path)
}

/// By operator and state, then by slot and key: a state's keys need only be unique within a slot.
type Merged = BTreeMap<(String, String), BTreeMap<(u8, Vec<u8>), StateEntry>>;

/// Merges files, oldest first, into the files of a base as of `epoch`. Removed keys are gone for good.
///
/// # Errors
/// See [`SnapshotError`].
pub fn compact(
    store: &SnapshotStore,
    files: &[FileRef],
    epoch: Epoch,
) -> Result<Vec<FileRef>, SnapshotError> {
    let mut merged = Merged::new();
    for file in files {
        for block in store.read(file)? {
            let state = merged.entry((block.operator, block.state)).or_default();
            for entry in block.entries.iter() {
                let entry = entry.map_err(|error| damaged(file, &error))?;
                let place = (entry.slot, entry.key.clone());
                if entry.value.is_some() {
                    state.insert(place, entry);
                } else {
                    state.remove(&place);
                }
            }
        }
    }
    let mut base = Rolling::new(format!("base-{:020}", epoch.0));
    for ((operator, state), entries) in merged {
        let mut entries = entries.into_values().peekable();
        while entries.peek().is_some() {
            let entries = entries.by_ref().take(BLOCK_ENTRIES).collect();
            let block = Block { operator: operator.clone(), state: state.clone(), entries };
            base.write(store, &block)?;
        }
    }
    base.finish(store)
}

fn damaged(file: &FileRef, error: &postcard::Error) -> SnapshotError {
    SnapshotError::Damaged { path: file.path.clone(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(slot: u8, key: &str, value: Option<&str>) -> StateEntry {
        StateEntry { slot, key: key.into(), value: value.map(Into::into) }
    }

    fn delta(store: &SnapshotStore, name: &str, entries: Vec<StateEntry>) -> FileRef {
        let mut file = store.create(name);
        file.write(&Block {
            operator: "o".into(),
            state: "s".into(),
            entries: entries.into_iter().collect(),
        });
        store.finish(&file).unwrap()
    }

    #[test]
    fn a_base_is_due_once_eight_snapshots_outweigh_it_however_many_files_they_are() {
        let file = |path: String| FileRef { path, bytes: 10, entries: 1, sha256: String::new() };
        let delta = |snapshot: usize| {
            (0..4).map(move |n| file(format!("g1/delta-{snapshot:020}-{}-{n}.snap", n % 2)))
        };
        let deltas = |snapshots: usize| (0..snapshots).flat_map(delta).collect::<Vec<_>>();
        assert!(!is_due(&[], &deltas(7)));
        assert!(is_due(&[], &deltas(8)));
        let base: Vec<FileRef> = (0..32).map(|n| file(format!("g1/base-0-{n}.snap"))).collect();
        assert!(!is_due(&base, &deltas(8)));
        assert!(is_due(&base, &deltas(9)));
    }

    #[test]
    fn the_newest_value_of_a_key_stays_and_slots_with_the_same_key_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::local(dir.path()).unwrap();
        let old = vec![entry(1, "a", Some("old")), entry(2, "a", Some("two")), entry(3, "b", Some("gone"))];
        let new = vec![entry(1, "a", Some("new")), entry(3, "b", None)];
        let files = [delta(&store, "1.snap", old), delta(&store, "2.snap", new)];
        let base = compact(&store, &files, Epoch(7)).unwrap();
        let entries: Vec<StateEntry> = base
            .iter()
            .flat_map(|file| store.read(file).unwrap())
            .flat_map(|block| block.entries.unpack().unwrap())
            .collect();
        assert_eq!(entries, [entry(1, "a", Some("new")), entry(2, "a", Some("two"))]);
    }
}
