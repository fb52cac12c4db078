//! How much is taken at once, and from whom.
//!
//! A bucket for each principal holds as many requests as it may send in a second and is refilled all the
//! time; who finds it empty is told when to come again. What is in flight is bounded for all of them together.

use crate::problem::Problem;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Principals whose buckets are kept; full ones go first.
const BUCKETS_MAX: usize = 10_000;

struct Bucket {
    left: f64,
    at: Instant,
}

/// The limits. See the module.
pub struct Limits {
    in_flight_max: usize,
    in_flight: Arc<AtomicUsize>,
    per_s_max: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// A request in flight; counted until dropped.
pub struct Flight(Arc<AtomicUsize>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Limits {
    /// Limits of so many requests at once, and so many a second from each principal.
    pub fn new(in_flight_max: usize, per_s_max: u32) -> Limits {
        Limits {
            in_flight_max,
            in_flight: Arc::default(),
            per_s_max: per_s_max.into(),
            buckets: Mutex::default(),
        }
    }

    /// Lets a request in, unless there are too many.
    ///
    /// # Errors
    /// 503.
    pub fn enter(&self) -> Result<Flight, Problem> {
        let flight = Flight(Arc::clone(&self.in_flight));
        if self.in_flight.fetch_add(1, Ordering::SeqCst) < self.in_flight_max {
            return Ok(flight);
        }
        Err(Problem::new("overloaded", "too many requests are in flight; send the same again a little later"))
    }

    /// How many are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Counts a request of a principal.
    ///
    /// # Errors
    /// 429 where it sends too many.
    pub fn count(&self, principal: &str) -> Result<(), Problem> {
        self.count_at(principal, Instant::now())
    }

    fn count_at(&self, principal: &str, now: Instant) -> Result<(), Problem> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(principal) {
            let full = |bucket: &Bucket| now.duration_since(bucket.at).as_secs_f64() < 1.0;
            buckets.retain(|_, bucket| full(bucket));
        }
        let max = self.per_s_max;
        let bucket = match buckets.get_mut(principal) {
            Some(bucket) => bucket,
            None => buckets.entry(principal.to_owned()).or_insert(Bucket { left: max, at: now }),
        };
        bucket.left = (bucket.left + now.duration_since(bucket.at).as_secs_f64() * max).min(max);
        bucket.at = now;
        if bucket.left < 1.0 {
            let wait_s = ((1.0 - bucket.left) / max).ceil() as u64;
            let problem = format!("you may send {max} requests a second");
            return Err(Problem::new("too-many-requests", problem).retry_after(wait_s));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_principal_may_send_so_many_a_second_and_others_are_not_touched() {
        let (limits, now) = (Limits::new(1, 3), Instant::now());
        let sent = |who: &str, at_ms| limits.count_at(who, now + Duration::from_millis(at_ms)).is_ok();
        assert_eq!([0, 0, 0, 0].map(|at| sent("a", at)), [true, true, true, false]);
        assert!(sent("b", 0));
        assert_eq!([340, 341, 700].map(|at| sent("a", at)), [true, false, true]);
    }

    #[test]
    fn what_is_in_flight_is_bounded_and_counted_down() {
        let limits = Limits::new(2, 1);
        let (first, second) = (limits.enter(), limits.enter());
        assert!(first.is_ok() && second.is_ok() && limits.enter().is_err());
        drop(first);
        assert_eq!(limits.in_flight(), 1);
        assert!(limits.enter().is_ok());
    }
}
