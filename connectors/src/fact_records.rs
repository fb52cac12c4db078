//! Facts as a consumer of their topics takes them: decoded, with the epoch that decided each.
//!
//! A fact that can't be decoded, or carries no epoch, stops its reader: a pipeline wrote it, so the log is
//! damaged or this program too old, and going on would leave a hole.

use crate::decode::SchemaSource;
use crate::embedded::{Decode, Decoded, RawRecord};
use runtime::Class;
use runtime::source::{Claim, LogError};
use schemas::Decoder;
use schemas::avro::split_header;
use schemas::facts::FactRecord;

/// Decodes the records of any topic of facts.
pub struct FactRecordDecoder<S> {
    source: S,
    decoder: Decoder,
}

impl<S: SchemaSource> FactRecordDecoder<S> {
    /// A decoder that asks `source` for the schemas it meets.
    pub fn new(source: S) -> Self {
        FactRecordDecoder { source, decoder: Decoder::default() }
    }

    fn know_schema(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        if let Ok((id, _)) = split_header(bytes)
            && !self.decoder.knows(id)
            && let Some(schema) = self.source.schema(id)?
        {
            self.decoder.add(id, &schema);
        }
        Ok(())
    }
}

impl<S: SchemaSource> Decode for FactRecordDecoder<S> {
    type Record = FactRecord;

    fn decode(
        &mut self,
        topic: &str,
        partition: u32,
        offset: u64,
        record: RawRecord<'_>,
    ) -> Result<Decoded<FactRecord>, LogError> {
        let stop = |problem: String| LogError::Stop {
            place: format!("topic {topic}, partition {partition}, offset {offset}"),
            problem,
            remedy: "restore the log if it is damaged, or run the version of Tombola that wrote it"
                .to_owned(),
        };
        let bytes = record.value.unwrap_or_default();
        self.know_schema(bytes)?;
        let fact = self.decoder.decode_fact(bytes).map_err(|error| stop(error.to_string()))?;
        let epoch = record.headers.get("epoch").and_then(epoch_of);
        let epoch = epoch.ok_or_else(|| stop("it has no header `epoch` that is a number".to_owned()))?;
        let body = FactRecord { epoch, fact };
        Ok(Decoded { claim: Claim::At(record.timestamp_ms), class: Class::Command, body, unread: None })
    }
}

fn epoch_of(header: &[u8]) -> Option<u64> {
    std::str::from_utf8(header).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::{EmbeddedReader, Log, LogEpochs, NewRecord, Registry};
    use runtime::log::{EpochLog, OutRecord};
    use runtime::source::LogReader;
    use runtime::{Epoch, Generation, Offset};
    use schemas::Fact;
    use schemas::facts::DeadLetter;
    use std::path::Path;

    fn letter(n: i64) -> Fact {
        Fact::DeadLetter(Box::new(DeadLetter {
            id: DeadLetter::id_of("commands.orders", 0, n),
            topic: "commands.orders".into(),
            partition: 0,
            offset: n,
            reason: "cut short".to_owned(),
            payload: vec![1, 2],
            key: None,
            record_time_ms: 7,
        }))
    }

    fn record(dir: &Path, epoch: u64) -> OutRecord {
        let ids = Registry::open(dir).unwrap().register_own().unwrap();
        let (fact, mut value) = (letter(epoch as i64), Vec::new());
        schemas::encode_fact(&fact, |record| ids.of(record), &mut value);
        OutRecord {
            topic: "dead-letters",
            key: fact.key(),
            value,
            timestamp: 7,
            epoch: Epoch(epoch),
            trace: None,
        }
    }

    fn read(dir: &Path) -> Result<Vec<FactRecord>, LogError> {
        let decoder = FactRecordDecoder::new(Registry::open(dir).unwrap());
        let mut reader = EmbeddedReader::open_some(dir, &["dead-letters"], |_| true, decoder).unwrap();
        let partition = reader.partitions()?[0];
        let fetched = reader.fetch(partition, Offset(0), 100)?;
        Ok(fetched.records.into_iter().map(|r| r.body).collect())
    }

    #[test]
    fn a_fact_comes_with_the_epoch_that_decided_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogEpochs::open(dir.path(), "sales").unwrap();
        log.fence(Generation(1)).unwrap();
        log.append(&[record(dir.path(), 3), record(dir.path(), 12)], Epoch(15), 0).unwrap();
        let fact = |epoch: u64| FactRecord { epoch, fact: letter(epoch as i64) };
        assert_eq!(read(dir.path()).unwrap(), [fact(3), fact(12)]);
    }

    #[test]
    fn a_record_that_no_pipeline_wrote_stops_the_reader_at_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let value = Some(record(dir.path(), 1).value);
        let unsigned = NewRecord { value, ..NewRecord::default() };
        Log::appender(dir.path()).unwrap().append("dead-letters", &[unsigned]).unwrap();
        let refused = read(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("topic dead-letters, partition 0, offset 0: it has no header"), "{refused}");
    }
}
