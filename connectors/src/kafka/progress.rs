//! How far a pipeline's facts have come: one record per transaction in `tombola.progress.<pipeline>`.
//!
//! The record belongs to the transaction of the facts it speaks of: both are there or neither is. But a commit
//! reaches partition after partition: progress may be seen before the facts are. So whoever follows asks for a
//! partition's end *after* it has read progress, counting what isn't decided yet, and reads up to there.

use super::compacted::Compacted;
use super::error::{KafkaError, Result};
use super::settings::KafkaSettings;
use runtime::digest::{Digest, NOTHING_SAID};
use runtime::{Epoch, Generation, Millis};
use serde::{Deserialize, Serialize};

/// What a pipeline has said for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The newest generation that has fenced the older ones off.
    pub generation: Generation,
    pub through: Epoch,
    /// The pipeline's now at `through`.
    pub now: Millis,
    /// Running digest of its facts as of `through`.
    pub digest: Digest,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { generation: Generation(0), through: Epoch(0), now: 0, digest: NOTHING_SAID }
    }
}

/// As it is written; names are read by people too.
#[derive(Serialize, Deserialize)]
struct Written {
    generation: u64,
    through: u64,
    now_ms: i64,
    digest: String,
}

impl Progress {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let digest = self.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let (generation, through) = (self.generation.0, self.through.0);
        let written = Written { generation, through, now_ms: self.now, digest };
        serde_json::to_vec(&written).expect("numbers and a text are JSON")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let written: Written = serde_json::from_slice(bytes).ok()?;
        let byte = |n: usize| u8::from_str_radix(written.digest.get(2 * n..2 * n + 2)?, 16).ok();
        let mut digest = NOTHING_SAID;
        for (n, slot) in digest.iter_mut().enumerate() {
            *slot = byte(n)?;
        }
        let (generation, through) = (Generation(written.generation), Epoch(written.through));
        Some(Progress { generation, through, now: written.now_ms, digest })
    }
}

/// The topic that holds a pipeline's progress. Kafka takes no `+` in a name, by which a pipeline of several jobs is called.
pub(crate) fn topic_of(pipeline: &str) -> String {
    format!("tombola.progress.{}", pipeline.replace('+', "-"))
}

/// The last progress committed, once whatever is pending is decided.
pub(crate) fn read(settings: &KafkaSettings, log: &Compacted) -> Result<Progress> {
    decoded(settings, log, log.last()?)
}

/// The last progress committed before whatever is pending: a process that was killed may have left something.
pub(crate) fn read_settled(settings: &KafkaSettings, log: &Compacted) -> Result<Progress> {
    decoded(settings, log, log.last_settled()?)
}

fn decoded(settings: &KafkaSettings, log: &Compacted, last: Option<Vec<u8>>) -> Result<Progress> {
    let Some(bytes) = last else { return Ok(Progress::default()) };
    Progress::decode(&bytes).ok_or_else(|| KafkaError::Stop {
        place: format!("{}: topic {}", settings.place(), log.topic()),
        problem: "its last record is no progress of a pipeline".to_owned(),
        remedy: "nothing but Tombola may write there: take the record out, or run the version that wrote it"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_of_several_jobs_has_a_topic_whose_name_kafka_takes() {
        assert_eq!(topic_of("sales"), "tombola.progress.sales");
        assert_eq!(topic_of("fraud+commissions"), "tombola.progress.fraud-commissions");
    }

    #[test]
    fn progress_is_read_as_it_was_written() {
        let digest = std::array::from_fn(|n| n as u8 * 7);
        let progress = Progress { generation: Generation(3), through: Epoch(9), now: -5, digest };
        assert_eq!(Progress::decode(&progress.encode()), Some(progress));
        for damaged in ["", "{}", r#"{"generation":1,"through":2,"now_ms":3,"digest":"00ff"}"#] {
            assert_eq!(Progress::decode(damaged.as_bytes()), None, "{damaged}");
        }
    }
}
