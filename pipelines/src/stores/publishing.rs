//! What a publisher needs of the stores: its ledger, its facts, and a place for images.

use super::{Result, Stores, clickhouse, embedded, folder_of, postgres};
use crate::config::{LogKind, Publishing, ServingKind};
use crate::publishing::{PublisherParts, PublishingSettings};
use connectors::kafka::Asking;
use runtime::Generation;
use runtime::shared::Shared;
use schemas::SchemaIds;
use sinks::images::{ImageStore, Templates};
use sinks::social::HttpSettings;
use std::sync::Arc;
use std::time::Duration;

/// What it follows.
const TOPICS: [&str; 1] = ["facts.publications"];

/// The settings of a publisher.
fn settings(publishing: &Publishing, publish_max_age_ms: i64) -> PublishingSettings {
    PublishingSettings {
        attempts: publishing.attempts,
        backoff: Duration::from_millis(publishing.backoff_ms),
        backoff_max: Duration::from_millis(publishing.backoff_ms_max),
        per_minute: publishing.channel_posts_per_minute,
        burst: publishing.channel_burst,
        breaker_failures: publishing.breaker_failures,
        breaker_pause: Duration::from_millis(publishing.breaker_pause_ms),
        age_ms_max: publishing.age_ms_max,
        publish_max_age_ms,
        images_public_url: publishing.images_public_url.clone(),
        http: HttpSettings {
            connect_timeout_ms: publishing.connect_timeout_ms,
            timeout_ms: publishing.timeout_ms,
            ..HttpSettings::default()
        },
        secrets: publishing.secrets.clone(),
    }
}

impl Stores {
    /// How this pipeline publishes.
    pub fn publishing_settings(&self) -> PublishingSettings {
        settings(&self.config.publishing, self.config.draws.publish_max_age_ms)
    }

    /// Where images go.
    ///
    /// # Errors
    /// Where the folder can't be made, or an option isn't known.
    pub fn images(&self) -> Result<ImageStore> {
        let publishing = &self.config.publishing;
        let store = match publishing.images_url.as_deref() {
            None => ImageStore::local(&self.dir.join("images")),
            Some(url) if url.starts_with("s3://") => ImageStore::s3(url, &publishing.images_options),
            Some(url) => ImageStore::local(folder_of(url)),
        };
        Ok(store?)
    }

    /// Templates, those that were configured before those that ship with the program.
    ///
    /// # Errors
    /// Where a file of the folder can't be read.
    pub fn templates(&self) -> Result<Templates> {
        Ok(Templates::new(self.config.publishing.templates.as_deref())?)
    }

    /// What a publisher of a generation is made of; none where publishing isn't enabled, or this pipeline
    /// decides on no draws.
    ///
    /// # Errors
    /// See [`super::StoreError`].
    pub fn publisher_parts(
        &self,
        generation: Generation,
        ids: &SchemaIds,
        decided: &Arc<Shared>,
    ) -> Result<Option<PublisherParts>> {
        if !self.config.publishing.enabled || !self.pipeline.runs("draws") {
            return Ok(None);
        }
        let reader = match self.config.log.kind {
            LogKind::Embedded => clickhouse::embedded_reader(&self.dir, &TOPICS)?,
            LogKind::Kafka => {
                clickhouse::kafka_reader(&self.config, &self.pipeline, &TOPICS, Asking::Patient)?
            }
        };
        let ledger = match self.config.serving.kind {
            ServingKind::Embedded => embedded::ledger(&self.state_dir(), generation)?,
            ServingKind::Postgres => postgres::ledger(&self.postgres(), generation)?,
        };
        Ok(Some(PublisherParts {
            ledger,
            reader,
            append: self.appender()?,
            ids: *ids,
            images: self.images()?,
            templates: self.templates()?,
            settings: self.publishing_settings(),
            decided: Arc::clone(decided),
        }))
    }
}
