//! Packs the records of one transaction into batches, one open batch per partition written to.
//!
//! Invariant: offsets are given out while the write lock is held, from the ends as they stand there, so they
//! are dense whoever appends beside. A transaction that is rolled back takes them back with it: the next
//! [`Packer::begin`] reads the ends anew. Buffers are kept, so that steady appends need no fresh memory.

use super::batch::{BatchBuilder, Stored};
use rusqlite::{Transaction, params};

/// The batches of the transaction that is under way.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    /// A handful: looking through them is faster than hashing.
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    partition_id: i64,
    /// Where the open batch begins.
    base: i64,
    batch: BatchBuilder,
    /// For the batch compressed.
    packed: Vec<u8>,
    /// Whether this transaction has written to the partition.
    used: bool,
}

impl Packer {
    /// Begins a transaction; forgets what an earlier one that failed has left.
    pub fn begin(&mut self) {
        self.open.iter_mut().for_each(|open| open.used = false);
    }

    /// Packs one record for the partition with this row id: its offset.
    pub fn push(
        &mut self,
        tx: &Transaction<'_>,
        partition_id: i64,
        pack: impl FnOnce(&mut BatchBuilder),
    ) -> rusqlite::Result<i64> {
        let open = self.open(tx, partition_id)?;
        if open.batch.is_full() {
            open.write(tx)?;
        }
        let offset = open.base + i64::from(open.batch.count);
        pack(&mut open.batch);
        Ok(offset)
    }

    fn open(&mut self, tx: &Transaction<'_>, partition_id: i64) -> rusqlite::Result<&mut Open> {
        let known = self.open.iter().position(|open| open.partition_id == partition_id);
        let at = known.unwrap_or_else(|| {
            let batch = BatchBuilder::default();
            self.open.push(Open { partition_id, base: 0, batch, packed: Vec::new(), used: false });
            self.open.len() - 1
        });
        let open = &mut self.open[at];
        if !open.used {
            let mut end = tx.prepare_cached("SELECT end_offset FROM partitions WHERE id = ?1")?;
            open.base = end.query_row([partition_id], |row| row.get(0))?;
            open.batch.clear();
            open.used = true;
        }
        Ok(open)
    }

    /// Writes what is still open and moves the ends: after this, the transaction may commit.
    pub fn finish(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut move_end = tx.prepare_cached("UPDATE partitions SET end_offset = ?2 WHERE id = ?1")?;
        for open in self.open.iter_mut().filter(|open| open.used) {
            open.write(tx)?;
            move_end.execute([open.partition_id, open.base])?;
            open.used = false;
        }
        Ok(())
    }
}

impl Open {
    fn write(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let (batch, count) = (&self.batch, i64::from(self.batch.count));
        let stored = Stored::pack(&batch.bytes, &mut self.packed);
        let sum = stored.checksum(self.partition_id, self.base, count);
        let mut add = tx.prepare_cached(
            "INSERT INTO batches (partition, base_offset, count, time_max, checksum, raw_length, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let Stored { raw_length, bytes } = stored;
        add.execute(params![self.partition_id, self.base, count, batch.time_max, sum, raw_length, bytes])?;
        self.base += count;
        self.batch.clear();
        Ok(())
    }
}
