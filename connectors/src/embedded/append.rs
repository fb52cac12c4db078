//! Appending: many records of several topics in one transaction.
//!
//! ```text
//!   records ─ choose partition ─ pack into batches ─┐ (no lock held)
//!                                BEGIN IMMEDIATE    │
//!                                read ends, insert batches, move ends
//!                                COMMIT             └─> offsets
//! ```
//!
//! A crash before the commit leaves nothing; after it, everything. Which of the two happened, a producer
//! that died in between can't know: it sends again, and the command id tells the pipeline.

use super::batch::{BatchBuilder, checksum};
use super::db::Db;
use super::error::{EmbeddedError, Result};
use runtime::{Millis, killpoint, stable_hash};
use rusqlite::{OptionalExtension, Transaction, params};
use std::collections::BTreeMap;
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
    topics: Topics,
}

impl Appender {
    pub(crate) fn new(db: Db) -> Self {
        Appender { db, topics: Topics::default() }
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
        let mut staged = Staged::default();
        let mut places = Vec::with_capacity(topics.len());
        for (topic, records) in topics {
            let partitions = self.topics.of(&self.db, topic)?;
            places.push(stage(&mut staged, &partitions, topic, records, &self.db.file)?);
        }
        let batches = staged.finish();
        let tx = self.db.write()?;
        let bases = insert(&tx, &batches);
        killpoint::reach("log.before_append");
        let bases = bases.and_then(|bases| tx.commit().map(|()| bases));
        let bases = bases.map_err(|e| self.db.failed("append", e))?;
        killpoint::reach("log.after_append");
        Ok(places.into_iter().map(|topic| offsets(topic, &bases)).collect())
    }
}

/// A record's partition, its batch and its index in it.
type Place = (u32, usize, u32);

fn stage(
    staged: &mut Staged,
    partitions: &[i64],
    topic: &str,
    records: &[NewRecord],
    file: &str,
) -> Result<Vec<Place>> {
    let mut places = Vec::with_capacity(records.len());
    for record in records {
        let partition = partition_of(record, partitions.len() as u32);
        let id = *partitions.get(partition as usize).ok_or_else(|| EmbeddedError::UnknownPartition {
            file: file.to_owned(),
            topic: topic.to_owned(),
            partition,
            partitions: partitions.len() as u32,
        })?;
        let headers = record.headers.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        let (batch, index) = staged.push(id, |b| {
            b.push(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), headers);
        });
        places.push((partition, batch, index));
    }
    Ok(places)
}

fn partition_of(record: &NewRecord, partitions: u32) -> u32 {
    if let Some(partition) = record.partition {
        return partition;
    }
    choose_partition(record.key.as_deref().or(record.value.as_deref()), partitions)
}

/// The partition a key belongs to: stable, so that records of one key keep their order.
pub(crate) fn choose_partition(key: Option<&[u8]>, partitions: u32) -> u32 {
    if partitions == 1 {
        return 0;
    }
    (stable_hash(key.unwrap_or_default()) % u64::from(partitions)) as u32
}

fn offsets(places: Vec<Place>, bases: &[i64]) -> Vec<Placed> {
    places
        .into_iter()
        .map(|(partition, batch, index)| (partition, bases[batch] as u64 + u64::from(index)))
        .collect()
}

/// Row ids of every partition of the topics seen so far.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// A handful: looking through them is faster than hashing.
    known: Vec<(String, Arc<[i64]>)>,
}

/// Batches being filled, one open per partition.
#[derive(Default)]
pub(crate) struct Staged {
    batches: Vec<(i64, BatchBuilder)>,
    /// The batch each partition fills: a handful.
    open: Vec<(i64, usize)>,
}

impl Staged {
    /// Packs one record for the partition with this row id: the batch it went to and its index there.
    pub fn push(&mut self, partition_id: i64, pack: impl FnOnce(&mut BatchBuilder)) -> (usize, u32) {
        let at = self.open_batch(partition_id);
        let batch = &mut self.batches[at].1;
        let index = batch.count;
        pack(batch);
        (at, index)
    }

    fn open_batch(&mut self, partition_id: i64) -> usize {
        let open = self.open.iter().position(|(id, _)| *id == partition_id);
        if let Some((_, at)) = open.map(|n| self.open[n])
            && !self.batches[at].1.is_full()
        {
            return at;
        }
        let fresh = (partition_id, self.batches.len());
        match open {
            Some(n) => self.open[n] = fresh,
            None => self.open.push(fresh),
        }
        self.batches.push((partition_id, BatchBuilder::default()));
        fresh.1
    }

    pub fn finish(self) -> Vec<(i64, BatchBuilder)> {
        self.batches
    }
}

/// Inserts batches at the ends of their partitions and moves the ends: the base offset of each.
pub(crate) fn insert(tx: &Transaction<'_>, batches: &[(i64, BatchBuilder)]) -> rusqlite::Result<Vec<i64>> {
    let mut ends: BTreeMap<i64, i64> = BTreeMap::new();
    let mut bases = Vec::with_capacity(batches.len());
    let mut read_end = tx.prepare_cached("SELECT end_offset FROM partitions WHERE id = ?1")?;
    let mut add = tx.prepare_cached(
        "INSERT INTO batches (partition, base_offset, count, time_max, checksum, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (partition, batch) in batches {
        let end = match ends.get(partition) {
            Some(end) => *end,
            None => read_end.query_row([partition], |row| row.get(0))?,
        };
        let count = i64::from(batch.count);
        let sum = checksum(*partition, end, count, &batch.bytes);
        add.execute(params![partition, end, count, batch.time_max, sum, batch.bytes])?;
        ends.insert(*partition, end + count);
        bases.push(end);
    }
    let mut move_end = tx.prepare_cached("UPDATE partitions SET end_offset = ?2 WHERE id = ?1")?;
    for (partition, end) in ends {
        move_end.execute([partition, end])?;
    }
    Ok(bases)
}

impl Topics {
    /// Row ids of a topic's partitions, by number; makes the topic where there is none.
    pub fn of(&mut self, db: &Db, topic: &str) -> Result<Arc<[i64]>> {
        if let Some((_, ids)) = self.known.iter().find(|(name, _)| name == topic) {
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
