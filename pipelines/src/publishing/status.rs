//! What a publisher says of itself, to metrics and to whoever waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Figures since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublisherFigures {
    pub images_rendered: u64,
    pub images_failed: u64,
    pub posts_succeeded: u64,
    pub posts_failed: u64,
    /// Calls that didn't succeed and are made again.
    pub retries: u64,
    /// Steps that were asked for and have no outcome yet.
    pub waiting: u64,
    /// By `TENANT/CHANNEL`, of those that were asked for anything.
    pub channels: BTreeMap<String, ChannelFigures>,
    /// Why it has stopped, once it has.
    pub stopped: Option<String>,
}

/// How one channel is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelFigures {
    /// When each of its posts was asked for that has no outcome yet, UTC milliseconds, in their order.
    pub asked_ms: VecDeque<i64>,
    /// It is left alone for a while.
    pub open: bool,
}

/// Shared by the publisher and whoever watches it.
#[derive(Debug, Default)]
pub struct PublisherStatus {
    figures: Mutex<PublisherFigures>,
    moved: Condvar,
}

impl PublisherStatus {
    /// The figures as they are.
    pub fn get(&self) -> PublisherFigures {
        self.lock().clone()
    }

    /// Waits until `done` is content or time is up: whether it is.
    pub fn wait(&self, timeout: Duration, mut done: impl FnMut(&PublisherFigures) -> bool) -> bool {
        let (deadline, mut figures) = (Instant::now() + timeout, self.lock());
        while !done(&figures) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            figures = self.moved.wait_timeout(figures, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut PublisherFigures)) {
        change(&mut self.lock());
        self.moved.notify_all();
    }

    /// The same of one channel.
    pub(super) fn change_channel(&self, channel: &str, change: impl FnOnce(&mut ChannelFigures)) {
        self.change(|figures| change(figures.channels.entry(channel.to_owned()).or_default()));
    }

    pub(super) fn stopped(&self, problem: &str) {
        tracing::error!(
            problem,
            "nothing is published any more; decisions go on, and the next run publishes what waits"
        );
        self.change(|figures| figures.stopped = Some(problem.to_owned()));
    }

    /// Figures have no invariant that a panic could break.
    fn lock(&self) -> MutexGuard<'_, PublisherFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
