//! Changes of captured tables as a mirror takes them: decoded by the schemas their writers used.
//!
//! A record that can't be understood is a record, too: what becomes of it is the mirror's to say. An id that isn't
//! known says nothing about its record: it is looked up until it is known, and its partition waits, so that no change is left
//! out of a table because the registry was behind.

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
        topic: &str,
        partition: u32,
        offset: u64,
        record: RawRecord<'_>,
    ) -> Result<Decoded<Captured>, LogError> {
        for bytes in [record.key, record.value].into_iter().flatten() {
            let Some(id) = self.decoder.unknown(bytes) else { continue };
            let schema = self.source.schema(id)?.ok_or_else(|| {
                LogError::Retry(
                    format!(
                        "topic {topic}, partition {partition}, offset {offset}: schema id {id} is not registered; what \
                         follows waits until it is: register it, or take the topic out of mirror.topics"
                    )
                    .into(),
                )
            })?;
            self.decoder.add(id, &schema);
        }
        let mut body = self.decoder.decode(record.key, record.value);
        if record.headers.get(MOVES_HEADER).is_some() {
            body.set_moves();
        }
        Ok(Decoded { claim: Claim::At(record.timestamp_ms), class: Class::Reference, body, unread: None })
    }
}

/// Takes every record as it is, for whoever is to keep one that nothing could be done with.
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesDecoder;

impl Decode for BytesDecoder {
    type Record = Captured;

    fn decode(
        &mut self,
        _topic: &str,
        _partition: u32,
        _offset: u64,
        record: RawRecord<'_>,
    ) -> Result<Decoded<Captured>, LogError> {
        let [key, value] = [record.key, record.value].map(|bytes| bytes.map(Into::into));
        let body = Captured::Unreadable { reason: String::new(), key, value };
        Ok(Decoded { claim: Claim::At(record.timestamp_ms), class: Class::Reference, body, unread: None })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test: what fails here fails the test
mod tests {
    use super::*;
    use crate::embedded::{RawHeaders, Registry};
    use runtime::verdicts::Verdict;

    #[test]
    fn a_record_waits_for_its_schema_id_however_long() {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(dir.path()).unwrap();
        let mut decoder = CapturedDecoder::new(Registry::open(dir.path()).unwrap());
        let mut decode = || {
            let (value, headers) = (Some(&[0, 0, 0, 0, 1, 2, b'x'][..]), RawHeaders::default());
            let record = RawRecord { timestamp_ms: 0, key: None, value, headers, verdict: Verdict::Open };
            decoder.decode("oltp.public.things", 3, 7, record)
        };
        for _ in 0..3 {
            let Err(LogError::Retry(why)) = decode() else {
                panic!("it is no verdict that an id isn't known")
            };
            let why = why.to_string();
            assert!(why.starts_with("topic oltp.public.things, partition 3, offset 7: schema id 1"), "{why}");
        }
        assert_eq!(registry.register("things", "\"string\"").unwrap(), 1);
        let read = decode().unwrap().body;
        assert!(matches!(read, Captured::Unreadable { .. }), "a text is no change: {read:?}");
    }
}
