//! `tombola demo`: the whole pipeline over invented traffic, watched and summed up.
//!
//! ```text
//!   producer thread ─ log.db ─> engine thread ─ decided frontier ─┐
//!        └─ what was appended, when ──────────────────────────────┴─> this thread: view, back-pressure, summary
//! ```

use super::api::listen;
use super::place::Place;
use super::{Failure, output};
use crate::config::{Config, JOBS};
use crate::demo::latency::{Appended, Latencies};
use crate::demo::producer::{self, Control, Plan};
use crate::demo::shop;
use crate::demo::summary::{self, Run};
use crate::demo::view::{Standing, View};
use crate::demo::world;
use crate::engine::{self, EngineError, EngineOptions, Progress};
use crate::pipeline::Pipeline;
use crate::serve::{self, Beside, Pulse};
use crate::stores::{StoreError, Stores};
use api::{ApiError, Server};
use clap::builder::PossibleValuesParser;
use runtime::shared::Shared;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Orders per second where neither --orders nor --rate is given.
const RATE_DEFAULT: u64 = 1_000;
/// Holds of the demo run out after this: unpaid orders expire while one watches.
const HOLD_TTL_MS: i64 = 2_500;
/// The same unpaced, where payments wait behind the producer's back-pressure.
const HOLD_TTL_UNPACED_MS: i64 = 5_000;
/// Longest wait for the last holds to run out, on top of their time.
const SETTLE_MS: u64 = 5_000;
/// Longest wait for the last images: they are drawn with what processor is left.
const IMAGES_MAX: Duration = Duration::from_secs(20);

/// Watch the pipeline sell lottery tickets, train seats, mystery boxes and vouchers of eight businesses.
///
/// Makes up a realistic stream from a seed: flash sales that sell out, duplicates, wrong prices, unknown
/// offers, cancels, declined and late payments, orders nobody pays for, refunds. Then says what became of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola demo --orders 100000              as fast as it goes, then a summary
  tombola demo --orders 50000 --rate 5000   5,000 orders a second
  tombola demo                              1,000 orders a second until Ctrl-C
Afterwards, in the folder it names:
  tombola query --data-dir DIR 'SELECT * FROM orders LIMIT 5'
  tombola verify --data-dir DIR

The stream follows from the seed alone. What becomes of an order in a flash sale depends on the clock too:
holds run out while it runs.")]
pub struct Demo {
    /// Stop after this many orders; without it, until Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    orders: Option<u64>,
    /// What the stream is made from.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Worker threads [default: pipeline.workers]
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u64).range(1..=64))]
    workers: Option<u64>,
    /// Where to keep everything; must not hold a log yet [default: a new folder among the temporary ones, kept]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Jobs to run, separated by commas; sales must be among them [default: pipeline.jobs]
    #[arg(long, value_name = "JOBS", value_delimiter = ',', value_parser = PossibleValuesParser::new(JOBS))]
    jobs: Vec<String>,
    /// Orders per second [default: as fast as it goes with --orders, else 1000]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// Settings file; the demo sets its own hold TTL, grace, ticket key and tenants.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the HTTP API and the live page [default: 127.0.0.1:8080, where it is free]
    #[arg(long, value_name = "ADDR")]
    api: Option<SocketAddr>,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

/// The threads and what this one knows of them.
struct Running {
    engine: JoinHandle<Result<(), EngineError>>,
    producer: JoinHandle<Result<(), StoreError>>,
    shared: Arc<Shared>,
    control: Arc<Control>,
    appended: Receiver<Appended>,
    progress: Receiver<Progress>,
    latencies: Latencies,
    view: View,
    decided_at: Instant,
    /// The API, for as long as the demo runs.
    _server: Option<Server>,
}

impl Demo {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let dir = self.dir();
        let config = self.settings(&dir)?;
        let workers = config.pipeline.workers;
        let started = Instant::now();
        let stores = Stores::of(&config, &dir);
        let mut running = self.start(&stores, config)?;
        running.watch();
        let seconds = (running.decided_at - started).as_secs_f64();
        running.settle(&stores)?;
        running.wait_for_images(&stores)?;
        let run = Run {
            seed: self.seed,
            workers,
            records: running.latencies.records_decided(),
            seconds,
            latency: running.latencies.percentiles(),
            paced: self.paced(),
        };
        running.end()?;
        let summary = summary::read(&stores, run)?;
        if self.json {
            output::print_json(&summary);
        } else {
            output::print(&format!("\n{}\n{}", summary.text(), closing(&stores)));
        }
        Ok(())
    }

    fn paced(&self) -> bool {
        self.rate.is_some() || self.orders.is_none()
    }

    fn dir(&self) -> PathBuf {
        let unique = || format!("tombola-demo-{}-{}", self.seed, std::process::id());
        self.data_dir.clone().unwrap_or_else(|| std::env::temp_dir().join(unique()))
    }

    /// The demo's settings, written into its folder so that other commands find them.
    fn settings(&self, dir: &Path) -> Result<Config, Failure> {
        if dir.join("log.db").exists() {
            let dir = dir.display();
            return Err(Failure::Usage(format!(
                "{dir} holds a log already; the demo starts with an empty folder: name another --data-dir"
            )));
        }
        let (config, data_dir, jobs) = (self.config.clone(), Some(dir.to_owned()), self.jobs.clone());
        let mut config = Place { config, data_dir, jobs }.load()?;
        if !Pipeline::of(&config).sells() {
            return Err(Failure::Usage("the demo sells: name sales among the jobs".to_owned()));
        }
        config.orders.hold_ttl_ms = if self.paced() { HOLD_TTL_MS } else { HOLD_TTL_UNPACED_MS };
        config.orders.grace_ms = 1_000;
        config.orders.tenants_requiring_customers = world::tenants_requiring_customers();
        config.tickets.key = Some("tombola-demo-not-a-secret".to_owned());
        config.tickets.key_file = None;
        // Images are drawn into the folder; without channels nothing is posted anywhere.
        config.publishing.enabled = true;
        config.api.open = true;
        if config.draws.templates.is_empty() {
            config.draws.templates = vec!["card".to_owned()];
            config.draws.locales = vec!["en".to_owned()];
        }
        if let Some(workers) = self.workers {
            config.pipeline.workers = workers as usize;
        }
        let written = std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(dir.join("tombola.toml"), config.describe()));
        written.map_err(|e| Failure::Usage(format!("{}: {e}; name another --data-dir", dir.display())))?;
        Ok(config)
    }

    fn start(&self, stores: &Stores, config: Config) -> Result<Running, Failure> {
        let ids = stores.prepare()?;
        shop::open(stores)?;
        let (control, shared) = (Arc::new(Control::default()), Arc::new(Shared::default()));
        stop_on_signal(&control)?;
        let pulse = Arc::new(Pulse::default());
        let server =
            self.serve(stores, &config, Beside { pulse: Arc::clone(&pulse), shared: Arc::clone(&shared) })?;
        let ((tell, appended), (report, progress)) = (mpsc::channel(), mpsc::channel());
        let plan = self.plan(config.runs("draws"));
        let (appender, producer_control) = (stores.appender()?, Arc::clone(&control));
        let options = EngineOptions {
            workers: config.pipeline.workers,
            data_dir: stores.dir().to_owned(),
            config,
            until_drained: false,
            shared: Arc::clone(&shared),
            progress: Some(report),
            pulse: Some(Arc::clone(&pulse)),
        };
        let engine = spawn("engine", move || engine::run(&options))?;
        let producer =
            spawn("producer", move || producer::produce(appender, ids, &plan, &producer_control, tell))?;
        let (latencies, view, decided_at) = (Latencies::default(), View::new(), Instant::now());
        Ok(Running {
            engine,
            producer,
            shared,
            control,
            appended,
            progress,
            latencies,
            view,
            decided_at,
            _server: server,
        })
    }

    /// Serves the API where it was asked for, else where its usual port is free: several demos may run at once.
    fn serve(&self, stores: &Stores, config: &Config, beside: Beside) -> Result<Option<Server>, Failure> {
        let address = self.api.map_or_else(|| listen(config), Ok)?;
        let settings = serve::settings(config, Some(shop::shop()));
        match serve::start(address, settings, stores, Some(beside)) {
            Ok(server) => {
                eprintln!(
                    "tombola: live page and API on http://{0}; try: curl -X POST {0}/api/ticket/buy",
                    server.address
                );
                Ok(Some(server))
            }
            Err(problem @ ApiError::Bind { .. }) if self.api.is_none() => {
                eprintln!("tombola: no API this time: {problem}");
                Ok(None)
            }
            Err(problem) => Err(problem.into()),
        }
    }

    fn plan(&self, draws: bool) -> Plan {
        let rate = self.paced().then(|| self.rate.unwrap_or(RATE_DEFAULT));
        Plan::new(self.seed, self.orders, rate, draws)
    }
}

impl Running {
    /// Until the stream has ended and everything of it is decided, or the engine has stopped.
    fn watch(&mut self) {
        while !self.engine.is_finished() {
            let ended = self.control.ended.load(Ordering::SeqCst);
            self.hear();
            self.draw("selling");
            // What comes through the API is decided, too: only what the stream appended is waited for.
            if ended && self.latencies.nothing_waits() {
                break;
            }
        }
    }

    /// Waits for the last holds to run out.
    fn settle(&mut self, stores: &Stores) -> Result<(), Failure> {
        let longest = Duration::from_millis(HOLD_TTL_UNPACED_MS as u64 + SETTLE_MS);
        let (since, mut asked) = (Instant::now(), Instant::now());
        while !self.engine.is_finished() && since.elapsed() < longest {
            self.hear();
            self.draw("holds run out");
            if asked.elapsed() >= Duration::from_millis(500) {
                if summary::held(stores.tables()?.as_mut())? == 0 {
                    break;
                }
                asked = Instant::now();
            }
        }
        Ok(())
    }

    /// Waits for the last images. What isn't drawn by then is in the next run of the pipeline.
    fn wait_for_images(&mut self, stores: &Stores) -> Result<(), Failure> {
        let since = Instant::now();
        while !self.engine.is_finished() && since.elapsed() < IMAGES_MAX && summary::images(stores)?.open > 0
        {
            self.hear();
            self.draw("images are drawn");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Takes in what producer and engine say, waiting a little for them.
    fn hear(&mut self) {
        self.appended.try_iter().for_each(|appended| self.latencies.appended(appended));
        let Ok(progress) = self.progress.recv_timeout(Duration::from_millis(50)) else { return };
        self.appended.try_iter().for_each(|appended| self.latencies.appended(appended));
        for (topic, partition, end) in &progress.ends {
            self.latencies.decided(topic, *partition, *end, progress.at);
            self.decided_at = progress.at;
        }
        self.control.decided.store(self.latencies.records_decided(), Ordering::SeqCst);
    }

    fn draw(&mut self, what: &'static str) {
        if !self.view.due() {
            return;
        }
        let standing = Standing {
            appended: self.control.appended.load(Ordering::SeqCst),
            decided: self.latencies.records_decided(),
            epoch: self.shared.decided.load(Ordering::SeqCst),
            snapshot_bytes: self.shared.snapshot_bytes.load(Ordering::SeqCst),
            frontier_age_ms: self.shared.frontier_age_ms(),
            latency: self.latencies.take_recent(),
            what,
        };
        self.view.draw(&standing);
    }

    /// Ends both threads; the first thing that went wrong with either.
    fn end(self) -> Result<(), Failure> {
        self.control.stop.store(true, Ordering::SeqCst);
        self.shared.stop();
        join(self.engine)??;
        join(self.producer)??;
        Ok(())
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|e| Failure::Runtime(format!("the {name} thread can't be started: {e}")))
}

fn join<T>(thread: JoinHandle<T>) -> Result<T, Failure> {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    thread
        .join()
        .map_err(|_| Failure::Runtime(format!("the {name} thread panicked; its message stands above")))
}

/// The first signal ends the stream, and the demo sums up; the second ends the program.
fn stop_on_signal(control: &Arc<Control>) -> Result<(), Failure> {
    let control = Arc::clone(control);
    let handler = move || {
        if control.stop.swap(true, Ordering::SeqCst) {
            std::process::exit(1);
        }
    };
    ctrlc::set_handler(handler)
        .map_err(|e| Failure::Runtime(format!("the handler of Ctrl-C can't be set: {e}")))
}

fn closing(stores: &Stores) -> String {
    let ends = stores.log().and_then(|mut log| log.topics()).unwrap_or_default();
    let facts: u64 = ends.iter().filter(|t| t.topic.starts_with("facts.")).flat_map(|t| &t.ends).sum();
    let (dir, facts) = (stores.dir().display(), output::thousands(facts));
    format!(
        "Everything is kept in {dir} ({facts} facts in its log). Try\n  \
         tombola query --data-dir {dir} 'SELECT status, count(*) FROM orders GROUP BY status'\n  \
         tombola verify --data-dir {dir}\n"
    )
}
