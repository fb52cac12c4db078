//! The log as the runtime reads it: [`LogReader`] over `log.db`, decoding on the fetch thread.
//!
//! There is no call-back across processes, so `wait` looks: one cheap pragma says whether anyone has
//! committed, every millisecond while records are coming, every 5 ms once they have stopped. Other
//! commits (the pipeline's own facts) don't end the wait: only an input that has grown does.

use super::batch::RawRecord;
use super::db::Db;
use super::error::EmbeddedError;
use super::read::PartitionRow;
use runtime::source::{Claim, Fetch, Fetched, LogError, LogReader};
use runtime::verdicts::{Verdict, Verdicts};
use runtime::{Class, Millis, Offset, PartitionId, TopicId};
use rusqlite::OptionalExtension;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a record is to the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<R> {
    pub claim: Claim,
    pub class: Class,
    pub body: R,
    /// Why it can't be read, where it can't be.
    pub unread: Option<Box<str>>,
}

/// Turns raw records into what the job takes. One that can't be decoded becomes a body too.
pub trait Decode: Send + 'static {
    type Record: Send + 'static;

    /// Decodes one record of a topic.
    ///
    /// # Errors
    /// Only where the decoder can't do its work (the registry can't be read), never for what a record says.
    fn decode(
        &mut self,
        topic: &str,
        partition: u32,
        offset: u64,
        record: RawRecord<'_>,
    ) -> Result<Decoded<Self::Record>, LogError>;
}

/// Reads the inputs of a job. Each worker has its own.
pub struct EmbeddedReader<D> {
    db: Db,
    topics: Vec<String>,
    /// Which of the topics are read.
    wanted: Vec<bool>,
    decode: D,
    known: BTreeMap<PartitionId, Known>,
    recorded: Arc<Verdicts>,
    data_version: i64,
    /// When an input was last seen to grow.
    grown_at: Instant,
}

struct Known {
    row: PartitionRow,
    /// The end as the runtime last heard it.
    end: u64,
}

impl<D: Decode> EmbeddedReader<D> {
    /// A reader of `topics`, in the order of their [`TopicId`]s. Topics that don't exist are made, with one partition.
    ///
    /// # Errors
    /// As [`super::Log::open`].
    pub fn open(dir: &Path, topics: &[&str], decode: D) -> Result<Self, EmbeddedError> {
        EmbeddedReader::open_some(dir, topics, |_| true, decode)
    }

    /// A reader of those of `topics` that are `wanted`: each has its [`TopicId`] among all of them, so that
    /// two jobs that read different topics agree on their order.
    ///
    /// # Errors
    /// As [`super::Log::open`].
    pub fn open_some(
        dir: &Path,
        topics: &[&str],
        wanted: impl Fn(&str) -> bool,
        decode: D,
    ) -> Result<Self, EmbeddedError> {
        let db = Db::open(dir)?;
        for topic in topics.iter().filter(|topic| wanted(topic)) {
            super::append::ensure_topic(&db, topic, 1)?;
        }
        Ok(EmbeddedReader {
            db,
            wanted: topics.iter().map(|topic| wanted(topic)).collect(),
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            decode,
            known: BTreeMap::new(),
            recorded: Arc::default(),
            data_version: 0,
            grown_at: Instant::now(),
        })
    }

    fn read_partitions(&self) -> rusqlite::Result<Vec<(PartitionId, PartitionRow)>> {
        let sql = "SELECT id, partition FROM partitions WHERE topic = ?1 ORDER BY partition";
        let mut select = self.db.conn.prepare_cached(sql)?;
        let mut all = Vec::new();
        for (n, topic) in self.topics.iter().enumerate().filter(|(n, _)| self.wanted[*n]) {
            let rows = select.query_map([topic], |row| Ok((row.get(0)?, row.get(1)?)))?;
            for row in rows {
                let (id, partition) = row?;
                let place = PartitionId { topic: TopicId(n as u16), partition };
                all.push((place, PartitionRow { id, topic: topic.clone(), partition }));
            }
        }
        Ok(all)
    }

    fn row(&mut self, partition: PartitionId) -> Result<PartitionRow, LogError> {
        if let Some(known) = self.known.get(&partition) {
            return Ok(known.row.clone());
        }
        let topic = &self.topics[usize::from(partition.topic.0)];
        let row = PartitionRow::find(&self.db, topic, partition.partition)?;
        self.known.insert(partition, Known { row: row.clone(), end: 0 });
        Ok(row)
    }

    /// How far the pipeline has come that writes a topic of facts; nowhere where none has begun to.
    fn said_upto(&self, topic: &str) -> Result<Option<Millis>, EmbeddedError> {
        if !topic.starts_with("facts.") {
            return Ok(None);
        }
        let sql = "SELECT now_ms FROM writers JOIN epoch_progress USING (pipeline) WHERE topic = ?1";
        let read = self.db.conn.prepare_cached(sql);
        let read = read.and_then(|mut select| select.query_row([topic], |row| row.get(0)).optional());
        read.map(|now| Some(now.unwrap_or(0))).map_err(|e| self.db.failed("read progress", e))
    }

    /// Whether anyone has committed anything since the last call.
    fn changed(&mut self) -> bool {
        let version = self.db.conn.prepare_cached("PRAGMA data_version");
        let version = version.and_then(|mut s| s.query_row([], |row| row.get(0)));
        // A file that can't be read is the next fetch's to report.
        let version = version.unwrap_or(self.data_version + 1);
        std::mem::replace(&mut self.data_version, version) != version
    }

    /// Whether an input has grown beyond what the runtime has heard of.
    fn grown(&self) -> bool {
        self.known.values().any(|known| known.row.end(&self.db).map_or(true, |end| end > known.end))
    }

    fn pause(&self) -> Duration {
        match self.grown_at.elapsed().as_millis() {
            0..200 => Duration::from_millis(1),
            200..1_000 => Duration::from_millis(2),
            _ => Duration::from_millis(5),
        }
    }
}

impl<D: Decode> LogReader for EmbeddedReader<D> {
    type Record = D::Record;

    fn replays(&mut self, recorded: &Arc<Verdicts>) {
        self.recorded = Arc::clone(recorded);
    }

    fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
        let rows = self.read_partitions().map_err(|e| self.db.failed("read its topics", e))?;
        for (partition, row) in &rows {
            self.known.entry(*partition).or_insert_with(|| Known { row: row.clone(), end: 0 });
        }
        Ok(rows.into_iter().map(|(partition, _)| partition).collect())
    }

    fn fetch(
        &mut self,
        partition: PartitionId,
        from: Offset,
        max: usize,
    ) -> Result<Fetch<D::Record>, LogError> {
        let row = self.row(partition)?;
        // Before the records are read: everything that was said by then is among them.
        let said_upto = self.said_upto(&row.topic)?;
        let mut records = Vec::new();
        let (decode, past) = (&mut self.decode, self.recorded.past(partition));
        let end = row.read(&self.db, from.0, max, |offset, raw| -> Result<(), LogError> {
            let verdict = past.map_or(Verdict::Open, |past| past.verdict(Offset(offset)));
            let raw = RawRecord { verdict, ..raw };
            let Decoded { claim, class, body, unread } =
                decode.decode(&row.topic, row.partition, offset, raw)?;
            records.push(Fetched { offset: Offset(offset), claim, class, body, unread });
            Ok(())
        })?;
        self.known.get_mut(&partition).expect("looked up above").end = end;
        Ok(Fetch { said_upto, ..Fetch::dense(from, records, Offset(end)) })
    }

    fn place(&self, partition: PartitionId) -> String {
        let topic = &self.topics[usize::from(partition.topic.0)];
        format!("{}: topic {topic}, partition {}", self.db.file, partition.partition)
    }

    fn wait(&mut self, timeout_ms: u64) {
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        loop {
            if self.changed() && self.grown() {
                self.grown_at = Instant::now();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(self.pause().min(left));
        }
    }
}
