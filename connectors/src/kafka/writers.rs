//! Whose a topic of facts is: claims in `tombola.writers`, the topic's name as key, the pipeline's as value.
//!
//! ```text
//!   claim:  begin · write the claim · does the topic hold anything? · commit or abort
//!   facts:  begin · write the facts · whose is the topic? ·          commit or abort   (the first time only)
//! ```
//!
//! Both write before they look, and looking waits for what is pending: of a claim and a first fact that cross, one
//! sees the other. Claims exclude each other by sharing one transactional id.

use super::append::KafkaAppender;
use super::compacted::Compacted;
use super::ends::Asker;
use super::error::{KafkaError, Result};
use super::settings::{Isolation, KafkaSettings};
use super::transaction::Transactional;
use crate::embedded::NewRecord;
use rdkafka::producer::BaseRecord;
use runtime::{Generation, Millis};
use std::collections::BTreeMap;

/// The topic that holds the claims.
pub(crate) const TOPIC: &str = "tombola.writers";
/// Keys of announcements begin so; no topic's name holds a slash.
const GENERATION: &str = "generation/";
/// Two that claim at the same time take turns.
const TRIES_MAX: u32 = 10;

/// Who writes which topic, as far as anyone has claimed it.
pub(crate) struct Writers {
    settings: KafkaSettings,
    log: Compacted,
}

impl Writers {
    /// Opens the claims; makes their topic where there is none.
    pub fn open(settings: &KafkaSettings) -> Result<Self> {
        Ok(Writers { settings: settings.clone(), log: Compacted::open(settings, TOPIC)? })
    }

    /// The pipeline that has claimed each topic; and what was announced.
    pub fn owners(&self) -> Result<BTreeMap<String, String>> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(self.log.by_key()?.into_iter().map(|(topic, owner)| (topic, text(owner))).collect())
    }

    /// Announces that a generation of a pipeline is about to take over. Of two that open the same transactional id in
    /// turn, each would fence the other's producer for ever: so the older one is told to stop.
    pub fn announce(&self, pipeline: &str, generation: Generation) -> Result<()> {
        let announced = KafkaAppender::open(&self.settings)?.append(
            TOPIC,
            &[NewRecord {
                partition: Some(0),
                key: Some(format!("{GENERATION}{pipeline}").into_bytes()),
                value: Some(generation.0.to_string().into_bytes()),
                timestamp_ms: now_ms(),
                headers: Vec::new(),
            }],
        );
        announced.map(drop)
    }

    /// The generation of a pipeline that has announced itself last.
    pub fn announced(&self, pipeline: &str) -> Result<Generation> {
        let all = self.owners()?;
        let announced = all.get(&format!("{GENERATION}{pipeline}")).and_then(|text| text.parse().ok());
        Ok(Generation(announced.unwrap_or(0)))
    }

    /// Takes topics for a pipeline, all or none.
    pub fn claim(&self, ours: &str, topics: &[&str], idle: impl Fn(&str) -> bool) -> Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_claim(ours, topics, &idle) {
                Err(error) if error.may_pass() && tries < TRIES_MAX => {
                    tracing::info!(%error, "claiming topics failed, trying again");
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                done => return done,
            }
        }
    }

    fn try_claim(&self, ours: &str, topics: &[&str], idle: &impl Fn(&str) -> bool) -> Result<()> {
        let is_ours = |owners: &BTreeMap<String, String>, topic: &str| {
            owners.get(topic).is_some_and(|owner| owner == ours)
        };
        let owners = self.owners()?;
        if topics.iter().all(|topic| is_ours(&owners, topic)) {
            return Ok(());
        }
        let lock = Transactional::open(&self.settings, "tombola-writers")?;
        let owners = self.owners()?;
        lock.begin()?;
        let wanted: Vec<&str> = topics.iter().copied().filter(|topic| !is_ours(&owners, topic)).collect();
        for topic in &wanted {
            lock.send(BaseRecord::to(TOPIC).partition(0).key(*topic).payload(ours))?;
        }
        lock.flush()?;
        let asker = Asker::open(&self.settings, Isolation::Everything)?;
        for topic in wanted {
            let Some(owner) = owners.get(topic) else { continue };
            if holds_facts(&asker, topic)? || !idle(owner) {
                lock.abort();
                return Err(claimed(topic, owner, ours));
            }
        }
        lock.commit()
    }
}

/// For people who look at the topic; nothing rests on it.
fn now_ms() -> Millis {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as Millis)
}

/// Whether anything was ever written to a topic, be it undone.
fn holds_facts(asker: &Asker, topic: &str) -> Result<bool> {
    let Some(partitions) = asker.partitions(topic)? else { return Ok(false) };
    let places: Vec<(&str, i32)> = (0..partitions as i32).map(|partition| (topic, partition)).collect();
    Ok(asker.ends(&places)?.into_iter().any(|end| end > 0))
}

pub(crate) fn claimed(topic: &str, owner: &str, ours: &str) -> KafkaError {
    KafkaError::Claimed { topic: topic.to_owned(), owner: owner.to_owned(), ours: ours.to_owned() }
}
