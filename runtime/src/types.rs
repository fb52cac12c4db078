//! Numbers that must not be mixed up, and the order of everything.
//!
//! A [`Position`] is one place in the total order of all causes; an [`At`] is where a message stands in
//! it. Operators handle the messages of an epoch in the order of their `At`, on however many workers, so
//! the order is part of every result: see protocol 4 in ARCHITECTURE.md.

use serde::{Deserialize, Serialize};

/// A bound cut of the log, minted by worker 0. The dataflow's timestamp.
pub type EpochTs = u64;

/// One run of the pipeline on its stores. A newer one fences every older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// An epoch as stored and spoken of outside timely. Epoch 0 is "before anything".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one after.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the Unix epoch, UTC. Record time, event time and now are all of this unit.
pub type Millis = i64;

/// Before every record: the effective time of snapshot reads at the head of a partition.
pub const BEFORE_EVERYTHING: Millis = 0;

/// An input topic, numbered in the order in which the job declares its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId(pub u16);

/// One partition of an input topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    pub topic: TopicId,
    pub partition: u32,
}

/// The place of a record in its partition. As an end it is exclusive: the next offset to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// Beyond every record.
    pub const MAX: Offset = Offset(u64::MAX);
}

/// What a record is to the order of causes at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// A due timer comes before any record of the same time.
    Timer = 0,
    /// A change of a reference table comes before any command of the same time.
    Reference = 1,
    Command = 2,
}

/// One place in the total order of causes: (time, class, topic, partition, offset).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub time: Millis,
    /// class (8 bits) | topic or operator (16) | partition (32), so that one comparison orders all three.
    place: u64,
    /// Offset, or the hash of a timer's key.
    offset: u64,
}

impl Position {
    /// Where a record of the log stands.
    pub fn record(time: Millis, class: Class, partition: PartitionId, offset: Offset) -> Self {
        let place =
            (class as u64) << 48 | u64::from(partition.topic.0) << 32 | u64::from(partition.partition);
        Position { time, place, offset: offset.0 }
    }

    /// Where a timer stands: before the records of its due time, by operator and key.
    pub fn timer(due: Millis, operator: u16, key_hash: u64) -> Self {
        Position { time: due, place: u64::from(operator) << 32, offset: key_hash }
    }

    /// The log partition, where this is a record's position.
    pub fn partition(&self) -> Option<PartitionId> {
        (self.place >> 48 != 0).then_some(PartitionId {
            topic: TopicId((self.place >> 32) as u16),
            partition: self.place as u32,
        })
    }

    /// What kind of cause stands here.
    pub fn class(&self) -> Class {
        match self.place >> 48 {
            0 => Class::Timer,
            1 => Class::Reference,
            _ => Class::Command,
        }
    }

    /// The operator, where this is a timer's position.
    pub fn operator(&self) -> Option<u16> {
        (self.place >> 48 == 0).then_some((self.place >> 32) as u16)
    }

    /// The offset, where this is a record's position; the hash of the key, where it is a timer's.
    pub fn offset(&self) -> Offset {
        Offset(self.offset)
    }
}

/// Where a message stands: what made it happen now, and the record it goes back to.
///
/// They differ where a record had to wait: an order that waited for its offer's row has the row's change
/// as `cause` and its own record as `origin`, so that all orders the row woke are judged in their
/// original order, at the row's moment. Among messages of one cause, the cause itself comes first, then
/// what it woke, by origin: the row reaches every operator before the orders that waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct At {
    pub cause: Position,
    pub origin: Position,
}

impl Ord for At {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let woken = |at: &At| at.origin != at.cause;
        let by_cause = self.cause.cmp(&other.cause);
        by_cause.then_with(|| woken(self).cmp(&woken(other))).then_with(|| self.origin.cmp(&other.origin))
    }
}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl At {
    /// A record handled in its own place.
    pub fn record(position: Position) -> Self {
        At { cause: position, origin: position }
    }

    /// The same message, happening now because of `cause`.
    pub fn because(self, cause: Position) -> Self {
        At { cause, origin: self.origin }
    }

    /// The time at which it happens.
    pub fn time(&self) -> Millis {
        self.cause.time
    }
}

/// What travels between operators: a body and its place in the order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope<B> {
    pub at: At,
    pub body: B,
}

/// Number of key slots. State moves between workers slot by slot: `slot % workers` owns it.
pub const SLOTS: u64 = 256;

/// The slot of a key's hash. The top bits are used, so that hash tables may use the low ones.
pub fn slot_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// The hash by which keys are routed: stable across runs, versions and machines.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// Routes on two parts of a key without joining them.
pub fn stable_hash2(a: &[u8], b: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(b, stable_hash(a))
}
