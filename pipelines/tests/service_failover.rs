//! A primary of Postgres is killed under load, and its synchronous standby promoted: the pipeline, which was told of both,
//! goes on there; the former primary, should it come back, is refused.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::beside::{Beside, Name};
use support::process::{self, Running};
use support::services::{Services, frontier_in, records_in, sql, wait_until, well};
use support::{Folder, load, told};

const ORDERS_PER_S: u64 = 300;
/// How long nothing may move before it counts as stuck.
const STUCK: Duration = Duration::from_secs(180);

/// A primary that acknowledges what its standby has, and that standby.
fn primary_and_standby() -> (Beside, Beside) {
    let primary = Beside::up(Name::Primary, Vec::new());
    let port = primary.endpoint("CONNECT_PG_PORT");
    let standby = Beside::up(Name::Standby, vec![("TOMBOLA_POSTGRES_STANDBY_OF", port)]);
    sql(&primary.url(), "ALTER SYSTEM SET synchronous_standby_names = 'standby'");
    sql(&primary.url(), "SELECT pg_reload_conf()");
    let follows = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    wait_until("the standby follows", STUCK, || sql(&primary.url(), follows) == "1");
    (primary, standby)
}

/// One connection string for both, the primary first.
fn both(primary: &Beside, standby: &Beside) -> String {
    let address = |server: &Beside| format!("127.0.0.1:{}", server.endpoint("CONNECT_PG_PORT"));
    let [first, second] = [primary, standby].map(address);
    primary.url().replacen(&first, &format!("{first},{second}"), 1)
}

/// Kills the primary while orders are decided, and promotes the standby: they are decided there.
fn fail_over(primary: &Beside, standby: &Beside) {
    told::wait_for_more_orders(&primary.url(), 500, "orders are decided", STUCK);
    well(primary.script(&["kill", "postgres"]));
    // A moment in which only the standby answers, and takes nothing.
    std::thread::sleep(Duration::from_secs(2));
    sql(&standby.url(), "SELECT pg_promote()");
    told::wait_for_more_orders(&standby.url(), 500, "orders are decided at the standby", STUCK);
}

#[test]
#[ignore = "needs services"]
fn service_a_promoted_standby_goes_on_where_its_primary_was_killed() {
    let (services, dir) = (Services::empty(), Folder::new());
    let (primary, standby) = primary_and_standby();
    services.configure_with(
        dir.path(),
        &both(&primary, &standby),
        "[orders]\ngrace_ms = 1000\nhold_ttl_ms = 4000\n",
    );
    let ids = load::schema_ids(dir.path());
    let over = AtomicBool::new(false);
    let produced = std::thread::scope(|scope| {
        let producer = scope
            .spawn(|| load::produce_while(&ids, (77, None, ORDERS_PER_S), || !over.load(Ordering::SeqCst)));
        let mut running = Running::start(process::tombola(dir.path(), &["run", "--workers", "2"]));
        let failed_over = scope.spawn(|| fail_over(&primary, &standby)).join();
        over.store(true, Ordering::SeqCst);
        let produced = producer.join().expect("the producer gets through");
        failed_over.expect("it goes on at the standby");
        told::wait_for_decisions(&standby.url(), &produced, || {
            assert!(running.runs(), "the pipeline goes on");
        });
        running.signal("TERM");
        running.wait().assert(0, &[]);
        produced
    });
    process::drain_well(dir.path(), 1);
    told::assert_exactly_once_in(&standby.url(), &produced);
    process::verify(dir.path(), 3);
    // Nobody fenced the former primary: it takes writes, and is the first that is asked.
    well(primary.script(&["start", "postgres"]));
    sql(&primary.url(), "ALTER SYSTEM RESET synchronous_standby_names");
    sql(&primary.url(), "SELECT pg_reload_conf()");
    let decided = || (frontier_in(&primary.url(), "decided"), records_in("facts.orders"));
    let before = decided();
    let refused = ["the bindings end at epoch", "A store went back"];
    process::end_of(process::drain(dir.path(), 2)).assert(1, &refused);
    assert_eq!(decided(), before, "nothing was decided");
}
