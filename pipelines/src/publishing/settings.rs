//! How a publisher works: limits, patience, and where secrets are.

use super::steps::secret_name;
use sinks::social::{HttpSettings, PostError, Secret};
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings of a publisher, none of which changes a decision.
#[derive(Clone, Debug)]
pub struct PublishingSettings {
    /// Tries of a step in one round.
    pub attempts: i64,
    pub backoff: Duration,
    pub backoff_max: Duration,
    pub per_minute: u32,
    pub burst: u32,
    pub breaker_failures: u32,
    pub breaker_pause: Duration,
    /// Older requests aren't posted.
    pub age_ms_max: i64,
    /// Results drawn longer ago than this aren't posted by the pipeline: their images come after those of the others.
    pub publish_max_age_ms: i64,
    /// Where anybody finds an image: its path is appended.
    pub images_public_url: Option<String>,
    pub http: HttpSettings,
    /// By tenant and channel: `file:/path` or `env:VARIABLE`.
    pub secrets: BTreeMap<String, String>,
}

impl PublishingSettings {
    /// The secret of a channel, read anew, so that a new one is used at once.
    ///
    /// # Errors
    /// [`PostError::Refused`] says what is missing.
    pub fn secret(&self, tenant: &str, channel: &str) -> Result<Secret, PostError> {
        let name = secret_name(tenant, channel);
        let refused = |problem: String| PostError::Refused { problem };
        let source = self.secrets.get(&name).ok_or_else(|| {
            refused(format!("the channel has no secret: add \"{name}\" to publishing.secrets"))
        })?;
        Secret::read(&format!("publishing.secrets.\"{name}\""), source).map_err(|e| refused(e.to_string()))
    }
}
