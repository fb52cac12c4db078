//! The mirror of captured tables: a thread beside the pipeline, fed from the topics that Debezium writes.

use super::{Result, StoreError};
use crate::config::Config;
use connectors::captured_records::{BytesDecoder, CapturedDecoder};
use connectors::embedded::{EmbeddedReader, Log, Registry};
use connectors::kafka::{ConfluentRegistry, KafkaReader, KafkaSettings, KafkaView, ReaderOptions};
use runtime::source::{LogError, LogReader};
use schemas::captured::Captured;
use sinks::clickhouse::ClickHouseSettings;
use sinks::clickhouse::mirror::{Mirror, MirrorLog, MirrorSettings, MirrorSources, MirrorStore};
use std::path::{Path, PathBuf};

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
    ReaderOptions { pipeline: "mirror".to_owned(), from_log_start: true }
}

fn names(topics: &[String]) -> Vec<&str> {
    topics.iter().map(String::as_str).collect()
}
