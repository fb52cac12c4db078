//! Facts back into the log, exactly once: [`EpochLog`] over `log.db`.
//!
//! ```text
//!   BEGIN IMMEDIATE · is the fence ours? · batches of facts.* · progress = through · digests · COMMIT
//! ```
//!
//! Invariants: the records of an epoch and the progress past it change together; only the generation that
//! last fenced the log can append. A crash before the commit leaves the epoch to be appended again; after
//! it, `committed` says so and the runtime drops it. To consumers, every record carries the header `epoch`
//! (decimal), and a half-done epoch never exists.

use super::append::{Topics, choose_partition};
use super::checkpoint::Checkpointer;
use super::db::Db;
use super::error::{EmbeddedError, classify};
use super::packer::Packer;
use runtime::digest::{Digest, NOTHING_SAID, RunningDigest};
use runtime::log::{EpochLog, OutRecord};
use runtime::sink::SinkError;
use runtime::{Epoch, Generation, killpoint};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::path::Path;

const NAME: &str = "facts";

/// The log as the facts sink writes it.
#[derive(Debug)]
pub struct LogEpochs {
    pub(super) db: Db,
    topics: Topics,
    packer: Packer,
    generation: Option<Generation>,
    _checkpointer: Checkpointer,
}

impl LogEpochs {
    /// Opens the log of a data directory for the pipeline's facts.
    ///
    /// # Errors
    /// As [`super::Log::open`].
    pub fn open(dir: &Path) -> Result<Self, EmbeddedError> {
        let _checkpointer = Checkpointer::start(Db::open(dir)?);
        Ok(LogEpochs {
            db: Db::open(dir)?,
            topics: Topics::default(),
            packer: Packer::default(),
            generation: None,
            _checkpointer,
        })
    }

    /// Running digests of the epochs after `after` that have facts, at most `max`.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn digests(&self, after: Epoch, max: usize) -> Result<Vec<(Epoch, Digest)>, EmbeddedError> {
        let sql = "SELECT epoch, digest FROM epoch_digests WHERE epoch > ?1 ORDER BY epoch LIMIT ?2";
        let rows = self.db.conn.prepare_cached(sql).and_then(|mut select| {
            select.query_map(params![after.0 as i64, max as i64], digest_row)?.collect()
        });
        rows.map_err(|e| self.db.failed("read digests", e))
    }

    /// The running digest as of `epoch`: where a replay from its snapshot goes on.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn digest_at(&self, epoch: Epoch) -> Result<Digest, EmbeddedError> {
        digest_at(&self.db.conn, epoch).map_err(|e| self.db.failed("read a digest", e))
    }

    /// Takes the running digest up where a replay that doesn't begin with the log begins.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn seed_digest(&self, through: Epoch, digest: Digest) -> Result<(), EmbeddedError> {
        let insert = "INSERT INTO epoch_digests (epoch, digest) VALUES (?1, ?2)";
        let inserted = self.db.conn.execute(insert, params![through.0 as i64, digest]);
        inserted.map(drop).map_err(|e| self.db.failed("seed a digest", e))
    }

    fn try_fence(&mut self, generation: Generation) -> Result<(), SinkError> {
        let file = self.db.file.clone();
        let failed = |e| classify(&file, "fence the log", e).into_sink(NAME);
        let tx = self.db.write().map_err(|e| e.into_sink(NAME))?;
        let (theirs, _) = progress(&tx).map_err(failed)?;
        if theirs > generation {
            return Err(SinkError::Fenced { sink: NAME, ours: generation, theirs });
        }
        tx.execute("UPDATE epoch_progress SET generation = ?1", [generation.0 as i64]).map_err(failed)?;
        tx.commit().map_err(failed)?;
        self.generation = Some(generation);
        Ok(())
    }

    /// Makes the topics that are missing, before a transaction begins.
    fn know_topics(&mut self, records: &[OutRecord]) -> Result<(), EmbeddedError> {
        let mut last = "";
        for record in records {
            if record.topic != last {
                self.topics.of(&self.db, record.topic)?;
                last = record.topic;
            }
        }
        Ok(())
    }
}

/// Packs the records in order, each with its epoch as a header.
fn pack(
    tx: &Transaction<'_>,
    topics: &Topics,
    packer: &mut Packer,
    records: &[OutRecord],
) -> rusqlite::Result<()> {
    packer.begin();
    for of_epoch in records.chunk_by(|a, b| a.epoch == b.epoch) {
        let epoch = of_epoch[0].epoch.to_string();
        for record in of_epoch {
            let partitions = topics.known(record.topic).expect("the records' topics were looked up before");
            let partition = choose_partition(Some(&record.key), partitions.len() as u32);
            let header = std::iter::once(("epoch", epoch.as_bytes()));
            packer.push(tx, partitions[partition as usize], |batch| {
                batch.push(record.timestamp, Some(&record.key), Some(&record.value), header);
            })?;
        }
    }
    packer.finish(tx)
}

impl EpochLog for LogEpochs {
    fn committed(&mut self) -> Result<Epoch, SinkError> {
        let read = progress(&self.db.conn).map_err(|e| self.db.failed("read progress", e));
        read.map(|(_, through)| through).map_err(|e| e.into_sink(NAME))
    }

    fn fence(&mut self, generation: Generation) -> Result<(), SinkError> {
        self.try_fence(generation)
    }

    fn append(&mut self, records: &[OutRecord], through: Epoch) -> Result<(), SinkError> {
        let ours = self.generation.expect("the log is fenced before it is appended to");
        self.know_topics(records).map_err(|e| e.into_sink(NAME))?;
        let failed = |e| self.db.failed("append facts", e).into_sink(NAME);
        let tx = self.db.write().map_err(|e| e.into_sink(NAME))?;
        let (theirs, done) = progress(&tx).map_err(failed)?;
        if theirs != ours {
            return Err(SinkError::Fenced { sink: NAME, ours, theirs });
        }
        assert_in_order(records, done, through);
        pack(&tx, &self.topics, &mut self.packer, records).map_err(failed)?;
        record_progress(&tx, records, through).map_err(failed)?;
        killpoint::reach("facts.before_commit");
        tx.commit().map_err(failed)?;
        killpoint::reach("facts.after_commit");
        Ok(())
    }
}

/// An epoch appended twice would double its facts: nothing but a fault in the runtime asks for it.
fn assert_in_order(records: &[OutRecord], done: Epoch, through: Epoch) {
    assert!(through > done, "facts through epoch {done} are in the log: {through} is not to be appended");
    assert!(records.is_sorted_by_key(|r| r.epoch), "facts come in the order of their epochs");
    let (first, last) = (records.first(), records.last());
    assert!(first.is_none_or(|r| r.epoch > done), "a fact of an epoch that is in the log, up to {done}");
    assert!(last.is_none_or(|r| r.epoch <= through), "a fact of an epoch beyond {through}");
}

fn progress(conn: &Connection) -> rusqlite::Result<(Generation, Epoch)> {
    let mut select = conn.prepare_cached("SELECT generation, through FROM epoch_progress")?;
    select.query_row([], |row| {
        Ok((Generation(row.get::<_, i64>(0)? as u64), Epoch(row.get::<_, i64>(1)? as u64)))
    })
}

fn record_progress(tx: &Transaction<'_>, records: &[OutRecord], through: Epoch) -> rusqlite::Result<()> {
    let mut running = RunningDigest::resume(digest_at(tx, through)?);
    let mut add = tx.prepare_cached("INSERT INTO epoch_digests (epoch, digest) VALUES (?1, ?2)")?;
    for (epoch, digest) in running.fold_records(records) {
        add.execute(params![epoch.0 as i64, digest])?;
    }
    tx.prepare_cached("UPDATE epoch_progress SET through = ?1")?.execute([through.0 as i64])?;
    Ok(())
}

fn digest_at(conn: &Connection, epoch: Epoch) -> rusqlite::Result<Digest> {
    let sql = "SELECT digest FROM epoch_digests WHERE epoch <= ?1 ORDER BY epoch DESC LIMIT 1";
    let found = conn.prepare_cached(sql)?.query_row([epoch.0 as i64], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(NOTHING_SAID))
}

fn digest_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Epoch, Digest)> {
    Ok((Epoch(row.get::<_, i64>(0)? as u64), row.get(1)?))
}
