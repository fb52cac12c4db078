//! Facts into a log: encodes what the jobs decided and appends whole epochs, each once.
//!
//! The log ([`EpochLog`]) keeps progress and fence in the same transaction as the records, and the running
//! digest beside them where it can; this sink adds nothing that a crash could lose.

use runtime::log::{EpochLog, OutRecords};
use runtime::sink::{EpochItems, Sink, SinkError};
use runtime::{Epoch, Generation};
use std::time::Duration;

/// Appends the records that `encode` makes of an item (none, one or more).
pub struct FactsSink<F> {
    log: Box<dyn EpochLog>,
    encode: F,
    records: OutRecords,
}

impl<F> FactsSink<F> {
    /// A sink for one generation of the pipeline: every older one is fenced off from the log.
    ///
    /// # Errors
    /// [`SinkError::Fenced`] where a newer one has been here already.
    pub fn new(mut log: Box<dyn EpochLog>, generation: Generation, encode: F) -> Result<Self, SinkError> {
        log.fence(generation)?;
        Ok(FactsSink { log, encode, records: OutRecords::default() })
    }
}

impl<I, F> Sink<I> for FactsSink<F>
where
    F: FnMut(&I, Epoch, &mut OutRecords) + Send,
{
    fn name(&self) -> &'static str {
        "facts"
    }

    fn committed(&mut self) -> Result<Epoch, SinkError> {
        self.log.committed()
    }

    fn commit_interval(&self) -> Duration {
        self.log.commit_interval()
    }

    fn commit(&mut self, run: &[EpochItems<I>]) -> Result<(), SinkError> {
        let Some(last) = run.last() else { return Ok(()) };
        self.records.clear();
        for epoch in run {
            for item in &epoch.items {
                (self.encode)(&item.body, epoch.epoch, &mut self.records);
            }
        }
        self.log.append(self.records.as_slice(), last.epoch, last.now)
    }
}
