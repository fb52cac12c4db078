//! ClickHouse away for a minute, at 1,000 orders a second: no sale waits for it, and afterwards it has every fact once.

mod support;

use std::time::Duration;
use support::process::{self, Running};
use support::services::{Services, env, frontier, wait_until};
use support::{Folder, analytics, load, told};

const ORDERS_PER_S: u64 = 1_000;
const AWAY: Duration = Duration::from_secs(60);

const RULES: &str =
    "[orders]\ngrace_ms = 1000\nhold_ttl_ms = 4000\n[tickets]\nkey = \"a key for tests, not for tickets\"\n";

/// Where it stands still: what had come before may be written down a moment later.
fn published_at_last() -> i64 {
    let mut published = frontier("published");
    wait_until("nothing more to be published", Duration::from_secs(60), || {
        let before = published;
        std::thread::sleep(Duration::from_secs(2));
        published = frontier("published");
        published == before
    });
    published
}

#[test]
#[ignore = "needs services"]
fn service_clickhouse_away_for_a_minute_stops_no_sale_and_gets_every_fact_once() {
    let (services, dir) = (Services::empty(), Folder::new());
    let analytics = analytics::empty(&services, dir.path(), "away");
    services.configure(dir.path(), &(analytics + RULES));
    let ids = load::schema_ids(dir.path());
    let produced = std::thread::scope(|scope| {
        let all = (AWAY.as_secs() + 10) * ORDERS_PER_S;
        let producer = scope.spawn(move || load::produce(&ids, 73, all, ORDERS_PER_S));
        let mut running = Running::start(process::tombola(dir.path(), &["run", "--workers", "2"]));
        wait_until("the first facts", Duration::from_secs(240), || frontier("published") > 0);
        services.kill("clickhouse");
        let (published, sold) = (published_at_last(), told::orders_decided(&env("PG_URL")));
        std::thread::sleep(AWAY);
        let more = told::orders_decided(&env("PG_URL")) - sold;
        assert!(more > 100, "{more} orders while it was away");
        assert_eq!(frontier("published"), published, "nothing can be published while it is away");
        assert!(running.runs(), "the pipeline goes on");
        services.start("clickhouse");
        let produced = producer.join().expect("the producer gets through");
        // Orders whose rows never come are decided when their grace is over.
        std::thread::sleep(Duration::from_secs(2));
        let decided = frontier("decided");
        wait_until("catching up", Duration::from_secs(600), || frontier("published") >= decided);
        running.signal("TERM");
        running.wait().assert(0, &[]);
        produced
    });
    // Orders whose holds ran out meanwhile have told more: the next run ends when all of it is published.
    process::drain_well(dir.path(), 1);
    told::assert_exactly_once(&produced);
    process::verify_newest(dir.path(), 3);
    analytics::assert_loaded_once("away");
    analytics::forget("away");
}
