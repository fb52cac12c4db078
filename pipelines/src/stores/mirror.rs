//! The mirror of captured tables: a thread beside the pipeline, fed from the topics that Debezium writes.

use super::{Result, StoreError, Stores};
use crate::config::{AnalyticsKind, Config, ServingKind};
use connectors::captured_records::{BytesDecoder, CapturedDecoder};
use connectors::embedded::{EmbeddedReader, Log, Registry};
use connectors::kafka::{Asking, ConfluentRegistry, KafkaReader, KafkaSettings, KafkaView, ReaderOptions};
use runtime::source::{LogError, LogReader};
use schemas::Value;
use schemas::captured::Captured;
use sinks::clickhouse::ClickHouseSettings;
use sinks::clickhouse::mirror::{
    Mirror, MirrorLog, MirrorSettings, MirrorSources, MirrorStore, ParkedTable, parked_tables,
};
use std::path::{Path, PathBuf};

/// How long the mirror's document may be waited for.
const DOCUMENT_MS_MAX: u64 = 5_000;

type Reader = Box<dyn LogReader<Record = Captured>>;

/// Where it mirrors to: the same server as the loader's, a database of its own.
pub fn settings(config: &Config) -> ClickHouseSettings {
    ClickHouseSettings {
        database: config.mirror.database.clone(),
        batch_interval_ms: config.mirror.interval_ms,
        ..super::clickhouse::settings(&config.clickhouse)
    }
}

/// Starts it. It tries for as long as it runs; nothing waits for it.
///
/// # Errors
/// Where no thread can be started.
pub fn start(config: &Config, log: Box<dyn MirrorLog>, store: Box<dyn MirrorStore>) -> Result<Mirror> {
    let settings = MirrorSettings { clickhouse: settings(config), topics: config.mirror.topics.clone() };
    Mirror::start(settings, MirrorSources { log, store }).map_err(StoreError::NoThread)
}

impl Stores {
    /// Whether this pipeline mirrors captured tables: the one with sales does, so that they are mirrored once.
    pub fn mirrors(&self) -> bool {
        let config = &self.config;
        let configured = config.analytics.kind != AnalyticsKind::None && !config.mirror.topics.is_empty();
        configured && self.pipeline.sells()
    }

    /// Tables that the mirror has parked, whether it runs or not.
    ///
    /// # Errors
    /// Where the mirror's document can't be read.
    pub fn parked_tables(&self) -> Result<Vec<ParkedTable>> {
        let mut tables = match self.tables() {
            Err(StoreError::Nothing { .. }) => return Ok(Vec::new()),
            tables => tables?,
        };
        // The embedded mirror makes its table when it first runs.
        let made = match self.config.serving.kind {
            ServingKind::Embedded => "SELECT name FROM sqlite_master WHERE name = 'mirror'",
            ServingKind::Postgres => "SELECT 'mirror'",
        };
        if tables.query(made, 1, DOCUMENT_MS_MAX)?.rows.is_empty() {
            return Ok(Vec::new());
        }
        let found = tables.query("SELECT document FROM mirror", 1, DOCUMENT_MS_MAX)?;
        match found.rows.first().and_then(|row| row.first()) {
            Some(Value::Text(document)) => parked_tables(document).map_err(StoreError::MirrorDocument),
            _ => Ok(Vec::new()),
        }
    }
}

/// The embedded log.
pub fn embedded_log(dir: &Path) -> Result<Box<dyn MirrorLog>> {
    Ok(Box::new(Embedded { dir: dir.to_owned(), log: Log::open(dir)? }))
}

struct Embedded {
    dir: PathBuf,
    log: Log,
}

impl MirrorLog for Embedded {
    fn topics(&mut self) -> std::result::Result<Vec<String>, LogError> {
        Ok(self.log.topics()?.into_iter().map(|info| info.topic).collect())
    }

    fn reader(&mut self, topics: &[String]) -> std::result::Result<Reader, LogError> {
        let decoder = CapturedDecoder::new(Registry::open(&self.dir)?);
        Ok(Box::new(EmbeddedReader::open(&self.dir, &names(topics), decoder)?))
    }

    fn bytes(&mut self, topics: &[String]) -> std::result::Result<Reader, LogError> {
        Ok(Box::new(EmbeddedReader::open(&self.dir, &names(topics), BytesDecoder)?))
    }
}

/// Kafka's.
pub fn kafka_log(config: &Config) -> Result<Box<dyn MirrorLog>> {
    let settings = super::kafka::settings(&config.kafka)?;
    let view = KafkaView::open(&settings)?;
    Ok(Box::new(Kafka { settings, view, registry: super::kafka::registry(&config.kafka)? }))
}

struct Kafka {
    settings: KafkaSettings,
    view: KafkaView,
    registry: ConfluentRegistry,
}

impl MirrorLog for Kafka {
    fn topics(&mut self) -> std::result::Result<Vec<String>, LogError> {
        Ok(self.view.topics()?.into_iter().map(|info| info.topic).collect())
    }

    fn reader(&mut self, topics: &[String]) -> std::result::Result<Reader, LogError> {
        let decoder = CapturedDecoder::new(self.registry.clone());
        Ok(Box::new(KafkaReader::open(&self.settings, options(), &names(topics), |_| true, decoder)?))
    }

    fn bytes(&mut self, topics: &[String]) -> std::result::Result<Reader, LogError> {
        Ok(Box::new(KafkaReader::open(&self.settings, options(), &names(topics), |_| true, BytesDecoder)?))
    }
}

/// What retention has taken is in no log any more; the versions of what is left are right without it.
fn options() -> ReaderOptions {
    ReaderOptions {
        pipeline: "mirror".to_owned(),
        from_log_start: true,
        looks: false,
        asking: Asking::Patient,
    }
}

fn names(topics: &[String]) -> Vec<&str> {
    topics.iter().map(String::as_str).collect()
}
