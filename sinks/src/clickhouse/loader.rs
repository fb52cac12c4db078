//! The loader: a thread that brings decided facts into ClickHouse, batch by batch, for as long as it runs.
//!
//! ```text
//!   open ─> pending? deliver ─> read decided ─> gather ─> cut ─> record ─> deliver ─> done ─> publish ─┐
//!     ^                             ^                                                                 │
//!     └── after any failure         └───────────────────────── next interval ──────────────────────────┘
//! ```
//!
//! After a failure nothing that it remembers is believed: plans and server are asked again.

use super::client::Client;
use super::cut::{Cut, cut};
use super::deliver::{Delivered, Delivery};
use super::error::ClickHouseError;
use super::gather::{Gather, Taken};
use super::plan::{Batch, PlanState, PlanStore};
use super::settings::ClickHouseSettings;
use super::status::{LoaderState, LoaderStatus};
use super::{guard, migrate, publish, tables};
use runtime::sink::SinkError;
use runtime::source::{LogError, LogReader};
use runtime::{Epoch, killpoint};
use schemas::facts::FactRecord;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const RETRY_FIRST: Duration = Duration::from_millis(100);
/// A batch of a tenth of what one may hold is worth following at once where there is more.
const MUCH: usize = 10;

/// What a loader reads from and records in.
pub struct LoaderSources {
    /// The pipeline whose facts these are: its epochs count.
    pub pipeline: String,
    /// The topics it writes, in the order of the reader's topic numbers.
    pub topics: Vec<String>,
    pub reader: Box<dyn LogReader<Record = FactRecord>>,
    pub plans: Box<dyn PlanStore>,
}

/// A running loader. Dropped, it stops: what it was sending is sent again by the next one.
#[derive(Debug)]
pub struct Loader {
    stop: Arc<AtomicBool>,
    status: Arc<LoaderStatus>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Starts the thread, whether ClickHouse is there or not.
    ///
    /// # Errors
    /// Where no thread can be started. A topic that can't be loaded stops the loader, as its status says.
    pub fn start(settings: ClickHouseSettings, sources: LoaderSources) -> std::io::Result<Loader> {
        let (stop, status) = (Arc::new(AtomicBool::new(false)), Arc::new(LoaderStatus::default()));
        let (its_stop, its_status) = (Arc::clone(&stop), Arc::clone(&status));
        let work = move || match Work::new(settings, sources, its_stop, Arc::clone(&its_status)) {
            Ok(work) => work.run(),
            Err(error) => stopped(&its_status, &error),
        };
        let thread = std::thread::Builder::new().name("clickhouse".to_owned()).spawn(work)?;
        Ok(Loader { stop, status, thread: Some(thread) })
    }

    /// Its figures, to be watched while it runs.
    pub fn status(&self) -> Arc<LoaderStatus> {
        Arc::clone(&self.status)
    }

    /// Stops it and waits until it has.
    pub fn stop(self) {}
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A loader that panicked has said so where panics are said.
            let _ = thread.join();
        }
    }
}

/// What to do about a failure.
enum Failure {
    Retry(String),
    Stop(String),
}

/// Whether there is more to do at once.
#[derive(PartialEq, Eq)]
enum Pace {
    GoOn,
    CaughtUp,
}

/// The thread's own.
struct Work {
    settings: ClickHouseSettings,
    client: Client,
    pipeline: String,
    topics: Vec<String>,
    gather: Gather,
    plans: Box<dyn PlanStore>,
    stop: Arc<AtomicBool>,
    status: Arc<LoaderStatus>,
    /// Absent until plans and server have been asked, and after each failure.
    state: Option<PlanState>,
    /// The frontier as the server has been told.
    told: Epoch,
}

impl Work {
    fn new(
        settings: ClickHouseSettings,
        sources: LoaderSources,
        stop: Arc<AtomicBool>,
        status: Arc<LoaderStatus>,
    ) -> Result<Work, ClickHouseError> {
        let LoaderSources { pipeline, topics, reader, plans } = sources;
        if let Some(topic) = topics.iter().find(|topic| tables::of_topic(topic).is_none()) {
            return Err(ClickHouseError::Stop {
                place: settings.place(),
                problem: format!("there is no table for topic {topic}"),
                remedy: "load topics of facts only".to_owned(),
            });
        }
        let (client, gather) = (Client::new(&settings)?, Gather::new(reader, topics.clone(), &settings));
        let (state, told) = (None, Epoch(0));
        Ok(Work { settings, client, pipeline, topics, gather, plans, stop, status, state, told })
    }

    fn run(mut self) {
        let mut pause = RETRY_FIRST;
        while !self.stopping() {
            let begun = Instant::now();
            let wait = match self.step() {
                Ok(Pace::GoOn) => Duration::ZERO,
                Ok(Pace::CaughtUp) => {
                    Duration::from_millis(self.settings.batch_interval_ms).saturating_sub(begun.elapsed())
                }
                Err(Failure::Retry(problem)) => self.retry_after(problem, &mut pause),
                Err(Failure::Stop(problem)) => return stopped(&self.status, &problem),
            };
            if self.state.is_some() {
                pause = RETRY_FIRST;
            }
            self.sleep(wait);
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn sleep(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while !self.stopping() && Instant::now() < until {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Notes the failure; how long to wait: twice as long each time, and never as long as another loader.
    fn retry_after(&mut self, problem: String, pause: &mut Duration) -> Duration {
        if self.stopping() {
            return Duration::ZERO;
        }
        self.state = None;
        // With an authority that has been renewed meanwhile, if that is what's wrong.
        if let Ok(client) = Client::new(&self.settings) {
            self.client = client;
        }
        tracing::warn!(pipeline = self.pipeline, problem, "facts wait to be loaded into ClickHouse");
        self.status.change(|figures| {
            figures.retries += 1;
            figures.state = LoaderState::Waiting;
            figures.problem = Some(problem);
        });
        let most = Duration::from_millis(self.settings.retry_ms_max);
        let wait = (*pause).min(most);
        *pause = (*pause * 2).min(most);
        wait.mul_f64(0.5 + 0.5 * jitter())
    }

    fn step(&mut self) -> Result<Pace, Failure> {
        if self.state.is_none() {
            self.open()?;
        }
        // Before anything is read of the logs: all that was decided by now is found there.
        let decided = self.plans.decided()?;
        self.gather.read(decided)?;
        let (cut, in_hand) = (cut(decided.0, &self.gather.in_hand()), self.gather.len());
        self.status.change(|figures| {
            figures.decided = decided;
            figures.in_hand = self.gather.len() as u64;
            figures.problem = None;
            figures.state =
                if figures.published < decided { LoaderState::Loading } else { LoaderState::Idle };
        });
        match cut {
            Cut::Nothing { through } => self.publish(Epoch(through))?,
            Cut::Whole { through } => {
                self.load(Epoch(through))?;
                self.publish(Epoch(through))?;
            }
            Cut::Part { through } => self.load(Epoch(through))?,
            Cut::Wait => {}
        }
        // What the log only hasn't brought yet comes with the next batch: many small ones cost more than they are sooner.
        let loaded = in_hand - self.gather.len();
        let much = self.gather.is_full() || loaded >= self.settings.batch_rows_max / MUCH;
        let behind = much && matches!(cut, Cut::Whole { through } if through < decided.0);
        Ok(if behind || matches!(cut, Cut::Part { .. }) { Pace::GoOn } else { Pace::CaughtUp })
    }

    /// Asks plans and server where they stand, and finishes what was begun.
    fn open(&mut self) -> Result<(), Failure> {
        let mut state = self.plans.state()?;
        if !migrate::is_current(&self.client, &self.settings)? {
            let place = &self.client.place;
            return Err(Failure::Retry(format!("{place}: tables are missing; run `tombola migrate`")));
        }
        guard::check(&self.client, &self.stop, &self.pipeline, &state)?;
        if let Some(batch) = state.pending.clone() {
            let again = |range| self.gather.read_again(range);
            let taken: Vec<Taken> = batch.ranges.iter().map(again).collect::<Result<_, _>>()?;
            self.status.change(|figures| figures.resent += 1);
            self.deliver(&state.loader_id, batch, &taken, true)?;
            state = self.plans.state()?;
        }
        // Told again at the next step: a server that lost its power may have forgotten the last one.
        self.told = Epoch(0);
        let published = self.plans.published()?;
        self.gather.restart(&state.positions);
        self.status.change(|figures| figures.published = published);
        self.state = Some(state);
        Ok(())
    }

    /// Records and sends everything in hand up to an epoch.
    fn load(&mut self, through: Epoch) -> Result<(), Failure> {
        let taken = self.gather.take(through.0);
        let ranges = taken.iter().map(|taken| taken.range.clone()).collect();
        let state = self.state.as_mut().expect("a batch is cut after opening");
        let batch = Batch { number: state.last + 1, through, attempt: 1, ranges };
        killpoint::reach("loader.before_plan");
        self.plans.record(&batch)?;
        killpoint::reach("loader.after_plan");
        state.last = batch.number;
        let loader_id = state.loader_id.clone();
        self.deliver(&loader_id, batch, &taken, false)
    }

    /// Sends a recorded batch until it is there, and notes that it is.
    fn deliver(
        &mut self,
        loader_id: &str,
        mut batch: Batch,
        taken: &[Taken],
        doubtful: bool,
    ) -> Result<(), Failure> {
        let (client, stop) = (&self.client, &*self.stop);
        while (Delivery { client, stop, loader_id, batch: &batch, doubtful }).deliver(taken)?
            == Delivered::Lost
        {
            tracing::warn!(
                batch = batch.number,
                attempt = batch.attempt,
                "ClickHouse dropped rows as known that it doesn't have: they are sent under another token"
            );
            batch.attempt += 1;
            self.plans.record_attempt(batch.attempt)?;
        }
        self.plans.done()?;
        killpoint::reach("loader.after_done");
        self.status.change(|figures| {
            figures.batches += 1;
            figures.rows += batch.ranges.iter().map(|range| range.rows).sum::<u64>();
        });
        Ok(())
    }

    fn publish(&mut self, epoch: Epoch) -> Result<(), Failure> {
        if epoch <= self.told {
            return Ok(());
        }
        killpoint::reach("loader.before_frontier");
        publish::publish(&self.client, &self.stop, (&self.pipeline, &self.topics), epoch.0)?;
        killpoint::reach("loader.after_frontier");
        self.plans.set_published(epoch)?;
        self.told = epoch;
        self.status.change(|figures| figures.published = figures.published.max(epoch));
        Ok(())
    }
}

/// Between 0 and 1. Loaders that lost the same server must not all come back at the same moment.
fn jitter() -> f64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let hash = runtime::stable_hash2(&now.as_nanos().to_le_bytes(), &std::process::id().to_le_bytes());
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

fn stopped(status: &LoaderStatus, problem: &impl ToString) {
    let problem = problem.to_string();
    tracing::error!(problem, "facts are no longer loaded into ClickHouse; sales go on");
    status.change(|figures| {
        figures.state = LoaderState::Stopped;
        figures.problem = Some(problem);
    });
}

impl From<ClickHouseError> for Failure {
    fn from(error: ClickHouseError) -> Failure {
        if error.is_passing() { Failure::Retry(chain(&error)) } else { Failure::Stop(error.to_string()) }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        match error {
            LogError::Retry(_) => Failure::Retry(error.to_string()),
            LogError::Stop { .. } => Failure::Stop(error.to_string()),
        }
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Failure {
        match error {
            SinkError::Retry { .. } => Failure::Retry(error.to_string()),
            SinkError::Fenced { .. } | SinkError::Stop { .. } => Failure::Stop(error.to_string()),
        }
    }
}

/// A network error says what happened only in its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source().and_then(std::error::Error::source);
    while let Some(error) = source {
        text += &format!(" ({error})");
        source = error.source();
    }
    text
}
