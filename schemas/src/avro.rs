//! Avro in the Confluent wire format.
//!
//! ```text
//!   0x00 │ schema id, 4 bytes, big-endian │ Avro binary
//! ```
//!
//! Encoding uses our own contract of the record, under the id a registry gave it. Decoding uses the
//! writer's schema, parsed once per id and checked once against ours; fields are matched by name, so a
//! writer may know more or fewer fields than we do, and serde supplies the defaults (a test holds them to
//! the contracts' own).
//!
//! What it does not do: aliases, and a reader's enum default. Our contracts use neither.

use crate::registry::Record;
use crate::{Command, Fact, compat, datum};
use serde::{Serialize, de::DeserializeOwned};
use serde_avro_fast::Schema;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState, read::SliceRead};
use serde_avro_fast::ser::SerializerConfig;
use std::collections::BTreeMap;
use std::io::BufRead;

/// The first byte of every message.
pub const MAGIC: u8 = 0;

/// Bytes before the Avro binary.
pub const HEADER_BYTES: usize = 5;

/// Most elements of one array: beyond it the message is taken for damaged.
const ARRAY_ITEMS_MAX: usize = 1_000_000;

/// Why bytes are no record of ours. Each goes to the dead letters with this as its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the value is empty; a command or fact can't be deleted, send a cancel or refund instead")]
    Empty,
    #[error(
        "the value starts with byte 0x{0:02x}, not with 0x00; produce Avro in the Confluent wire format (NDJSON goes in through `tombola produce`)"
    )]
    NotAvro(u8),
    #[error("the value has {0} bytes and ends within its 5-byte header; the producer cut it short")]
    CutShort(usize),
    #[error(
        "schema id {0} is not registered here; register the writer's schema first, then retry the dead letter"
    )]
    UnknownSchema(u32),
    #[error("schema id {id}: {why}")]
    UnreadableSchema { id: u32, why: String },
    #[error("schema id {id} is of `{found}`, expected {expected}; produce it to its own topic `{topic}`")]
    OtherRecord { id: u32, found: Record, expected: &'static str, topic: &'static str },
    #[error(
        "`{record}` under schema id {id}: {why}; the producer must encode with the schema whose id it writes"
    )]
    Body { record: Record, id: u32, why: String },
    #[error(
        "`{record}` under schema id {id}: {bytes} bytes left over; the producer must encode with the schema whose id it writes"
    )]
    LeftOver { record: Record, id: u32, bytes: usize },
    #[error("`{record}`: {why}")]
    Invalid { record: Record, why: String },
    #[error("change of `{table}`: {why}")]
    Change { table: &'static str, why: String },
}

/// Writes one command: header and Avro binary are appended to `out`.
pub fn encode_command(command: &Command, id_of: impl Fn(Record) -> u32, out: &mut Vec<u8>) {
    let record = command.record();
    put_header(id_of(record), out);
    match command {
        Command::PlaceOrder(c) => put_body(&**c, record, out),
        Command::CancelOrder(c) => put_body(&**c, record, out),
        Command::RefundOrder(c) => put_body(&**c, record, out),
        Command::PaymentCaptured(c) => put_body(&**c, record, out),
        Command::PaymentDeclined(c) => put_body(&**c, record, out),
        Command::ReviewDecision(c) => put_body(&**c, record, out),
        Command::ReportResult(c) => put_body(&**c, record, out),
        Command::CorrectResult(c) => put_body(&**c, record, out),
        Command::RepublishDraw(c) => put_body(&**c, record, out),
        Command::ImageRendered(c) => put_body(&**c, record, out),
        Command::ImageFailed(c) => put_body(&**c, record, out),
        Command::PostSucceeded(c) => put_body(&**c, record, out),
        Command::PostFailed(c) => put_body(&**c, record, out),
    }
}

/// Writes one fact: header and Avro binary are appended to `out`.
pub fn encode_fact(fact: &Fact, id_of: impl Fn(Record) -> u32, out: &mut Vec<u8>) {
    let record = fact.record();
    put_header(id_of(record), out);
    match fact {
        Fact::Order(f) => put_body(&**f, record, out),
        Fact::Stock(f) => put_body(&**f, record, out),
        Fact::Ticket(f) => put_body(&**f, record, out),
        Fact::DeadLetter(f) => put_body(&**f, record, out),
        Fact::Commission(f) => put_body(&**f, record, out),
        Fact::Fraud(f) => put_body(&**f, record, out),
        Fact::Screening(f) => put_body(&**f, record, out),
        Fact::Draw(f) => put_body(&**f, record, out),
        Fact::Publication(f) => put_body(&**f, record, out),
        Fact::Winning(f) => put_body(&**f, record, out),
    }
}

fn put_header(id: u32, out: &mut Vec<u8>) {
    out.push(MAGIC);
    out.extend_from_slice(&id.to_be_bytes());
}

fn put_body(value: &impl Serialize, record: Record, out: &mut Vec<u8>) {
    let start = out.len();
    datum::write(value, out)
        .expect("a Rust type fits its own contract; a test encodes each with every field set");
    debug_assert_eq!(Ok(&out[start..]), general(value, record).as_deref(), "{record} by its schema");
}

/// What an encoder says that asks the schema where everything belongs. What is written is held to it in debug builds.
fn general(value: &impl Serialize, record: Record) -> Result<Vec<u8>, String> {
    let mut config = SerializerConfig::new(record.schema());
    serde_avro_fast::to_datum_vec(value, &mut config).map_err(|error| error.to_string())
}

/// Splits a message into its schema id and the Avro binary.
///
/// # Errors
/// The header is missing, of another format, or cut short.
pub fn split_header(bytes: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    match bytes {
        [] => Err(DecodeError::Empty),
        [MAGIC, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        [MAGIC, ..] => Err(DecodeError::CutShort(bytes.len())),
        [other, ..] => Err(DecodeError::NotAvro(*other)),
    }
}

/// A writer's schema as this reader sees it.
#[derive(Debug)]
struct Writer {
    id: u32,
    record: Record,
    schema: Schema,
}

/// Reads messages by the schemas their writers used. Feed it with [`Decoder::add`]; ask
/// [`Decoder::knows`] which ids it has.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The verdict on each id: how to read it, or why it can't be read.
    writers: BTreeMap<u32, Result<Writer, String>>,
}

impl Decoder {
    /// A decoder that knows our own contracts under the given ids.
    pub fn with_own(id_of: impl Fn(Record) -> u32) -> Self {
        let mut decoder = Decoder::default();
        for &record in Record::ALL {
            decoder.add(id_of(record), record.avsc());
        }
        decoder
    }

    /// Whether the id has been added, readable or not.
    pub fn knows(&self, id: u32) -> bool {
        self.writers.contains_key(&id)
    }

    /// Takes in the writer's schema of an id and judges it once. An unreadable one is remembered with its
    /// reason, which every message under that id then gets.
    pub fn add(&mut self, id: u32, avsc: &str) {
        self.writers.entry(id).or_insert_with(|| judge(id, avsc));
    }

    /// Reads one command and checks it.
    ///
    /// # Errors
    /// The record goes to the dead letters. On [`DecodeError::UnknownSchema`] ask the registry for the
    /// id first, [`add`](Self::add) it and try again.
    pub fn decode_command(&self, bytes: &[u8]) -> Result<Command, DecodeError> {
        let (writer, body) = self.writer_of(bytes)?;
        let command = match writer.record {
            Record::PlaceOrder => Command::PlaceOrder(read_body(writer, body)?),
            Record::CancelOrder => Command::CancelOrder(read_body(writer, body)?),
            Record::RefundOrder => Command::RefundOrder(read_body(writer, body)?),
            Record::PaymentCaptured => Command::PaymentCaptured(read_body(writer, body)?),
            Record::PaymentDeclined => Command::PaymentDeclined(read_body(writer, body)?),
            Record::ReviewDecision => Command::ReviewDecision(read_body(writer, body)?),
            Record::ReportResult => Command::ReportResult(read_body(writer, body)?),
            Record::CorrectResult => Command::CorrectResult(read_body(writer, body)?),
            Record::RepublishDraw => Command::RepublishDraw(read_body(writer, body)?),
            Record::ImageRendered => Command::ImageRendered(read_body(writer, body)?),
            Record::ImageFailed => Command::ImageFailed(read_body(writer, body)?),
            Record::PostSucceeded => Command::PostSucceeded(read_body(writer, body)?),
            Record::PostFailed => Command::PostFailed(read_body(writer, body)?),
            _ => return Err(writer.other_than("a command")),
        };
        command.check().map_err(|why| DecodeError::Invalid { record: writer.record, why })?;
        Ok(command)
    }

    /// Reads one fact.
    ///
    /// # Errors
    /// As [`decode_command`](Self::decode_command).
    pub fn decode_fact(&self, bytes: &[u8]) -> Result<Fact, DecodeError> {
        let (writer, body) = self.writer_of(bytes)?;
        Ok(match writer.record {
            Record::OrderFact => Fact::Order(read_body(writer, body)?),
            Record::StockFact => Fact::Stock(read_body(writer, body)?),
            Record::TicketFact => Fact::Ticket(read_body(writer, body)?),
            Record::DeadLetter => Fact::DeadLetter(read_body(writer, body)?),
            Record::CommissionFact => Fact::Commission(read_body(writer, body)?),
            Record::FraudFact => Fact::Fraud(read_body(writer, body)?),
            Record::ScreeningFact => Fact::Screening(read_body(writer, body)?),
            Record::DrawFact => Fact::Draw(read_body(writer, body)?),
            Record::PublicationFact => Fact::Publication(read_body(writer, body)?),
            Record::WinningFact => Fact::Winning(read_body(writer, body)?),
            _ => return Err(writer.other_than("a fact")),
        })
    }

    fn writer_of<'a>(&self, bytes: &'a [u8]) -> Result<(&Writer, &'a [u8]), DecodeError> {
        let (id, body) = split_header(bytes)?;
        match self.writers.get(&id) {
            Some(Ok(writer)) => Ok((writer, body)),
            Some(Err(why)) => Err(DecodeError::UnreadableSchema { id, why: why.clone() }),
            None => Err(DecodeError::UnknownSchema(id)),
        }
    }
}

impl Writer {
    fn other_than(&self, expected: &'static str) -> DecodeError {
        let (id, found) = (self.id, self.record);
        DecodeError::OtherRecord { id, found, expected, topic: found.topic() }
    }

    fn body_error(&self, why: impl std::fmt::Display) -> DecodeError {
        DecodeError::Body { record: self.record, id: self.id, why: why.to_string() }
    }
}

fn judge(id: u32, avsc: &str) -> Result<Writer, String> {
    let name = compat::full_name(avsc)?;
    let record = Record::of_full_name(&name)
        .ok_or_else(|| format!("`{name}` is no record of Tombola; `tombola schemas` lists them"))?;
    compat::can_read_some(avsc, record.avsc())
        .map_err(|why| format!("can't be read as `{record}`: {why}"))?;
    let schema = avsc.parse().map_err(|e| format!("not an Avro schema: {e}"))?;
    Ok(Writer { id, record, schema })
}

fn read_body<T: DeserializeOwned>(writer: &Writer, body: &[u8]) -> Result<Box<T>, DecodeError> {
    let mut config = DeserializerConfig::new(&writer.schema);
    config.max_seq_size = ARRAY_ITEMS_MAX;
    let mut state = DeserializerState::with_config(SliceRead::new(body), config);
    let value = T::deserialize(state.deserializer()).map_err(|e| writer.body_error(e))?;
    let rest = state.into_reader().fill_buf().map_or(0, <[u8]>::len);
    if rest > 0 {
        return Err(DecodeError::LeftOver { record: writer.record, id: writer.id, bytes: rest });
    }
    Ok(Box::new(value))
}
