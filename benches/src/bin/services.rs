//! What real services bear, and how soon what is produced can be seen: the demo's stream through the settings' own places.
//!
//! ```text
//!   cargo run --release -p tombola-benches --bin services -- SETTINGS.toml DIR ORDERS [ORDERS_PER_S]
//!
//!   generator ─ append ─> log ─ pipeline ─> facts ────────> rows ──────── loader ──────> analysts' views
//!        └─ when           Kafka: a consumer ─┘   Postgres: ─┘   ClickHouse: the published ─┴─> percentiles
//!                          of committed facts      its frontier   frontier
//! ```
//!
//! With a rate, records go in by the clock and the percentiles are times from a record's append to where it is visible,
//! looked at from outside of the pipeline: by `kcat`, which reads committed facts, and by a reader of the frontiers in Postgres,
//! every 10 ms. "decided" is when the pipeline itself knows that facts and rows are there. Records of the first minute,
//! in which pipeline and services begin, are left out. Without a rate, records go in as fast as they are decided, and orders a
//! second are what counts. Topics and tables are to be there (`tombola topics apply`, `tombola migrate`) and empty, as the
//! stream says the same each time; DIR is a new folder.

use pipelines::config::{AnalyticsKind, Config, LogKind};
use pipelines::demo::latency::{Appended, Latencies};
use pipelines::demo::producer::{self, Control, Plan};
use pipelines::engine::{self, EngineOptions, Progress};
use pipelines::stores::{Stores, Tables};
use runtime::shared::Shared;
use schemas::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tombola_benches::visible::{Facts, Visible};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often frontiers are asked for: what it adds to the times.
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

/// Which topic of facts is read: every order is told there.
const TOPIC: &str = "facts.orders";
const FRONTIERS: &str = "SELECT name, epoch FROM frontiers WHERE name IN ('decided', 'published')";

/// What is seen where, and when.
struct Watch {
    appended: Receiver<Appended>,
    progress: Receiver<Progress>,
    decided: Latencies,
    decided_at: Instant,
    /// Facts, where the log is Kafka.
    kafka: Option<(Facts, Visible)>,
    rows: Visible,
    /// Views, where there are analysts.
    published: Option<Visible>,
    tables: Box<dyn Tables>,
    asked: Instant,
    /// When times begin to count.
    counts_from: Option<Instant>,
}

impl Watch {
    fn look(&mut self) {
        let progress = self.progress.recv_timeout(Duration::from_millis(2)).ok();
        while let Ok(appended) = self.appended.try_recv() {
            self.decided.appended(appended);
            self.sinks().for_each(|sink| sink.appended(appended));
        }
        if let Some(moved) = progress {
            for (topic, partition, end) in &moved.ends {
                self.decided.decided(topic, *partition, *end, moved.at);
            }
            if !moved.ends.is_empty() {
                self.decided_at = moved.at;
            }
            self.sinks().for_each(|sink| sink.decided(&moved));
        }
        if let Some((facts, visible)) = &mut self.kafka {
            facts.look(visible);
        }
        if self.asked.elapsed() >= ASK_EVERY {
            self.ask();
        }
        if self.counts_from.take_if(|from| *from <= Instant::now()).is_some() {
            self.decided.take_recent();
            for sink in self.sinks() {
                sink.take_recent();
            }
        }
    }

    fn sinks(&mut self) -> impl Iterator<Item = &mut Visible> {
        let kafka = self.kafka.as_mut().map(|(_, visible)| visible);
        kafka.into_iter().chain([&mut self.rows]).chain(&mut self.published)
    }

    fn ask(&mut self) {
        self.asked = Instant::now();
        let found = self.tables.query(FRONTIERS, 2, 5_000).expect("the serving tables answer").rows;
        let at = Instant::now();
        for row in found {
            match &row[..] {
                [Value::Text(name), Value::Int(epoch)] if name == "decided" => {
                    self.rows.seen_upto(*epoch as u64, at);
                }
                [_, Value::Int(epoch)] => {
                    self.published.iter_mut().for_each(|views| views.seen_upto(*epoch as u64, at));
                }
                other => panic!("a frontier is a name and an epoch: {other:?}"),
            }
        }
    }

    fn nothing_waits(&mut self) -> bool {
        self.decided.nothing_waits() && self.sinks().all(|sink| sink.nothing_waits())
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
    let kafka = (config.log.kind == LogKind::Kafka)
        .then(|| (Facts::follow(&config.kafka.bootstrap, TOPIC), Visible::new("facts in Kafka")));
    let watch = Watch {
        appended,
        progress,
        decided: Latencies::default(),
        decided_at: Instant::now(),
        kafka,
        rows: Visible::new("rows in the serving tables"),
        published: analysts.then(|| Visible::new("views in ClickHouse")),
        tables: stores.tables().expect("the serving tables answer"),
        asked: Instant::now(),
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
    let mut times = vec![("decided", watch.decided.take_recent())];
    times.extend(watch.sinks().map(|sink| (sink.name, sink.take_recent())));
    for (what, times) in times {
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
