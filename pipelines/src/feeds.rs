//! Polling the configured feeds: a thread for each source, so that a slow publisher delays no other.
//!
//! ```text
//!   feeds.mappings ─> checked ─> a thread each: fetch · map · append to commands.draws · wait ─┐
//!                                   ▲──────────────────────────────────────────────────────────┘
//! ```
//!
//! A publisher, the log or the data directory that is away is a failure of that source alone: it is counted, logged
//! and tried again after a while. Nothing of a decision waits for a feed.
//! A thread that is in the middle of a request when the program ends is left behind: whatever it does, the next run
//! makes up for it (see [`connectors::feed`]).

use crate::config::Config;
use crate::metrics::FeedMetrics;
use crate::stores::{Append, Stores};
use connectors::embedded::NewRecord;
use connectors::feed::schedule::{Pace, Schedule};
use connectors::feed::{
    Deliver, Feed, FetchError, Http, Limits, Mapping, MappingError, PollError, Polled, TOPIC,
};
use schemas::SchemaIds;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the end of a run waits for threads that are in the middle of something.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Feeds that can't be polled as configured. The program ends with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum FeedsError {
    #[error(transparent)]
    Mapping(#[from] MappingError),
    #[error("{}: it has no poll.url, and feeds.mappings lists it; set poll.url, or take it off the list", path.display())]
    NoUrl { path: PathBuf },
    #[error("{} and {} are both of the source {name}; give each a source of its own", first.display(), second.display())]
    Twice { name: String, first: PathBuf, second: PathBuf },
}

/// Reads the mappings that the settings list.
///
/// # Errors
/// See [`FeedsError`].
pub fn mappings(config: &Config) -> Result<Vec<Mapping>, FeedsError> {
    let mut seen: BTreeMap<String, &Path> = BTreeMap::new();
    let mut mappings = Vec::new();
    for path in &config.feeds.mappings {
        let mapping = Mapping::load(path)?;
        if mapping.poll.url.is_none() {
            return Err(FeedsError::NoUrl { path: path.clone() });
        }
        if let Some(first) = seen.insert(mapping.source.0.clone(), path) {
            let (first, second) = (first.to_owned(), path.clone());
            return Err(FeedsError::Twice { name: mapping.source.0, first, second });
        }
        mappings.push(mapping);
    }
    Ok(mappings)
}

/// The log, to report results to.
pub struct ToLog(pub Box<dyn Append>);

impl Deliver for ToLog {
    fn append(&mut self, records: &[NewRecord]) -> Result<(), String> {
        self.0.append_many(&[(TOPIC, records)]).map(|_| ()).map_err(|e| e.to_string())
    }
}

/// Threads that poll, until this is dropped.
#[derive(Debug, Default)]
pub struct Polling {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Polling {
    /// Begins to poll.
    ///
    /// # Errors
    /// Where the system refuses a thread.
    pub fn start(
        config: &Config,
        mappings: Vec<Mapping>,
        stores: &Stores,
        ids: SchemaIds,
        metrics: &FeedMetrics,
    ) -> std::io::Result<Polling> {
        let mut polling = Polling::default();
        for mapping in mappings {
            let source = Source {
                limits: limits(config, &mapping),
                schedule: Schedule::new(&mapping.source.0, pace(config, &mapping)),
                mapping,
                stores: stores.clone(),
                ids,
                metrics: metrics.clone(),
                open: None,
            };
            let stop = Arc::clone(&polling.stop);
            let name = format!("feed {}", source.mapping.source.0);
            let thread = std::thread::Builder::new().name(name).spawn(move || source.run(&stop))?;
            polling.threads.push(thread);
        }
        Ok(polling)
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.iter().for_each(|thread| thread.thread().unpark());
        let until = Instant::now() + LEAVE_MAX;
        while Instant::now() < until && !self.threads.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn limits(config: &Config, mapping: &Mapping) -> Limits {
    let poll = &mapping.poll;
    Limits {
        timeout: Duration::from_millis(poll.timeout_ms.map_or(config.feeds.timeout_ms, |ms| ms.0)),
        bytes_max: poll.bytes_max.map_or(config.feeds.bytes_max, |bytes| bytes.0),
    }
}

fn pace(config: &Config, mapping: &Mapping) -> Pace {
    let feeds = &config.feeds;
    Pace {
        interval_ms: mapping.poll.interval_ms.map_or(feeds.interval_ms, |ms| ms.0),
        jitter_ms: feeds.jitter_ms,
        backoff_ms: feeds.backoff_ms,
        backoff_ms_max: feeds.backoff_ms_max,
    }
}

/// One source and its thread.
struct Source {
    mapping: Mapping,
    limits: Limits,
    schedule: Schedule,
    stores: Stores,
    ids: SchemaIds,
    metrics: FeedMetrics,
    /// Absent until it could be opened, and after the log has failed.
    open: Option<Open>,
}

struct Open {
    feed: Feed,
    http: Http,
    log: ToLog,
}

impl Source {
    fn run(mut self, stop: &AtomicBool) {
        self.metrics.of(&self.mapping.source.0).failures.set(0);
        while !stop.load(Ordering::SeqCst) {
            let wait = match self.once() {
                Ok(polled) => self.went_well(&polled),
                Err(problem) => self.failed(&problem),
            };
            let until = Instant::now() + wait;
            while !stop.load(Ordering::SeqCst) && Instant::now() < until {
                std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
            }
        }
    }

    fn once(&mut self) -> Result<Polled, PollError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open {
                feed: Feed::open(self.stores.dir(), self.mapping.clone(), self.ids)?,
                http: Http::new(self.limits)?,
                log: ToLog(self.stores.appender().map_err(|e| PollError::Deliver(e.to_string()))?),
            },
        };
        let polled = open.feed.poll(&open.http, &mut open.log, crate::clock_ms());
        // What the log did not take is in no state that a new appender couldn't mend.
        if !matches!(polled, Err(PollError::Deliver(_))) {
            self.open = Some(open);
        }
        polled
    }

    fn went_well(&mut self, polled: &Polled) -> Duration {
        let (source, metrics) = (&self.mapping.source.0, self.metrics.of(&self.mapping.source.0));
        metrics.last_success.set(crate::clock_ms() as f64 / 1_000.0);
        metrics.failures.set(0);
        if !polled.unchanged {
            let (results, sent, rejected) = (polled.results, polled.sent, polled.rejected);
            metrics.results.set(results as i64);
            metrics.sent.inc_by(sent as u64);
            metrics.rejected.inc_by(rejected as u64);
            tracing::info!(source, results, sent, rejected, "polled");
        }
        if polled.rejected > 0 {
            let count = polled.problems.len();
            let first =
                polled.problems.first().map(|p| format!("{}: {}", p.place, p.reason)).unwrap_or_default();
            tracing::warn!(source, count, first, "rows that don't fit the mapping; they are dead letters");
        }
        self.schedule.after_success()
    }

    fn failed(&mut self, problem: &PollError) -> Duration {
        let asked_ms = match problem {
            PollError::Fetch(error) => FetchError::retry_after_ms(error),
            _ => None,
        };
        let wait = self.schedule.after_failure(asked_ms);
        let (source, failures) = (&self.mapping.source.0, self.schedule.failures());
        self.metrics.of(source).failures.set(i64::from(failures));
        tracing::warn!(source, failures, wait_ms = wait.as_millis() as u64, %problem, "a poll failed");
        wait
    }
}
