//! A database of its own on the server that the environment names, and a loader into it.

use crate::world::{World, WorldLog};
use runtime::bindings::BindingStore;
use runtime::sink::SinkError;
use runtime::{Epoch, Generation};
use schemas::Fact;
use sinks::clickhouse::{
    Batch, ClickHouseSettings, Loader, LoaderFigures, LoaderSources, PlanState, PlanStore, migrate,
};
use sinks::embedded::{BindingsDb, EmbeddedPlans};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `scripts/services up clickhouse` and take its endpoints into the environment")
    })
}

/// A database that goes when this does.
pub struct Database {
    pub settings: ClickHouseSettings,
    keep: bool,
    runtime: tokio::runtime::Runtime,
    http: clickhouse::Client,
}

impl Database {
    /// An empty one.
    pub fn empty() -> Database {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (pid, n) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let database = Database::named(&format!("test_{pid}_{now}_{n}"), false);
        let create = format!("CREATE DATABASE {}", database.settings.database);
        database
            .runtime
            .block_on(database.http.clone().with_database("default").query(&create).execute())
            .unwrap();
        database
    }

    /// One with every table.
    pub fn migrated() -> Database {
        let database = Database::empty();
        migrate(&database.settings).unwrap();
        database
    }

    /// One that another process has made.
    pub fn named(name: &str, keep: bool) -> Database {
        let (user, password) = (variable("CLICKHOUSE_USER"), variable("CLICKHOUSE_PASSWORD"));
        let password_file = std::env::temp_dir().join(format!("{name}_{}.password", std::process::id()));
        std::fs::write(&password_file, &password).unwrap();
        let settings = ClickHouseSettings {
            url: variable("CLICKHOUSE_URL"),
            database: name.to_owned(),
            user,
            password_file: Some(password_file),
            batch_interval_ms: 10,
            batch_rows_max: 700,
            retry_ms_max: 300,
            ..ClickHouseSettings::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let http = clickhouse::Client::default().with_url(&settings.url).with_user(&settings.user);
        let http = http.with_password(password).with_database(name);
        Database { settings, keep, runtime, http }
    }

    /// The answer as tab-separated text, or what the server says against it.
    pub fn try_ask(&self, sql: &str, settings: &[(&str, &str)]) -> Result<String, String> {
        let http =
            settings.iter().fold(self.http.clone(), |http, (name, value)| http.with_setting(*name, *value));
        let answer = self.runtime.block_on(async {
            let mut cursor = http.query_raw(sql).fetch_bytes("TabSeparated")?;
            cursor.collect().await
        });
        answer.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).map_err(|e| e.to_string())
    }

    pub fn ask(&self, sql: &str) -> String {
        self.try_ask(sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e}")).trim_end().to_owned()
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.ask(sql).parse().unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    pub fn run(&self, sql: &str) {
        self.run_with(sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    pub fn run_with(&self, sql: &str, settings: &[(&str, &str)]) -> Result<(), String> {
        let http =
            settings.iter().fold(self.http.clone(), |http, (name, value)| http.with_setting(*name, *value));
        self.runtime.block_on(http.query_raw(sql).execute()).map_err(|e| e.to_string())
    }

    /// Sends bytes as the body of an insert.
    pub fn insert_bytes(&self, sql: &str, bytes: Vec<u8>, settings: &[(&str, &str)]) -> Result<(), String> {
        let http =
            settings.iter().fold(self.http.clone(), |http, (name, value)| http.with_setting(*name, *value));
        let sent = self.runtime.block_on(async {
            let mut insert = http.insert_formatted_with(sql);
            insert.send(bytes.into()).await?;
            insert.end().await
        });
        sent.map_err(|e| e.to_string())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.settings.password_file.as_ref().unwrap());
        if !self.keep {
            let drop = format!("DROP DATABASE {} SYNC", self.settings.database);
            let _ = self.runtime.block_on(self.http.clone().with_database("default").query(&drop).execute());
        }
    }
}

/// Plans in a folder, with a decided frontier that the test moves.
pub struct TestPlans {
    pub inner: EmbeddedPlans,
    pub decided: Arc<AtomicU64>,
}

impl TestPlans {
    pub fn open(dir: &Path, decided: Arc<AtomicU64>) -> TestPlans {
        let generation =
            BindingsDb::open(dir).unwrap().begin_generation("1.0", "{}", 1, 0).unwrap().generation;
        TestPlans { inner: EmbeddedPlans::open(dir, generation).unwrap(), decided }
    }

    #[allow(dead_code)] // one of two test programs needs it
    pub fn zombie(dir: &Path) -> TestPlans {
        TestPlans { inner: EmbeddedPlans::open(dir, Generation(1)).unwrap(), decided: Arc::default() }
    }
}

impl PlanStore for TestPlans {
    fn decided(&mut self) -> Result<Epoch, SinkError> {
        Ok(Epoch(self.decided.load(Ordering::SeqCst)))
    }
    fn published(&mut self) -> Result<Epoch, SinkError> {
        self.inner.published()
    }
    fn state(&mut self) -> Result<PlanState, SinkError> {
        self.inner.state()
    }
    fn record(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.inner.record(batch)
    }
    fn record_attempt(&mut self, attempt: u32) -> Result<(), SinkError> {
        self.inner.record_attempt(attempt)
    }
    fn done(&mut self) -> Result<(), SinkError> {
        self.inner.done()
    }
    fn set_published(&mut self, epoch: Epoch) -> Result<(), SinkError> {
        self.inner.set_published(epoch)
    }
}

/// A log, its decided frontier, and the folder of the plans.
pub struct Bench {
    pub log: WorldLog,
    pub decided: Arc<AtomicU64>,
    pub dir: tempfile::TempDir,
}

impl Bench {
    /// All epochs are in the log; this many are decided.
    pub fn of(epochs: u64, orders: u64, decided: u64) -> Bench {
        let log = WorldLog::new(World::of(epochs, orders), epochs);
        Bench { log, decided: Arc::new(AtomicU64::new(decided)), dir: tempfile::tempdir().unwrap() }
    }

    pub fn start(&self, settings: &ClickHouseSettings) -> Loader {
        start(&self.log, &self.decided, self.dir.path(), settings)
    }

    /// Loads until all that is decided is published.
    pub fn load(&self, settings: &ClickHouseSettings) {
        let loader = self.start(settings);
        let decided = Epoch(self.decided.load(Ordering::SeqCst));
        let published = loader.status().wait_published(decided, Duration::from_secs(120));
        assert!(published, "{:?}", loader.status().get());
    }
}

pub fn start(log: &WorldLog, decided: &Arc<AtomicU64>, dir: &Path, settings: &ClickHouseSettings) -> Loader {
    let sources = LoaderSources {
        pipeline: "sales".to_owned(),
        topics: Fact::TOPICS.iter().map(|topic| (*topic).to_owned()).collect(),
        reader: Box::new(log.clone()),
        plans: Box::new(TestPlans::open(dir, Arc::clone(decided))),
    };
    Loader::start(settings.clone(), sources).unwrap()
}

/// Waits until a loader tells of such a problem. A slow server may be another one before that.
pub fn wait_problem(loader: &Loader, part: &str) -> LoaderFigures {
    let start = Instant::now();
    loop {
        let figures = loader.status().get();
        if figures.problem.as_ref().is_some_and(|problem| problem.contains(part)) {
            return figures;
        }
        assert!(start.elapsed() < Duration::from_secs(90), "no {part}: {figures:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every table and every aggregate holds the facts up to an epoch, each once; the views too.
pub fn assert_holds(database: &Database, world: &World, through: u64) {
    for topic in Fact::TOPICS {
        let table = topic.replace("facts.", "").replace('-', "_");
        let (mut count, mut offsets) = (0, 0);
        for (offset, _) in world.facts(topic, through) {
            (count, offsets) = (count + 1, offsets + offset);
        }
        let expected = format!("{count}\t{count}\t{offsets}");
        for name in [format!("facts_{table}"), table] {
            let sql = format!("SELECT count(), uniqExact(topic_partition, offset), sum(offset) FROM {name}");
            assert_eq!(database.ask(&sql), expected, "{name} up to {through}");
        }
    }
    assert_aggregates(database, world, through);
}

fn assert_aggregates(database: &Database, world: &World, through: u64) {
    let (mut confirmed, mut revenue, mut reasons) = (0, 0, 0);
    for (_, record) in world.facts("facts.orders", through) {
        let Fact::Order(order) = &record.fact else { unreachable!() };
        reasons += order.reasons.len();
        if order.event.as_str() == "confirmed" {
            (confirmed, revenue) = (confirmed + 1, revenue + order.amount_minor);
        }
    }
    let sums = database.ask("SELECT sum(confirmed), sum(revenue_minor) FROM revenue_per_minute");
    assert_eq!(sums, format!("{confirmed}\t{revenue}"));
    assert_eq!(database.number("SELECT sum(refusals) FROM refusals_per_minute"), reasons as i64);
    let count = |topic| world.facts(topic, through).count() as i64;
    assert_eq!(database.number("SELECT sum(alerts) FROM fraud_alerts_per_minute"), count("facts.fraud"));
    let commission = database.number("SELECT sum(commission_minor) FROM commission_statements");
    assert_eq!(commission, 3 * count("facts.commissions"));
    let sold = world.sold(through).into_iter().map(|(offer, sold)| format!("{offer}\t{sold}"));
    let sold: Vec<String> = sold.collect();
    assert_eq!(database.ask("SELECT offer_id, sold FROM stock_per_offer ORDER BY offer_id"), sold.join("\n"));
}
