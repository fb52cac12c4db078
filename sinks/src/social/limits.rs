//! How often a channel may be called, how long it is left alone after failures, and when it isn't called at all.
//!
//! Pure: each takes the time and says how long to wait. A channel has one of each, so that channels know nothing
//! of one another. Our own sixty lines instead of a library: none of those looked at waits, counts and breaks by
//! one clock that a test can set.

use std::time::{Duration, Instant};

/// A token bucket: bursts up to its size, and so many a minute in the long run.
#[derive(Debug)]
pub struct Bucket {
    size: f64,
    per_second: f64,
    tokens: f64,
    as_of: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_minute: u32, burst: u32, now: Instant) -> Self {
        let size = f64::from(burst.max(1));
        Bucket { size, per_second: f64::from(per_minute.max(1)) / 60.0, tokens: size, as_of: now }
    }

    /// Takes a token; how long to wait where there is none.
    ///
    /// # Errors
    /// The wait after which to ask again.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.as_of).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.size);
        self.as_of = self.as_of.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second + 0.001))
    }
}

/// A circuit breaker: after so many failures in a row the channel is left alone, then tried once.
#[derive(Debug)]
pub struct Breaker {
    failures_max: u32,
    pause: Duration,
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// A closed one.
    pub fn new(failures_max: u32, pause: Duration) -> Self {
        Breaker { failures_max: failures_max.max(1), pause, failures: 0, open_until: None }
    }

    /// How long the channel is still to be left alone.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.open_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Whether it is open: the next call is a trial.
    pub fn is_open(&self) -> bool {
        self.open_until.is_some()
    }

    /// A call that the network answered.
    pub fn succeeded(&mut self) {
        (self.failures, self.open_until) = (0, None);
    }

    /// One that it didn't, or with a failure of its own.
    pub fn failed(&mut self, now: Instant) {
        self.failures += 1;
        if self.failures >= self.failures_max {
            self.open_until = Some(now + self.pause);
        }
    }
}

/// How long to wait after the n-th failure (from 1): doubled each time, a half to the whole of it by `luck` in
/// 0..1, and never less than the server asked for.
pub fn backoff(first: Duration, most: Duration, n: u32, luck: f64, asked: Option<Duration>) -> Duration {
    let doubled = first.saturating_mul(1 << n.saturating_sub(1).min(20)).min(most);
    doubled.mul_f64(0.5 + 0.5 * luck.clamp(0.0, 1.0)).max(asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(60, 3, start);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        let wait = bucket.take(start).unwrap_err();
        assert!(wait > SECOND && wait < SECOND * 2, "{wait:?}");
        assert_eq!(bucket.take(start + wait), Ok(()));
        let taken = (0..600).filter(|tenth| bucket.take(start + wait + SECOND / 10 * *tenth).is_ok()).count();
        assert!((58..=61).contains(&taken), "{taken} in a minute");
    }

    #[test]
    fn a_breaker_opens_after_failures_in_a_row_and_lets_one_trial_through() {
        let start = Instant::now();
        let mut breaker = Breaker::new(2, SECOND * 10);
        breaker.failed(start);
        breaker.succeeded();
        breaker.failed(start);
        assert_eq!(breaker.wait(start), None);
        breaker.failed(start);
        assert_eq!(breaker.wait(start), Some(SECOND * 10));
        assert_eq!(breaker.wait(start + SECOND * 10), None);
        assert!(breaker.is_open());
        breaker.failed(start + SECOND * 10);
        assert_eq!(breaker.wait(start + SECOND * 11), Some(SECOND * 9));
        breaker.succeeded();
        assert!(!breaker.is_open());
    }

    #[test]
    fn waits_double_up_to_a_bound_and_honour_what_was_asked_for() {
        let wait = |n, luck, asked| backoff(SECOND, SECOND * 10, n, luck, asked);
        assert_eq!(
            [wait(1, 1.0, None), wait(2, 1.0, None), wait(3, 1.0, None)],
            [SECOND, SECOND * 2, SECOND * 4]
        );
        assert_eq!(wait(40, 1.0, None), SECOND * 10);
        assert_eq!(wait(1, 0.0, None), SECOND / 2);
        assert_eq!(wait(1, 1.0, Some(SECOND * 77)), SECOND * 77);
    }
}
