//! Appending: many records of several topics in one transaction.
//!
//! ```text
//!   BEGIN IMMEDIATE · choose each record's partition · pack into batches · move the ends · COMMIT
//! ```
//!
//! A crash before the commit leaves nothing; after it, everything. Which of the two happened, a producer
//! that died in between can't know: it sends again, and the command id tells the pipeline.

use super::db::Db;
use super::error::{EmbeddedError, Result};
use super::packer::Packer;
use murmur2::{KAFKA_SEED, murmur2};
use runtime::{Millis, killpoint};
use rusqlite::{OptionalExtension, Transaction, params};
use std::sync::Arc;

/// A record to append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// Chosen from the key (else the value) where absent.
    pub partition: Option<u32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp_ms: Millis,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Where a record went: partition and offset.
pub type Placed = (u32, u64);

/// Appends to the log. Several may do so at once, in one process or in many.
#[derive(Debug)]
pub struct Appender {
    pub(super) db: Db,
    pub(super) topics: Topics,
    pub(super) packer: Packer,
}

impl Appender {
    pub(crate) fn new(db: Db) -> Self {
        Appender { db, topics: Topics::default(), packer: Packer::default() }
    }

    /// Appends records to a topic (made with one partition where there is none): all or none, durable on return.
    ///
    /// # Errors
    /// [`EmbeddedError::Busy`] and [`EmbeddedError::Full`] leave the log as it was.
    pub fn append(&mut self, topic: &str, records: &[NewRecord]) -> Result<Vec<Placed>> {
        let mut placed = self.append_many(&[(topic, records)])?;
        Ok(placed.pop().expect("one topic in, one list out"))
    }

    /// The same for several topics, in one transaction. Offsets come in the order of the records.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub fn append_many(&mut self, topics: &[(&str, &[NewRecord])]) -> Result<Vec<Vec<Placed>>> {
        let known = topics.iter().map(|(topic, _)| self.topics.of(&self.db, topic));
        let known: Vec<Arc<[i64]>> = known.collect::<Result<_>>()?;
        let tx = self.db.write()?;
        self.packer.begin();
        let mut placed = Vec::with_capacity(topics.len());
        for ((topic, records), partitions) in topics.iter().zip(&known) {
            let place = |record| place(&self.db, &tx, &mut self.packer, topic, partitions, record);
            placed.push(records.iter().map(place).collect::<Result<_>>()?);
        }
        self.packer.finish(&tx).map_err(|e| self.db.failed("append", e))?;
        killpoint::reach("log.before_append");
        tx.commit().map_err(|e| self.db.failed("append", e))?;
        killpoint::reach("log.after_append");
        Ok(placed)
    }
}

pub(super) fn place(
    db: &Db,
    tx: &Transaction<'_>,
    packer: &mut Packer,
    topic: &str,
    partitions: &[i64],
    record: &NewRecord,
) -> Result<Placed> {
    let partition = partition_of(record, partitions.len() as u32);
    let id = *partitions.get(partition as usize).ok_or_else(|| EmbeddedError::UnknownPartition {
        file: db.file.clone(),
        topic: topic.to_owned(),
        partition,
        partitions: partitions.len() as u32,
    })?;
    let headers = record.headers.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    let offset = packer.push(tx, id, |batch| {
        batch.push(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), headers);
    });
    Ok((partition, offset.map_err(|e| db.failed("append", e))? as u64))
}

fn partition_of(record: &NewRecord, partitions: u32) -> u32 {
    if let Some(partition) = record.partition {
        return partition;
    }
    choose_partition(record.key.as_deref().or(record.value.as_deref()), partitions)
}

/// The partition a key belongs to, as Kafka's default partitioner has it: records of one key keep their order, and
/// a topic lies in Kafka as it lies here.
pub fn choose_partition(key: Option<&[u8]>, partitions: u32) -> u32 {
    if partitions == 1 {
        return 0;
    }
    (murmur2(key.unwrap_or_default(), KAFKA_SEED) & 0x7fff_ffff) % partitions
}

/// Row ids of every partition of the topics seen so far.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// A handful: looking through them is faster than hashing.
    known: Vec<(String, Arc<[i64]>)>,
}

impl Topics {
    /// The same for a topic that has been looked up before.
    pub fn known(&self, topic: &str) -> Option<&Arc<[i64]>> {
        self.known.iter().find(|(name, _)| name == topic).map(|(_, ids)| ids)
    }

    /// Row ids of a topic's partitions, by number; makes the topic where there is none.
    pub fn of(&mut self, db: &Db, topic: &str) -> Result<Arc<[i64]>> {
        if let Some(ids) = self.known(topic) {
            return Ok(ids.clone());
        }
        ensure_topic(db, topic, 1)?;
        let ids: Arc<[i64]> = partition_ids(db, topic).map_err(|e| db.failed("read its topics", e))?.into();
        self.known.push((topic.to_owned(), ids.clone()));
        Ok(ids)
    }
}

fn partition_ids(db: &Db, topic: &str) -> rusqlite::Result<Vec<i64>> {
    let mut select =
        db.conn.prepare_cached("SELECT id FROM partitions WHERE topic = ?1 ORDER BY partition")?;
    select.query_map([topic], |row| row.get(0))?.collect()
}

/// Makes a topic with this many partitions, where there is none; one that exists stays as it is.
pub(crate) fn ensure_topic(db: &Db, topic: &str, partitions: u32) -> Result<()> {
    assert!(partitions > 0, "a topic has at least one partition");
    let known = "SELECT 1 FROM partitions WHERE topic = ?1";
    let exists = db.conn.query_row(known, [topic], |_| Ok(())).optional();
    if exists.map_err(|e| db.failed("read its topics", e))?.is_some() {
        return Ok(());
    }
    let file = db.file.clone();
    let tx = db.write()?;
    let made = tx.query_row(known, [topic], |_| Ok(())).optional().and_then(|exists| {
        if exists.is_none() {
            make_topic(&tx, topic, partitions)?;
        }
        tx.commit()
    });
    made.map_err(|e| super::error::classify(&file, "make a topic", e))
}

fn make_topic(tx: &Transaction<'_>, topic: &str, partitions: u32) -> rusqlite::Result<()> {
    for partition in 0..partitions {
        tx.execute(
            "INSERT INTO partitions (topic, partition, end_offset) VALUES (?1, ?2, 0)",
            params![topic, partition],
        )?;
    }
    Ok(())
}
