//! How facts go back into a log, exactly once: the trait a log implements for the facts sink.
//!
//! An epoch's records and the progress "through epoch e" become visible in one step, or not at all.

use crate::sink::SinkError;
use crate::trace::Trace;
use crate::types::{Epoch, Generation, Millis};
use std::time::Duration;

/// One record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutRecord {
    pub topic: &'static str,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub timestamp: Millis,
    /// Carried as the header `epoch`.
    pub epoch: Epoch,
    /// Carried as the headers `traceparent` and `tracestate`, where its cause belongs to a trace.
    pub trace: Option<Box<Trace>>,
}

/// Room for most keys and values from the start: growing into it would copy them several times.
const KEY_BYTES: usize = 32;
const VALUE_BYTES: usize = 256;

/// Records being made for one append. Their keys and values keep their memory for the next one: an append makes tens
/// of thousands of them, and asking for that memory anew each time costs more than filling it.
#[derive(Debug, Default)]
pub struct OutRecords {
    /// The first `used` are this append's.
    made: Vec<OutRecord>,
    used: usize,
}

impl OutRecords {
    /// Forgets them. Their memory stays: as much as the largest append took, which the committer bounds.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// One more, whose key and value are empty and without a trace.
    pub fn add(&mut self, topic: &'static str, timestamp: Millis, epoch: Epoch) -> &mut OutRecord {
        if self.used == self.made.len() {
            let (key, value) = (Vec::with_capacity(KEY_BYTES), Vec::with_capacity(VALUE_BYTES));
            self.made.push(OutRecord { topic, key, value, timestamp, epoch, trace: None });
        }
        let record = &mut self.made[self.used];
        self.used += 1;
        record.key.clear();
        record.value.clear();
        (record.topic, record.timestamp, record.epoch, record.trace) = (topic, timestamp, epoch, None);
        record
    }

    /// All of them, in the order in which they were added.
    pub fn as_slice(&self) -> &[OutRecord] {
        &self.made[..self.used]
    }
}

/// A log that takes whole epochs.
pub trait EpochLog: Send {
    /// The last epoch this log has for good.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn committed(&mut self) -> Result<Epoch, SinkError>;

    /// The last epoch this log is known to have, without waiting for what an older generation may have left pending.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn settled(&mut self) -> Result<Epoch, SinkError> {
        self.committed()
    }

    /// How far apart appends should begin at least; see [`crate::sink::Sink::commit_interval`].
    fn commit_interval(&self) -> Duration {
        Duration::ZERO
    }

    /// Fences every older generation off.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn fence(&mut self, generation: Generation) -> Result<(), SinkError>;

    /// Appends the records of the epochs up to and including `through`, with that progress, in one transaction.
    /// `now` is the pipeline's at `through`: whatever happened in it by then has been said.
    ///
    /// # Errors
    /// [`SinkError::Fenced`] where a newer generation has fenced this one off.
    fn append(&mut self, records: &[OutRecord], through: Epoch, now: Millis) -> Result<(), SinkError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{TraceContext, TraceState};

    #[test]
    fn a_record_has_nothing_of_the_one_whose_memory_it_takes() {
        const TRACE: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut records = OutRecords::default();
        for (round, many) in [(1, 9), (2, 2), (3, 1), (4, 9)] {
            records.clear();
            for n in 0..many {
                let record = records.add("facts.orders", n, Epoch(round));
                assert_eq!((record.key.len(), record.value.len(), &record.trace), (0, 0, &None));
                record.key.push(n as u8);
                record.value.extend([round as u8; 3]);
                record.trace = TraceContext::parse(TRACE)
                    .map(|context| Box::new(Trace { context, state: TraceState::default() }));
            }
            let made: Vec<_> =
                records.as_slice().iter().map(|r| (r.epoch.0, r.timestamp, r.key[0])).collect();
            assert_eq!(made, (0..many).map(|n| (round, n, n as u8)).collect::<Vec<_>>());
        }
    }
}
