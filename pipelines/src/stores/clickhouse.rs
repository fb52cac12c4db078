//! Analytics in ClickHouse: a loader beside the pipeline, fed from its committed facts.

use super::{Result, StoreError};
use crate::config::{Clickhouse, Config};
use crate::pipeline::Pipeline;
use connectors::embedded::{EmbeddedReader, Registry};
use connectors::fact_records::FactRecordDecoder;
use connectors::kafka::{Asking, KafkaReader, ReaderOptions};
use runtime::source::LogReader;
use schemas::facts::FactRecord;
use sinks::clickhouse::{ClickHouseSettings, Loader, LoaderSources, PlanStore};
use std::path::Path;

/// A reader of facts with their epochs.
pub type FactsReader = Box<dyn LogReader<Record = FactRecord>>;

/// How the server is reached, and how batches are cut.
pub fn settings(clickhouse: &Clickhouse) -> ClickHouseSettings {
    ClickHouseSettings {
        url: clickhouse.url.clone(),
        database: clickhouse.database.clone(),
        user: clickhouse.user.clone(),
        password_file: clickhouse.password_file.clone(),
        ca_file: clickhouse.ca_file.clone(),
        cluster: clickhouse.cluster.clone(),
        batch_interval_ms: clickhouse.batch_ms,
        ..ClickHouseSettings::default()
    }
}

/// Starts the loader of a pipeline. It tries for as long as it runs; nothing waits for it.
///
/// # Errors
/// Where no thread can be started.
pub fn start(
    config: &Config,
    pipeline: &Pipeline,
    topics: &[&'static str],
    reader: FactsReader,
    plans: Box<dyn PlanStore>,
) -> Result<Loader> {
    let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
    let sources = LoaderSources { pipeline: pipeline.name(), topics, reader, plans };
    Loader::start(settings(&config.clickhouse), sources).map_err(StoreError::NoThread)
}

pub fn embedded_reader(dir: &Path, topics: &[&'static str]) -> Result<FactsReader> {
    let decoder = FactRecordDecoder::new(Registry::open(dir)?);
    Ok(Box::new(EmbeddedReader::open_some(dir, topics, |_| true, decoder)?))
}

pub fn kafka_reader(
    config: &Config,
    pipeline: &Pipeline,
    topics: &[&'static str],
    asking: Asking,
) -> Result<FactsReader> {
    let decoder = FactRecordDecoder::new(super::kafka::registry(&config.kafka)?);
    let reading = super::kafka::reading(&config.kafka, format!("{}-loader", pipeline.name()));
    let options = ReaderOptions { asking, ..reading };
    let settings = super::kafka::settings(&config.kafka)?;
    Ok(Box::new(KafkaReader::open(&settings, options, topics, |_| true, decoder)?))
}
