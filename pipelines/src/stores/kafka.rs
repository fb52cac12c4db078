//! The log in Kafka, its contracts in a Confluent-compatible registry.

use super::{Append, LogView, Reader, Result, StoreError};
use crate::config::{Config, Kafka};
use crate::pipeline::{Pipeline, SALES};
use crate::retry::RETRIES;
use connectors::decode::RecordDecoder;
use connectors::embedded::{NewRecord, Placed, StoredRecord, TopicInfo};
use connectors::kafka::{
    BATCH_BYTES_MAX, ConfluentRegistry, KafkaAppender, KafkaEpochs, KafkaError, KafkaReader, KafkaSettings,
    KafkaView, Lags, Plan, ReaderOptions, RegistrySettings, TopicSpec,
};
use operators::settings::Settings;
use runtime::log::EpochLog;
use runtime::patience::MayPass as _;
use runtime::trace::TracedRecords;
use schemas::{Fact, SchemaIds};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the cluster is reached.
///
/// # Errors
/// Where a secret can't be read.
pub fn settings(kafka: &Kafka) -> Result<KafkaSettings> {
    let resolve = |(name, value): (&String, &String)| Ok((name.clone(), secret(name, value)?));
    let properties = kafka.properties.iter().map(resolve).collect::<Result<BTreeMap<_, _>>>()?;
    let (bootstrap, replication) = (kafka.bootstrap.clone(), Some(kafka.replication));
    Ok(KafkaSettings { bootstrap, properties, replication })
}

/// `${file:PATH}` stands for what the file holds, so that settings need hold no secret.
fn secret(name: &str, value: &str) -> Result<String> {
    let Some(path) = value.strip_prefix("${file:").and_then(|rest| rest.strip_suffix('}')) else {
        return Ok(value.to_owned());
    };
    read_secret(&format!("kafka.properties: {name}"), path.as_ref())
}

fn read_secret(setting: &str, path: &std::path::Path) -> Result<String> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|problem| StoreError::Secret {
        setting: setting.to_owned(),
        path: path.to_owned(),
        problem,
    })?;
    Ok(text.trim_end().to_owned())
}

pub fn registry(kafka: &Kafka) -> Result<ConfluentRegistry> {
    let password = kafka.registry_password_file.as_deref();
    let password = password.map(|path| read_secret("kafka.registry_password_file", path)).transpose()?;
    let settings =
        RegistrySettings { url: kafka.registry_url.clone(), user: kafka.registry_user.clone(), password };
    Ok(ConfluentRegistry::new(&settings)?)
}

/// Every topic that the pipelines of a cluster use, as `tombola topics apply` makes them.
pub fn declared(config: &Config) -> Vec<TopicSpec> {
    let Kafka { replication, retention_ms, facts_partitions, .. } = config.kafka;
    let spec = |name: &str, partitions| TopicSpec {
        name: name.to_owned(),
        partitions,
        replication: Some(replication),
        settings: BTreeMap::from([
            ("cleanup.policy".to_owned(), "delete".to_owned()),
            ("retention.ms".to_owned(), retention_ms.to_string()),
        ]),
    };
    let inputs =
        schemas::ndjson::input_topics().into_iter().map(|topic| spec(topic, config.log.topic_partitions));
    // Whatever an input says may have to be told, with more around it.
    let told = ("max.message.bytes".to_owned(), BATCH_BYTES_MAX.to_string());
    let facts = Fact::TOPICS.into_iter().map(|topic| {
        let mut spec = spec(topic, facts_partitions);
        spec.settings.extend([told.clone()]);
        spec
    });
    let ours = Pipeline::of(config).name();
    let pipelines = BTreeSet::from([SALES, ours.as_str()]);
    let kept = TopicSpec::kept_by(pipelines, Some(replication));
    inputs.chain(facts).chain([spec(RETRIES, 1)]).chain(kept).collect()
}

/// What is to be changed so that the cluster has them.
///
/// # Errors
/// Where the cluster can't be asked.
pub fn plan(config: &Config) -> Result<Plan> {
    Ok(connectors::kafka::plan(&settings(&config.kafka)?, &declared(config))?)
}

/// How a reader called `name` reads.
pub fn reading(kafka: &Kafka, name: String) -> ReaderOptions {
    ReaderOptions { pipeline: name, from_log_start: kafka.from_log_start, ..ReaderOptions::default() }
}

pub fn reader(
    kafka: &Kafka,
    pipeline: &Pipeline,
    traced: Option<&Arc<TracedRecords>>,
) -> Result<(Reader, Lags)> {
    let decoder = RecordDecoder::new(registry(kafka)?).noting(traced.cloned());
    let options = reading(kafka, pipeline.name());
    let wanted = |topic: &str| pipeline.reads(topic);
    let reader = KafkaReader::open(&settings(kafka)?, options, pipeline.topics(), wanted, decoder)?;
    let lags = reader.lags();
    Ok((Box::new(reader), lags))
}

pub fn facts(kafka: &Kafka, pipeline: &str) -> Result<Box<dyn EpochLog>> {
    let every = Duration::from_millis(kafka.commit_interval_ms);
    Ok(Box::new(KafkaEpochs::open(&settings(kafka)?, pipeline)?.committing_every(every)))
}

pub fn claim(kafka: &Kafka, pipeline: &Pipeline, of: &Settings, idle: impl Fn(&str) -> bool) -> Result<()> {
    Ok(KafkaEpochs::open(&settings(kafka)?, &pipeline.name())?.claim(pipeline.outputs(of), idle)?)
}

pub fn ids(kafka: &Kafka) -> Result<SchemaIds> {
    Ok(registry(kafka)?.register_own()?)
}

pub fn appender(kafka: &Kafka) -> Result<Box<dyn Append>> {
    Ok(Box::new(KafkaAppender::open(&settings(kafka)?)?))
}

/// Only the newest one can commit.
pub fn retries(kafka: &Kafka) -> Result<Box<dyn Append>> {
    Ok(Box::new(KafkaAppender::open_atomic(&settings(kafka)?, "tombola-retries")?))
}

impl Append for KafkaAppender {
    fn append_many(&mut self, topics: &[(&str, &[NewRecord])]) -> Result<Vec<Vec<Placed>>> {
        Ok(KafkaAppender::append_many(self, topics)?)
    }
}

pub fn log(kafka: &Kafka) -> Result<Box<dyn LogView>> {
    Ok(Box::new(View { topics: KafkaView::open(&settings(kafka)?)?, registry: registry(kafka)? }))
}

struct View {
    topics: KafkaView,
    registry: ConfluentRegistry,
}

impl LogView for View {
    fn look(&mut self) {
        self.topics.look();
    }

    fn topics(&mut self) -> Result<Vec<TopicInfo>> {
        Ok(self.topics.topics()?)
    }

    fn read(&mut self, topic: &str, partition: u32, from: u64, max: usize) -> Result<Vec<StoredRecord>> {
        Ok(self.topics.read(topic, partition, from, max)?)
    }

    fn begin(&mut self, topic: &str, partition: u32) -> Result<u64> {
        Ok(self.topics.begin(topic, partition)?)
    }

    fn schema(&mut self, id: u32) -> Result<Option<String>> {
        Ok(self.registry.get(id)?)
    }
}

/// How long brokers may take to show what was made: they hear of it from their controller a moment later.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Makes what is missing, and waits until the broker that is asked shows it.
///
/// # Errors
/// Where the cluster refuses, or doesn't show it.
pub fn apply(config: &Config, planned: &Plan) -> Result<()> {
    connectors::kafka::apply(&settings(&config.kafka)?, planned)?;
    let began = Instant::now();
    loop {
        // One broker may know of a topic that the next one hasn't heard of.
        let left = match plan(config) {
            Ok(left) if left.is_empty() => return Ok(()),
            Ok(left) => left.to_string().trim_end().replace('\n', ", "),
            Err(error) if error.may_pass() => error.to_string(),
            Err(error) => return Err(error),
        };
        if began.elapsed() > SHOWN_WITHIN {
            return Err(KafkaError::Stop {
                place: format!("Kafka at {}", config.kafka.bootstrap),
                problem: format!("it took the changes and doesn't show them after {} s: {left}", SHOWN_WITHIN.as_secs()),
                remedy: "see whether its brokers are well, or whether it has rules of its own for topics; then look with `tombola topics plan`".to_owned(),
            }
            .into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn readers_begin_where_the_log_begins_where_the_settings_say_so() {
        for begins in [false, true] {
            let text = format!("[kafka]\nfrom_log_start = {begins}\n");
            let config = Config::parse(Path::new("t.toml"), &text).unwrap();
            let options = reading(&config.kafka, "sales-loader".to_owned());
            assert_eq!((options.pipeline.as_str(), options.from_log_start), ("sales-loader", begins));
        }
        assert!(!Config::default().kafka.from_log_start);
    }

    #[test]
    fn topics_of_facts_and_dead_letters_take_what_was_read_with_more_around_it() {
        let all = declared(&Config::default());
        let most = |topic: &str| {
            let spec = all.iter().find(|spec| spec.name == topic).expect("it is declared");
            spec.settings.get("max.message.bytes").map(String::as_str)
        };
        for topic in Fact::TOPICS {
            assert_eq!(most(topic), Some("17825792"), "{topic}");
        }
        assert_eq!(most("commands.orders"), None);
    }

    /// What is declared of topics whose names begin so: name, partitions, replicas, cleanup policy.
    fn declared_as(config: &Config, begins: &str) -> Vec<String> {
        let of_topic = |spec: &TopicSpec| {
            let TopicSpec { name, partitions, replication, settings } = spec;
            format!("{name} {partitions} {} {}", replication.unwrap_or(0), settings["cleanup.policy"])
        };
        declared(config).iter().filter(|spec| spec.name.starts_with(begins)).map(of_topic).collect()
    }

    #[test]
    fn what_a_pipeline_keeps_for_itself_is_declared_with_its_replicas_and_compacted() {
        let mut config = Config::default();
        config.kafka.replication = 3;
        assert_eq!(
            declared_as(&config, "tombola."),
            ["tombola.writers 1 3 compact", "tombola.progress.sales 1 3 compact"]
        );
        assert_eq!(declared_as(&config, "dead-letters.retries"), ["dead-letters.retries 1 3 delete"]);
        config.pipeline.jobs = ["commissions", "fraud"].map(str::to_owned).into();
        assert_eq!(
            declared_as(&config, "tombola.progress"),
            ["tombola.progress.fraud-commissions 1 3 compact", "tombola.progress.sales 1 3 compact"]
        );
    }
}
