//! What real services bear, and how soon what is produced can be seen: the demo's stream through the settings' own places.
//!
//! ```text
//!   cargo run --release -p tombola-benches --bin services -- SETTINGS.toml DIR ORDERS [ORDERS_PER_S]
//!
//!   generator ─ append ─> log ─ pipeline ─> facts, rows: decided ─ loader ─> analysts' views: published
//!        └─ when ──────────────────────────────┴─────────────────────────────┴─> percentiles
//! ```
//!
//! With a rate, records go in by the clock and the percentiles are times: from a record's append to the decided frontier, where
//! consumers of Kafka and readers of Postgres see it, and to the published one, where analysts do; records of the first minute,
//! in which pipeline and services begin, are left out. Without, they go in as fast as they are decided, and orders a second are what counts. Topics and tables are to be there (`tombola topics apply`,
//! `tombola migrate`) and empty, as the stream says the same each time; DIR is a new folder.

use pipelines::config::{AnalyticsKind, Config};
use pipelines::demo::latency::{Appended, Latencies};
use pipelines::demo::producer::{self, Control, Plan};
use pipelines::engine::{self, EngineOptions, Progress};
use pipelines::stores::{Stores, Tables};
use runtime::shared::Shared;
use schemas::Value;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often the published frontier is asked for: what it adds to the times.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Services that just started compile what they run (a broker does for a minute, on a core that is missing meanwhile), and a
/// pipeline goes live: no time of these counts.
const WARM_UP: Duration = Duration::from_secs(60);

struct Args {
    settings: PathBuf,
    dir: PathBuf,
    orders: u64,
    orders_per_s: Option<u64>,
}

fn args() -> Option<Args> {
    let mut given = std::env::args().skip(1);
    let (settings, dir) = (given.next()?.into(), given.next()?.into());
    let orders = given.next()?.parse().ok()?;
    let orders_per_s = given.next().map(|rate| rate.parse()).transpose().ok()?;
    Some(Args { settings, dir, orders, orders_per_s })
}

/// What is seen where, and when.
struct Watch {
    appended: Receiver<Appended>,
    progress: Receiver<Progress>,
    decided: Latencies,
    published: Latencies,
    /// Moves of the decided frontier that aren't published.
    waiting: VecDeque<Progress>,
    /// Asked for the published frontier, where there are analysts.
    tables: Option<Box<dyn Tables>>,
    asked: Instant,
    decided_at: Instant,
    /// When times begin to count.
    counts_from: Option<Instant>,
}

impl Watch {
    fn look(&mut self) {
        let progress = self.progress.recv_timeout(Duration::from_millis(2)).ok();
        for appended in self.appended.try_iter() {
            self.decided.appended(appended);
            self.published.appended(appended);
        }
        if let Some(moved) = progress {
            tell(&mut self.decided, &moved, moved.at);
            if !moved.ends.is_empty() {
                self.decided_at = moved.at;
            }
            self.waiting.push_back(moved);
        }
        if self.asked.elapsed() >= ASK_EVERY {
            self.ask();
        }
        if self.counts_from.take_if(|from| *from <= Instant::now()).is_some() {
            self.decided.take_recent();
            self.published.take_recent();
        }
    }

    fn ask(&mut self) {
        self.asked = Instant::now();
        let Some(tables) = &mut self.tables else { return };
        let found = tables.query("SELECT epoch FROM frontiers WHERE name = 'published'", 1, 5_000);
        let found = found.expect("the serving tables answer").rows;
        let Some(Value::Int(epoch)) = found.first().and_then(|row| row.first()) else { return };
        let (published, at) = (*epoch as u64, Instant::now());
        while let Some(moved) = self.waiting.pop_front_if(|moved| moved.decided.0 <= published) {
            tell(&mut self.published, &moved, at);
        }
    }

    fn nothing_waits(&self) -> bool {
        self.decided.nothing_waits() && (self.tables.is_none() || self.published.nothing_waits())
    }
}

fn tell(latencies: &mut Latencies, moved: &Progress, at: Instant) {
    for (topic, partition, end) in &moved.ends {
        latencies.decided(topic, *partition, *end, at);
    }
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::Builder::new().name(name.into()).spawn(work).expect("one thread more")
}

fn engine(config: &Config, dir: &Path, shared: &Arc<Shared>) -> (JoinHandle<()>, Receiver<Progress>) {
    let (report, progress) = channel();
    let options = EngineOptions {
        workers: config.pipeline.workers,
        data_dir: dir.to_owned(),
        config: config.clone(),
        until_drained: false,
        shared: Arc::clone(shared),
        progress: Some(report),
        pulse: None,
    };
    let run = move || engine::run(&options).unwrap_or_else(|problem| panic!("the pipeline ended: {problem}"));
    (spawn("engine", run), progress)
}

/// The stream and the pipeline, begun.
struct Running {
    control: Arc<Control>,
    shared: Arc<Shared>,
    engine: JoinHandle<()>,
    producer: JoinHandle<()>,
    watch: Watch,
}

fn begin(args: &Args, config: &Config, stores: &Stores) -> Running {
    let ids = stores.prepare().unwrap_or_else(|problem| panic!("{problem}"));
    let (shared, control) = (Arc::new(Shared::default()), Arc::new(Control::default()));
    let (engine, progress) = engine(config, &args.dir, &shared);
    let (tell, appended) = channel();
    let appender = stores.appender().expect("the log takes records");
    let plan = Plan::new(1, Some(args.orders), args.orders_per_s, false);
    let analysts = config.analytics.kind != AnalyticsKind::None;
    let watch = Watch {
        appended,
        progress,
        decided: Latencies::default(),
        published: Latencies::default(),
        waiting: VecDeque::new(),
        tables: analysts.then(|| stores.tables().expect("the serving tables answer")),
        asked: Instant::now(),
        decided_at: Instant::now(),
        counts_from: args.orders_per_s.map(|_| Instant::now() + WARM_UP),
    };
    let producing = Arc::clone(&control);
    let producer = spawn("producer", move || {
        let done = producer::produce(appender, ids, &plan, &producing, tell);
        done.unwrap_or_else(|problem| panic!("the log takes no more: {problem}"));
    });
    Running { control, shared, engine, producer, watch }
}

fn print(orders: u64, seconds: f64, watch: &mut Watch) {
    println!("{:.0} orders/s, {orders} orders in {seconds:.1} s", orders as f64 / seconds);
    let published = watch.tables.is_some().then_some(("published", &mut watch.published));
    for (what, times) in [("decided", &mut watch.decided)].into_iter().chain(published) {
        let times = times.take_recent();
        println!(
            "{what}: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
            times.p50_ms, times.p95_ms, times.p99_ms
        );
    }
}

fn main() {
    let Some(args) = args() else {
        eprintln!("usage: services SETTINGS.toml DIR ORDERS [ORDERS_PER_S]");
        std::process::exit(2);
    };
    pipelines::logging::start();
    let config = Config::load(Some(&args.settings)).unwrap_or_else(|problem| panic!("{problem}"));
    let stores = Stores::of(&config, &args.dir);
    let began = Instant::now();
    let Running { control, shared, engine, producer, mut watch } = begin(&args, &config, &stores);
    while !(control.ended.load(Ordering::SeqCst) && watch.nothing_waits()) {
        watch.look();
        control.decided.store(watch.decided.records_decided(), Ordering::SeqCst);
        assert!(!engine.is_finished(), "the pipeline ended before its stream");
    }
    producer.join().expect("all of it is produced");
    print(args.orders, (watch.decided_at - began).as_secs_f64(), &mut watch);
    shared.stop();
    engine.join().expect("the pipeline ends well");
}
