//! Reading batches, and believing none that isn't whole and in its place.
//!
//! Each read that finds something new is one short transaction, so that it sees an end and the batches below it as of one moment
//! and the WAL can be moved into the file behind it.

use super::batch::{RawRecord, Records, Stored};
use super::db::Db;
use super::error::{EmbeddedError, Result};
use runtime::Epoch;
use rusqlite::{ErrorCode, OptionalExtension, Row, params};

/// A record read back, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    pub partition: u32,
    pub offset: u64,
    pub timestamp_ms: runtime::Millis,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl StoredRecord {
    /// The epoch that decided it, where it is a fact.
    pub fn epoch(&self) -> Option<Epoch> {
        let (_, value) = self.headers.iter().find(|(name, _)| name == "epoch")?;
        std::str::from_utf8(value).ok()?.parse().ok().map(Epoch)
    }

    pub(crate) fn copy(partition: u32, offset: u64, raw: &RawRecord<'_>) -> Self {
        let headers = raw.headers.iter();
        StoredRecord {
            partition,
            offset,
            timestamp_ms: raw.timestamp_ms,
            key: raw.key.map(Into::into),
            value: raw.value.map(Into::into),
            headers: headers
                .map(|(name, bytes)| (String::from_utf8_lossy(name).into_owned(), bytes.to_vec()))
                .collect(),
        }
    }
}

/// One partition as it lies in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionRow {
    pub id: i64,
    pub topic: String,
    pub partition: u32,
}

/// One row of `batches`, its bytes not yet believed.
struct BatchRow<'a> {
    base: i64,
    count: i64,
    checksum: i64,
    stored: Stored<'a>,
}

impl PartitionRow {
    pub fn find(db: &Db, topic: &str, partition: u32) -> Result<Self> {
        let sql = "SELECT id FROM partitions WHERE topic = ?1 AND partition = ?2";
        let id = db.conn.query_row(sql, params![topic, partition], |row| row.get(0)).optional();
        match id.map_err(|e| db.failed("read its topics", e))? {
            Some(id) => Ok(PartitionRow { id, topic: topic.to_owned(), partition }),
            None => Err(EmbeddedError::UnknownTopic { file: db.file.clone(), topic: topic.to_owned() }),
        }
    }

    /// The offset the next record gets.
    pub fn end(&self, db: &Db) -> Result<u64> {
        let select = db.conn.prepare_cached("SELECT end_offset FROM partitions WHERE id = ?1");
        let end = select.and_then(|mut s| s.query_row([self.id], |row| row.get::<_, i64>(0)));
        end.map(|end| end as u64).map_err(|e| db.failed("read an end", e))
    }

    /// Calls `each` for the records from `from` on, about `max` of them (batches are read whole); the end as of this read.
    pub fn read<E: From<EmbeddedError>>(
        &self,
        db: &Db,
        from: u64,
        max: usize,
        mut each: impl FnMut(u64, RawRecord<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<u64, E> {
        // Most looks find nothing new: they need no transaction.
        if self.end(db)? == from {
            return Ok(from);
        }
        let snapshot = db.snapshot()?;
        let end = self.end(db)?;
        if from > end {
            let problem = format!(
                "the log ends at {end}, below an offset that has been read before: it was cut or replaced"
            );
            return Err(self.damaged(db, from, problem).into());
        }
        self.read_batches(db, from, end, max, &mut each)?;
        snapshot.finish().map_err(|e| db.failed("end a read", e))?;
        Ok(end)
    }

    fn read_batches<E: From<EmbeddedError>>(
        &self,
        db: &Db,
        from: u64,
        end: u64,
        max: usize,
        each: &mut impl FnMut(u64, RawRecord<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let failed = |e| self.unreadable(db, from, e);
        let mut select = db
            .conn
            .prepare_cached(
                "SELECT base_offset, count, checksum, raw_length, bytes FROM batches WHERE partition = ?1 AND base_offset >=
                 (SELECT coalesce(max(base_offset), 0) FROM batches WHERE partition = ?1 AND base_offset <= ?2)
                 ORDER BY base_offset",
            )
            .map_err(failed)?;
        let mut rows = select.query([self.id, from as i64]).map_err(failed)?;
        let (mut next, mut buffer) = (from, Vec::new());
        let stop = end.min(from.saturating_add(max as u64));
        while next < stop {
            let row = rows.next().map_err(failed)?;
            let batch = row.map(BatchRow::of).transpose().map_err(failed)?;
            next = self.read_batch(db, batch, next, &mut buffer, each)?;
        }
        Ok(())
    }

    /// Checks one batch and reads it from `next` on; where the batch after it must begin.
    fn read_batch<E: From<EmbeddedError>>(
        &self,
        db: &Db,
        batch: Option<BatchRow<'_>>,
        next: u64,
        buffer: &mut Vec<u8>,
        each: &mut impl FnMut(u64, RawRecord<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<u64, E> {
        let missing = || self.damaged(db, next, "the batch that holds it is missing".to_owned());
        let batch = batch.filter(|b| b.holds(next)).ok_or_else(missing)?;
        if batch.stored.checksum(self.id, batch.base, batch.count) != batch.checksum {
            let problem = "the batch that holds it is damaged (its checksum differs)".to_owned();
            return Err(self.damaged(db, next, problem).into());
        }
        let mut offset = batch.base as u64;
        let raw = batch.stored.unpack(buffer);
        for record in Records::new(raw.ok_or_else(missing)?) {
            let record = record.ok_or_else(missing)?;
            if offset >= next {
                each(offset, record)?;
            }
            offset += 1;
        }
        assert_eq!(offset, (batch.base + batch.count) as u64, "a batch with a right checksum is whole");
        Ok(offset)
    }

    /// A file whose pages make no sense is damage at a place, too.
    fn unreadable(&self, db: &Db, offset: u64, error: rusqlite::Error) -> EmbeddedError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                self.damaged(db, offset, format!("the file can't be read there ({error})"))
            }
            _ => db.failed("read a batch", error),
        }
    }

    fn damaged(&self, db: &Db, offset: u64, problem: String) -> EmbeddedError {
        EmbeddedError::Damaged {
            file: db.file.clone(),
            topic: self.topic.clone(),
            partition: self.partition,
            offset,
            problem,
            remedy: "stop every process that uses it and restore the data directory from a backup; records after this one can't be read in order without it",
        }
    }
}

impl<'a> BatchRow<'a> {
    fn of(row: &'a Row<'_>) -> rusqlite::Result<Self> {
        Ok(BatchRow {
            base: row.get(0)?,
            count: row.get(1)?,
            checksum: row.get(2)?,
            stored: Stored {
                raw_length: row.get(3)?,
                bytes: row.get_ref(4)?.as_bytes().map_err(rusqlite::Error::from)?,
            },
        })
    }

    fn holds(&self, offset: u64) -> bool {
        (self.base..self.base.saturating_add(self.count)).contains(&(offset as i64))
    }
}
