//! Changes of captured tables as a mirror takes them: decoded by the schemas their writers used.
//!
//! A record that can't be understood is a record, too: what becomes of it is the mirror's to say. An id that isn't
//! known is looked up each time it comes, so that a table which is new to us needs no restart.

use crate::decode::SchemaSource;
use crate::embedded::{Decode, Decoded, RawRecord};
use runtime::Class;
use runtime::source::{Claim, LogError};
use schemas::captured::{Captured, MOVES_HEADER, TableDecoder};

/// Decodes the records of any table's topic.
pub struct CapturedDecoder<S> {
    source: S,
    decoder: TableDecoder,
}

impl<S: SchemaSource> CapturedDecoder<S> {
    /// A decoder that asks `source` for the schemas it meets.
    pub fn new(source: S) -> Self {
        CapturedDecoder { source, decoder: TableDecoder::default() }
    }
}

impl<S: SchemaSource> Decode for CapturedDecoder<S> {
    type Record = Captured;

    fn decode(
        &mut self,
        _topic: &str,
        _partition: u32,
        _offset: u64,
        record: RawRecord<'_>,
    ) -> Result<Decoded<Captured>, LogError> {
        for bytes in [record.key, record.value].into_iter().flatten() {
            if let Some(id) = self.decoder.unknown(bytes)
                && let Some(schema) = self.source.schema(id)?
            {
                self.decoder.add(id, &schema);
            }
        }
        let mut body = self.decoder.decode(record.key, record.value);
        if record.headers.get(MOVES_HEADER).is_some() {
            body.set_moves();
        }
        Ok(Decoded { claim: Claim::At(record.timestamp_ms), class: Class::Reference, body })
    }
}
