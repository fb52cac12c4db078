//! One record on its way into the log: what it says, when, and its bytes.

use connectors::embedded::NewRecord;
use schemas::debezium::{Op, envelope, key_of};
use schemas::draws::Draw;
use schemas::reference::ReferenceTable;
use schemas::{Command, Record, Reference, SchemaIds, encode_command};

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Command(Command),
    /// A change of a reference row, written as Debezium's JSON converter does.
    Change {
        op: Op,
        before: Option<Box<Reference>>,
        after: Box<Reference>,
        /// Position in the source's log.
        lsn: u64,
    },
    /// A draw closes at the moment at which this is appended: the stream's time may run faster than the clock.
    Close {
        draw: Box<Draw>,
        lsn: u64,
    },
    /// Bytes that mean nothing: bound for the dead letters.
    Garbage(Vec<u8>),
}

/// A record and the moment it speaks of, UTC milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    pub at_ms: i64,
    pub body: Body,
}

impl Body {
    /// The topic it goes to.
    pub fn topic(&self) -> &'static str {
        match self {
            Body::Command(command) => command.record().topic(),
            Body::Change { after, .. } => after.table().topic(),
            Body::Close { .. } => ReferenceTable::Draws.topic(),
            Body::Garbage(_) => Record::PlaceOrder.topic(),
        }
    }

    /// The record as appended at `timestamp_ms`: a command in Avro, keyed by its order; a change in JSON,
    /// made at that moment, keyed by its row.
    pub fn encode(&self, ids: &SchemaIds, timestamp_ms: i64) -> NewRecord {
        let (key, value) = match self {
            Body::Command(command) => (Some(command.subject_id().as_bytes().to_vec()), avro(command, ids)),
            Body::Change { op, before, after, lsn } => {
                change(*op, before.as_deref(), after, (timestamp_ms, *lsn))
            }
            Body::Close { draw, lsn } => {
                let closed = Reference::Draw(Box::new(Draw { closes_at_ms: timestamp_ms, ..*draw.clone() }));
                change(Op::Update, Some(&Reference::Draw(draw.clone())), &closed, (timestamp_ms, *lsn))
            }
            Body::Garbage(bytes) => (None, bytes.clone()),
        };
        NewRecord { partition: None, key, value: Some(value), timestamp_ms, headers: Vec::new() }
    }
}

/// Key and value of a change, made at a moment, at a position in the source's log.
fn change(
    op: Op,
    before: Option<&Reference>,
    after: &Reference,
    (made_ms, lsn): (i64, u64),
) -> (Option<Vec<u8>>, Vec<u8>) {
    let json = envelope(op, before, Some(after), made_ms, lsn);
    (Some(key_of(&after.key()).into_bytes()), json.into_bytes())
}

fn avro(command: &Command, ids: &SchemaIds) -> Vec<u8> {
    let mut value = Vec::with_capacity(192);
    encode_command(command, |record| ids.of(record), &mut value);
    value
}
