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
///
/// ```text
///   record   time 48 | class 2 | topic 14    | partition 16 | offset 48
///   timer    time 48 | class 2 | operator 14 | hash of the key 64
/// ```
///
/// Two words, because every message carries two of these and is compared by them. Times are milliseconds, from
/// 4,459 years before 1970 to 4,459 after. In snapshots it is what it was before it was packed (see [`Wide`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Wide", into = "Wide")]
pub struct Position {
    /// The time is stored moved up by half of its range, so that it orders without a sign.
    place: u64,
    /// Partition and offset, or the hash of a timer's key.
    within: u64,
}

/// Bits below the time.
const CLASS_AND_TOPIC: u32 = 16;
/// Bits of a topic's or an operator's number.
const TOPIC: u32 = 14;
/// Bits of an offset.
const OFFSET: u32 = 48;
/// What is added to a time.
const TIME_ZERO: i64 = 1 << 47;

impl Position {
    /// Where a record of the log stands.
    ///
    /// # Panics
    /// Where a number is larger than there is room for: 16,384 topics, 65,536 partitions, 2^48 records.
    #[inline]
    pub fn record(time: Millis, class: Class, partition: PartitionId, offset: Offset) -> Self {
        let PartitionId { topic, partition } = partition;
        assert!(partition <= u32::from(u16::MAX), "partition {partition}: a topic has 65,536 at most");
        assert!(offset.0 >> OFFSET == 0, "offset {}: a partition has 2^48 at most", offset.0);
        Position { place: place(time, class, topic.0), within: u64::from(partition) << OFFSET | offset.0 }
    }

    /// Where a timer stands: before the records of its due time, by operator and key.
    #[inline]
    pub fn timer(due: Millis, operator: u16, key_hash: u64) -> Self {
        Position { place: place(due, Class::Timer, operator), within: key_hash }
    }

    /// When it happens.
    #[inline]
    pub fn time(&self) -> Millis {
        (self.place >> CLASS_AND_TOPIC) as i64 - TIME_ZERO
    }

    /// The log partition, where this is a record's position.
    pub fn partition(&self) -> Option<PartitionId> {
        (self.class() != Class::Timer).then_some(PartitionId {
            topic: TopicId(self.number()),
            partition: (self.within >> OFFSET) as u32,
        })
    }

    /// What kind of cause stands here.
    pub fn class(&self) -> Class {
        match self.place >> TOPIC & 3 {
            0 => Class::Timer,
            1 => Class::Reference,
            _ => Class::Command,
        }
    }

    /// The operator, where this is a timer's position.
    pub fn operator(&self) -> Option<u16> {
        (self.class() == Class::Timer).then_some(self.number())
    }

    /// The offset, where this is a record's position; the hash of the key, where it is a timer's.
    pub fn offset(&self) -> Offset {
        match self.class() {
            Class::Timer => Offset(self.within),
            _ => Offset(self.within & ((1 << OFFSET) - 1)),
        }
    }

    fn number(&self) -> u16 {
        (self.place & ((1 << TOPIC) - 1)) as u16
    }
}

#[inline]
fn place(time: Millis, class: Class, number: u16) -> u64 {
    assert!((-TIME_ZERO..TIME_ZERO).contains(&time), "time {time}: not within 4,459 years of 1970");
    assert!(number >> TOPIC == 0, "topic or operator {number}: there are 16,384 at most");
    ((time + TIME_ZERO) as u64) << CLASS_AND_TOPIC | (class as u64) << TOPIC | u64::from(number)
}

/// A [`Position`] as snapshots have it: time, class (8 bits) | number (16) | partition (32), offset or hash.
#[derive(Serialize, Deserialize)]
struct Wide {
    time: Millis,
    place: u64,
    offset: u64,
}

impl From<Position> for Wide {
    fn from(position: Position) -> Self {
        let partition = position.partition().map_or(0, |id| id.partition);
        let (class, number) = (position.class() as u64, u64::from(position.number()));
        let place = class << 48 | number << 32 | u64::from(partition);
        Wide { time: position.time(), place, offset: position.offset().0 }
    }
}

impl From<Wide> for Position {
    fn from(wide: Wide) -> Self {
        let number = (wide.place >> 32) as u16;
        let id = PartitionId { topic: TopicId(number), partition: wide.place as u32 };
        match wide.place >> 48 {
            0 => Position::timer(wide.time, number, wide.offset),
            1 => Position::record(wide.time, Class::Reference, id, Offset(wide.offset)),
            _ => Position::record(wide.time, Class::Command, id, Offset(wide.offset)),
        }
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
    #[inline]
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let woken = |at: &At| at.origin != at.cause;
        let by_cause = self.cause.cmp(&other.cause);
        by_cause.then_with(|| woken(self).cmp(&woken(other))).then_with(|| self.origin.cmp(&other.origin))
    }
}

impl PartialOrd for At {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl At {
    /// A record handled in its own place.
    #[inline]
    pub fn record(position: Position) -> Self {
        At { cause: position, origin: position }
    }

    /// The same message, happening now because of `cause`.
    pub fn because(self, cause: Position) -> Self {
        At { cause, origin: self.origin }
    }

    /// The time at which it happens.
    #[inline]
    pub fn time(&self) -> Millis {
        self.cause.time()
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
#[inline]
pub fn slot_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// The hash by which keys are routed: stable across runs, versions and machines.
#[inline]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// Routes on two parts of a key without joining them.
#[inline]
pub fn stable_hash2(a: &[u8], b: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(b, stable_hash(a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The order of places, told apart by what they are made of.
    fn parts(position: Position) -> (Millis, Class, u16, u32, u64) {
        let Wide { time, place, offset } = position.into();
        (time, position.class(), (place >> 32) as u16, place as u32, offset)
    }

    fn some_position() -> impl Strategy<Value = Position> {
        let (time, number) = (-TIME_ZERO..TIME_ZERO, 0..1u16 << TOPIC);
        (time, 0..3u8, number, any::<u16>(), any::<u64>()).prop_map(
            |(time, class, number, partition, within)| {
                let id = PartitionId { topic: TopicId(number), partition: partition.into() };
                let offset = Offset(within >> (64 - OFFSET));
                match class {
                    0 => Position::timer(time, number, within),
                    1 => Position::record(time, Class::Reference, id, offset),
                    _ => Position::record(time, Class::Command, id, offset),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn places_are_ordered_by_their_parts_and_come_back_from_a_snapshot(a in some_position(), b in some_position()) {
            prop_assert_eq!(a.cmp(&b), parts(a).cmp(&parts(b)));
            let bytes = postcard::to_stdvec(&a).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Position>(&bytes).unwrap(), a);
        }
    }

    #[test]
    fn a_record_says_where_it_is_and_a_timer_whose_it_is() {
        let id = PartitionId { topic: TopicId(7), partition: 65_535 };
        let record = Position::record(1_760_000_000_123, Class::Command, id, Offset((1 << OFFSET) - 1));
        assert_eq!(
            (record.time(), record.partition(), record.operator()),
            (1_760_000_000_123, Some(id), None)
        );
        assert_eq!((record.class(), record.offset()), (Class::Command, Offset((1 << OFFSET) - 1)));
        let timer = Position::timer(5, 9, u64::MAX);
        assert_eq!((timer.time(), timer.partition(), timer.operator()), (5, None, Some(9)));
        assert_eq!(size_of::<At>(), 32);
    }
}
