//! What changes decisions: recorded with every generation, and taken from there by a replay.
//!
//! ```text
//!   tombola.toml ─> Settings ─ JSON (key as fingerprint) ─> the generation's record ─> verify, restart
//! ```
//!
//! The one secret among them, the key that signs tickets, is never printed or recorded: its SHA-256 is, so
//! that a replay with another key is refused instead of issuing other tickets.

use runtime::Millis;
use schemas::Text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Everything outside the log that a decision depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long an order waits for its offer, partner or customer, and a cancel, payment or refund for its
    /// order. Milliseconds of now. Default: 5,000.
    pub grace_ms: Millis,
    /// How long an accepted order holds its stock unpaid. Milliseconds of now. Default: 600,000 (10 min).
    pub hold_ttl_ms: Millis,
    /// How long an order is remembered after its end; a refund after that is a dead letter.
    /// Milliseconds of now. Default: 2,592,000,000 (30 days).
    pub order_retention_ms: Millis,
    /// How long a command with a known `command_id` counts as said twice. Milliseconds of record time.
    /// Default: 86,400,000 (24 h).
    pub idempotency_horizon_ms: Millis,
    /// How long an order waits in review before it is refused. Milliseconds of now. Default: 86,400,000 (24 h).
    pub review_timeout_ms: Millis,
    /// Whether valid orders are screened by velocity rules before they reach the book. Default: true.
    pub fraud_screening: bool,
    /// How far behind its key's newest event time an order may come and still be counted exactly, and how far
    /// ahead of its record it counts at most. Milliseconds of event time. Default: 60,000.
    pub fraud_lateness_ms: Millis,
    /// Least history kept of every key and metric, rules or not, so that a rule added later has something to
    /// start from; wait as long after you raised it. Milliseconds of event time. Default: 0.
    pub fraud_history_ms_min: Millis,
    /// How long after its order a declined payment is counted by the order's keys. Milliseconds of record
    /// time. Default: 3,600,000 (1 h).
    pub fraud_decline_horizon_ms: Millis,
    /// Whether commission statements are kept. Default: true.
    pub commission_statements: bool,
    /// Whether results of draws are taken, settled and published. Default: true.
    pub draws: bool,
    /// A result that was drawn longer ago than this is not posted. Milliseconds of now.
    /// Default: 86,400,000 (24 h).
    pub publish_max_age_ms: Millis,
    /// Templates and locales in which an image of every result is made, whatever the channels want. Default: none.
    pub publish_templates: Vec<Text>,
    pub publish_locales: Vec<Text>,
    /// Tenants whose orders need a row in `customers`. Default: none.
    pub tenants_requiring_customers: BTreeSet<Text>,
    /// Tenants that bill afterwards: an order that is accepted there is confirmed at once. Default: none.
    pub tenants_billing_later: BTreeSet<Text>,
    /// Names of the input topics, by `TopicId`. Facts and dead letters name their cause's topic by it.
    pub topics: Vec<String>,
    /// Signs tickets. Recorded as its fingerprint. Default: none, and no ticket can be issued without.
    #[serde(rename = "ticket_key_sha256")]
    pub ticket_key: TicketKey,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            grace_ms: 5_000,
            hold_ttl_ms: 10 * 60 * 1000,
            order_retention_ms: 30 * 24 * 60 * 60 * 1000,
            idempotency_horizon_ms: 24 * 60 * 60 * 1000,
            review_timeout_ms: 24 * 60 * 60 * 1000,
            fraud_screening: true,
            fraud_lateness_ms: 60_000,
            fraud_history_ms_min: 0,
            fraud_decline_horizon_ms: 60 * 60 * 1000,
            commission_statements: true,
            draws: true,
            publish_max_age_ms: 24 * 60 * 60 * 1000,
            publish_templates: Vec::new(),
            publish_locales: Vec::new(),
            tenants_requiring_customers: BTreeSet::new(),
            tenants_billing_later: BTreeSet::new(),
            topics: Vec::new(),
            ticket_key: TicketKey::default(),
        }
    }
}

/// Settings no pipeline can run with.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("settings: {field} is {value} ms; give it a value from 0 to {max} ms")]
    OutOfRange { field: &'static str, value: Millis, max: Millis },
    #[error("settings: not readable ({problem}); they were recorded by another version: run that one")]
    Unreadable { problem: String },
    #[error(
        "settings: the ticket key has fingerprint {given}, but {recorded} is recorded; use the recorded key"
    )]
    OtherTicketKey { given: String, recorded: String },
}

/// A hundred years: far enough, and safe to add to any time.
const DURATION_MS_MAX: Millis = 100 * 365 * 24 * 60 * 60 * 1000;
/// The idempotency store tells hours apart within this.
const HORIZON_MS_MAX: Millis = 300 * 24 * 60 * 60 * 1000;

impl Settings {
    /// Settings as a generation recorded them (JSON): all but the ticket key itself.
    ///
    /// # Errors
    /// [`SettingsError::Unreadable`] for another version's record, [`SettingsError::OutOfRange`] as in [`Settings::check`].
    pub fn from_recorded(json: &str) -> Result<Self, SettingsError> {
        let unreadable = |e: serde_json::Error| SettingsError::Unreadable { problem: e.to_string() };
        let settings: Settings = serde_json::from_str(json).map_err(unreadable)?;
        settings.check().map(|()| settings)
    }

    /// The same inside an operator, which can't go on without.
    ///
    /// # Panics
    /// With the error's message.
    pub fn recorded_or_stop(json: &str) -> Self {
        Self::from_recorded(json).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a generation records.
    pub fn to_recorded(&self) -> String {
        serde_json::to_string(self).expect("plain data always encodes into memory")
    }

    /// Refuses durations that are negative or beyond what the operators' state can tell apart.
    ///
    /// # Errors
    /// [`SettingsError::OutOfRange`] names the field and its limits.
    pub fn check(&self) -> Result<(), SettingsError> {
        let fields = [
            ("grace_ms", self.grace_ms, DURATION_MS_MAX),
            ("hold_ttl_ms", self.hold_ttl_ms, DURATION_MS_MAX),
            ("order_retention_ms", self.order_retention_ms, DURATION_MS_MAX),
            ("idempotency_horizon_ms", self.idempotency_horizon_ms, HORIZON_MS_MAX),
            ("review_timeout_ms", self.review_timeout_ms, DURATION_MS_MAX),
            ("fraud_lateness_ms", self.fraud_lateness_ms, DURATION_MS_MAX),
            ("fraud_history_ms_min", self.fraud_history_ms_min, DURATION_MS_MAX),
            ("publish_max_age_ms", self.publish_max_age_ms, DURATION_MS_MAX),
            ("fraud_decline_horizon_ms", self.fraud_decline_horizon_ms, DURATION_MS_MAX),
        ];
        let wrong = fields.into_iter().find(|(_, value, max)| !(0..=*max).contains(value));
        wrong.map_or(Ok(()), |(field, value, max)| Err(SettingsError::OutOfRange { field, value, max }))
    }

    /// Settings read back from a generation's record, with the key they name by its fingerprint.
    ///
    /// # Errors
    /// [`SettingsError::OtherTicketKey`] where `key` is another one.
    pub fn with_ticket_key(mut self, key: TicketKey) -> Result<Self, SettingsError> {
        let (given, recorded) = (key.fingerprint(), self.ticket_key.fingerprint());
        if given != recorded {
            return Err(SettingsError::OtherTicketKey { given, recorded });
        }
        self.ticket_key = key;
        Ok(self)
    }
}

/// The key that signs tickets, or only its fingerprint where it was read from a record.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TicketKey {
    secret: Option<Box<[u8]>>,
    fingerprint: Text,
}

impl TicketKey {
    /// A key of these bytes.
    pub fn new(secret: impl Into<Box<[u8]>>) -> Self {
        let secret = secret.into();
        TicketKey { fingerprint: hex(&Sha256::digest(&secret)), secret: Some(secret) }
    }

    /// The key itself; absent where only the fingerprint is known.
    pub fn secret(&self) -> Option<&[u8]> {
        self.secret.as_deref()
    }

    /// SHA-256 of the key in hex; empty where no key was ever given.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.to_string()
    }
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TicketKey(sha256 {})", self.fingerprint)
    }
}

impl Serialize for TicketKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.fingerprint)
    }
}

impl<'de> Deserialize<'de> for TicketKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(TicketKey { secret: None, fingerprint: Text::deserialize(deserializer)? })
    }
}

fn hex(bytes: &[u8]) -> Text {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_settings_holds_the_fingerprint_and_never_the_key() {
        let settings = Settings { ticket_key: TicketKey::new(*b"a secret"), ..Settings::default() };
        let recorded = settings.to_recorded();
        assert!(!recorded.contains("secret") && recorded.contains("984ca516"), "{recorded}");
        assert!(!format!("{settings:?}").contains("a secret"));
        let read = Settings::from_recorded(&recorded).unwrap();
        assert_eq!(read.ticket_key.secret(), None);
        assert_eq!(read.clone().with_ticket_key(TicketKey::new(*b"a secret")), Ok(settings));
        let refused = read.with_ticket_key(TicketKey::new(*b"another")).unwrap_err();
        assert!(refused.to_string().contains("use the recorded key"));
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        assert_eq!(Settings::default().check(), Ok(()));
        let wrong = Settings { grace_ms: -1, ..Settings::default() };
        assert!(wrong.check().unwrap_err().to_string().contains("grace_ms is -1 ms"));
        assert!(Settings::from_recorded(r#"{"grace":1}"#).unwrap_err().to_string().contains("grace"));
    }
}
