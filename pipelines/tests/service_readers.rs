//! Readers under load: at 300 orders a second, while an operator changes stock in the OLTP database and Connect and
//! ClickHouse stand still and are killed, no question sees half an epoch, in Postgres or in ClickHouse, and every change takes effect.

mod support;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::captured::try_clickhouse;
use support::past::Session;
use support::process::{self, Running};
use support::services::{Services, env, frontier, wait_until};
use support::{Ending, Folder, analytics, connector, load, told};

/// A stream without end, by seed and orders a second.
const ORDERS: (u64, Option<u64>, u64) = (74, None, 300);
/// Of each store, while orders flow; ClickHouse is away for a part of that time. What an analyst sees twice at one frontier
/// are two samples: the loader writes below it all the while, and none of that may show.
const SAMPLES: usize = 1_000;
/// How many ask ClickHouse at once: an answer is computed in a tenth of the time that it waits for its turn on a busy machine.
const ANALYSTS: usize = 3;
/// Frontiers at which ClickHouse was sampled, at least.
const FRONTIERS: usize = 100;
/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(500);
/// How long Connect and ClickHouse stand still.
const STILL: Duration = Duration::from_secs(30);

/// Longer epochs have more to be torn, and leave readers more of the machine.
const RULES: &str = "[runtime]\nepoch_ms = 50\n[orders]\ngrace_ms = 1000\nhold_ttl_ms = 4000\n[tickets]\nkey = \"a key for tests, not for tickets\"\n";

/// Offers whose held units are not those of the held orders; both change in one epoch.
const TORN_ROWS: &str = "SELECT count(*) FROM tombola.stock s
    FULL JOIN (SELECT tenant, offer_id, sum(quantity) AS held FROM tombola.orders WHERE status = 'held' GROUP BY 1, 2) o
    USING (tenant, offer_id) WHERE coalesce(s.held, 0) <> coalesce(o.held, 0)
       OR s.available + s.held + s.sold <> s.stock_total;";

/// Confirmed orders without their movement to sold, and movements without their order, of the last seconds that are
/// published: a question that looks through all of them is answered once a second before long.
const TORN_FACTS: &str = "WITH (SELECT max(at) FROM readers.orders) - INTERVAL 2 SECOND AS since
    SELECT countIf(o.order_id = '' OR s.order_id = ''), countIf(o.order_id = s.order_id) > 0, since
    FROM (SELECT tenant, order_id FROM readers.orders WHERE event = 'confirmed' AND at > since) AS o
    FULL OUTER JOIN (SELECT tenant, assumeNotNull(order_id) AS order_id FROM readers.stock WHERE credit = 'sold' AND at > since) AS s
    ON o.tenant = s.tenant AND o.order_id = s.order_id";

/// How often each store was asked.
#[derive(Default)]
struct Samples {
    rows: AtomicUsize,
    facts: AtomicUsize,
    /// Those that ClickHouse answered from, as it writes them.
    frontiers: Mutex<BTreeSet<String>>,
}

impl Samples {
    fn are_enough(&self) -> bool {
        self.rows().min(self.facts()) >= SAMPLES && self.frontiers() >= FRONTIERS
    }

    fn rows(&self) -> usize {
        self.rows.load(Ordering::SeqCst)
    }

    fn facts(&self) -> usize {
        self.facts.load(Ordering::SeqCst)
    }

    fn frontiers(&self) -> usize {
        self.frontiers.lock().expect("no analyst panics with it").len()
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of rows, {} of facts at {} frontiers", self.rows(), self.facts(), self.frontiers())
    }
}

/// Asks Postgres again and again until `over`.
fn sample_rows(over: &AtomicBool, samples: &Samples) {
    let (_ending, mut postgres) = (Ending(over), Session::with(&env("PG_URL")));
    while !over.load(Ordering::SeqCst) {
        assert_eq!(postgres.transaction(TORN_ROWS), "0", "after {samples}");
        samples.rows.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(80));
    }
}

/// And ClickHouse, whenever it is there.
fn sample_facts(over: &AtomicBool, samples: &Samples) {
    let _ending = Ending(over);
    while !over.load(Ordering::SeqCst) {
        let Ok(answer) = try_clickhouse(TORN_FACTS) else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        assert!(answer.starts_with("0\t"), "after {samples}: {answer}");
        // Where none is there to be torn, it is no sample.
        if answer.starts_with("0\t1\t") {
            samples.facts.fetch_add(1, Ordering::SeqCst);
            samples.frontiers.lock().expect("no analyst panics with it").insert(answer);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Adds units, one statement each; how many there are in the end.
fn restock(services: &Services, mut until: impl FnMut() -> bool) -> i64 {
    // One psql for all: starting one for each would take the processor from those who read.
    let mut postgres = Session::with(&env("PG_URL"));
    let mut add = || {
        for _ in 0..20 {
            postgres.transaction(connector::MORE_BY_HAND);
            std::thread::sleep(Duration::from_millis(150));
        }
        20
    };
    let mut total = add();
    services.stop_for(&["connect", "clickhouse"], STILL);
    for service in ["connect", "clickhouse"] {
        services.kill(service);
        services.start(service);
        total += add();
    }
    loop {
        total += add();
        if until() {
            return total;
        }
    }
}

#[test]
#[ignore = "needs services"]
fn service_readers_see_whole_epochs_while_connect_and_clickhouse_are_away() {
    let (services, dir) = (Services::empty(), Folder::new());
    let analytics = analytics::empty(&services, dir.path(), "readers");
    services.configure(dir.path(), &(analytics + RULES));
    connector::offer_by_hand(dir.path());
    let ids = load::schema_ids(dir.path());
    let (over, samples) = (AtomicBool::new(false), Samples::default());
    let (produced, total) = std::thread::scope(|scope| {
        let mut running = Running::start(process::tombola(dir.path(), &["run", "--workers", "2"]));
        wait_until("the pipeline is up", Duration::from_secs(120), || frontier("decided") > 0);
        let producer = scope.spawn(|| {
            let _ending = Ending(&over);
            load::produce_while(&ids, ORDERS, || !over.load(Ordering::SeqCst))
        });
        let mut samplers = vec![scope.spawn(|| sample_rows(&over, &samples))];
        samplers.extend((0..ANALYSTS).map(|_| scope.spawn(|| sample_facts(&over, &samples))));
        let total = {
            let _ending = Ending(&over);
            let mut since: Option<(Instant, usize)> = None;
            restock(&services, || {
                assert!(running.runs(), "the pipeline goes on");
                // Called once everybody is back: analysts see more from then on.
                let facts = samples.facts();
                let (back, before) = *since.get_or_insert_with(|| (Instant::now(), facts));
                assert!(back.elapsed() < PATIENCE, "not enough after {PATIENCE:?}: {samples}");
                samples.are_enough() && facts > before || over.load(Ordering::SeqCst)
            })
        };
        let produced = producer.join().expect("the producer gets through");
        samplers.into_iter().for_each(|sampler| sampler.join().expect("no sample is torn"));
        assert!(samples.are_enough(), "{samples}");
        connector::wait_for_stock_by_hand(total);
        told::wait_for_decisions(&env("PG_URL"), &produced, || {
            assert!(running.runs(), "the pipeline goes on")
        });
        running.signal("TERM");
        running.wait().assert(0, &[]);
        (produced, total)
    });
    eprintln!("{total} changes, samples of whole epochs: {samples}");
    connector::forget("reference");
    process::drain_well(dir.path(), 1);
    told::assert_exactly_once(&produced);
    process::verify(dir.path(), 3);
    analytics::assert_loaded_once("readers");
    analytics::forget("readers");
}
