//! How facts go back into a log, exactly once: the trait a log implements for the facts sink.
//!
//! An epoch's records and the progress "through epoch e" become visible in one step, or not at all.

use crate::sink::SinkError;
use crate::trace::TraceContext;
use crate::types::{Epoch, Generation, Millis};

/// One record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutRecord {
    pub topic: &'static str,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub timestamp: Millis,
    /// Carried as the header `epoch`.
    pub epoch: Epoch,
    /// Carried as the header `traceparent`, where its cause belongs to a trace.
    pub trace: Option<Box<TraceContext>>,
}

/// A log that takes whole epochs.
pub trait EpochLog: Send {
    /// The last epoch this log has for good.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn committed(&mut self) -> Result<Epoch, SinkError>;

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
