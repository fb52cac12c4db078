//! Kills with real services: the pipeline, Kafka, Postgres and the registry, under load, and the pipeline at every step.
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
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};
use support::load::{self, Produced};
use support::process::{self, Running};
use support::services::{Services, env, sql, wait_until};
use support::{Folder, analytics, told};

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

fn decided() -> i64 {
    let question = "SELECT epoch FROM tombola.frontiers WHERE name = 'decided'";
    sql(&env("PG_URL"), question).parse().expect("a number")
}

/// Runs until all is decided, graces included, and ends politely; then everything must add up.
fn settle(dir: &Path, dice: &mut Dice, produced: &Produced) {
    let began = Instant::now();
    process::drain_well(dir, 1 + dice.below(4));
    let mut running = Running::start(run(dir, 1 + dice.below(4)));
    let before = decided();
    // Timers of orders that wait for rows that never come.
    wait_until("going live", Duration::from_secs(180), || decided() > before + 5);
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

#[test]
#[ignore = "needs services"]
fn service_kill_of_the_pipeline_at_any_moment_loses_and_doubles_nothing() {
    let (services, dir, mut dice) = (Services::empty(), Folder::new(), Dice::new(71));
    services.configure(dir.path(), &settings(1_000));
    let ids = load::schema_ids(dir.path());
    let (produced, kills) = std::thread::scope(|scope| {
        let producer = scope.spawn(|| load::produce(&ids, 71, 25 * ORDERS_PER_S, ORDERS_PER_S));
        let kills = kill_pipeline(dir.path(), &mut dice, &producer);
        (producer.join().expect("the producer gets through"), kills)
    });
    eprintln!("{} records, {kills} kills", produced.records);
    assert!(kills >= 6, "{kills} kills");
    settle(dir.path(), &mut dice, &produced);
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
/// How long whoever is stopped stands still.
const STILL: Duration = Duration::from_secs(30);

/// One harm after the other, each followed by a while in which all is well, and by a look at what came since the
/// newest snapshot. Orders come in until Postgres has stood still for some time; then Kafka, and at last the pipeline
/// itself, stands still while the backlog is worked off.
fn harm_services(services: &Services, dir: &Path, running: &mut Running) {
    let look = |running: &mut Running, harm: &str| {
        std::thread::sleep(Duration::from_secs(2));
        assert_runs(running, dir, harm);
        process::verify_newest(dir, 2);
    };
    look(running, "nothing");
    for service in ["kafka", "postgres", "registry"] {
        services.kill(service);
        services.start(service);
        look(running, service);
    }
    for service in ["postgres", "kafka"] {
        services.stop_for(service, STILL);
        look(running, service);
    }
    running.signal("STOP");
    std::thread::sleep(STILL);
    running.signal("CONT");
    look(running, "standing still itself");
}

#[test]
#[ignore = "needs services"]
fn service_kill_of_kafka_postgres_and_registry_loses_and_doubles_nothing() {
    let (services, dir, mut dice) = (Services::empty(), Folder::new(), Dice::new(72));
    let analytics = analytics::empty(&services, dir.path(), HARMS_DATABASE);
    services.configure(dir.path(), &(analytics + &settings(1_000)));
    let ids = load::schema_ids(dir.path());
    let produced = std::thread::scope(|scope| {
        let producer = scope.spawn(|| load::produce(&ids, 72, 40 * ORDERS_PER_S, ORDERS_PER_S));
        let mut running = Running::start(run(dir.path(), 2));
        harm_services(&services, dir.path(), &mut running);
        let produced = producer.join().expect("the producer gets through");
        running.kill();
        assert!(running.wait().was_killed());
        produced
    });
    eprintln!("{} records, {} appends made again", produced.records, produced.again);
    settle(dir.path(), &mut dice, &produced);
    settle_analytics(dir.path(), HARMS_DATABASE);
}
