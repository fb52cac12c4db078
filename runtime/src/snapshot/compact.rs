//! Compaction: a base and its deltas become one base, off the workers' threads.

use super::file::Block;
use super::store::SnapshotStore;
use super::{FileRef, SnapshotError};
use crate::state::StateEntry;
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

type Merged = BTreeMap<(String, String), BTreeMap<Vec<u8>, StateEntry>>;

/// Merges files, oldest first, into a base as of `epoch`. Removed keys are gone for good.
///
/// # Errors
/// See [`SnapshotError`].
pub fn compact(store: &SnapshotStore, files: &[FileRef], epoch: Epoch) -> Result<FileRef, SnapshotError> {
    let mut merged = Merged::new();
    for file in files {
        for block in store.read(file)? {
            let state = merged.entry((block.operator, block.state)).or_default();
            for entry in block.entries {
                if entry.value.is_some() {
                    state.insert(entry.key.clone(), entry);
                } else {
                    state.remove(&entry.key);
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
