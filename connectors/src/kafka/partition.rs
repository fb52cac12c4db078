//! One partition being read: its queue, and how far reading has come.
//!
//! ```text
//!   broker ─> librdkafka's queue of the partition ─ poll ─> decode ─> records
//!                    │ what holds nothing (markers, aborted records) shows in the position only
//! ```
//!
//! The position is that of the last record or transaction marker taken off the queue, plus one. It doesn't show
//! aborted records that no marker follows yet (their marker lies beyond another transaction's first record).
//! For those, reading is set back to the position: librdkafka then drops what it had fetched, and if the next thing
//! it brings is the end of the partition, nothing lies between the position and any end asked for before.

use super::client::Asking;
use super::settings::Consumer;
use super::settings::Logging;
use super::standing::Standing;
use crate::embedded::{Decode, Decoded, RawHeaders, RawRecord};
use rdkafka::consumer::Consumer as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError as Client;
use rdkafka::message::{BorrowedMessage, Headers, Message, OwnedMessage};
use runtime::Offset;
use runtime::source::{Fetched, LogError};
use runtime::verdicts::{Past, Verdict};
use std::time::{Duration, Instant};

/// What a look at the queue ended with.
pub(crate) enum Drawn {
    /// As many records as were asked for: there may be more.
    Full,
    /// All that has arrived.
    Empty,
}

pub(crate) struct Reading {
    pub topic: String,
    pub partition: i32,
    pub standing: Standing,
    queue: PartitionQueue<Logging>,
    /// Taken off the queue, and not decoded because the decoder couldn't work just then.
    waiting: Option<OwnedMessage>,
    failed: Option<Client>,
    /// The end was seen, and nothing since.
    at_end: bool,
    /// Since when nothing has come although an end isn't reached.
    short_since: Option<Instant>,
    /// Reading was set back to prove that nothing lies below this end.
    proving: Option<u64>,
    headers: Vec<u8>,
    /// How long an end that was not reached may stay so before it is looked into.
    prove_after: Duration,
}

impl Reading {
    pub fn new(
        (topic, partition): (&str, i32),
        from: u64,
        queue: PartitionQueue<Logging>,
        asking: Asking,
    ) -> Self {
        Reading {
            topic: topic.to_owned(),
            partition,
            standing: Standing::at(from),
            queue,
            waiting: None,
            failed: None,
            at_end: false,
            short_since: None,
            proving: None,
            headers: Vec::new(),
            prove_after: asking.arrives_within(),
        }
    }

    /// Takes what has arrived, at most `max` records. A failure of the decoder leaves its record for the next call.
    pub fn draw<D: Decode>(
        &mut self,
        (decode, past): (&mut D, Option<&Past>),
        max: usize,
        records: &mut Vec<Fetched<D::Record>>,
    ) -> Result<Drawn, LogError> {
        if let Some(message) = self.waiting.take()
            && let Err(error) = self.take((decode, past), &message, records)
        {
            self.waiting = Some(message);
            return Err(error);
        }
        while records.len() < max {
            let Some(polled) = poll(&self.queue) else { return Ok(Drawn::Empty) };
            match polled {
                Ok(message) => {
                    let taken = take(
                        (&self.topic, self.partition),
                        (&mut self.standing, &mut self.headers),
                        (decode, past),
                        &message,
                        records,
                    );
                    (self.at_end, self.short_since, self.proving) = (false, None, None);
                    if let Err(error) = taken {
                        self.waiting = Some(message.detach());
                        return Err(error);
                    }
                }
                Err(Client::PartitionEOF(_)) => self.reached_end(),
                Err(error) => {
                    self.failed = Some(error);
                    return Ok(Drawn::Empty);
                }
            }
        }
        Ok(Drawn::Full)
    }

    fn take<D: Decode>(
        &mut self,
        judging: (&mut D, Option<&Past>),
        message: &impl Message<Headers: Headers>,
        records: &mut Vec<Fetched<D::Record>>,
    ) -> Result<(), LogError> {
        let place = (self.topic.as_str(), self.partition);
        take(place, (&mut self.standing, &mut self.headers), judging, message, records)
    }

    fn reached_end(&mut self) {
        self.at_end = true;
        if let Some(end) = self.proving.take() {
            self.standing.reached(end);
            self.short_since = None;
        }
    }

    /// Since when nothing has come although there is more.
    pub fn short_since(&self) -> Option<Instant> {
        self.short_since
    }

    /// What went wrong in the queue, once.
    pub fn take_failure(&mut self) -> Option<Client> {
        self.failed.take()
    }

    /// The queue is empty and `position` is how far it was taken off; sets reading back where only that tells more.
    pub fn look_into(&mut self, consumer: &Consumer, position: Option<u64>) -> Result<(), Client> {
        self.standing.reached(position.unwrap_or(0));
        let Some(end) = self.standing.provable() else {
            self.short_since = None;
            return Ok(());
        };
        let since = *self.short_since.get_or_insert_with(Instant::now);
        if self.at_end && self.proving.is_none() && since.elapsed() >= self.prove_after {
            self.seek(consumer, self.standing.next())?;
            self.proving = Some(end);
        }
        Ok(())
    }

    /// Sets reading back, or on; nothing that was fetched before comes after this.
    fn seek(&mut self, consumer: &Consumer, to: u64) -> Result<(), Client> {
        let to = rdkafka::topic_partition_list::Offset::Offset(to as i64);
        self.at_end = false;
        consumer.seek(&self.topic, self.partition, to, Duration::from_secs(2))
    }

    /// Drops what has arrived.
    pub fn empty(&self) {
        while poll(&self.queue).is_some() {}
    }

    /// Begins anew elsewhere; forgets what was asked.
    pub fn restart(&mut self, consumer: &Consumer, from: u64) -> Result<(), Client> {
        self.seek(consumer, from)?;
        self.standing = Standing::at(from);
        (self.waiting, self.failed, self.short_since, self.proving) = (None, None, None, None);
        Ok(())
    }
}

fn poll(queue: &PartitionQueue<Logging>) -> Option<Result<BorrowedMessage<'_>, Client>> {
    queue.poll(Duration::ZERO)
}

/// Decodes a message and hands it over; `past` is what bindings say of its partition.
fn take<D: Decode>(
    (topic, partition): (&str, i32),
    (standing, headers): (&mut Standing, &mut Vec<u8>),
    (decode, past): (&mut D, Option<&Past>),
    message: &impl Message<Headers: Headers>,
    records: &mut Vec<Fetched<D::Record>>,
) -> Result<(), LogError> {
    let offset = message.offset() as u64;
    let packed = match message.headers() {
        Some(theirs) => {
            let each = theirs.iter().map(|header| (header.key, header.value.unwrap_or_default()));
            RawHeaders::pack(each, headers)
        }
        None => RawHeaders::default(),
    };
    let record = RawRecord {
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key(),
        value: message.payload(),
        headers: packed,
        verdict: past.map_or(Verdict::Open, |past| past.verdict(Offset(offset))),
    };
    assert!(offset >= standing.next(), "topic {topic}, partition {partition}: offsets ascend");
    let Decoded { claim, class, body, unread } = decode.decode(topic, partition as u32, offset, record)?;
    records.push(Fetched { offset: Offset(offset), claim, class, body, unread });
    standing.reached(offset + 1);
    Ok(())
}
