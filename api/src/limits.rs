//! How much is taken at once, and from whom.
//!
//! A bucket for each principal holds as many requests as it may send in a second and is refilled all the
//! time; who finds it empty is told when to come again. What is in flight is bounded for all of them together. Of
//! places that are held for long, live clients', one principal gets a share, and what reads much for one answer it asks
//! one after the other: so nobody takes all of them.

use crate::problem::Problem;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// How many there may be of something that lasts.
#[derive(Clone, Copy, Debug)]
pub struct SeatsMax {
    pub all: usize,
    pub of_one: usize,
}

/// Places of what lasts, by principal: of live clients, or of requests that wait.
pub struct Seats {
    what: &'static str,
    max: SeatsMax,
    taken: Mutex<HashMap<String, usize>>,
}

/// One place; given up when dropped.
pub struct Seat {
    seats: Arc<Seats>,
    principal: String,
}

impl Seats {
    /// So many places, none of them taken; `what` they are of.
    pub fn new(what: &'static str, max: SeatsMax) -> Arc<Seats> {
        Arc::new(Seats { what, max, taken: Mutex::default() })
    }

    /// A place for one more of a principal's.
    ///
    /// # Errors
    /// 503 where all are taken, 429 where its share is.
    pub fn take(self: &Arc<Self>, principal: &str) -> Result<Seat, Problem> {
        let (mut taken, what) = (self.lock(), self.what);
        if taken.values().sum::<usize>() >= self.max.all {
            let problem = format!("there are too many {what}; come back later");
            return Err(Problem::new("overloaded", problem).retry_after(5));
        }
        let own = taken.entry(principal.to_owned()).or_default();
        if *own >= self.max.of_one {
            let problem = format!("you may have {own} {what} here at once; end one of them");
            return Err(Problem::new("too-many-requests", problem).retry_after(5));
        }
        *own += 1;
        Ok(Seat { seats: Arc::clone(self), principal: principal.to_owned() })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        if let Some(own) = taken.get_mut(&self.principal) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.principal);
            }
        }
    }
}

/// Lets each principal do something once at a time; it waits for its turn, and nobody else for it.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<String, Arc<Semaphore>>>);

impl Turns {
    /// The turn of a principal, once it has it; until it is dropped.
    ///
    /// # Errors
    /// 503 where there are no turns any more.
    pub async fn take(&self, principal: &str) -> Result<OwnedSemaphorePermit, Problem> {
        let own = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody has or waits for are held here alone.
            all.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(all.entry(principal.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))))
        };
        own.acquire_owned().await.map_err(|_| Problem::new("unavailable", "the server is closing"))
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
    fn a_principal_gets_its_share_of_live_clients_and_leaves_the_others_theirs() {
        let seats = Seats::new("live clients", SeatsMax { all: 3, of_one: 2 });
        let status = |taken: &Result<Seat, Problem>| match taken {
            Ok(_) => 200,
            Err(problem) => problem.answer().status().as_u16(),
        };
        let mut taken: Vec<_> = ["a", "a", "a", "b", "b"].map(|who| seats.take(who)).into();
        assert_eq!(taken.iter().map(status).collect::<Vec<_>>(), [200, 200, 429, 200, 503]);
        assert_eq!(seats.taken(), 3);
        drop(taken.remove(0));
        assert_eq!(seats.taken(), 2, "one that was given up is free");
        assert_eq!(status(&seats.take("b")), 200);
    }

    #[test]
    fn a_principal_has_one_turn_and_keeps_nobody_elses() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let turns = Turns::default();
            let soon = |who: &'static str| tokio::time::timeout(Duration::from_millis(50), turns.take(who));
            let first = soon("a").await;
            assert!(first.is_ok());
            assert!(soon("a").await.is_err(), "its second waits for the first");
            assert!(soon("b").await.is_ok());
            drop(first);
            assert!(soon("a").await.is_ok());
        });
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
