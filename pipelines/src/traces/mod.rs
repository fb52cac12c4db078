//! Traces of what becomes of a command: out to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! ```text
//!   decoder ─ traced records ─> table ─┬─ facts' headers
//!                                      └─ commits of sinks ─ spans ─> queue (bounded) ─> batches ─> collector
//! ```
//!
//! Switched off, nothing of it exists. Switched on, what isn't traced costs a look at each record's headers and, while
//! traced records are remembered, a look-up for each fact as it is committed; messages in the dataflow carry nothing.
//! A collector that is slow or away costs spans, which are counted, and nothing else.

mod commits;
mod exporter;

pub use commits::Committing;
pub use exporter::{Exporter, TracingError};

use crate::config::Tracing;
use runtime::trace::TracedRecords;
use std::sync::Arc;

/// What a pipeline traces with.
#[derive(Clone)]
pub struct Traces {
    pub exporter: Arc<Exporter>,
    pub records: Arc<TracedRecords>,
}

impl Traces {
    /// As the settings say; none where they name no collector.
    ///
    /// # Errors
    /// See [`TracingError`].
    pub fn of(settings: &Tracing) -> Result<Option<Self>, TracingError> {
        let exporter = Exporter::start(settings, settings.service.clone())?;
        let records = || Arc::new(TracedRecords::new(settings.commands_max));
        Ok(exporter.map(|exporter| Traces { exporter, records: records() }))
    }
}
