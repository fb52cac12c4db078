//! Running digests: what a sink has said so far, in 32 bytes.
//!
//! ```text
//!   digest(e) = BLAKE3( digest of the last epoch with items before e · e · every item's parts )
//! ```
//!
//! Epochs without items leave it as it is, so it depends on what was said and not on how often the clock
//! ticked. Each part goes in with its length before it: no two lists of parts look alike. Two runs that
//! agree at an epoch agree on everything up to it; the first epoch at which they differ is where to look.
//! BLAKE3, because every fact and every row goes through it, and it is the fastest hash that nobody can aim.

use crate::log::OutRecord;
use crate::types::Epoch;

/// The value before the first item.
pub const NOTHING_SAID: Digest = [0; 32];

/// A BLAKE3 hash.
pub type Digest = [u8; 32];

/// A digest that goes on from epoch to epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningDigest {
    last: Digest,
}

impl RunningDigest {
    /// Goes on from a stored value ([`NOTHING_SAID`] at the beginning).
    pub fn resume(last: Digest) -> Self {
        RunningDigest { last }
    }

    /// The value as of the last epoch folded in.
    pub fn value(&self) -> Digest {
        self.last
    }

    /// Folds an epoch's items in; call it only for epochs that have any.
    pub fn fold(&mut self, epoch: Epoch, items: impl FnOnce(&mut Parts)) -> Digest {
        let mut parts = Parts { hash: blake3::Hasher::new(), waiting: Vec::with_capacity(HASHED_AT_ONCE) };
        parts.put(&self.last);
        parts.put(&epoch.0.to_le_bytes());
        items(&mut parts);
        self.last = parts.finish();
        self.last
    }

    /// Folds records in, epoch by epoch: the value after each epoch that has any.
    pub fn fold_records(&mut self, records: &[OutRecord]) -> Vec<(Epoch, Digest)> {
        let epochs = records.chunk_by(|a, b| a.epoch == b.epoch);
        epochs.map(|of| (of[0].epoch, self.fold(of[0].epoch, |parts| add_records(parts, of)))).collect()
    }
}

/// Takes the parts of an epoch's items.
pub struct Parts {
    hash: blake3::Hasher,
    /// Parts are short; hashed many at a time, they are hashed in parallel lanes.
    waiting: Vec<u8>,
}

/// Bytes.
const HASHED_AT_ONCE: usize = 1 << 16;

impl Parts {
    /// The next part.
    pub fn add(&mut self, part: &[u8]) {
        self.put(&(part.len() as u64).to_le_bytes());
        self.put(part);
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.waiting.len() + bytes.len() > HASHED_AT_ONCE {
            self.hash.update(&self.waiting);
            self.waiting.clear();
        }
        self.waiting.extend_from_slice(bytes);
    }

    fn finish(mut self) -> Digest {
        self.hash.update(&self.waiting);
        *self.hash.finalize().as_bytes()
    }

    /// The next part, a number.
    pub fn add_int(&mut self, part: i64) {
        self.add(&part.to_le_bytes());
    }
}

fn add_records(parts: &mut Parts, records: &[OutRecord]) {
    for record in records {
        parts.add(record.topic.as_bytes());
        parts.add(&record.key);
        parts.add(&record.value);
        parts.add_int(record.timestamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: u64, key: &str, value: &str) -> OutRecord {
        OutRecord {
            topic: "facts.orders",
            key: key.into(),
            value: value.into(),
            timestamp: 1,
            epoch: Epoch(epoch),
            trace: None,
        }
    }

    fn folded(records: &[OutRecord]) -> Vec<(Epoch, Digest)> {
        RunningDigest::resume(NOTHING_SAID).fold_records(records)
    }

    #[test]
    fn a_run_cut_in_two_gives_the_same_digests() {
        let records = [record(3, "a", "1"), record(3, "b", "2"), record(7, "a", "3")];
        let mut running = RunningDigest::resume(NOTHING_SAID);
        let mut halves = running.fold_records(&records[..2]);
        halves.extend(RunningDigest::resume(running.value()).fold_records(&records[2..]));
        assert_eq!(halves, folded(&records));
        assert_eq!(halves.len(), 2);
    }

    #[test]
    fn parts_that_are_cut_otherwise_or_swapped_differ() {
        let whole = folded(&[record(1, "ab", "c"), record(1, "x", "y")]);
        assert_ne!(whole, folded(&[record(1, "a", "bc"), record(1, "x", "y")]));
        assert_ne!(whole, folded(&[record(1, "x", "y"), record(1, "ab", "c")]));
        assert_ne!(whole, folded(&[record(2, "ab", "c"), record(2, "x", "y")]));
    }
}
