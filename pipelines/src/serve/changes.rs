//! Changes of reference rows into the embedded log, each once.

use super::failed;
use crate::stores::Stores;
use api::backend::{Change, Changed, Failed, NewChange, Place};
use connectors::embedded::{Appender, NewRecord, Once, Sent};
use runtime::Millis;

/// A connection that appends changes.
pub struct Changing {
    appender: Appender,
    /// How long ids are remembered: as long as those of commands.
    kept_ms: Millis,
}

impl Changing {
    /// Opens the log.
    pub fn open(stores: &Stores) -> Result<Changing, Failed> {
        if !stores.log_is_embedded() {
            return Err(Failed::Refused("reference tables come from their database here".to_owned()));
        }
        let (appender, kept_ms) = stores.changes().map_err(failed)?;
        Ok(Changing { appender, kept_ms })
    }
}

impl Change for Changing {
    fn change(&mut self, change: NewChange) -> Result<Changed, Failed> {
        let NewChange { id, hash, topic, key, value } = change;
        let now_ms = crate::clock_ms();
        let once = Once { id: &id, hash, now_ms, kept_ms: self.kept_ms };
        let record = |position| NewRecord {
            partition: None,
            key: Some(key),
            value: Some(value(position)),
            timestamp_ms: now_ms,
            headers: Vec::new(),
        };
        let sent = self.appender.append_once(topic, once, record);
        Ok(match sent.map_err(|error| failed(error.into()))? {
            Sent::Appended((partition, offset)) | Sent::Before((partition, offset)) => {
                Changed::At(Place { topic, partition, offset })
            }
            Sent::Conflict => Changed::Conflict,
        })
    }
}
