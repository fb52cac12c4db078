//! Snapshots: base plus deltas in an object store, and the manifest that makes one of them count.
//!
//! ```text
//!   snapshots/g0000000003/base-00000000000000000812-0.snap     everything up to epoch 812, compacted
//!   snapshots/g0000000003/delta-00000000000000001203-0-0.snap  what changed in (812, 1203], worker 0
//!   snapshots/g0000000003/delta-00000000000000001203-0-1.snap                               worker 0, more of it
//!   snapshots/g0000000003/delta-00000000000000001203-1-0.snap                               worker 1
//!   manifests/00000000000000001203.json                        "start from these", written last, atomically
//! ```
//!
//! A manifest for S is written only when its files, the bindings and the decided frontier are past S. A
//! crash before that leaves orphans, which are collected later; the previous manifest still counts. The
//! two newest manifests are kept, so that one damaged file costs a longer replay, not the state.

pub mod background;
pub mod compact;
pub mod file;
pub mod rolling;
pub mod store;
pub mod writer;

use crate::bindings::PartitionEnd;
use crate::types::{Epoch, Generation, Millis};
use serde::{Deserialize, Serialize};

/// Version of the manifest's and the files' encoding.
pub const FORMAT: u32 = 2;

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    pub path: String,
    pub bytes: u64,
    pub entries: u64,
    pub sha256: String,
}

/// What recovery starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub epoch: Epoch,
    pub generation: Generation,
    pub code_version: String,
    pub now: Millis,
    /// Where every partition stands at the end of `epoch`.
    pub positions: Vec<PartitionEnd>,
    pub base: Vec<FileRef>,
    /// Oldest first; a later entry for a key wins.
    pub deltas: Vec<FileRef>,
}

impl Manifest {
    /// The files to load, in order.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.base.iter().chain(&self.deltas)
    }
}

/// A snapshot that can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("snapshot store: {0}; check that the snapshot folder or bucket is there, writable and has space")]
    Store(#[from] object_store::Error),
    /// The same call may succeed later.
    #[error("snapshot store: {0}; it may pass: check that the bucket is up and can be reached from here")]
    Away(object_store::Error),
    #[error("snapshot file {path} is damaged: {problem}; an older snapshot is used if there is one")]
    Damaged { path: String, problem: String },
    #[error("snapshot store: {0}")]
    Io(#[from] std::io::Error),
}

impl SnapshotError {
    /// Whether something isn't there: it never was, or its pipeline needed it no more and deleted it.
    pub fn is_absence(&self) -> bool {
        matches!(self, SnapshotError::Store(object_store::Error::NotFound { .. }))
    }
}
