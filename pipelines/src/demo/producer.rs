//! Writes the demo's stream into the log, on a thread of its own.
//!
//! ```text
//!   generator ─ records that are due ─ encode ─ one transaction ─> log
//!                                                    └─ (partition, end, how many, when) ─> the view
//! ```
//!
//! Paced: what is due by the clock goes in every PACE_MS. Unpaced: as fast as it goes, but never more than
//! `backlog_max` records ahead of the decided frontier, so that memory and disk stay bounded.

use super::generator::{Generator, Options};
use super::latency::Appended;
use super::record::{Body, Timed};
use crate::stores::{Append, StoreError};
use connectors::embedded::{NewRecord, Placed};
use schemas::SchemaIds;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Records of one transaction at most.
const BATCH_RECORDS: usize = 8_192;
/// Stream time of one transaction at most: what follows from each other (a payment and its refund) doesn't
/// share a transaction, and so has different timestamps.
const BATCH_STREAM_MS: i64 = 1_000;
/// Time between two transactions where the stream is paced.
const PACE_MS: u64 = 10;

/// What producer and view tell each other.
#[derive(Debug, Default)]
pub struct Control {
    /// Set to end the stream early.
    pub stop: AtomicBool,
    /// Set by the producer when it has ended.
    pub ended: AtomicBool,
    pub appended: AtomicU64,
    pub decided: AtomicU64,
}

/// How to produce.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub stream: Options,
    /// By the clock, at the stream's own rate.
    pub paced: bool,
    /// Most records ahead of the decided frontier.
    pub backlog_max: u64,
}

/// The stream's own rate where it is not paced: only think times follow from it.
const RATE_UNPACED: u64 = 5_000;
/// Records the producer may be ahead of the decided frontier.
const BACKLOG_MAX: u64 = 100_000;

impl Plan {
    /// A stream by the clock where it has a rate, else as fast as it goes: its time then runs faster than the clock, and
    /// begins so that it ends by now.
    pub fn new(seed: u64, orders: Option<u64>, rate: Option<u64>, draws: bool) -> Self {
        let orders_per_s = rate.unwrap_or(RATE_UNPACED);
        let length_ms = if rate.is_some() { 0 } else { orders.unwrap_or(0) * 1_000 / orders_per_s };
        let start_ms = crate::clock_ms() - length_ms as i64;
        let stream = Options { seed, start_ms, orders, orders_per_s, draws };
        Plan { stream, paced: rate.is_some(), backlog_max: BACKLOG_MAX }
    }
}

struct Producer<'a> {
    appender: Box<dyn Append>,
    ids: SchemaIds,
    control: &'a Control,
    told: Sender<Appended>,
}

/// Produces the whole stream, or until stopped.
///
/// # Errors
/// Where the log can't be written.
pub fn produce(
    appender: Box<dyn Append>,
    ids: SchemaIds,
    plan: &Plan,
    control: &Control,
    told: Sender<Appended>,
) -> Result<(), StoreError> {
    let mut producer = Producer { appender, ids, control, told };
    let done = producer.stream(plan);
    control.ended.store(true, Ordering::SeqCst);
    done
}

impl Producer<'_> {
    fn stream(&mut self, plan: &Plan) -> Result<(), StoreError> {
        let mut stream = Generator::new(plan.stream).peekable();
        let started = Instant::now();
        while !self.control.stop.load(Ordering::SeqCst) && stream.peek().is_some() {
            if self.backlog() > plan.backlog_max {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let due_ms = plan.paced.then(|| plan.stream.start_ms + started.elapsed().as_millis() as i64);
            let batch = take_batch(&mut stream, due_ms);
            if !batch.is_empty() {
                self.append(&batch)?;
            }
            if plan.paced && batch.len() < BATCH_RECORDS {
                std::thread::sleep(Duration::from_millis(PACE_MS));
            }
        }
        Ok(())
    }

    fn backlog(&self) -> u64 {
        let appended = self.control.appended.load(Ordering::SeqCst);
        appended.saturating_sub(self.control.decided.load(Ordering::SeqCst))
    }

    fn append(&mut self, batch: &[Timed]) -> Result<(), StoreError> {
        let now_ms = crate::clock_ms();
        let mut topics: BTreeMap<&'static str, Vec<NewRecord>> = BTreeMap::new();
        for timed in batch {
            topics.entry(timed.body.topic()).or_default().push(timed.body.encode(&self.ids, now_ms));
        }
        let topics: Vec<(&'static str, Vec<NewRecord>)> = topics.into_iter().collect();
        let slices: Vec<(&str, &[NewRecord])> = topics.iter().map(|(t, r)| (*t, r.as_slice())).collect();
        let placed = self.appender.append_many(&slices)?;
        let at = Instant::now();
        self.control.appended.fetch_add(batch.len() as u64, Ordering::SeqCst);
        for ((topic, _), placed) in topics.iter().zip(placed) {
            self.tell(topic, &placed, at);
        }
        Ok(())
    }

    fn tell(&self, topic: &'static str, placed: &[Placed], at: Instant) {
        let mut ends: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (partition, offset) in placed {
            let (end, records) = ends.entry(*partition).or_default();
            (*end, *records) = ((*end).max(offset + 1), *records + 1);
        }
        for (partition, (end, records)) in ends {
            // A view that has left wants no figures.
            let _ = self.told.send(Appended { topic, partition, end, records, at });
        }
    }
}

/// The next records, those that are due where `due_ms` is given. A change of a reference row begins a new
/// batch, so that orders at the old price don't carry its very millisecond.
fn take_batch(stream: &mut Peekable<Generator>, due_ms: Option<i64>) -> Vec<Timed> {
    let mut batch: Vec<Timed> = Vec::new();
    while batch.len() < BATCH_RECORDS {
        let after_command = batch.last().is_some_and(|last| !is_change(last));
        let last_ms = batch.first().map_or(i64::MAX, |first| first.at_ms + BATCH_STREAM_MS);
        let due = |next: &Timed| next.at_ms <= due_ms.unwrap_or(i64::MAX).min(last_ms);
        match stream.next_if(|next| due(next) && !(after_command && is_change(next))) {
            Some(timed) => batch.push(timed),
            None => break,
        }
    }
    batch
}

fn is_change(timed: &Timed) -> bool {
    matches!(timed.body, Body::Change { .. } | Body::Close { .. })
}
