//! What an administrator does: look at topics, make and alter them.

use super::error::{KafkaError, Result, classify, classify_code};
use super::settings::{KafkaSettings, Logging};
use super::topics::TopicSpec;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewPartitions, NewTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::BTreeMap;
use std::time::Duration;

const REQUEST_MAX: Duration = Duration::from_secs(15);

/// A client that administers.
pub(crate) struct Admin {
    client: AdminClient<Logging>,
    options: AdminOptions,
    place: String,
}

impl Admin {
    /// Opens one.
    pub fn open(settings: &KafkaSettings) -> Result<Self> {
        let client = settings.client().create_with_context(Logging);
        let client = client.map_err(|e| settings.unusable(&e))?;
        let options =
            AdminOptions::new().request_timeout(Some(REQUEST_MAX)).operation_timeout(Some(REQUEST_MAX));
        Ok(Admin { client, options, place: settings.place() })
    }

    /// What the cluster says of itself.
    pub fn metadata(&self) -> std::result::Result<rdkafka::metadata::Metadata, rdkafka::error::KafkaError> {
        self.client.inner().fetch_metadata(None, REQUEST_MAX)
    }

    /// Where failures say they come from.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is set on a topic and differs from the brokers' own: by name. And what is in force.
    pub fn settings_of(&self, topics: &[&str]) -> Result<Vec<TopicSettings>> {
        let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        if resources.is_empty() {
            return Ok(Vec::new());
        }
        let described = pollster::block_on(self.client.describe_configs(&resources, &self.options));
        let described = described.map_err(|e| classify(&self.place, "read settings of topics", e))?;
        let read = |(topic, resource): (&&str, std::result::Result<ConfigResource, Code>)| {
            let doing = format!("read the settings of topic {topic}");
            resource.map(|r| TopicSettings::of(&r)).map_err(|code| classify_code(&self.place, doing, code))
        };
        topics.iter().zip(described).map(read).collect()
    }

    /// Makes a topic. One that has been made meanwhile is left as it is.
    fn make(
        &self,
        topic: &str,
        partitions: u32,
        replication: Option<i32>,
        settings: &BTreeMap<String, String>,
    ) -> Result<()> {
        let replication = TopicReplication::Fixed(replication.unwrap_or(-1));
        let mut new = NewTopic::new(topic, partitions as i32, replication);
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let made = pollster::block_on(self.client.create_topics([&new], &self.options));
        self.outcome(topic, "make", made, Code::TopicAlreadyExists)
    }

    /// Makes a topic as it is declared.
    pub fn make_declared(&self, spec: &TopicSpec) -> Result<()> {
        self.make(&spec.name, spec.partitions, spec.replication, &spec.settings)
    }

    /// Adds partitions.
    pub fn grow(&self, topic: &str, partitions: u32) -> Result<()> {
        let new = NewPartitions::new(topic, partitions as usize);
        let grown = pollster::block_on(self.client.create_partitions([&new], &self.options));
        self.outcome(topic, "add partitions to", grown, Code::NoError)
    }

    /// Changes settings of a topic and leaves the others as they are.
    pub fn alter(&self, topic: &str, changes: &BTreeMap<String, String>) -> Result<()> {
        // The request says all that is set: what it leaves out would go back to the brokers' own.
        let mut all = self.settings_of(&[topic])?.pop().unwrap_or_default().own;
        all.extend(changes.clone());
        let mut config = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (name, value) in &all {
            config = config.set(name, value);
        }
        let altered = pollster::block_on(self.client.alter_configs([&config], &self.options));
        let altered =
            altered.map(|all| all.into_iter().map(|r| r.map(drop).map_err(|(_, code)| code)).collect());
        self.first(topic, "alter", altered, Code::NoError)
    }

    fn outcome(
        &self,
        topic: &str,
        doing: &str,
        results: std::result::Result<Vec<rdkafka::admin::TopicResult>, rdkafka::error::KafkaError>,
        fine: Code,
    ) -> Result<()> {
        let codes =
            results.map(|all| all.into_iter().map(|r| r.map(drop).map_err(|(_, code)| code)).collect());
        self.first(topic, doing, codes, fine)
    }

    fn first(
        &self,
        topic: &str,
        doing: &str,
        results: std::result::Result<Vec<std::result::Result<(), Code>>, rdkafka::error::KafkaError>,
        fine: Code,
    ) -> Result<()> {
        let doing = format!("{doing} topic {topic}");
        let results = results.map_err(|e| classify(&self.place, &doing, e))?;
        match results.into_iter().find_map(std::result::Result::err) {
            Some(code) if code != fine => Err(self.refused(&doing, code)),
            _ => Ok(()),
        }
    }

    fn refused(&self, doing: &str, code: Code) -> KafkaError {
        match classify_code(&self.place, doing, code) {
            KafkaError::Away { place, .. } if code == Code::InvalidRequest => KafkaError::Stop {
                place,
                problem: format!("{doing}: {code}"),
                remedy: "correct its settings".to_owned(),
            },
            other => other,
        }
    }
}

/// Settings of one topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicSettings {
    /// Set on the topic itself.
    pub own: BTreeMap<String, String>,
    /// In force, whoever set it.
    pub all: BTreeMap<String, String>,
}

impl TopicSettings {
    fn of(resource: &ConfigResource) -> Self {
        let mut settings = TopicSettings::default();
        for entry in &resource.entries {
            let Some(value) = &entry.value else { continue };
            if entry.source == ConfigSource::DynamicTopic {
                settings.own.insert(entry.name.clone(), value.clone());
            }
            settings.all.insert(entry.name.clone(), value.clone());
        }
        settings
    }

    /// Whether records vanish from its middle.
    pub fn is_compacted(&self) -> bool {
        self.all.get("cleanup.policy").is_some_and(|policy| policy.split(',').any(|p| p.trim() == "compact"))
    }
}
