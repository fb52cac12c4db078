//! Compaction: a base and its deltas become one base, off the workers' threads.

use super::file::Block;
use super::store::SnapshotStore;
use super::{FileRef, SnapshotError};
use crate::entries::StateEntry;
use crate::types::Epoch;
use std::collections::BTreeMap;

/// Entries of one block of a base.
const BLOCK_ENTRIES: usize = 4096;

/// Whether the deltas outweigh the base, so that a new base costs less than it saves.
pub fn is_due(base: Option<&FileRef>, deltas: &[FileRef]) -> bool {
    let base_bytes = base.map_or(0, |base| base.bytes);
    let delta_bytes: u64 = deltas.iter().map(|delta| delta.bytes).sum();
    deltas.len() >= 8 && (delta_bytes > base_bytes || deltas.len() >= 64)
}

/// By operator and state, then by slot and key: a state's keys need only be unique within a slot.
type Merged = BTreeMap<(String, String), BTreeMap<(u8, Vec<u8>), StateEntry>>;

/// Merges files, oldest first, into a base as of `epoch`. Removed keys are gone for good.
///
/// # Errors
/// See [`SnapshotError`].
pub fn compact(store: &SnapshotStore, files: &[FileRef], epoch: Epoch) -> Result<FileRef, SnapshotError> {
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
    let mut file = store.create(&format!("base-{:020}.snap", epoch.0))?;
    for ((operator, state), entries) in merged {
        let mut entries = entries.into_values().peekable();
        while entries.peek().is_some() {
            let entries = entries.by_ref().take(BLOCK_ENTRIES).collect();
            let block = Block { operator: operator.clone(), state: state.clone(), entries };
            store.write(&mut file, &block)?;
        }
    }
    store.finish(file)
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
        let mut file = store.create(name).unwrap();
        store
            .write(
                &mut file,
                &Block { operator: "o".into(), state: "s".into(), entries: entries.into_iter().collect() },
            )
            .unwrap();
        store.finish(file).unwrap()
    }

    #[test]
    fn the_newest_value_of_a_key_stays_and_slots_with_the_same_key_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::local(dir.path()).unwrap();
        let old = vec![entry(1, "a", Some("old")), entry(2, "a", Some("two")), entry(3, "b", Some("gone"))];
        let new = vec![entry(1, "a", Some("new")), entry(3, "b", None)];
        let files = [delta(&store, "1.snap", old), delta(&store, "2.snap", new)];
        let base = compact(&store, &files, Epoch(7)).unwrap();
        let entries: Vec<StateEntry> = store
            .read(&base)
            .unwrap()
            .into_iter()
            .flat_map(|block| block.entries.unpack().unwrap())
            .collect();
        assert_eq!(entries, [entry(1, "a", Some("new")), entry(2, "a", Some("two"))]);
    }
}
