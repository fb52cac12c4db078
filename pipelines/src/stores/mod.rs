//! Where a pipeline's log, tables, bindings and snapshots live, as configured: the one place that knows.
//!
//! ```text
//!   [log] kind      embedded: DATA_DIR/log.db         kafka: topics, registry
//!   [serving] kind  embedded: DATA_DIR/tombola.db     postgres: a schema of its own for each pipeline
//! ```
//!
//! Everybody else takes what stands here as traits: jobs, commands and the demo don't know which it is.

mod changes;
pub mod clickhouse;
mod embedded;
mod error;
pub mod kafka;
pub mod mirror;
pub mod postgres;
mod publishing;

pub use error::StoreError;

use crate::config::{AnalyticsKind, Config, LogKind, ServingKind, Tracing};
use crate::pipeline::{Pipeline, state_dir};
use connectors::decode::Input;
use connectors::embedded::{NewRecord, Placed, StoredRecord, TopicInfo};
use connectors::kafka::{Asking, Lags};
use operators::messages::Output;
use operators::settings::Settings;
use runtime::bindings::{BindingStore, GenerationInfo};
use runtime::digest::Digest;
use runtime::log::EpochLog;
use runtime::sink::Sink;
use runtime::snapshot::store::SnapshotStore;
use runtime::source::LogReader;
use runtime::trace::TracedRecords;
use runtime::{Epoch, Generation};
use schemas::SchemaIds;
use schemas::rows::TableSpec;
use sinks::clickhouse::Loader;
use sinks::clickhouse::mirror::Mirror;
use sinks::embedded::{Found, Progress, RowDifference, TableDigest};
use sinks::postgres::PostgresSettings;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Result<T> = std::result::Result<T, StoreError>;

/// Reader of a pipeline's inputs.
pub type Reader = Box<dyn LogReader<Record = Input>>;

/// A log to look into.
pub trait LogView: Send {
    /// Every topic, by name.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn topics(&mut self) -> Result<Vec<TopicInfo>>;

    /// From here on no end counts that was asked for earlier; an embedded log has none such.
    fn look(&mut self) {}

    /// Records of a partition from `from`, at most `max`, in the order of their offsets, which may have gaps.
    /// None means that there are none up to the partition's end, as of the last [`LogView::look`] or later.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn read(&mut self, topic: &str, partition: u32, from: u64, max: usize) -> Result<Vec<StoredRecord>>;

    /// The first offset that a partition still holds, or would.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn begin(&mut self, _topic: &str, _partition: u32) -> Result<u64> {
        // The embedded log keeps everything.
        Ok(0)
    }

    /// The schema of an id.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn schema(&mut self, id: u32) -> Result<Option<String>>;
}

/// Records asked for at once.
const SCAN_RECORDS: usize = 10_000;

/// Every record of a topic, partition by partition; none where there is no such topic. `each` may ask the log, too.
///
/// # Errors
/// Where the log can't be read, and what `each` says.
pub fn scan<E: From<StoreError>>(
    log: &mut dyn LogView,
    topic: &str,
    mut each: impl FnMut(&mut dyn LogView, StoredRecord) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    log.look();
    let found = log.topics()?.into_iter().find(|info| info.topic == topic);
    for partition in 0..found.map_or(0, |info| info.ends.len()) as u32 {
        let mut from = 0;
        loop {
            let records = log.read(topic, partition, from, SCAN_RECORDS)?;
            let Some(last) = records.last() else { break };
            from = last.offset + 1;
            records.into_iter().try_for_each(|record| each(log, record))?;
        }
    }
    Ok(())
}

/// Appends records for good. Each thread has its own.
pub trait Append: Send {
    /// Several topics' records; where each went. What was acknowledged stays.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn append_many(&mut self, topics: &[(&str, &[NewRecord])]) -> Result<Vec<Vec<Placed>>>;
}

/// Serving tables to look into. Every answer is of whole epochs.
pub trait Tables: Send {
    /// Where the pipeline stands.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn progress(&mut self) -> Result<Progress>;

    /// Every generation, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn generations(&mut self) -> Result<Vec<GenerationInfo>>;

    /// Rows and SHA-256 of a table.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn digest(&mut self, table: &TableSpec) -> Result<TableDigest>;

    /// Running digests of the epochs after `after` that have rows.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn epoch_digests(&mut self, after: Epoch) -> Result<Vec<(Epoch, Digest)>>;

    /// The running digest as of `epoch`.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn epoch_digest_at(&mut self, epoch: Epoch) -> Result<Digest>;

    /// What a replay into the embedded tables under `replayed` has otherwise, of the epochs up to `through`. `whole`:
    /// the replay began with the log, so that it must have every row.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn compare(&mut self, replayed: &Path, through: Epoch, whole: bool) -> Result<Vec<RowDifference>>;

    /// One question in the store's own SQL: at most `rows_max` rows, for at most `timeout_ms`.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn query(&mut self, sql: &str, rows_max: usize, timeout_ms: u64) -> Result<Found>;

    /// The same, and the decided epoch that the answer is as of.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn query_at(&mut self, sql: &str, rows_max: usize, timeout_ms: u64) -> Result<(Epoch, Found)>;
}

/// Facts of a pipeline in the log, as they were committed.
pub trait FactsProgress {
    /// Running digests of the epochs after `after` that have facts.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn digests(&mut self, after: Epoch) -> Result<Vec<(Epoch, Digest)>>;

    /// The running digest as of `epoch`.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn digest_at(&mut self, epoch: Epoch) -> Result<Digest>;
}

/// Ownership of a pipeline's stores; given up when dropped.
pub trait Owned: Send {}

/// The stores of one pipeline.
#[derive(Clone, Debug)]
pub struct Stores {
    config: Config,
    dir: PathBuf,
    pipeline: Pipeline,
}

impl Stores {
    /// The stores that the settings name; `dir` is the data directory.
    pub fn of(config: &Config, dir: &Path) -> Self {
        Stores { config: config.clone(), dir: dir.to_owned(), pipeline: Pipeline::of(config) }
    }

    /// Embedded ones, whatever the settings name.
    pub fn embedded(config: &Config, dir: &Path) -> Self {
        let mut config = config.clone();
        (config.log.kind, config.serving.kind) = (LogKind::Embedded, ServingKind::Embedded);
        Stores::of(&config, dir)
    }

    /// The pipeline they belong to.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How they are traced.
    pub fn tracing(&self) -> &Tracing {
        &self.config.tracing
    }

    /// Topics of facts that this pipeline tells, as configured.
    pub fn told_topics(&self) -> Vec<&'static str> {
        self.pipeline.outputs(&self.config.settings(self.pipeline.topics(), &[])).collect()
    }

    /// Whether the log is in the data directory: then whoever runs the pipeline is its only source of rows, too.
    pub fn log_is_embedded(&self) -> bool {
        self.config.log.kind == LogKind::Embedded
    }

    /// Where this pipeline keeps files of its own.
    pub fn state_dir(&self) -> PathBuf {
        self.pipeline.state_dir(&self.dir)
    }
}

/// What a run needs.
impl Stores {
    /// Takes the stores for this process.
    ///
    /// # Errors
    /// Where another process has them.
    pub fn own(&self) -> Result<Box<dyn Owned>> {
        match self.config.serving.kind {
            ServingKind::Embedded => Ok(Box::new(embedded::own(&self.state_dir())?)),
            ServingKind::Postgres => Ok(Box::new(postgres::own(&self.postgres())?)),
        }
    }

    /// Whether no process has the stores of the pipeline of this name.
    fn is_idle(&self, pipeline: &str) -> bool {
        match self.config.serving.kind {
            ServingKind::Embedded => embedded::is_idle(&state_dir(&self.dir, pipeline)),
            ServingKind::Postgres => postgres::is_idle(&postgres::settings(&self.config, pipeline)),
        }
    }

    fn postgres(&self) -> PostgresSettings {
        postgres::settings(&self.config, &self.pipeline.name())
    }

    /// Takes the topics of facts that this pipeline writes to.
    ///
    /// # Errors
    /// Where one of them is another pipeline's.
    pub fn claim(&self, settings: &Settings) -> Result<()> {
        match self.config.log.kind {
            LogKind::Embedded => {
                embedded::claim(&self.dir, &self.pipeline, settings, |owner| self.is_idle(owner))
            }
            LogKind::Kafka => {
                kafka::claim(&self.config.kafka, &self.pipeline, settings, |owner| self.is_idle(owner))
            }
        }
    }

    /// Makes every input topic and registers our contracts, where that is still to be done; the ids to encode with.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn prepare(&self) -> Result<SchemaIds> {
        match self.config.log.kind {
            LogKind::Embedded => embedded::prepare(&self.dir, self.config.log.topic_partitions),
            LogKind::Kafka => kafka::ids(&self.config.kafka),
        }
    }

    /// Readers of the inputs, one for each worker.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn readers(&self, workers: usize) -> Result<Vec<Reader>> {
        Ok(self.watched_readers(workers, None)?.0)
    }

    /// The same, and how far each is behind, where the log tells. They note `traced` records.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn watched_readers(
        &self,
        workers: usize,
        traced: Option<&Arc<TracedRecords>>,
    ) -> Result<(Vec<Reader>, Vec<Lags>)> {
        let (mut readers, mut lags) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            match self.config.log.kind {
                LogKind::Embedded => readers.push(embedded::reader(&self.dir, &self.pipeline, traced)?),
                LogKind::Kafka => {
                    let (reader, its_lags) = kafka::reader(&self.config.kafka, &self.pipeline, traced)?;
                    readers.push(reader);
                    lags.push(its_lags);
                }
            }
        }
        Ok((readers, lags))
    }

    /// Starts what feeds the analytical store, if there is one.
    ///
    /// # Errors
    /// See [`StoreError`]. A store that is away is none.
    pub fn loader(&self, generation: Generation, settings: &Settings) -> Result<Option<Loader>> {
        if self.config.analytics.kind == AnalyticsKind::None {
            return Ok(None);
        }
        let topics: Vec<&'static str> = self.pipeline.outputs(settings).collect();
        let reader = match self.config.log.kind {
            LogKind::Embedded => clickhouse::embedded_reader(&self.dir, &topics)?,
            LogKind::Kafka => {
                clickhouse::kafka_reader(&self.config, &self.pipeline, &topics, Asking::Gathering)?
            }
        };
        let plans = match self.config.serving.kind {
            ServingKind::Embedded => embedded::plans(&self.state_dir(), generation)?,
            ServingKind::Postgres => postgres::plans(&self.postgres(), generation)?,
        };
        clickhouse::start(&self.config, &self.pipeline, &topics, reader, plans).map(Some)
    }

    /// Starts what mirrors captured tables into the analytical store, where that is configured.
    ///
    /// # Errors
    /// See [`StoreError`]. A store that is away is none.
    pub fn mirror(&self, generation: Generation) -> Result<Option<Mirror>> {
        let config = &self.config;
        if !self.mirrors() {
            return Ok(None);
        }
        let log = match config.log.kind {
            LogKind::Embedded => mirror::embedded_log(&self.dir)?,
            LogKind::Kafka => mirror::kafka_log(config)?,
        };
        let store = match config.serving.kind {
            ServingKind::Embedded => embedded::mirror(&self.state_dir(), generation)?,
            ServingKind::Postgres => postgres::mirror(&self.postgres(), generation)?,
        };
        mirror::start(config, log, store).map(Some)
    }

    /// The bindings, to be written.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn bindings(&self) -> Result<Box<dyn BindingStore>> {
        match self.config.serving.kind {
            ServingKind::Embedded => embedded::bindings(&self.state_dir()),
            ServingKind::Postgres => postgres::bindings(&self.postgres()),
        }
    }

    /// The bindings, to replay from.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn recorded_bindings(&self) -> Result<Box<dyn BindingStore>> {
        match self.config.serving.kind {
            ServingKind::Embedded => embedded::recorded_bindings(&self.state_dir()),
            ServingKind::Postgres => postgres::bindings(&self.postgres()),
        }
    }

    /// Where facts go.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn facts(&self) -> Result<Box<dyn EpochLog>> {
        match self.config.log.kind {
            LogKind::Embedded => embedded::facts(&self.dir, &self.pipeline.name()),
            LogKind::Kafka => kafka::facts(&self.config.kafka, &self.pipeline.name()),
        }
    }

    /// Where rows go.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn serving(&self, generation: Generation) -> Result<Box<dyn Sink<Output>>> {
        match self.config.serving.kind {
            ServingKind::Embedded => embedded::serving(&self.state_dir(), generation),
            ServingKind::Postgres => postgres::serving(&self.postgres(), generation),
        }
    }

    /// Where snapshots go.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn snapshots(&self) -> Result<SnapshotStore> {
        let settings = &self.config.snapshots;
        let store = match settings.url.as_deref() {
            None => SnapshotStore::local(&self.state_dir().join("snapshots")),
            Some(url) if url.starts_with("s3://") => {
                // Pipelines that share a bucket each have a folder of their own.
                let url = format!("{}/{}", url.trim_end_matches('/'), self.pipeline.name());
                SnapshotStore::s3(&url, &settings.options)
            }
            Some(url) => SnapshotStore::local(&folder_of(url).join(self.pipeline.name())),
        };
        Ok(store?)
    }
}

fn folder_of(url: &str) -> &Path {
    Path::new(url.trim_start_matches("file://"))
}

/// What commands look at.
impl Stores {
    /// The log into which something was produced.
    ///
    /// # Errors
    /// Where there is none.
    pub fn log(&self) -> Result<Box<dyn LogView>> {
        match self.config.log.kind {
            LogKind::Embedded => embedded::log(&self.dir),
            LogKind::Kafka => kafka::log(&self.config.kafka),
        }
    }

    /// Something that appends to it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn appender(&self) -> Result<Box<dyn Append>> {
        match self.config.log.kind {
            LogKind::Embedded => embedded::appender(&self.dir),
            LogKind::Kafka => kafka::appender(&self.config.kafka),
        }
    }

    /// Something that appends atomically, for retries of dead letters: only one process at a time has it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn retries(&self) -> Result<Box<dyn Append>> {
        match self.config.log.kind {
            LogKind::Embedded => embedded::retries(&self.dir),
            LogKind::Kafka => kafka::retries(&self.config.kafka),
        }
    }

    /// The ids our contracts have.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn ids(&self) -> Result<SchemaIds> {
        match self.config.log.kind {
            LogKind::Embedded => embedded::ids(&self.dir),
            LogKind::Kafka => kafka::ids(&self.config.kafka),
        }
    }

    /// The tables of a pipeline that has run.
    ///
    /// # Errors
    /// Where none has.
    pub fn tables(&self) -> Result<Box<dyn Tables>> {
        match self.config.serving.kind {
            ServingKind::Embedded => embedded::tables(&self.state_dir()),
            ServingKind::Postgres => postgres::tables(&self.postgres()),
        }
    }

    /// How far the pipeline's facts are, epoch by epoch; absent where the log keeps no such history.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn facts_progress(&self) -> Result<Option<Box<dyn FactsProgress>>> {
        match self.config.log.kind {
            LogKind::Embedded => embedded::facts_progress(&self.dir, &self.pipeline.name()).map(Some),
            LogKind::Kafka => Ok(None),
        }
    }
}
