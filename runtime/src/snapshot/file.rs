//! The bytes of a snapshot file: a magic, then blocks, each a length and one state's entries.
//!
//! The SHA-256 of the whole file stands in the manifest, so a truncated or altered file is never loaded.

use super::{FORMAT, FileRef, SnapshotError};
use crate::entries::Entries;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"TOMBSNAP";

/// Entries of one state of one operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub operator: String,
    pub state: String,
    pub entries: Entries,
}

/// What stands before a block's packed entries.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    operator: &'a str,
    state: &'a str,
    count: usize,
}

/// Counts and hashes what goes into a file.
#[derive(Clone)]
pub struct FileHash {
    hash: Sha256,
    bytes: u64,
    entries: u64,
}

impl Default for FileHash {
    fn default() -> Self {
        FileHash { hash: Sha256::new(), bytes: 0, entries: 0 }
    }
}

impl FileHash {
    /// The bytes every file begins with.
    pub fn header(&mut self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        self.count(&bytes, 0);
        bytes
    }

    /// The bytes of one block.
    pub fn block(&mut self, block: &Block) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        let head = Head { operator: &block.operator, state: &block.state, count: block.entries.len() };
        bytes = postcard::to_extend(&head, bytes).expect("plain data always encodes into memory");
        bytes.extend_from_slice(block.entries.bytes());
        let length = u32::try_from(bytes.len() - 4).expect("a block is a slice of a few thousand entries");
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.count(&bytes, block.entries.len() as u64);
        bytes
    }

    fn count(&mut self, bytes: &[u8], entries: u64) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.entries += entries;
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the manifest says of the file.
    pub fn finish(self, path: String) -> FileRef {
        FileRef { path, bytes: self.bytes, entries: self.entries, sha256: hex(&self.hash.finalize()) }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Checks a file against its reference and takes it apart.
///
/// # Errors
/// [`SnapshotError::Damaged`] where anything differs.
pub fn decode(file: &FileRef, bytes: &[u8]) -> Result<Vec<Block>, SnapshotError> {
    let damaged = |problem: String| SnapshotError::Damaged { path: file.path.clone(), problem };
    if bytes.len() as u64 != file.bytes {
        return Err(damaged(format!("{} bytes instead of {}", bytes.len(), file.bytes)));
    }
    if hex(&Sha256::digest(bytes)) != file.sha256 {
        return Err(damaged("its SHA-256 is not the manifest's".into()));
    }
    let mut rest = bytes
        .strip_prefix(MAGIC.as_slice())
        .and_then(|rest| rest.strip_prefix(FORMAT.to_le_bytes().as_slice()))
        .ok_or_else(|| damaged("it is of another format".into()))?;
    let mut blocks = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let block = after.get(..length).ok_or_else(|| damaged("a block is cut off".into()))?;
        let (head, packed): (Head<'_>, _) =
            postcard::take_from_bytes(block).map_err(|error| damaged(error.to_string()))?;
        let entries = Entries::from_packed(packed.to_vec(), head.count);
        blocks.push(Block { operator: head.operator.into(), state: head.state.into(), entries });
        rest = &after[length..];
    }
    Ok(blocks)
}
