//! When to poll next: a pure function over what the last polls brought.

use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// How often a source is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// After a poll that went well.
    pub interval_ms: u64,
    /// Up to so much is added to every wait, so that sources don't all come at once.
    pub jitter_ms: u64,
    /// After the first failure; doubled with each further one …
    pub backoff_ms: u64,
    /// … up to this.
    pub backoff_ms_max: u64,
}

/// The schedule of one source.
#[derive(Clone, Debug)]
pub struct Schedule {
    pace: Pace,
    source: String,
    waits: u64,
    failures: u32,
}

impl Schedule {
    /// The schedule of a source that has not been polled yet.
    pub fn new(source: &str, pace: Pace) -> Self {
        Schedule { pace, source: source.to_owned(), waits: 0, failures: 0 }
    }

    /// Polls that failed since the last that went well.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long to wait after a poll that went well.
    pub fn after_success(&mut self) -> Duration {
        self.failures = 0;
        self.wait(self.pace.interval_ms)
    }

    /// How long to wait after one that failed; at least as long as the publisher asked for, within the cap.
    pub fn after_failure(&mut self, asked_ms: Option<u64>) -> Duration {
        let Pace { backoff_ms, backoff_ms_max, .. } = self.pace;
        let doubled = backoff_ms.saturating_mul(1 << self.failures.min(40));
        self.failures = self.failures.saturating_add(1);
        self.wait(doubled.max(asked_ms.unwrap_or(0)).min(backoff_ms_max))
    }

    fn wait(&mut self, ms: u64) -> Duration {
        self.waits += 1;
        // Spread, not secret: the same source waits alike in every run, two sources don't.
        let chance = xxh3_64(format!("{}/{}", self.source, self.waits).as_bytes());
        Duration::from_millis(ms + chance % (self.pace.jitter_ms + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { interval_ms: 60_000, jitter_ms: 0, backoff_ms: 1_000, backoff_ms_max: 5_000 };

    #[test]
    fn failures_wait_ever_longer_up_to_the_cap_and_a_success_begins_anew() {
        let mut schedule = Schedule::new("a", PACE);
        let waits: Vec<u128> = (0..4).map(|_| schedule.after_failure(None).as_millis()).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 5_000]);
        assert_eq!(schedule.failures(), 4);
        assert_eq!(schedule.after_success().as_millis(), 60_000);
        assert_eq!((schedule.failures(), schedule.after_failure(None).as_millis()), (0, 1_000));
    }

    #[test]
    fn a_publisher_who_asks_for_time_gets_it_within_the_cap() {
        let mut schedule = Schedule::new("a", PACE);
        assert_eq!(schedule.after_failure(Some(3_000)).as_millis(), 3_000);
        assert_eq!(schedule.after_failure(Some(86_400_000)).as_millis(), 5_000);
    }

    #[test]
    fn failures_without_end_overflow_nothing() {
        let mut schedule = Schedule::new("a", Pace { backoff_ms: u64::MAX / 2, ..PACE });
        assert!((0..100).all(|_| schedule.after_failure(None).as_millis() == 5_000));
    }

    #[test]
    fn jitter_stays_within_its_bound_and_differs_between_sources() {
        let pace = Pace { jitter_ms: 500, ..PACE };
        let waits = |source| {
            let mut schedule = Schedule::new(source, pace);
            (0..50).map(|_| schedule.after_success().as_millis()).collect::<Vec<_>>()
        };
        assert!(waits("a").iter().all(|wait| (60_000..=60_500).contains(wait)));
        assert_ne!(waits("a"), waits("b"));
    }
}
