//! Puts a job on its stores and runs it: the one place that knows both.
//!
//! ```text
//!   lock ─> topics claimed ─> generation ─> log.db (inputs, facts) + tombola.db (bindings, rows) + snapshots/
//!        ─> runtime::run
//! ```
//!
//! After a crash the lock is free, the generation is the next one, and the runtime recovers.

use crate::config::{Config, ConfigError};
use crate::metrics::{Counted, Metrics, Reporter};
use crate::pipeline::Pipeline;
use connectors::decode::RecordDecoder;
use connectors::embedded::{EmbeddedReader, LogEpochs, Registry};
use operators::messages::Output;
use operators::settings::{Settings, SettingsError};
use runtime::bindings::BindingStore;
use runtime::committer::Wakers;
use runtime::log::OutRecord;
use runtime::run::{Mode, Options, RunError, Stores};
use runtime::shared::Shared;
use runtime::sink::{Sink, SinkError};
use runtime::snapshot::SnapshotError;
use runtime::snapshot::store::SnapshotStore;
use runtime::{Epoch, Generation};
use schemas::{Row, SchemaIds};
use sinks::embedded::{BindingsDb, FactsSink, PipelineLock, ServingSink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// What a generation records as the code it ran.
pub const CODE_VERSION: &str = env!("CARGO_PKG_VERSION");

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
    Log(#[from] connectors::embedded::EmbeddedError),
    #[error(transparent)]
    Tables(#[from] sinks::embedded::EmbeddedError),
    #[error(transparent)]
    Binding(#[from] runtime::bindings::BindingError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Reader of a pipeline's inputs.
pub type Reader = EmbeddedReader<RecordDecoder<Registry>>;

/// Runs the configured jobs on the embedded stores until stopped, drained or failed.
///
/// # Errors
/// See [`EngineError`]. Whatever was decided stays; the next run goes on from there.
pub fn run(options: &EngineOptions) -> Result<(), EngineError> {
    let dir = options.data_dir.as_path();
    let pipeline = Pipeline::of(&options.config);
    let state = pipeline.state_dir(dir);
    let _lock = PipelineLock::take(&state)?;
    let settings = pipeline.settings(&options.config, dir)?;
    settings.check()?;
    let idle = |owner: &str| PipelineLock::holder(&crate::pipeline::state_dir(dir, owner)).is_none();
    LogEpochs::open(dir, &pipeline.name())?.claim(pipeline.outputs(&settings), idle)?;
    let mut bindings = BindingsDb::open(&state)?;
    check_ticket_key(&mut bindings, &settings)?;
    let ids = Registry::open(dir)?.register_own()?;
    let recorded = settings.to_recorded();
    let generation =
        bindings.begin_generation(CODE_VERSION, &recorded, options.workers, crate::clock_ms())?;
    let metrics = Metrics::of(pipeline.name());
    let sinks = counted(sinks((dir, &state), &pipeline, generation.generation, ids)?, &metrics);
    let _reporter =
        Reporter::start(metrics, Arc::clone(&options.shared), state.clone()).map_err(no_thread)?;
    let stores = Stores {
        readers: readers(dir, &pipeline, options.workers)?,
        bindings: Box::new(bindings),
        sinks,
        snapshots: Some(SnapshotStore::local(&state.join("snapshots"))?),
    };
    let wakers = Arc::new(Wakers::default());
    if let Some(progress) = options.progress.clone() {
        let topics = pipeline.topics();
        wakers.listen(Box::new(move |decided, ends| tell(&progress, topics, decided, ends)));
    }
    let job = Arc::new(pipeline.job(settings));
    let run_options = run_options(&options.config, options.workers, options.until_drained);
    Ok(runtime::run::run(job, &run_options, Mode::Live { generation }, stores, &options.shared, &wakers)?)
}

/// Readers of the inputs, one for each worker.
///
/// # Errors
/// Where the log can't be opened.
pub fn readers(dir: &Path, pipeline: &Pipeline, workers: usize) -> Result<Vec<Reader>, EngineError> {
    let reader = || -> Result<Reader, EngineError> {
        let decoder = RecordDecoder::new(Registry::open(dir)?);
        let reads = |topic: &str| pipeline.reads(topic);
        Ok(EmbeddedReader::open_some(dir, pipeline.topics(), reads, decoder)?)
    };
    (0..workers).map(|_| reader()).collect()
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

/// Recovery may replay epochs of the last generation, whose tickets must come out as they were.
fn check_ticket_key(bindings: &mut BindingsDb, settings: &Settings) -> Result<(), EngineError> {
    let generations = bindings.generations()?;
    let Some(last) = generations.last() else { return Ok(()) };
    Settings::from_recorded(&last.settings)?.with_ticket_key(settings.ticket_key.clone())?;
    Ok(())
}

/// The sinks of a pipeline, in the order in which they commit: into the log of one folder, the tables of another.
///
/// # Errors
/// Where one can't be opened, or a newer generation has it.
pub fn sinks(
    (log_dir, state_dir): (&Path, &Path),
    pipeline: &Pipeline,
    generation: Generation,
    ids: SchemaIds,
) -> Result<Vec<Box<dyn Sink<Output>>>, EngineError> {
    let log = Box::new(LogEpochs::open(log_dir, &pipeline.name())?);
    let facts = FactsSink::new(log, generation, fact_encoder(ids))?;
    let serving = ServingSink::open(state_dir, generation, row_of as fn(&Output) -> Option<&Row>)?;
    Ok(vec![Box::new(facts), Box::new(serving)])
}

/// The last sink counts: what it has committed, all have.
fn counted(mut sinks: Vec<Box<dyn Sink<Output>>>, metrics: &Metrics) -> Vec<Box<dyn Sink<Output>>> {
    let last = sinks.pop().map(|last| Box::new(Counted::new(last, metrics.clone())) as Box<dyn Sink<Output>>);
    sinks.extend(last);
    sinks
}

fn no_thread(problem: std::io::Error) -> EngineError {
    RunError::Failed(format!("the metrics thread can't be started: {problem}; raise the limit of threads"))
        .into()
}

/// Turns an output into the record of its topic, if it is a fact.
pub fn fact_encoder(ids: SchemaIds) -> impl FnMut(&Output, Epoch, &mut Vec<OutRecord>) + Send {
    move |output, epoch, records| {
        let Output::Fact(fact) = output else { return };
        let mut value = Vec::with_capacity(256);
        schemas::avro::encode_fact(fact, |record| ids.of(record), &mut value);
        let timestamp = fact.record_time_ms();
        records.push(OutRecord { topic: fact.topic(), key: fact.key(), value, timestamp, epoch });
    }
}

/// The serving row an output is, if it is one.
pub fn row_of(output: &Output) -> Option<&Row> {
    match output {
        Output::Row(row) => Some(row),
        Output::Fact(_) | Output::DeadLetter(_) => None,
    }
}

fn tell(
    progress: &Sender<Progress>,
    topics: &[&'static str],
    decided: Epoch,
    ends: Vec<runtime::bindings::PartitionEnd>,
) {
    let name = |end: &runtime::bindings::PartitionEnd| {
        (topics[usize::from(end.partition.topic.0)], end.partition.partition, end.end.0)
    };
    let ends = ends.iter().map(name).collect();
    // A listener that has left misses nothing it wants.
    let _ = progress.send(Progress { decided, at: Instant::now(), ends });
}
