//! What changes of reference rows by way of the API go into: the embedded log alone.

use super::{Result, Stores};
use connectors::embedded::{Appender, Log};
use runtime::Millis;

impl Stores {
    /// Something that appends changes, each once, and how long it is to remember them: as long as commands are.
    ///
    /// # Errors
    /// See [`super::StoreError`].
    pub fn changes(&self) -> Result<(Appender, Millis)> {
        assert!(self.log_is_embedded(), "elsewhere a database is the source of reference rows");
        Ok((Log::appender(&self.dir)?, self.config.orders.idempotency_horizon_ms))
    }
}
