//! Which records that were read belong to a trace: a table beside the dataflow, so that messages carry nothing of it.
//!
//! ```text
//!   decoder ─ note(place, header) ─> table <─ of(cause) ─ whoever commits what follows from the record
//! ```
//!
//! It holds the newest so many traced records and forgets the oldest: what a record brings about much later (a hold that
//! expires) is told with its trace as long as it is remembered. After a crash it fills again as records are read again.
//! Without traced records it is empty, and asking it costs one load.

use super::{TraceContext, TraceState};
use crate::types::Millis;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A record that belongs to a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// What its header says.
    pub sent: TraceContext,
    /// The decision about it: what facts that follow from it are told under.
    pub decision: TraceContext,
    /// What other vendors say of the trace, passed on as it came.
    pub state: TraceState,
    /// The record's own timestamp.
    pub timestamp_ms: Millis,
    /// Whether its decision has been told of.
    pub told: bool,
}

/// Topic, partition, offset.
type Place = (u16, u32, u64);

#[derive(Debug, Default)]
struct Inner {
    /// Topics met so far, by their number in places: a handful.
    topics: Vec<Box<str>>,
    records: HashMap<Place, Traced>,
    /// The oldest first.
    order: VecDeque<Place>,
}

impl Inner {
    fn place(&self, topic: &str, partition: u32, offset: u64) -> Option<Place> {
        let number = self.topics.iter().position(|known| **known == *topic)?;
        Some((number as u16, partition, offset))
    }
}

/// See the module.
#[derive(Debug)]
pub struct TracedRecords {
    inner: Mutex<Inner>,
    count: AtomicUsize,
    max: usize,
}

impl TracedRecords {
    /// A table of at most so many records.
    pub fn new(max: usize) -> Self {
        TracedRecords { inner: Mutex::default(), count: AtomicUsize::new(0), max }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Notes a record that was read, with its headers `traceparent` and `tracestate`. Without a well-formed `traceparent`
    /// there is no trace, whatever the other says. A record that is read again stays as it was.
    pub fn note(
        &self,
        (topic, partition, offset): (&str, u32, u64),
        (parent, state): (&[u8], Option<&[u8]>),
        timestamp_ms: Millis,
    ) {
        let Some(sent) = TraceContext::parse(parent) else { return };
        // Who doesn't want spans gets none, and is passed on as it came.
        let of = || format!("{topic}/{partition}/{offset}");
        let decision = if sent.sampled { sent.derived(of().as_bytes()) } else { sent };
        let mut inner = self.inner();
        let place = inner.place(topic, partition, offset).unwrap_or_else(|| {
            inner.topics.push(topic.into());
            ((inner.topics.len() - 1) as u16, partition, offset)
        });
        if inner.records.contains_key(&place) {
            return;
        }
        if inner.order.len() >= self.max
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.records.remove(&oldest);
        }
        inner.order.push_back(place);
        let state = state.map(TraceState::parse).unwrap_or_default();
        inner.records.insert(place, Traced { sent, decision, state, timestamp_ms, told: false });
        self.count.store(inner.records.len(), Ordering::Relaxed);
    }

    /// What is known of the record at a place.
    pub fn of(&self, (topic, partition, offset): (&str, u32, u64)) -> Option<Traced> {
        if self.is_empty() {
            return None;
        }
        let inner = self.inner();
        let place = inner.place(topic, partition, offset)?;
        inner.records.get(&place).cloned()
    }

    /// Notes that the decision about a record has been told of; true where it had not been before.
    pub fn tell(&self, (topic, partition, offset): (&str, u32, u64)) -> bool {
        let mut inner = self.inner();
        let place = inner.place(topic, partition, offset);
        let traced = place.and_then(|place| inner.records.get_mut(&place));
        traced.is_some_and(|traced| !std::mem::replace(&mut traced.told, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_record_is_known_by_its_place_and_told_of_once() {
        let table = TracedRecords::new(10);
        assert!(table.is_empty());
        table.note(("orders", 1, 5), (b"nonsense", Some(b"a=1")), 0);
        assert!(table.is_empty());
        table.note(("orders", 1, 5), (HEADER, Some(b"a=1, b=2")), 77);
        let found = table.of(("orders", 1, 5)).expect("it was noted");
        assert_eq!((found.timestamp_ms, found.sent.to_string().as_bytes()), (77, HEADER));
        assert_eq!(found.state.header(), Some("a=1,b=2"));
        assert_eq!(found.decision.trace_id, found.sent.trace_id);
        assert_ne!(found.decision.span_id, found.sent.span_id);
        for stranger in [("orders", 0, 5), ("orders", 1, 6), ("payments", 1, 5)] {
            assert_eq!(table.of(stranger), None);
            assert!(!table.tell(stranger));
        }
        assert!(table.tell(("orders", 1, 5)));
        table.note(("orders", 1, 5), (HEADER, None), 78);
        assert!(!table.tell(("orders", 1, 5)), "what is read again was told of before");
    }

    #[test]
    fn what_was_read_again_has_the_same_decision() {
        let decision = || {
            let table = TracedRecords::new(1);
            table.note(("orders", 0, 0), (HEADER, None), 1);
            table.of(("orders", 0, 0)).map(|traced| traced.decision)
        };
        assert!(decision().is_some());
        assert_eq!(decision(), decision());
    }

    #[test]
    fn who_wants_no_spans_is_passed_on_as_it_came() {
        let table = TracedRecords::new(1);
        let unsampled = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        table.note(("orders", 0, 0), (unsampled, None), 1);
        let found = table.of(("orders", 0, 0)).expect("it was noted");
        assert_eq!(found.sent, found.decision);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let table = TracedRecords::new(2);
        (0..3).for_each(|offset| table.note(("orders", 0, offset), (HEADER, None), 0));
        let known: Vec<bool> = (0..3).map(|offset| table.of(("orders", 0, offset)).is_some()).collect();
        assert_eq!(known, [false, true, true]);
    }
}
