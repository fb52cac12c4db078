//! Kills with real services: the pipeline, Kafka, Postgres, ClickHouse, Connect and the registry, under load, and the pipeline at
//! every step.
//!
//! Whatever was killed or stood still, in the end every order is decided once, Kafka (read by a consumer that
//! isn't ours), Postgres and, where it is loaded, ClickHouse agree, and a replay at another number of workers gives the same.
//!
//! The steps are those of deciding, committing, snapshots and the loader. Others are gone through elsewhere: the mirror's in
//! `service_mirror.rs`, those where it finds a fault in `service_mirror_faults.rs` (real ClickHouse, embedded log); of images
//! and posts all but `publish.before_tell` in `service_publishing.rs`, that one on the embedded stores in `publishing/kill.rs`.
//! The loader alone dies at each of its own three times over in `sinks/tests/service_clickhouse/kill.rs`, by a log of its own.

mod support;

use pipelines::demo::random::Dice;
use runtime::killpoint;
use schemas::Fact;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};
use support::load::{self, Produced, Producer};
use support::process::{self, Running};
use support::services::{Services, env, frontier, wait_until};
use support::{Folder, analytics, connector, told};

const ORDERS_PER_S: u64 = 2_000;
const GRACE_MS: u64 = 1_000;

fn settings(snapshot_every_ms: u64) -> String {
    format!(
        "[runtime]\nsnapshot_every_ms = {snapshot_every_ms}\n[orders]\ngrace_ms = {GRACE_MS}\nhold_ttl_ms = 4000\n\
         [tickets]\nkey = \"a key for tests, not for tickets\"\n"
    )
}

/// `tombola run`; what it says goes into one file over all its restarts, to be shown where it ends by itself.
fn run(dir: &Path, workers: u64) -> Command {
    let mut command = process::tombola(dir, &["run", "--workers", &workers.to_string()]);
    let log = std::fs::File::options().create(true).append(true).open(dir.join("run.log"));
    command.stderr(log.expect("the directory can be written"));
    command
}

fn assert_runs(running: &mut Running, dir: &Path, when: &str) {
    let log = || std::fs::read_to_string(dir.join("run.log")).unwrap_or_default();
    if let Some(status) = running.ended_as() {
        panic!("{when}: the pipeline ended by itself, {status}:\n{}", log());
    }
}

/// Runs until all is decided, graces included, and ends politely; then everything must add up.
fn settle(dir: &Path, dice: &mut Dice, produced: &Produced) {
    let began = Instant::now();
    process::drain_well(dir, 1 + dice.below(4));
    let mut running = Running::start(run(dir, 1 + dice.below(4)));
    let before = frontier("decided");
    // Timers of orders that wait for rows that never come.
    wait_until("going live", Duration::from_secs(180), || frontier("decided") > before + 5);
    std::thread::sleep(Duration::from_millis(2 * GRACE_MS + 4_000));
    assert_runs(&mut running, dir, "live");
    running.signal("TERM");
    running.wait().assert(0, &[]);
    eprintln!("drained after {:.1} s", began.elapsed().as_secs_f32());
    let orders = told::assert_exactly_once(produced);
    eprintln!("{orders} orders add up after {:.1} s", began.elapsed().as_secs_f32());
    process::verify(dir, 1 + dice.below(4));
    eprintln!("verified after {:.1} s", began.elapsed().as_secs_f32());
}

/// ClickHouse has all that was told once, too.
fn settle_analytics(dir: &Path, database: &str) {
    // Ends when all of it is published.
    process::drain_well(dir, 1);
    analytics::assert_loaded_once(database);
    analytics::forget(database);
}

/// Points that `tombola run` passes. Those of the log's appenders are the embedded log's.
fn points_of_run() -> impl Iterator<Item = &'static str> {
    killpoint::ALL.iter().copied().filter(|point| !point.starts_with("log."))
}

/// One of them, and how often before it dies there.
fn kill_point(dice: &mut Dice) -> String {
    let points: Vec<_> = points_of_run().collect();
    format!("{}:{}", points[dice.index(points.len())], 1 + dice.below(20))
}

/// Starts the pipeline again and again until the producer is done, and kills it each time; how often.
fn kill_pipeline(dir: &Path, dice: &mut Dice, producer: &ScopedJoinHandle<'_, Produced>) -> usize {
    let mut kills = 0;
    while !producer.is_finished() {
        let mut command = run(dir, 1 + dice.below(4));
        let at_point = dice.below(2) == 0;
        if at_point {
            command.env("TOMBOLA_KILL_AT", kill_point(dice));
        }
        let mut running = Running::start(command);
        let until = Instant::now() + Duration::from_millis(500 + dice.below(4_000));
        while Instant::now() < until && running.runs() {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !at_point {
            assert_runs(&mut running, dir, "before it was killed");
        }
        running.kill();
        let ended = running.wait();
        assert!(ended.was_killed(), "{ended:?}, see {}", dir.join("run.log").display());
        kills += 1;
    }
    kills
}

const RANDOM_DATABASE: &str = "any_moment";

#[test]
#[ignore = "needs services"]
fn service_kill_of_the_pipeline_at_any_moment_loses_and_doubles_nothing() {
    let (services, dir, mut dice) = (Services::empty(), Folder::new(), Dice::new(71));
    let analytics = analytics::empty(&services, dir.path(), RANDOM_DATABASE);
    services.configure(dir.path(), &(analytics + &settings(1_000)));
    let ids = load::schema_ids(dir.path());
    let (produced, kills) = std::thread::scope(|scope| {
        let producer = scope.spawn(|| load::produce(&ids, 71, 25 * ORDERS_PER_S, ORDERS_PER_S));
        let kills = kill_pipeline(dir.path(), &mut dice, &producer);
        (producer.join().expect("the producer gets through"), kills)
    });
    eprintln!("{} records, {kills} kills", produced.records);
    assert!(kills >= 6, "{kills} kills");
    settle(dir.path(), &mut dice, &produced);
    settle_analytics(dir.path(), RANDOM_DATABASE);
}

const STEPS_ORDERS_PER_S: u64 = 100;
const STEPS_DATABASE: &str = "every_step";

/// Snapshots go to a server that speaks S3.
fn bucket() -> String {
    let [url, region, key, secret, bucket] =
        ["S3_URL", "S3_REGION", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET"].map(env);
    format!(
        "[snapshots]\nurl = \"s3://{bucket}/every-step-{}\"\noptions = {{ aws_endpoint = \"{url}\", aws_region = \"{region}\", \
         aws_access_key_id = \"{key}\", aws_secret_access_key = \"{secret}\", allow_http = \"true\" }}\n",
        std::process::id()
    )
}

/// Starts it again and again, to die at one point after the other.
fn kill_at_every_step(dir: &Path, dice: &mut Dice) {
    for point in points_of_run().chain(killpoint::LOADER.iter().copied()) {
        let mut command = run(dir, 1 + dice.below(4));
        // What comes once an epoch comes often.
        let often = ["bindings", "facts", "serving", "frontier"].iter().any(|step| point.starts_with(step));
        command.env("TOMBOLA_KILL_AT", format!("{point}:{}", 1 + dice.below(if often { 20 } else { 2 })));
        let began = Instant::now();
        let ended = Running::start(command).wait();
        assert!(ended.was_killed(), "{point}: {ended:?}, see {}", dir.join("run.log").display());
        eprintln!("{point} after {:.1} s", began.elapsed().as_secs_f32());
    }
}

#[test]
#[ignore = "needs services"]
fn service_kill_of_the_pipeline_at_every_step_loses_and_doubles_nothing() {
    let (services, dir, mut dice) = (Services::empty(), Folder::new(), Dice::new(75));
    let analytics = analytics::empty(&services, dir.path(), STEPS_DATABASE);
    services.configure(dir.path(), &(analytics + &settings(300) + &bucket()));
    let ids = load::schema_ids(dir.path());
    let (over, orders) = (AtomicBool::new(false), (75, None, STEPS_ORDERS_PER_S));
    let produced = std::thread::scope(|scope| {
        let producer = scope.spawn(|| load::produce_while(&ids, orders, || !over.load(Ordering::SeqCst)));
        let killer = scope.spawn(|| kill_at_every_step(dir.path(), &mut dice)).join();
        over.store(true, Ordering::SeqCst);
        killer.expect("every step is reached");
        producer.join().expect("the producer gets through")
    });
    settle(dir.path(), &mut dice, &produced);
    settle_analytics(dir.path(), STEPS_DATABASE);
}

const HARMS_DATABASE: &str = "harms";
/// Services have the machine for themselves more often, and are back sooner.
const LONGER_EPOCHS: &str = "[runtime]\nepoch_ms = 50\n";
/// How long whoever is stopped stands still.
const STILL: Duration = Duration::from_secs(30);
/// How long orders flow; the harm comes after a part of it, and may last for longer.
const FLOW: Duration = Duration::from_secs(5);
const BEFORE: Duration = Duration::from_millis(1_500);

/// A pipeline and its producer, to be harmed.
struct Harmed<'a> {
    services: &'a Services,
    dir: &'a Path,
    running: Running,
    producer: Producer<'a>,
}

impl Harmed<'_> {
    /// One harm while orders flow, and then a look at everything.
    fn harm(&mut self, what: &str, harm: impl FnOnce(&Services, &mut Running)) {
        let (began, producer) = (Instant::now(), &mut self.producer);
        std::thread::scope(|scope| {
            scope.spawn(|| producer.go_on(|| began.elapsed() < FLOW));
            std::thread::sleep(BEFORE);
            harm(self.services, &mut self.running);
        });
        eprintln!("{what}: {} orders after {:.1} s", self.orders(), began.elapsed().as_secs_f32());
        self.assert_counts_agree(what);
        process::verify_newest(self.dir, 2);
        eprintln!("{what}: well after {:.1} s", began.elapsed().as_secs_f32());
    }

    fn orders(&self) -> usize {
        self.producer.produced.orders.len()
    }

    /// Every order acknowledged so far has its row, and ClickHouse every fact once. Holds run out meanwhile, so what has to
    /// be as much as something else may be less for a moment.
    fn assert_counts_agree(&mut self, what: &str) {
        let (running, produced) = (&mut self.running, &self.producer.produced);
        told::wait_for_decisions(&env("PG_URL"), produced, || assert_runs(running, self.dir, what));
        wait_until(&format!("{what}: each fact in ClickHouse"), STUCK, || {
            assert_runs(&mut self.running, self.dir, what);
            Fact::TOPICS.iter().all(|topic| analytics::has_all_once(HARMS_DATABASE, topic))
        });
    }
}

/// Longer than anything takes that goes on.
const STUCK: Duration = Duration::from_secs(300);

fn kill_and_start(service: &'static str) -> impl FnOnce(&Services, &mut Running) {
    move |services, _| {
        services.kill(service);
        services.start(service);
    }
}

#[test]
#[ignore = "needs services"]
fn service_kill_of_kafka_postgres_clickhouse_connect_and_registry_loses_and_doubles_nothing() {
    let (services, dir, mut dice) = (Services::empty(), Folder::new(), Dice::new(72));
    let analytics = analytics::empty(&services, dir.path(), HARMS_DATABASE);
    let settings = settings(1_000).replacen("[runtime]\n", LONGER_EPOCHS, 1);
    services.configure(dir.path(), &(analytics + &settings));
    connector::offer_by_hand(dir.path());
    let ids = load::schema_ids(dir.path());
    let producer = Producer::new(&ids, (72, None, ORDERS_PER_S));
    let running = Running::start(run(dir.path(), 2));
    // A run that only begins waits for a service for a minute, and no longer.
    wait_until("going live", STUCK, || frontier("decided") > 0);
    let mut harmed = Harmed { services: &services, dir: dir.path(), running, producer };
    for service in ["kafka", "postgres", "registry", "clickhouse"] {
        harmed.harm(service, kill_and_start(service));
    }
    harmed.harm("connect", |services, running| {
        connector::restock_by_hand();
        kill_and_start("connect")(services, running);
        connector::restock_by_hand();
        connector::wait_for_stock_by_hand(2);
    });
    harmed.harm("all but Kafka stand still", |services, _| {
        services.stop_for(&["postgres", "registry", "clickhouse"], STILL);
    });
    harmed.harm("Kafka stands still", |services, _| services.stop_for(&["kafka"], STILL));
    harmed.harm("the pipeline stands still", |_, running| {
        running.signal("STOP");
        std::thread::sleep(STILL);
        running.signal("CONT");
    });
    let Harmed { mut running, producer: Producer { produced, .. }, .. } = harmed;
    connector::forget("reference");
    running.kill();
    assert!(running.wait().was_killed());
    eprintln!("{} records, {} appends made again", produced.records, produced.again);
    settle(dir.path(), &mut dice, &produced);
    settle_analytics(dir.path(), HARMS_DATABASE);
}
