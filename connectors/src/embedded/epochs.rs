//! Facts back into the log, exactly once: [`EpochLog`] over `log.db`.
//!
//! ```text
//!   BEGIN IMMEDIATE · is the fence ours? · batches of facts.* · progress = through · digests · COMMIT
//! ```
//!
//! Several pipelines may write into one log, each with a fence, progress and digests of its own, and each to
//! topics of its own: a topic belongs to the pipeline that claimed it, and for good once it holds a fact.
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
use runtime::{Epoch, Generation, Millis, killpoint};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::path::Path;

const NAME: &str = "facts";

/// The log as the facts sink writes it.
#[derive(Debug)]
pub struct LogEpochs {
    pub(super) db: Db,
    pipeline: String,
    /// Topics this process has written to: nobody can take them any more.
    owned: Vec<&'static str>,
    topics: Topics,
    packer: Packer,
    generation: Option<Generation>,
    _checkpointer: Checkpointer,
}

impl LogEpochs {
    /// Opens the log of a data directory for a pipeline's facts.
    ///
    /// # Errors
    /// As [`super::Log::open`].
    pub fn open(dir: &Path, pipeline: &str) -> Result<Self, EmbeddedError> {
        let db = Db::open(dir)?;
        let row = "INSERT OR IGNORE INTO epoch_progress VALUES (?1, 0, 0, 0)";
        let known = "SELECT 1 FROM epoch_progress WHERE pipeline = ?1";
        let known = db.conn.query_row(known, [pipeline], |_| Ok(())).optional();
        if known.map_err(|e| db.failed("read progress", e))?.is_none() {
            let tx = db.write()?;
            let made = tx.execute(row, [pipeline]).and_then(|_| tx.commit());
            made.map_err(|e| classify(&db.file, "note a pipeline", e))?;
        }
        let _checkpointer = Checkpointer::start(Db::open(dir)?);
        Ok(LogEpochs {
            db,
            pipeline: pipeline.to_owned(),
            owned: Vec::new(),
            topics: Topics::default(),
            packer: Packer::default(),
            generation: None,
            _checkpointer,
        })
    }

    /// Takes topics for this pipeline, all or none. One that another has taken can be had only while it holds
    /// nothing and its pipeline is `idle`; that one finds out before it writes its first fact.
    ///
    /// # Errors
    /// [`EmbeddedError::Claimed`] where one of them stays another pipeline's.
    pub fn claim<'a>(
        &mut self,
        topics: impl IntoIterator<Item = &'a str>,
        idle: impl Fn(&str) -> bool,
    ) -> Result<(), EmbeddedError> {
        let file = self.db.file.clone();
        let failed = |e| classify(&file, "claim topics", e);
        let tx = self.db.write()?;
        for topic in topics {
            let owner = writer(&tx, topic).map_err(failed)?.filter(|owner| *owner != self.pipeline);
            if let Some(owner) = owner
                && (holds_facts(&tx, topic).map_err(failed)? || !idle(&owner))
            {
                return Err(self.claimed(topic, owner));
            }
            let claim = "INSERT OR REPLACE INTO writers (topic, pipeline) VALUES (?1, ?2)";
            tx.execute(claim, [topic, &self.pipeline]).map_err(failed)?;
        }
        tx.commit().map_err(failed)
    }

    fn claimed(&self, topic: &str, owner: String) -> EmbeddedError {
        let (file, topic, ours) = (self.db.file.clone(), topic.to_owned(), self.pipeline.clone());
        EmbeddedError::Claimed { file, topic, owner, ours }
    }

    /// Whether the topics of these records are still this pipeline's: asked before the first fact of each.
    fn check_owned(
        &self,
        tx: &Transaction<'_>,
        records: &[OutRecord],
    ) -> Result<Vec<&'static str>, SinkError> {
        let mut fresh: Vec<&'static str> = Vec::new();
        for of_topic in records.chunk_by(|a, b| std::ptr::eq(a.topic, b.topic)) {
            let topic = of_topic[0].topic;
            if self.owned.contains(&topic) || fresh.contains(&topic) {
                continue;
            }
            let owner = writer(tx, topic).map_err(|e| self.db.failed("read writers", e).into_sink(NAME))?;
            if let Some(owner) = owner.filter(|owner| *owner != self.pipeline) {
                return Err(self.claimed(topic, owner).into_sink(NAME));
            }
            fresh.push(topic);
        }
        Ok(fresh)
    }

    /// Running digests of the epochs after `after` that have facts, at most `max`.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn digests(&self, after: Epoch, max: usize) -> Result<Vec<(Epoch, Digest)>, EmbeddedError> {
        let sql = "SELECT epoch, digest FROM epoch_digests WHERE pipeline = ?3 AND epoch > ?1 ORDER BY epoch LIMIT ?2";
        let rows = self.db.conn.prepare_cached(sql).and_then(|mut select| {
            select.query_map(params![after.0 as i64, max as i64, self.pipeline], digest_row)?.collect()
        });
        rows.map_err(|e| self.db.failed("read digests", e))
    }

    /// The running digest as of `epoch`: where a replay from its snapshot goes on.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn digest_at(&self, epoch: Epoch) -> Result<Digest, EmbeddedError> {
        digest_at(&self.db.conn, &self.pipeline, epoch).map_err(|e| self.db.failed("read a digest", e))
    }

    /// Takes the running digest up where a replay that doesn't begin with the log begins.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn seed_digest(&self, through: Epoch, digest: Digest) -> Result<(), EmbeddedError> {
        let insert = "INSERT INTO epoch_digests (pipeline, epoch, digest) VALUES (?1, ?2, ?3)";
        let inserted = self.db.conn.execute(insert, params![self.pipeline, through.0 as i64, digest]);
        inserted.map(drop).map_err(|e| self.db.failed("seed a digest", e))
    }

    fn try_fence(&mut self, generation: Generation) -> Result<(), SinkError> {
        let file = self.db.file.clone();
        let failed = |e| classify(&file, "fence the log", e).into_sink(NAME);
        let tx = self.db.write().map_err(|e| e.into_sink(NAME))?;
        let (theirs, _) = progress(&tx, &self.pipeline).map_err(failed)?;
        if theirs > generation {
            return Err(SinkError::Fenced { sink: NAME, ours: generation, theirs });
        }
        let fence = "UPDATE epoch_progress SET generation = ?1 WHERE pipeline = ?2";
        tx.execute(fence, params![generation.0 as i64, self.pipeline]).map_err(failed)?;
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

/// Packs the records in order, each with its epoch and its trace as headers.
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
            let trace: Vec<_> = record.trace.iter().flat_map(|trace| trace.headers()).collect();
            let trace = trace.iter().map(|(name, value)| (*name, value.as_bytes()));
            let headers = std::iter::once(("epoch", epoch.as_bytes())).chain(trace);
            packer.push(tx, partitions[partition as usize], |batch| {
                batch.push(record.timestamp, Some(&record.key), Some(&record.value), headers);
            })?;
        }
    }
    packer.finish(tx)
}

impl EpochLog for LogEpochs {
    fn committed(&mut self) -> Result<Epoch, SinkError> {
        let read = progress(&self.db.conn, &self.pipeline).map_err(|e| self.db.failed("read progress", e));
        read.map(|(_, through)| through).map_err(|e| e.into_sink(NAME))
    }

    fn fence(&mut self, generation: Generation) -> Result<(), SinkError> {
        self.try_fence(generation)
    }

    fn append(&mut self, records: &[OutRecord], through: Epoch, now: Millis) -> Result<(), SinkError> {
        let ours = self.generation.expect("the log is fenced before it is appended to");
        self.know_topics(records).map_err(|e| e.into_sink(NAME))?;
        let failed = |e| self.db.failed("append facts", e).into_sink(NAME);
        let tx = self.db.write().map_err(|e| e.into_sink(NAME))?;
        let (theirs, done) = progress(&tx, &self.pipeline).map_err(failed)?;
        if theirs != ours {
            return Err(SinkError::Fenced { sink: NAME, ours, theirs });
        }
        assert_in_order(records, done, through);
        let fresh = self.check_owned(&tx, records)?;
        pack(&tx, &self.topics, &mut self.packer, records).map_err(failed)?;
        record_progress(&tx, &self.pipeline, records, (through, now)).map_err(failed)?;
        killpoint::reach("facts.before_commit");
        tx.commit().map_err(failed)?;
        self.owned.extend(fresh);
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

/// The pipeline that has claimed a topic.
fn writer(conn: &Connection, topic: &str) -> rusqlite::Result<Option<String>> {
    let mut select = conn.prepare_cached("SELECT pipeline FROM writers WHERE topic = ?1")?;
    select.query_row([topic], |row| row.get(0)).optional()
}

fn holds_facts(conn: &Connection, topic: &str) -> rusqlite::Result<bool> {
    let mut select =
        conn.prepare_cached("SELECT count(*) FROM partitions WHERE topic = ?1 AND end_offset > 0")?;
    select.query_row([topic], |row| Ok(row.get::<_, i64>(0)? > 0))
}

fn progress(conn: &Connection, pipeline: &str) -> rusqlite::Result<(Generation, Epoch)> {
    let sql = "SELECT generation, through FROM epoch_progress WHERE pipeline = ?1";
    conn.prepare_cached(sql)?.query_row([pipeline], |row| {
        Ok((Generation(row.get::<_, i64>(0)? as u64), Epoch(row.get::<_, i64>(1)? as u64)))
    })
}

fn record_progress(
    tx: &Transaction<'_>,
    pipeline: &str,
    records: &[OutRecord],
    (through, now): (Epoch, Millis),
) -> rusqlite::Result<()> {
    let mut running = RunningDigest::resume(digest_at(tx, pipeline, through)?);
    let mut add =
        tx.prepare_cached("INSERT INTO epoch_digests (pipeline, epoch, digest) VALUES (?1, ?2, ?3)")?;
    for (epoch, digest) in running.fold_records(records) {
        add.execute(params![pipeline, epoch.0 as i64, digest])?;
    }
    let advance = "UPDATE epoch_progress SET through = ?1, now_ms = ?2 WHERE pipeline = ?3";
    tx.prepare_cached(advance)?.execute(params![through.0 as i64, now, pipeline])?;
    Ok(())
}

fn digest_at(conn: &Connection, pipeline: &str, epoch: Epoch) -> rusqlite::Result<Digest> {
    let sql =
        "SELECT digest FROM epoch_digests WHERE pipeline = ?1 AND epoch <= ?2 ORDER BY epoch DESC LIMIT 1";
    let found = conn
        .prepare_cached(sql)?
        .query_row(params![pipeline, epoch.0 as i64], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(NOTHING_SAID))
}

fn digest_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Epoch, Digest)> {
    Ok((Epoch(row.get::<_, i64>(0)? as u64), row.get(1)?))
}
