//! What is written in one go, as several files of bounded size.
//!
//! Each is made durable before the next begins: one fsync of everything would keep the disk's journal busy for so
//! long that the sinks' commits, a few milliseconds each, would wait behind it.

use super::file::Block;
use super::store::{OpenFile, SnapshotStore};
use super::{FileRef, SnapshotError};

/// A file that has grown to this many bytes is finished, and the next one begun.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// Files being written, one after the other.
pub struct Rolling {
    name: String,
    open: Option<OpenFile>,
    done: Vec<FileRef>,
}

impl Rolling {
    /// Files called `name-0.snap`, `name-1.snap` and so on; none where nothing is written.
    pub fn new(name: String) -> Self {
        Rolling { name, open: None, done: Vec::new() }
    }

    /// Adds a block; a file that is full by it is made durable.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn write(&mut self, store: &SnapshotStore, block: &Block) -> Result<(), SnapshotError> {
        self.add(store, block);
        if self.is_full() { self.flush(store) } else { Ok(()) }
    }

    /// Adds a block and leaves it at that.
    pub fn add(&mut self, store: &SnapshotStore, block: &Block) {
        let next = || store.create(&format!("{}-{}.snap", self.name, self.done.len()));
        self.open.get_or_insert_with(next).write(block);
    }

    /// Whether the file has grown enough to be flushed.
    pub fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|file| file.bytes() >= FILE_BYTES_MAX)
    }

    /// Makes what has been added durable. Nothing of it is lost by a failure: the same call may be made again.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn flush(&mut self, store: &SnapshotStore) -> Result<(), SnapshotError> {
        if let Some(file) = &self.open {
            self.done.push(store.finish(file)?);
            self.open = None;
        }
        Ok(())
    }

    /// Makes the last one durable; all of them, in order.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn finish(mut self, store: &SnapshotStore) -> Result<Vec<FileRef>, SnapshotError> {
        self.flush(store)?;
        Ok(self.files())
    }

    /// The files, once all is flushed.
    pub fn files(self) -> Vec<FileRef> {
        assert!(self.open.is_none(), "a file that isn't durable is in no manifest");
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries::StateEntry;

    #[test]
    fn all_that_was_written_is_in_the_files_in_order_and_none_is_much_too_long() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = SnapshotStore::local(dir.path()).expect("a store");
        let mut rolling = Rolling::new("delta-7-0".into());
        for key in 0..7_u8 {
            let entry = StateEntry { slot: 0, key: vec![key], value: Some(vec![key; 900 << 10]) };
            let block =
                Block { operator: "o".into(), state: "s".into(), entries: [entry].into_iter().collect() };
            rolling.write(&store, &block).expect("written");
        }
        let files = rolling.finish(&store).expect("finished");
        assert_eq!(files.len(), 3, "{files:?}");
        assert!(files.iter().all(|file| file.bytes < FILE_BYTES_MAX + (1 << 20)));
        let blocks = files.iter().flat_map(|file| store.read(file).expect("readable"));
        let keys = blocks.flat_map(|block| block.entries.unpack().expect("whole")).map(|entry| entry.key[0]);
        assert!(keys.eq(0..7));
    }

    #[test]
    fn nothing_written_makes_no_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = SnapshotStore::local(dir.path()).expect("a store");
        assert_eq!(Rolling::new("delta-7-0".into()).finish(&store).expect("finished"), []);
    }
}
