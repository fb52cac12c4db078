//! From record appended to decided frontier: how long it took, record by record, without remembering records.
//!
//! ```text
//!   producer:  partition, end, how many, when ──┐
//!                                               ├─ the first decision that covers the end ─> histogram
//!   engine:    partition, end, when ────────────┘
//! ```
//!
//! Either side may come first, since they come from two threads.

use hdrhistogram::Histogram;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Decisions remembered per partition, for appends that are told late.
const DECISIONS_MAX: usize = 1_000;

/// Longer ones count as this: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

/// A run of records of one partition that became durable together.
#[derive(Clone, Copy, Debug)]
pub struct Appended {
    pub topic: &'static str,
    pub partition: u32,
    /// Offset after the last of them.
    pub end: u64,
    pub records: u64,
    pub at: Instant,
}

/// Pairs appends with decisions.
pub struct Latencies {
    partitions: HashMap<(&'static str, u32), Partition>,
    histogram: Histogram<u64>,
    /// Since the view last asked.
    recent: Histogram<u64>,
    decided: u64,
}

#[derive(Default)]
struct Partition {
    waiting: VecDeque<Appended>,
    decisions: VecDeque<(u64, Instant)>,
    decided_end: u64,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Percentiles {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are good");
        let recent = histogram.clone();
        Latencies { partitions: HashMap::new(), histogram, recent, decided: 0 }
    }
}

impl Latencies {
    /// Records became durable.
    pub fn appended(&mut self, appended: Appended) {
        let partition = self.partitions.entry((appended.topic, appended.partition)).or_default();
        let told = partition.decisions.partition_point(|(end, _)| *end < appended.end);
        match partition.decisions.get(told) {
            Some((_, at)) => Self::record(&mut self.histogram, &mut self.recent, &appended, *at),
            None => partition.waiting.push_back(appended),
        }
    }

    /// Everything of a partition below `end` is decided.
    pub fn decided(&mut self, topic: &'static str, partition: u32, end: u64, at: Instant) {
        let partition = self.partitions.entry((topic, partition)).or_default();
        self.decided += end.saturating_sub(partition.decided_end);
        partition.decided_end = partition.decided_end.max(end);
        partition.decisions.push_back((end, at));
        if partition.decisions.len() > DECISIONS_MAX {
            partition.decisions.pop_front();
        }
        while let Some(appended) = partition.waiting.pop_front_if(|a| a.end <= end) {
            Self::record(&mut self.histogram, &mut self.recent, &appended, at);
        }
    }

    /// Whether everything that was appended has been decided.
    pub fn nothing_waits(&self) -> bool {
        self.partitions.values().all(|partition| partition.waiting.is_empty())
    }

    fn record(all: &mut Histogram<u64>, recent: &mut Histogram<u64>, appended: &Appended, at: Instant) {
        let us = at.saturating_duration_since(appended.at).as_micros() as u64;
        all.saturating_record_n(us, appended.records);
        recent.saturating_record_n(us, appended.records);
    }

    /// Records decided so far.
    pub fn records_decided(&self) -> u64 {
        self.decided
    }

    /// Over the whole run.
    pub fn percentiles(&self) -> Percentiles {
        percentiles(&self.histogram)
    }

    /// Since the last call.
    pub fn take_recent(&mut self) -> Percentiles {
        let recent = percentiles(&self.recent);
        self.recent.reset();
        recent
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    Percentiles { p50_ms: ms(0.50), p95_ms: ms(0.95), p99_ms: ms(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// `a END N @MS` appends, `d END @MS` decides; the percentiles after all of them.
    fn check(script: &str, wanted: [f64; 2]) {
        let (start, mut latencies) = (Instant::now(), Latencies::default());
        for step in script.split(", ") {
            let words: Vec<&str> = step.split_whitespace().collect();
            let number = |word: &str| word.trim_start_matches('@').parse::<u64>().unwrap();
            let at = start + Duration::from_millis(number(words[words.len() - 1]));
            match words[0] {
                "a" => latencies.appended(Appended {
                    topic: "t",
                    partition: 0,
                    end: number(words[1]),
                    records: number(words[2]),
                    at,
                }),
                _ => latencies.decided("t", 0, number(words[1]), at),
            }
        }
        let found = latencies.percentiles();
        let near = |a: f64, b: f64| (a - b).abs() < 0.1;
        assert!(near(found.p50_ms, wanted[0]) && near(found.p99_ms, wanted[1]), "{script}: {found:?}");
    }

    #[test]
    fn a_record_waits_for_the_first_decision_that_covers_it() {
        check("a 10 10 @0, d 10 @5", [5.0, 5.0]);
        check("a 10 10 @0, d 9 @5, d 10 @9", [9.0, 9.0]);
        check("a 90 90 @0, a 100 10 @0, d 90 @5, d 100 @50", [5.0, 50.0]);
    }

    #[test]
    fn an_append_that_is_told_after_its_decision_counts_as_if_told_before() {
        check("d 10 @5, d 20 @9, a 10 10 @1, a 20 10 @1", [4.0, 8.0]);
    }

    #[test]
    fn records_are_counted_as_decided_once() {
        let (mut latencies, now) = (Latencies::default(), Instant::now());
        for end in [10, 10, 7, 25] {
            latencies.decided("t", 0, end, now);
        }
        assert_eq!(latencies.records_decided(), 25);
    }
}
