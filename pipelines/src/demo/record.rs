//! One record on its way into the log: what it says, when, and its bytes.

use compact_str::CompactString as Text;
use connectors::embedded::NewRecord;
use schemas::{Command, SchemaIds, encode_command};

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Command(Command),
    /// A change of a reference table, as Debezium's JSON converter writes it (without schema).
    Change {
        topic: &'static str,
        key: Text,
        json: String,
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
            Body::Change { topic, .. } => topic,
            Body::Garbage(_) => "commands.orders",
        }
    }

    /// The record as appended: Avro in the wire format for a command, keyed by its order.
    pub fn encode(&self, ids: &SchemaIds, timestamp_ms: i64) -> NewRecord {
        let (key, value) = match self {
            Body::Command(command) => {
                let mut value = Vec::with_capacity(160);
                encode_command(command, |record| ids.of(record), &mut value);
                (Some(command.order_id().as_bytes().to_vec()), value)
            }
            Body::Change { key, json, .. } => (Some(key.as_bytes().to_vec()), json.clone().into_bytes()),
            Body::Garbage(bytes) => (None, bytes.clone()),
        };
        NewRecord { partition: None, key, value: Some(value), timestamp_ms, headers: Vec::new() }
    }
}
