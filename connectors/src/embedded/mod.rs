//! The embedded log: `log.db` in the data directory, an SQLite file that many processes append to and read.
//!
//! ```text
//!   produce, API ── Appender ──┐            ┌── EmbeddedReader ── workers
//!                              ├─ batches ──┤
//!   the pipeline ── LogEpochs ─┘            └── Log::read ── command line
//! ```
//!
//! Invariants: offsets are dense per partition; a batch, its partition's end and (for facts) the epoch's
//! progress change in one transaction; what was acknowledged is on the disk. A crash leaves whole
//! transactions. Not promised: reading while the file is copied by other means than SQLite's.

mod append;
mod batch;
mod checkpoint;
mod db;
mod epochs;
mod error;
mod once;
mod packer;
mod read;
mod reader;
mod registry;
#[cfg(test)]
mod tests;
mod turn;

pub use append::{Appender, NewRecord, Placed, choose_partition};
pub use batch::{RawHeaders, RawRecord};
pub use epochs::LogEpochs;
pub use error::EmbeddedError;
pub use once::{Once, Sent};
pub use read::StoredRecord;
pub use reader::{Decode, Decoded, EmbeddedReader};
pub use registry::{Registry, RegistryRow};

use db::Db;
use error::Result;
use read::PartitionRow;
use std::path::Path;

/// One topic as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub topic: String,
    /// The end (exclusive) of each partition.
    pub ends: Vec<u64>,
}

/// `log.db`, to look at and to make topics in.
#[derive(Debug)]
pub struct Log {
    db: Db,
}

impl Log {
    /// Opens the log of a data directory; creates it where there is none.
    ///
    /// # Errors
    /// [`EmbeddedError::NewerLayout`] where a newer version of Tombola has written it.
    pub fn open(dir: &Path) -> Result<Log> {
        Ok(Log { db: Db::open(dir)? })
    }

    /// Opens an existing log without ever writing to it.
    ///
    /// # Errors
    /// As [`Log::open`], and where there is none.
    pub fn open_read_only(dir: &Path) -> Result<Log> {
        Ok(Log { db: Db::open_read_only(dir)? })
    }

    /// Something that appends. Each thread has its own.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn appender(dir: &Path) -> Result<Appender> {
        Ok(Appender::new(Db::open(dir)?))
    }

    /// Makes a topic with this many partitions where there is none; one that exists stays as it is.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn ensure_topic(&mut self, topic: &str, partitions: u32) -> Result<()> {
        append::ensure_topic(&self.db, topic, partitions)
    }

    /// Every topic, by name.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn topics(&self) -> Result<Vec<TopicInfo>> {
        let rows = self.partition_ends().map_err(|e| self.db.failed("read its topics", e))?;
        let mut topics: Vec<TopicInfo> = Vec::new();
        for (topic, end) in rows {
            match topics.last_mut().filter(|last| last.topic == topic) {
                Some(last) => last.ends.push(end),
                None => topics.push(TopicInfo { topic, ends: vec![end] }),
            }
        }
        Ok(topics)
    }

    fn partition_ends(&self) -> rusqlite::Result<Vec<(String, u64)>> {
        let sql = "SELECT topic, end_offset FROM partitions ORDER BY topic, partition";
        let mut select = self.db.conn.prepare_cached(sql)?;
        select.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?.collect()
    }

    /// The offset the next record of a partition gets.
    ///
    /// # Errors
    /// [`EmbeddedError::UnknownTopic`] where there is no such partition.
    pub fn end(&self, topic: &str, partition: u32) -> Result<u64> {
        PartitionRow::find(&self.db, topic, partition)?.end(&self.db)
    }

    /// Records of a partition from `from`, at most `max`.
    ///
    /// # Errors
    /// [`EmbeddedError::Damaged`] where the log can't be believed.
    pub fn read(&self, topic: &str, partition: u32, from: u64, max: usize) -> Result<Vec<StoredRecord>> {
        let row = PartitionRow::find(&self.db, topic, partition)?;
        let mut records = Vec::new();
        row.read(&self.db, from, max, |offset, raw| -> Result<()> {
            records.push(StoredRecord::copy(partition, offset, &raw));
            Ok(())
        })?;
        records.truncate(max);
        Ok(records)
    }
}
