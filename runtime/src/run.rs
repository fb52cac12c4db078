//! A run: takes a generation, recovers, wires a job on every worker, and sees it to its end.
//!
//! ```text
//!   newest manifest S ─> state, positions ─> replay bindings S+1.. ─> mint above them ─> live
//! ```
//!
//! Recovery, rescaling and verification are this one path: a verification stops where the bindings end
//! and has sinks that compare. After a crash at any point the next run ends in the same outputs: epochs
//! with a binding are replayed from it, the others never were.

use crate::bindings::{Binding, BindingError, BindingStore, GenerationInfo, PartitionEnd};
use crate::committer::{self, Begin, Part, Wakers};
use crate::dataflow::bind::{self, BindPlan};
use crate::dataflow::close::{self, ClosePlan};
use crate::dataflow::flow::{Flow, Restored};
use crate::dataflow::mint_op::{self, MintCell, MintPlan, Recorded};
use crate::dataflow::sink_op::{self, SinkPlan};
use crate::dataflow::source_op::{self, SourcePlan};
use crate::dataflow::{Messages, snapshot_op};
use crate::feed;
use crate::mint::{Mint, Pace};
use crate::patience::patiently;
use crate::restore::{load, newest_usable};
use crate::shared::Shared;
use crate::sink::{Sink, SinkError};
use crate::snapshot::store::SnapshotStore;
use crate::snapshot::writer::{self, Snapshots};
use crate::snapshot::{Manifest, SnapshotError};
use crate::source::{LogError, LogReader};
use crate::types::{Epoch, EpochTs, Generation, Millis, PartitionId};
use crate::verdicts::Verdicts;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use timely::communication::Config as Communication;
use timely::dataflow::operators::Concatenate;
use timely::worker::{Config as WorkerConfig, Worker};

/// A job: how records become items.
pub trait Job: Send + Sync + 'static {
    type Record: Clone + Send + 'static;
    type Item: Clone + Send + 'static;

    /// Wires the operators. Called once on every worker.
    fn build<'s>(&self, flow: &mut Flow<'s, Self::Item>, source: Messages<'s, Self::Record>);

    /// The order of items that one operator delivers at one place from several workers, such as what a change of a rate
    /// does to many partners. It must follow from the items alone: which worker has a key is no part of an answer.
    /// Items that are equal here stay as their worker said them.
    fn beside(_a: &Self::Item, _b: &Self::Item) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// How a run is paced and bounded.
#[derive(Clone, Debug)]
pub struct Options {
    pub workers: usize,
    pub epoch_ms: i64,
    pub idle_epoch_ms: i64,
    /// Records of one epoch over all partitions (soft: records that tie in time go together).
    pub epoch_records_max: usize,
    pub epochs_in_flight_max: u64,
    pub snapshot_every_ms: i64,
    pub claim_ahead_ms_max: i64,
    pub until_drained: bool,
}

/// Everything a run stands on.
pub struct Stores<R, I> {
    /// Makes a reader for each worker's fetch thread.
    pub readers: Vec<R>,
    pub bindings: Box<dyn BindingStore>,
    pub sinks: Vec<Box<dyn Sink<I>>>,
    /// Absent in a verification from the start of the log.
    pub snapshots: Option<SnapshotStore>,
}

/// What to do with the recorded past.
pub enum Mode {
    /// Replay what was bound and go on. The generation must have been begun on `bindings`.
    Live { generation: GenerationInfo },
    /// Replay what was bound up to and including `through`, and stop.
    Replay { through: Epoch, from: Option<Manifest> },
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Binding(#[from] BindingError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{0}")]
    Failed(String),
}

struct Plan {
    mode_live: bool,
    generation: Generation,
    code_version: String,
    settings: BTreeMap<Generation, String>,
    manifest: Option<Manifest>,
    /// The last epoch bound.
    bound: Epoch,
    replay_through: Epoch,
}

/// Runs `job` to its end: stopped, drained, replayed or failed. `shared` is how others watch and stop it.
///
/// # Errors
/// See [`RunError`]. Whatever was decided stays decided; the next run goes on from there.
pub fn run<J: Job, R: LogReader<Record = J::Record>>(
    job: Arc<J>,
    options: &Options,
    mode: Mode,
    stores: Stores<R, J::Item>,
    shared: &Arc<Shared>,
    wakers: &Arc<Wakers>,
) -> Result<(), RunError> {
    let Stores { readers, mut bindings, sinks, snapshots } = stores;
    assert_eq!(readers.len(), options.workers, "one reader for each worker");
    let plan = plan(mode, bindings.as_mut(), snapshots.as_ref(), shared)?;
    let resume = plan.manifest.as_ref().map_or(Epoch(0), |manifest| manifest.epoch);
    shared.publish_decided(resume.0);
    shared.minted.store(resume.0, Ordering::SeqCst);
    tracing::info!(
        generation = plan.generation.0,
        snapshot = resume.0,
        replay_through = plan.replay_through.0,
        workers = options.workers,
        "run begins"
    );
    let restored = Arc::new(load(snapshots.as_ref(), plan.manifest.as_ref(), shared)?);
    let begin = Begin { in_flight_max: options.epochs_in_flight_max, resume, bound: plan.bound };
    let (parts, committers) = committer::start((options.workers, J::beside), begin, sinks, shared, wakers)?;
    let writer = snapshots.filter(|_| plan.mode_live).map(|store| {
        let store = store.for_generation(plan.generation);
        writer::start(store, plan.manifest.as_ref(), Arc::clone(shared))
    });
    let rows = read_rows(bindings.as_mut(), resume, plan.replay_through, shared)?;
    let wiring = Arc::new(Wiring {
        job,
        options: options.clone(),
        plan,
        resume,
        restored: Mutex::new(Some(restored)),
        verdicts: Arc::new(Verdicts::of(&rows)),
        rows: Mutex::new(Some(rows)),
        bindings: Mutex::new(Some(bindings)),
        readers: Mutex::new(readers.into_iter().map(Some).collect()),
        parts: Mutex::new(Some(parts)),
        snapshots: writer.as_ref().map(|(snapshots, _)| Mutex::new(snapshots.clone())),
        shared: Arc::clone(shared),
        wakers: Arc::clone(wakers),
    });
    execute(options.workers, &wiring)?;
    // The last sender of parts goes with the wiring, so the committers see the end.
    drop(wiring);
    for thread in committers {
        let _ = thread.join();
    }
    shared.close();
    if let Some((_, thread)) = writer {
        let _ = thread.join();
    }
    shared.failure().map_or(Ok(()), |message| Err(RunError::Failed(message)))
}

fn plan(
    mode: Mode,
    bindings: &mut dyn BindingStore,
    snapshots: Option<&SnapshotStore>,
    shared: &Shared,
) -> Result<Plan, RunError> {
    let generations = patiently(shared, || bindings.generations())?;
    let settings = generations.into_iter().map(|info| (info.generation, info.settings)).collect();
    let last = patiently(shared, || bindings.last())?;
    Ok(match mode {
        Mode::Live { generation } => Plan {
            mode_live: true,
            generation: generation.generation,
            code_version: generation.code_version,
            settings,
            manifest: newest_usable(snapshots, last, shared)?,
            bound: last,
            replay_through: last,
        },
        Mode::Replay { through, from } => Plan {
            mode_live: false,
            generation: Generation(0),
            code_version: String::new(),
            settings,
            manifest: from,
            bound: last,
            replay_through: through.min(last),
        },
    })
}

/// Rows to replay. They are small (a few dozen bytes a partition), so a replay's are held at once.
fn read_rows(
    bindings: &mut dyn BindingStore,
    resume: Epoch,
    through: Epoch,
    shared: &Shared,
) -> Result<VecDeque<Binding>, RunError> {
    let mut rows: VecDeque<Binding> = VecDeque::new();
    let mut after = resume;
    while after < through {
        let more = patiently(shared, || bindings.read(after, 10_000))?;
        let Some(last) = more.last() else {
            return Err(RunError::Failed(format!(
                "the bindings have no row for epoch {}, though epoch {through} is bound: tombola.db is damaged; restore it",
                after.next()
            )));
        };
        after = last.epoch;
        rows.extend(more.into_iter().filter(|row| row.epoch <= through));
    }
    for (row, expected) in rows.iter().zip(resume.next().0..) {
        assert_eq!(row.epoch.0, expected, "bindings are consecutive");
    }
    Ok(rows)
}

struct Wiring<J: Job, R> {
    job: Arc<J>,
    options: Options,
    plan: Plan,
    resume: Epoch,
    restored: Mutex<Option<Arc<Restored>>>,
    rows: Mutex<Option<VecDeque<Binding>>>,
    verdicts: Arc<Verdicts>,
    bindings: Mutex<Option<Box<dyn BindingStore>>>,
    readers: Mutex<Vec<Option<R>>>,
    parts: Mutex<Option<Sender<Part<J::Item>>>>,
    snapshots: Option<Mutex<Snapshots>>,
    shared: Arc<Shared>,
    wakers: Arc<Wakers>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a worker that is to stop looks whether it can.
const STOP_LOOKS_EVERY: Duration = Duration::from_millis(5);

fn execute<J: Job, R: LogReader<Record = J::Record>>(
    workers: usize,
    wiring: &Arc<Wiring<J, R>>,
) -> Result<(), RunError> {
    let communication = if workers == 1 { Communication::Thread } else { Communication::Process(workers) };
    let config = timely::Config { communication, worker: WorkerConfig::default() };
    let built = Arc::new(std::sync::Barrier::new(workers));
    let on = Arc::clone(wiring);
    let guards = timely::execute(config, move |worker| {
        on.shared.register_worker();
        on.build(worker);
        if built.wait().is_leader() {
            // Every worker has taken its copy: the entries of the snapshot are no longer needed.
            locked(&on.restored).take();
            locked(&on.parts).take();
        }
        let mut woken: Option<Instant> = None;
        while worker.has_dataflows() && !on.shared.failed() {
            let stopping = worker.index() == 0 && on.shared.stopping();
            // The mint doesn't hear of a stop, nor that what it waits for is done. Woken at every step the worker would
            // never rest, for as long as a store is away.
            if stopping && woken.is_none_or(|woken| woken.elapsed() >= STOP_LOOKS_EVERY) {
                on.wakers.wake_operators();
                woken = Some(Instant::now());
            }
            worker.step_or_park(Some(if stopping { STOP_LOOKS_EVERY } else { Duration::from_millis(100) }));
        }
        if on.shared.failed() {
            for dataflow in worker.installed_dataflows() {
                worker.drop_dataflow(dataflow);
            }
        }
    })
    .map_err(RunError::Failed)?;
    for worker in guards.join() {
        worker.map_err(RunError::Failed)?;
    }
    Ok(())
}

impl<J: Job, R: LogReader<Record = J::Record>> Wiring<J, R> {
    fn build(&self, worker: &mut Worker) {
        let index = worker.index();
        let cell = (index == 0).then(|| Rc::new(RefCell::new(self.mint_cell())));
        worker.dataflow::<EpochTs, _, _>(|scope| {
            let mint_plan = cell.as_ref().map(|cell| self.mint_plan(Rc::clone(cell)));
            let ticks = mint_op::mint(scope, mint_plan);
            let sourced = source_op::source(scope, ticks, self.source_plan(index), |wake| {
                let mut reader = locked(&self.readers)[index].take().expect("one reader for each worker");
                reader.replays(&self.verdicts);
                let peers = self.options.workers;
                let mine = move |id: PartitionId| partition_owner(id, peers) == index;
                let room = source_op::room(self.options.epoch_records_max);
                feed::start(reader, self.starts(), mine, room, wake, Arc::clone(&self.shared))
            });
            let ticks = sourced.ticks;
            let (shared, wakers) = (Arc::clone(&self.shared), Arc::clone(&self.wakers));
            let store = cell.as_ref().and_then(|_| locked(&self.bindings).take());
            let store = store.filter(|_| self.plan.mode_live);
            let plan = BindPlan { cell: cell.clone(), store, shared, wakers };
            let bound = bind::bind(scope, ticks.clone(), sourced.reports, sourced.status, plan);
            let mut flow = Flow {
                scope,
                ticks: ticks.clone(),
                restored: locked(&self.restored).clone().expect("taken only after all have built"),
                resume: self.resume,
                resume_now: self.resume_now(),
                resume_settings: self.resume_settings(),
                snapshots: self.snapshots.is_some(),
                shared: Arc::clone(&self.shared),
                changelogs: Vec::new(),
                items: Vec::new(),
                operators: Vec::new(),
            };
            self.job.build(&mut flow, sourced.records);
            let changelog = scope.concatenate(flow.changelogs);
            let snapshots = self.snapshots.as_ref().map(|snapshots| locked(snapshots).clone());
            let files = snapshot_op::snapshot(scope, changelog, ticks.clone(), snapshots.clone());
            let plan = SinkPlan {
                committer: locked(&self.parts).clone().expect("taken only after all have built"),
                shared: Arc::clone(&self.shared),
                wakers: Arc::clone(&self.wakers),
                mint: cell.clone(),
            };
            let decided = sink_op::sink(scope, flow.items, ticks, bound, plan);
            let close_plan = cell.map(|cell| ClosePlan {
                cell,
                snapshots,
                generation: self.plan.generation,
                code_version: self.plan.code_version.clone(),
            });
            close::close(scope, files, decided, close_plan);
        });
    }

    fn resume_now(&self) -> Millis {
        self.plan.manifest.as_ref().map_or(0, |manifest| manifest.now)
    }

    fn resume_settings(&self) -> Option<String> {
        let generation = self.plan.manifest.as_ref()?.generation;
        self.plan.settings.get(&generation).cloned()
    }

    fn starts(&self) -> BTreeMap<PartitionId, PartitionEnd> {
        let positions = self.plan.manifest.as_ref().map(|manifest| manifest.positions.clone());
        positions.unwrap_or_default().into_iter().map(|end| (end.partition, end)).collect()
    }

    fn mint_cell(&self) -> MintCell {
        let options = &self.options;
        let pace = Pace {
            epoch_ms: options.epoch_ms,
            idle_epoch_ms: options.idle_epoch_ms,
            epochs_in_flight_max: options.epochs_in_flight_max,
            snapshot_every_ms: self.snapshots.as_ref().map(|_| options.snapshot_every_ms),
            until_drained: options.until_drained,
            epoch_records_max: options.epoch_records_max,
        };
        let clock = self.shared.clock();
        MintCell {
            mint: Mint::new(pace, options.workers, self.resume, self.resume_now(), clock),
            activator: None,
            replay_through: self.plan.replay_through,
            positions: self.starts(),
            cuts: BTreeMap::new(),
        }
    }

    fn mint_plan(&self, cell: Rc<RefCell<MintCell>>) -> MintPlan {
        let mut rows = locked(&self.rows).take().expect("worker 0 builds once");
        let recorded: Recorded = Box::new(move || Ok(rows.pop_front()));
        MintPlan {
            cell,
            recorded,
            generation: self.plan.generation,
            settings: self.plan.settings.clone(),
            live: self.plan.mode_live,
            shared: Arc::clone(&self.shared),
        }
    }

    fn source_plan(&self, worker: usize) -> SourcePlan {
        SourcePlan {
            worker,
            resume: self.resume,
            starts: self.starts(),
            ahead_ms_max: self.options.claim_ahead_ms_max,
            epoch_records_max: self.options.epoch_records_max,
            live: self.plan.replay_through <= self.resume,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Which worker reads a partition.
fn partition_owner(id: PartitionId, workers: usize) -> usize {
    (usize::from(id.topic.0) + id.partition as usize) % workers
}
