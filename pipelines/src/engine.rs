//! Puts a job on its stores and runs it: the one place that knows both.
//!
//! ```text
//!   lock ─> topics claimed ─> generation ─> log (inputs, facts) + serving (bindings, rows) + snapshots
//!        ─> runtime::run
//! ```
//!
//! After a crash the lock is free, the generation is the next one, and the runtime recovers.

use crate::config::{Config, ConfigError};
use crate::feeds::{self, FeedsError, Polling};
use crate::metrics::{Counted, DrawsWatch, Metrics, Reporter, Watched};
use crate::publishing::Publisher;
use crate::serve::Pulse;
use crate::stores::{StoreError, Stores};
use crate::traces::{Committing, Traces, TracingError};
use operators::messages::Output;
use operators::settings::{Settings, SettingsError};
use runtime::bindings::{BindingStore, PartitionEnd};
use runtime::committer::{self, Wakers};
use runtime::log::OutRecords;
use runtime::patience::{MayPass, patiently};
use runtime::run::{Mode, Options, RunError, Stores as Parts};
use runtime::shared::Shared;
use runtime::sink::{Sink, SinkError};
use runtime::trace::{Trace, TracedRecords};
use runtime::{Epoch, Generation};
use schemas::{Row, SchemaIds};
use sinks::clickhouse::mirror::Mirror;
use sinks::clickhouse::{Loader, LoaderState};
use sinks::embedded::FactsSink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// What a generation records as the code it ran.
pub const CODE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long a run that has drained the log waits for an analytical store that takes nothing.
const PUBLISH_MAX: Duration = Duration::from_secs(60);

/// How to run.
pub struct EngineOptions {
    pub config: Config,
    pub data_dir: PathBuf,
    pub workers: usize,
    /// Stop once the log as it is has been taken.
    pub until_drained: bool,
    /// Watches and stops the run.
    pub shared: Arc<Shared>,
    /// Told whenever the decided frontier moves.
    pub progress: Option<Sender<Progress>>,
    /// Moved with the decided frontier, for an API in this process.
    pub pulse: Option<Arc<Pulse>>,
}

/// A move of the decided frontier.
#[derive(Clone, Debug)]
pub struct Progress {
    pub decided: Epoch,
    pub at: Instant,
    /// Where partitions stand now: topic, partition, end (exclusive). Only those that moved.
    pub ends: Vec<(&'static str, u32, u64)>,
}

/// Why a run couldn't begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Feeds(#[from] FeedsError),
    #[error(transparent)]
    Tracing(#[from] TracingError),
    /// A job can't begin in the middle: rows of its tables went by while it was off, and so did sales.
    #[error(
        "epochs up to {upto} of this pipeline were decided without the job {job}, which would begin without what it missed; \
         leave it out, or {}",
        from_the_start(job)
    )]
    JobAdded { job: &'static str, upto: Epoch },
    #[error(transparent)]
    Store(Box<StoreError>),
    #[error(transparent)]
    Binding(#[from] runtime::bindings::BindingError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        EngineError::Store(Box::new(error))
    }
}

impl MayPass for EngineError {
    fn may_pass(&self) -> bool {
        match self {
            EngineError::Store(error) => error.may_pass(),
            EngineError::Binding(error) => error.may_pass(),
            EngineError::Sink(error) => error.may_pass(),
            EngineError::Config(_)
            | EngineError::Settings(_)
            | EngineError::Feeds(_)
            | EngineError::Tracing(_)
            | EngineError::JobAdded { .. }
            | EngineError::Run(_) => false,
        }
    }
}

/// Runs the configured jobs on their stores until stopped, drained or failed.
///
/// # Errors
/// See [`EngineError`]. Whatever was decided stays; the next run goes on from there.
pub fn run(options: &EngineOptions) -> Result<(), EngineError> {
    let dir = options.data_dir.as_path();
    let mappings = feeds::mappings(&options.config)?;
    let traces = Traces::of(&options.config.tracing)?;
    let stores = Stores::of(&options.config, dir);
    let pipeline = stores.pipeline();
    let _owned = patiently(&options.shared, || stores.own())?;
    let settings = pipeline.settings(&options.config, dir)?;
    settings.check()?;
    let mut bindings = patiently(&options.shared, || stores.bindings())?;
    patiently(&options.shared, || check_with_earlier(bindings.as_mut(), &settings))?;
    patiently(&options.shared, || stores.claim(&settings))?;
    let ids = patiently(&options.shared, || stores.prepare())?;
    patiently(&options.shared, || check_not_gone_back(&stores, bindings.as_mut()))?;
    let generation = patiently(&options.shared, || {
        let (recorded, now) = (settings.to_recorded(), crate::clock_ms());
        bindings.begin_generation(CODE_VERSION, &recorded, options.workers, now)
    })?;
    let state_dir = stores.state_dir();
    std::fs::create_dir_all(&state_dir).map_err(|e| no_folder(&state_dir, &e))?;
    let loader = patiently(&options.shared, || stores.loader(generation.generation, &settings))?;
    let publisher =
        patiently(&options.shared, || stores.publisher_parts(generation.generation, &ids, &options.shared))?;
    let publisher = publisher.map(Publisher::start).transpose().map_err(StoreError::NoThread)?;
    let mirror = patiently(&options.shared, || stores.mirror(generation.generation))?;
    let traced = traces.as_ref().map(|traces| Arc::clone(&traces.records));
    let (readers, lags) =
        patiently(&options.shared, || stores.watched_readers(options.workers, traced.as_ref()))?;
    let metrics = Metrics::of(pipeline.name());
    metrics.epochs_in_flight_max.set(options.config.runtime.epochs_in_flight_max as i64);
    let sinks = patiently(&options.shared, || sinks(&stores, generation.generation, ids, traced.as_ref()))?;
    let sinks = told(counted(sinks, &metrics), traces.as_ref());
    // A log that is drained is one that nobody adds to; and of several pipelines that share a log, one polls.
    let polls = !options.until_drained && pipeline.reads(connectors::feed::TOPIC);
    let mappings = if polls { mappings } else { Vec::new() };
    let _polling =
        Polling::start(&options.config, mappings, &stores, ids, &metrics.feeds).map_err(no_feed)?;
    let watched = Watched {
        shared: Arc::clone(&options.shared),
        lags,
        loader: loader.as_ref().map(Loader::status),
        draws: pipeline.runs("draws").then(|| DrawsWatch::new(stores.clone())),
        publisher: publisher.as_ref().map(Publisher::status),
        mirror: mirror.as_ref().map(Mirror::status),
        traces: traces.map(|traces| traces.exporter),
    };
    let _reporter = Reporter::start(metrics, watched, state_dir).map_err(no_thread)?;
    let parts = Parts { readers, bindings, sinks, snapshots: Some(stores.snapshots()?) };
    let wakers = Arc::new(Wakers::default());
    let (progress, pulse) = (options.progress.clone(), options.pulse.clone());
    if progress.is_some() || pulse.is_some() {
        let topics = pipeline.topics();
        wakers.listen(Box::new(move |decided, ends| {
            let moved = moved(topics, decided, &ends);
            pulse.iter().for_each(|pulse| pulse.beat(decided, &moved.ends));
            // A listener that has left misses nothing it wants.
            progress.iter().for_each(|progress| drop(progress.send(moved.clone())));
        }));
    }
    let job = Arc::new(pipeline.job(settings));
    let run_options = run_options(&options.config, options.workers, options.until_drained);
    runtime::run::run(job, &run_options, Mode::Live { generation }, parts, &options.shared, &wakers)?;
    if let Some(loader) = loader.filter(|_| options.until_drained) {
        publish_all(&loader, Epoch(options.shared.decided.load(Ordering::SeqCst)));
    }
    Ok(())
}

/// Whoever ran until the log was drained wants to see all of it in the analytical store, too: waited for while more of it comes.
fn publish_all(loader: &Loader, decided: Epoch) {
    let mut rows = loader.status().get().rows;
    while !loader.status().wait_published(decided, PUBLISH_MAX) {
        let figures = loader.status().get();
        if figures.state == LoaderState::Stopped || figures.rows == rows {
            let (published, problem) = (figures.published, figures.problem.unwrap_or_default());
            tracing::warn!(%decided, %published, problem, "ClickHouse is behind; the next run brings it what it lacks");
            return;
        }
        rows = figures.rows;
    }
}

fn no_folder(dir: &Path, problem: &std::io::Error) -> EngineError {
    RunError::Failed(format!("{}: {problem}; name another --data-dir", dir.display())).into()
}

/// The runtime's options out of the configuration.
pub fn run_options(config: &Config, workers: usize, until_drained: bool) -> Options {
    let runtime = &config.runtime;
    Options {
        workers,
        epoch_ms: runtime.epoch_ms,
        idle_epoch_ms: runtime.idle_epoch_ms,
        epoch_records_max: runtime.epoch_records_max,
        epochs_in_flight_max: runtime.epochs_in_flight_max,
        snapshot_every_ms: runtime.snapshot_every_ms,
        claim_ahead_ms_max: runtime.claim_ahead_ms_max,
        until_drained,
    }
}

/// Recovery may replay epochs of the last generation, whose tickets must come out as they were. And no job may have
/// been off while epochs were bound.
fn check_with_earlier(bindings: &mut dyn BindingStore, settings: &Settings) -> Result<(), EngineError> {
    let (generations, bound) = (bindings.generations()?, bindings.last()?);
    let Some(last) = generations.last() else { return Ok(()) };
    Settings::from_recorded(&last.settings)?.with_ticket_key(settings.ticket_key.clone())?;
    let ends = generations.iter().skip(1).map(|next| next.first_after).chain([bound]);
    for (generation, upto) in generations.iter().zip(ends) {
        // What another version recorded is its own business.
        let Ok(earlier) = Settings::from_recorded(&generation.settings) else { continue };
        let added = job_added(&earlier, settings).filter(|_| upto > generation.first_after);
        if let Some(job) = added {
            return Err(EngineError::JobAdded { job, upto });
        }
    }
    Ok(())
}

/// How a job comes to read everything. Draws stand behind sales in the same pipeline only: see `jobs::draws`.
fn from_the_start(job: &str) -> String {
    match job {
        "draws" => "begin anew with a data directory of its own for both".to_owned(),
        _ => {
            format!("run it as a pipeline of its own (`--jobs {job}`), which reads everything from the start")
        }
    }
}

/// A job that is on and was off.
fn job_added(earlier: &Settings, settings: &Settings) -> Option<&'static str> {
    [
        ("fraud", earlier.fraud_screening, settings.fraud_screening),
        ("commissions", earlier.commission_statements, settings.commission_statements),
        ("draws", earlier.draws, settings.draws),
    ]
    .into_iter()
    .find_map(|(job, was, is)| (is && !was).then_some(job))
}

/// The run checks this, too. But it has a generation by then, which fences off whatever is restored, and the threads
/// beside it have begun.
fn check_not_gone_back(stores: &Stores, bindings: &mut dyn BindingStore) -> Result<(), EngineError> {
    // In this order: bindings only grow.
    let told = stores.facts()?.settled()?;
    Ok(committer::check_bound("facts", told, bindings.last()?)?)
}

/// The sinks of a pipeline, in the order in which they commit: into the log, then into the tables.
///
/// # Errors
/// Where one can't be opened, or a newer generation has it.
pub fn sinks(
    stores: &Stores,
    generation: Generation,
    ids: SchemaIds,
    traced: Option<&Arc<TracedRecords>>,
) -> Result<Vec<Box<dyn Sink<Output>>>, EngineError> {
    let facts = FactsSink::new(stores.facts()?, generation, fact_encoder(ids, traced.cloned()))?;
    Ok(vec![Box::new(facts), stores.serving(generation)?])
}

/// The last sink counts: what it has committed, all have.
fn counted(mut sinks: Vec<Box<dyn Sink<Output>>>, metrics: &Metrics) -> Vec<Box<dyn Sink<Output>>> {
    let last = sinks.pop().map(|last| Box::new(Counted::new(last, metrics.clone())) as Box<dyn Sink<Output>>);
    sinks.extend(last);
    sinks
}

/// What sinks commit of traced commands is told as spans.
fn told(sinks: Vec<Box<dyn Sink<Output>>>, traces: Option<&Traces>) -> Vec<Box<dyn Sink<Output>>> {
    let Some(Traces { exporter, records }) = traces else { return sinks };
    let last = sinks.len() - 1;
    let told = |(n, sink)| {
        let (records, exporter) = (Arc::clone(records), Arc::clone(exporter));
        Box::new(Committing::new(sink, records, exporter, n == last)) as Box<dyn Sink<Output>>
    };
    sinks.into_iter().enumerate().map(told).collect()
}

fn no_thread(problem: std::io::Error) -> EngineError {
    RunError::Failed(format!("the metrics thread can't be started: {problem}; raise the limit of threads"))
        .into()
}

fn no_feed(problem: std::io::Error) -> EngineError {
    RunError::Failed(format!("a feed's thread can't be started: {problem}; raise the limit of threads"))
        .into()
}

/// Turns an output into the record of its topic, if it is a fact; with the trace of its cause, where that is known.
pub fn fact_encoder(
    ids: SchemaIds,
    traced: Option<Arc<TracedRecords>>,
) -> impl FnMut(&Output, Epoch, &mut OutRecords) + Send {
    move |output, epoch, records| {
        let Output::Fact(fact) = output else { return };
        let record = records.add(fact.topic(), fact.record_time_ms(), epoch);
        fact.put_key(&mut record.key);
        schemas::avro::encode_fact(fact, |record| ids.of(record), &mut record.value);
        let cause = traced.as_ref().and_then(|traced| traced.of(fact.caused_by()));
        record.trace = cause.map(|cause| Box::new(Trace { context: cause.decision, state: cause.state }));
    }
}

/// The serving row an output is, if it is one.
pub fn row_of(output: &Output) -> Option<&Row> {
    match output {
        Output::Row(row) => Some(row),
        Output::Fact(_) | Output::DeadLetter(_) => None,
    }
}

fn moved(topics: &[&'static str], decided: Epoch, ends: &[PartitionEnd]) -> Progress {
    let name =
        |end: &PartitionEnd| (topics[usize::from(end.partition.topic.0)], end.partition.partition, end.end.0);
    Progress { decided, at: Instant::now(), ends: ends.iter().map(name).collect() }
}
