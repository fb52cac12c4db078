//! Waiting for services that are not there yet: they start at their own pace, and fail over.
//!
//! Only while a run begins. Later each part has its own way to wait, without losing its place.

use crate::bindings::BindingError;
use crate::shared::Shared;
use crate::sink::SinkError;
use crate::snapshot::SnapshotError;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long a run that begins waits for a service. After that the settings are more likely wrong.
const START_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// A failure that knows whether the same call may succeed later.
pub trait MayPass: Display {
    fn may_pass(&self) -> bool;
}

impl MayPass for BindingError {
    fn may_pass(&self) -> bool {
        matches!(self, BindingError::Retry(_))
    }
}

impl MayPass for SinkError {
    fn may_pass(&self) -> bool {
        matches!(self, SinkError::Retry { .. })
    }
}

impl MayPass for SnapshotError {
    fn may_pass(&self) -> bool {
        matches!(self, SnapshotError::Away(_))
    }
}

/// Calls again while what is wrong may pass, for a minute, unless the run is told to stop.
///
/// # Errors
/// The last call's.
pub fn patiently<T, E: MayPass>(shared: &Shared, mut call: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let since = Instant::now();
    loop {
        match call() {
            Err(error) if error.may_pass() && since.elapsed() < START_MAX && !shared.stopping() => {
                tracing::warn!(%error, "not there yet");
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> SinkError {
        SinkError::Retry { sink: "serving", source: "connection refused".into() }
    }

    #[test]
    fn what_passes_is_waited_for_and_what_does_not_is_told_at_once() {
        let (shared, mut calls) = (Shared::default(), 0);
        let answer = patiently(&shared, || {
            calls += 1;
            if calls < 3 { Err(away()) } else { Ok(7) }
        });
        assert_eq!((answer.expect("it passed"), calls), (7, 3));
        let stop = || SinkError::Stop { sink: "serving", problem: "p".into(), remedy: "r".into() };
        let mut calls = 0;
        let answer: Result<(), _> = patiently(&shared, || {
            calls += 1;
            Err(stop())
        });
        assert!(answer.is_err());
        assert_eq!(calls, 1);
    }

    #[test]
    fn a_run_that_is_told_to_stop_waits_no_longer() {
        let shared = Shared::default();
        shared.stop();
        let mut calls = 0;
        let answer: Result<(), _> = patiently(&shared, || {
            calls += 1;
            Err(away())
        });
        assert!(answer.is_err());
        assert_eq!(calls, 1);
    }
}
