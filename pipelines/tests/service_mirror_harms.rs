//! The mirror while those it lives on are killed and stand still: rows come, change and go in the source all the while, columns
//! come, and after each harm the mirror is as its source, row by row, with no record twice. Neither pipeline nor connector is helped up.
//!
//! ```text
//!   SQL ──> Postgres ──> Debezium, registry ──> Kafka ──> tombola run ──> ClickHouse
//!             each of them killed and started, then all behind the source SIGSTOPped for 30 s
//! ```

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use support::Ending;
use support::captured::{
    Compared, Connector, assert_no_record_twice, clickhouse, column, wait_until_mirrored,
};
use support::mirrored::{begin, change, run};
use support::process::Running;
use support::services::{Services, env, psql, wait_until};

/// How long whoever is stopped stands still.
const STILL: Duration = Duration::from_secs(30);
/// How long rows change before a harm, and after it, at least.
const FLOW: Duration = Duration::from_secs(2);
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(120);

const TABLE: &str =
    "DROP TABLE IF EXISTS things; CREATE TABLE things (id int PRIMARY KEY, n bigint, word text)";

/// Rows come, change and go, and keys move.
fn changes(n: u64) -> String {
    format!(
        "INSERT INTO public.things (id, n, word) SELECT ({n} * 7 + i) % 500, {n}, 'word ' || {n} FROM generate_series(1, 20) i
           ON CONFLICT (id) DO UPDATE SET n = things.n + 1;
         DELETE FROM public.things WHERE id % 97 = {n} % 97;
         UPDATE public.things SET id = id + 1000 WHERE id = {n} % 500 AND NOT EXISTS (SELECT FROM public.things WHERE id = {n} % 500 + 1000)"
    )
}

/// Whether the source took them: it may be away. It is one transaction, taken whole or not at all.
fn try_change(statements: &str) -> bool {
    psql(&env("PG_URL"), statements).output().is_ok_and(|output| output.status.success())
}

/// Changes until `over`, and counts those that were taken.
fn flow(over: &AtomicBool, next: &AtomicU64, taken: &AtomicUsize) {
    while !over.load(Ordering::SeqCst) {
        taken.fetch_add(
            usize::from(try_change(&changes(next.fetch_add(1, Ordering::SeqCst)))),
            Ordering::SeqCst,
        );
        std::thread::sleep(PAUSE);
    }
}

struct Harmed<'a> {
    services: &'a Services,
    running: Running,
    next: AtomicU64,
    columns: Vec<Compared>,
}

impl Harmed<'_> {
    /// One harm while rows change, a column that comes after it, and then a look at every row.
    fn harm(&mut self, what: &str, new_column: &'static str, harm: impl FnOnce(&Services)) {
        let began = std::time::Instant::now();
        let (over, taken) = (AtomicBool::new(false), AtomicUsize::new(0));
        let enough = || taken.load(Ordering::SeqCst) > 20;
        std::thread::scope(|scope| {
            let flowing = scope.spawn(|| flow(&over, &self.next, &taken));
            let ending = Ending(&over);
            std::thread::sleep(FLOW);
            harm(self.services);
            let add =
                format!("ALTER TABLE public.things ADD COLUMN IF NOT EXISTS {new_column} int DEFAULT 7");
            wait_until("the source takes changes", PATIENCE, || try_change(&add));
            std::thread::sleep(FLOW);
            // How many that were depends on the machine: each is a client of its own.
            wait_until("enough changes to get through", PATIENCE, enough);
            drop(ending);
            flowing.join().expect("changes get through");
        });
        self.columns.push(column(new_column, "plain"));
        let taken = taken.into_inner();
        assert!(taken > 20, "{what}: {taken} changes");
        wait_until_mirrored(what, "things", &self.columns);
        assert_no_record_twice("things");
        assert!(self.running.runs(), "{what}: the pipeline goes on");
        eprintln!("{what}: {taken} changes, mirrored after {:.1} s", began.elapsed().as_secs_f32());
    }
}

#[test]
#[ignore = "needs services"]
fn service_a_mirror_is_as_its_source_whoever_is_killed_or_stands_still() {
    let (services, dir) = begin();
    change(TABLE);
    let _connector = Connector::start("harmed", "public.things", "format-avro.json");
    let columns = ["id", "n", "word"].map(|name| column(name, "plain")).into();
    let running = run(dir.path());
    let mut harmed = Harmed { services: &services, running, next: AtomicU64::new(0), columns };
    assert!(try_change(&changes(1_000)));
    wait_until_mirrored("the first rows", "things", &harmed.columns);
    for (service, new_column) in
        [("kafka", "c1"), ("connect", "c2"), ("registry", "c3"), ("postgres", "c4"), ("clickhouse", "c5")]
    {
        harmed.harm(service, new_column, |services| {
            services.kill(service);
            services.start(service);
        });
    }
    harmed.harm("all behind the source stand still", "c6", |services| {
        services.stop_for(&["kafka", "connect", "registry", "clickhouse"], STILL);
    });
    assert_eq!(clickhouse("SELECT count() FROM mirror.mirror_rejected"), "0");
    let mut running = harmed.running;
    running.signal("TERM");
    running.wait().assert(0, &[]);
}
