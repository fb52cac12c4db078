//! From the bytes of a record to what a job takes: a command, changes of a reference table, or a dead letter.
//!
//! ```text
//!   commands.*   Avro, by the writer's schema ─> Command   claims its record timestamp
//!   oltp.public.* Debezium, JSON or Avro      ─> Changes   claims source.ts_ms; a snapshot read, before everything
//!   facts.*      Avro, of another pipeline     ─> Fact      claims when it happened there
//!   anything that can't be decoded            ─> Bad       claims nothing: it comes where it stands
//!   commands.* with the header `rejected`     ─> Bad       for the header's reason, whatever the bytes are
//! ```
//!
//! Invariant: the same bytes under the same registry give the same input, on every worker; and a record that is bound gives
//! the same input in every replay, whatever the registry has learnt or lost since: its binding says whether it was read, and why not where it
//! wasn't (`runtime::verdicts`). An id that isn't known is looked up again each time it comes, so that a schema registered
//! while the pipeline runs takes effect without a restart, from the next record on; what is bound already is a dead letter for good, and is
//! sent in again by `tombola dead-letters retry`, as a new record. Against
//! a registry that is behind or not itself, a record waits some seconds for its id before that counts, within an allowance that all ids share. A trace that a record belongs to (header `traceparent`) is noted
//! beside and is no part of the input. A fact that can't be decoded stops the run: a
//! pipeline wrote it, so the log is damaged or this program too old, and going on would miscount.

use crate::embedded::{Decode, Decoded, RawRecord};
use runtime::Class;
use runtime::source::{Claim, LogError};
use runtime::trace::{TRACEPARENT, TRACESTATE, TracedRecords};
use runtime::verdicts::Verdict;
use schemas::avro::{DecodeError, split_header};
use schemas::debezium::ChangeDecoder;
use schemas::facts::DeadLetter;
use schemas::reference::{Change, ReferenceTable};
use schemas::{Command, Decoder, Fact, PAYLOAD_HASH, Text, sent_payload_hash};
use std::sync::Arc;

/// Where writers' schemas are looked up.
pub trait SchemaSource: Send + 'static {
    /// The schema with this id.
    ///
    /// # Errors
    /// Where the registry can't be asked.
    fn schema(&mut self, id: u32) -> Result<Option<String>, LogError>;
}

/// A record as a job takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Command {
        command: Command,
        /// Of what its sender said: the header's where one is given (see [`schemas::PAYLOAD_HASH`]).
        payload_hash: u64,
        /// The original value bytes, for a command that may end as a dead letter (all but `place_order`).
        raw: Option<Box<[u8]>>,
        /// The dead letter this record was sent in again for (header `retry-of`).
        retry_of: Option<Box<Text>>,
    },
    /// Never empty; [`Change::Nothing`] where the message says nothing about a row.
    Changes(Vec<Change>),
    Fact(Box<Fact>),
    /// Goes to `dead-letters`. Its `record_time_ms` is the record's own timestamp.
    Bad(Box<DeadLetter>),
}

/// The header by which a connector says why a record, which it passes on as it came, is no command.
pub const REJECTED: &str = "rejected";

/// Topics of facts that can be read.
const FACTS: [&str; 2] = ["facts.orders", "facts.screening"];

/// What a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicKind {
    Commands,
    Changes(ReferenceTable),
    /// Of orders, or of what fraud screening counts.
    Facts,
}

impl TopicKind {
    /// What a topic of this name carries; `None` where it is no input.
    pub fn of(topic: &str) -> Option<TopicKind> {
        if topic.starts_with("commands.") {
            return Some(TopicKind::Commands);
        }
        if FACTS.contains(&topic) {
            return Some(TopicKind::Facts);
        }
        topic.starts_with("oltp.").then(|| ReferenceTable::of_topic(topic).map(TopicKind::Changes))?
    }
}

/// Decodes the records of every input topic.
pub struct RecordDecoder<S> {
    source: S,
    /// Where records that belong to a trace are noted; absent where nobody traces.
    traced: Option<Arc<TracedRecords>>,
    commands: Decoder,
    changes: ChangeDecoder,
    /// Topics met so far: a handful.
    kinds: Vec<(String, TopicKind)>,
}

impl<S: SchemaSource> RecordDecoder<S> {
    /// A decoder that asks `source` for the schemas it meets.
    pub fn new(source: S) -> Self {
        let (commands, changes) = (Decoder::default(), ChangeDecoder::default());
        RecordDecoder { source, traced: None, commands, changes, kinds: Vec::new() }
    }

    /// The same, noting records that belong to a trace.
    pub fn noting(self, traced: Option<Arc<TracedRecords>>) -> Self {
        RecordDecoder { traced, ..self }
    }

    /// Notes a record's trace. A fact's is noted for what caused it: that is what this pipeline's facts name.
    fn note(&self, place: (&str, u32, u64), record: &RawRecord<'_>, input: &Input) {
        let Some(traced) = &self.traced else { return };
        let Some(parent) = record.headers.get(TRACEPARENT) else { return };
        let place = match input {
            Input::Fact(fact) => fact.caused_by(),
            _ => place,
        };
        traced.note(place, (parent, record.headers.get(TRACESTATE)), record.timestamp_ms);
    }

    fn kind(&mut self, topic: &str) -> Result<TopicKind, LogError> {
        if let Some((_, kind)) = self.kinds.iter().find(|(name, _)| name == topic) {
            return Ok(*kind);
        }
        let kind = TopicKind::of(topic).ok_or_else(|| LogError::Stop {
            place: format!("topic {topic}"),
            problem: "it carries neither commands nor facts nor a reference table that this program reads"
                .to_owned(),
            remedy: format!(
                "take it off the inputs: `commands.*`, `oltp.public.{{offers,partners,customers}}` and {} can be read",
                FACTS.join(", ")
            ),
        })?;
        self.kinds.push((topic.to_owned(), kind));
        Ok(kind)
    }

    fn command(&mut self, record: &RawRecord<'_>) -> Result<Result<(Input, Claim), DecodeError>, LogError> {
        let bytes = record.value.unwrap_or_default();
        if let Some(id) = unknown(bytes, |id| self.commands.knows(id))
            && let Some(schema) = self.source.schema(id)?
        {
            self.commands.add(id, &schema);
        }
        let sent = record.headers.get(PAYLOAD_HASH).and_then(sent_payload_hash);
        Ok(self.commands.decode_command(bytes).map(|command| {
            let keep = !matches!(command, Command::PlaceOrder(_));
            let input = Input::Command {
                payload_hash: sent.unwrap_or_else(|| command.payload_hash()),
                raw: keep.then(|| bytes.into()),
                retry_of: record.headers.get("retry-of").map(|id| Box::new(Text::from_utf8_lossy(id))),
                command,
            };
            (input, Claim::At(record.timestamp_ms))
        }))
    }

    fn fact(
        &mut self,
        place: impl Fn() -> String,
        record: &RawRecord<'_>,
    ) -> Result<(Input, Claim), LogError> {
        let bytes = record.value.unwrap_or_default();
        if let Some(id) = unknown(bytes, |id| self.commands.knows(id))
            && let Some(schema) = self.source.schema(id)?
        {
            self.commands.add(id, &schema);
        }
        let fact = self.commands.decode_fact(bytes).map_err(|error| LogError::Stop {
            place: place(),
            problem: error.to_string(),
            remedy: "restore log.db if it is damaged, or run the version of Tombola that wrote it".to_owned(),
        })?;
        let claim = match &fact {
            Fact::Order(fact) => Claim::At(fact.at_ms),
            Fact::Screening(fact) => Claim::At(fact.at_ms),
            other => Claim::At(other.record_time_ms()),
        };
        Ok((Input::Fact(Box::new(fact)), claim))
    }

    fn change(
        &mut self,
        table: ReferenceTable,
        record: &RawRecord<'_>,
    ) -> Result<Result<(Input, Claim), DecodeError>, LogError> {
        for bytes in [record.key, record.value].into_iter().flatten() {
            if let Some(id) = unknown(bytes, |id| self.changes.avro.knows(id))
                && let Some(schema) = self.source.schema(id)?
            {
                self.changes.avro.add(id, &schema);
            }
        }
        let decoded = self.changes.decode_change(table, record.key, record.value);
        Ok(decoded.map(|decoded| {
            let claim = match decoded.source_ts_ms {
                _ if decoded.snapshot_read => Claim::BeforeEverything,
                Some(ts_ms) => Claim::At(ts_ms),
                None => Claim::Nothing,
            };
            (Input::Changes(decoded.changes), claim)
        }))
    }
}

/// What a record is found to be.
enum Judged {
    Read(Input, Claim),
    /// A connector passed it on as none of ours: its header says why, now and in every replay.
    Rejected(String),
    /// Nobody can decode it, for this reason; the binding keeps that.
    Unread(String),
}

impl<S: SchemaSource> RecordDecoder<S> {
    /// Decodes a record, or takes it for what its binding says it was.
    fn judge(
        &mut self,
        kind: TopicKind,
        place: impl Fn() -> String,
        record: &RawRecord<'_>,
    ) -> Result<Judged, LogError> {
        if let Verdict::Unread(why) = record.verdict {
            return Ok(Judged::Unread(why.to_owned()));
        }
        let decoded = match kind {
            TopicKind::Commands => self.command(record)?,
            TopicKind::Changes(table) => self.change(table, record)?,
            TopicKind::Facts => Ok(self.fact(&place, record)?),
        };
        match decoded {
            Ok((input, claim)) => Ok(Judged::Read(input, claim)),
            Err(error) if record.verdict == Verdict::Read => Err(LogError::Stop {
                place: place(),
                problem: format!("this record was read when it was bound, and can't be read now: {error}"),
                remedy: "restore the schema registry as it was, or run the version of Tombola that bound the record"
                    .to_owned(),
            }),
            Err(error) => Ok(Judged::Unread(error.to_string())),
        }
    }
}

impl<S: SchemaSource> Decode for RecordDecoder<S> {
    type Record = Input;

    fn decode(
        &mut self,
        topic: &str,
        partition: u32,
        offset: u64,
        record: RawRecord<'_>,
    ) -> Result<Decoded<Input>, LogError> {
        let kind = self.kind(topic)?;
        let class = if matches!(kind, TopicKind::Changes(_)) { Class::Reference } else { Class::Command };
        let rejected = record.headers.get(REJECTED).filter(|_| kind == TopicKind::Commands);
        let judged = match rejected {
            Some(reason) => Judged::Rejected(String::from_utf8_lossy(reason).into_owned()),
            None => {
                let place = || format!("topic {topic}, partition {partition}, offset {offset}");
                self.judge(kind, place, &record)?
            }
        };
        let bad = |why| Input::Bad(Box::new(dead_letter((topic, partition, offset), &record, why)));
        let (body, claim, unread) = match judged {
            Judged::Read(body, claim) => (body, claim, None),
            Judged::Rejected(why) => (bad(why), Claim::Nothing, None),
            Judged::Unread(why) => {
                let unread = Some(why.as_str().into());
                (bad(why), Claim::Nothing, unread)
            }
        };
        self.note((topic, partition, offset), &record, &body);
        Ok(Decoded { claim, class, body, unread })
    }
}

/// The schema id a value begins with, where it isn't known yet.
fn unknown(bytes: &[u8], known: impl FnOnce(u32) -> bool) -> Option<u32> {
    let (id, _) = split_header(bytes).ok()?;
    (!known(id)).then_some(id)
}

fn dead_letter(
    (topic, partition, offset): (&str, u32, u64),
    record: &RawRecord<'_>,
    reason: String,
) -> DeadLetter {
    let (partition, offset) = (partition as i32, offset as i64);
    DeadLetter {
        id: DeadLetter::id_of(topic, partition, offset),
        topic: topic.into(),
        partition,
        offset,
        reason,
        payload: record.value.unwrap_or_default().to_vec(),
        key: record.key.map(Into::into),
        record_time_ms: record.timestamp_ms,
    }
}
