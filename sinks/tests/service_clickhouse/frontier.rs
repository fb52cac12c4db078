//! What analysts see while facts are being loaded: whole epochs, one frontier per query.

use crate::support::{Bench, Database, assert_holds};
use runtime::Epoch;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Each confirmed order has its movement to sold in its own epoch. Counts those without, on either side, then the
/// orders in the aggregate that aren't in the facts; and last how many there are.
fn query(orders: &str, stock: &str, minutes: &str) -> String {
    format!(
        "SELECT countIf(o.order_id = '' OR s.order_id = ''),
                countIf(o.order_id != '') - (SELECT sum(facts_or_orders) FROM {minutes} WHERE event = 'confirmed'),
                count()
         FROM (SELECT order_id FROM {orders} WHERE event = 'confirmed') AS o
         FULL OUTER JOIN (SELECT assumeNotNull(order_id) AS order_id FROM {stock} WHERE credit = 'sold') AS s
         ON o.order_id = s.order_id"
    )
    .replace("facts_or_orders", if minutes == "order_minutes" { "facts" } else { "orders" })
}

/// Samples that weren't whole.
fn torn(database: &Database, sql: &str, samples: usize) -> usize {
    let torn = |_: &usize| !database.ask(sql).starts_with("0\t0\t");
    (0..samples).filter(torn).count()
}

#[test]
#[ignore = "needs services"]
fn service_a_join_under_load_never_sees_half_an_epoch_in_a_thousand_samples() {
    let (database, bench) = (Database::migrated(), Bench::of(4_000, 3, 1));
    let loader = bench.start(&database.settings);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut epoch = 1;
            while !over.load(Ordering::SeqCst) {
                epoch = if epoch < 4_000 { epoch + 1 } else { epoch };
                bench.decided.store(epoch, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(8));
            }
        });
        let ours = torn(&database, &query("orders", "stock", "orders_per_minute"), 1_000);
        let moving = database.number("SELECT uniqExact(epoch) FROM frontiers");
        let naive = torn(&database, &query("facts_orders", "facts_stock", "order_minutes"), 100);
        over.store(true, Ordering::SeqCst);
        println!("torn: {ours} of 1000 through the views, {naive} of 100 beside them; {moving} frontiers");
        assert_eq!(ours, 0);
        assert!(moving > 50, "the frontier hardly moved: nothing was shown");
        assert!(naive > 0, "without the views nothing is torn either: the samples show nothing");
    });
    let last = bench.decided.load(Ordering::SeqCst);
    assert!(loader.status().wait_published(Epoch(last), Duration::from_secs(30)));
    assert_holds(&database, &bench.log.world, last);
}

/// Two tables, a row of each in one epoch, and a frontier whose reading takes a while.
fn slow_frontier(database: &Database, view: &str, from: &str) {
    database.run(&format!(
        "CREATE VIEW {view} AS SELECT * FROM {from} WHERE epoch <= (SELECT max(epoch) + sleep(1) FROM frontier)"
    ));
}

/// Why our views stand on views: a table beside the subquery is looked at before the frontier is read.
#[test]
#[ignore = "needs services"]
fn service_a_view_on_a_table_misses_what_is_published_while_it_reads_the_frontier() {
    let database = Database::empty();
    database.run("CREATE TABLE frontier (epoch UInt64) ENGINE = MergeTree ORDER BY epoch");
    database.run("INSERT INTO frontier VALUES (9)");
    for table in ["a", "b"] {
        database
            .run(&format!("CREATE TABLE {table} (epoch UInt64, id UInt64) ENGINE = MergeTree ORDER BY id"));
        database.run(&format!("CREATE VIEW all_{table} AS SELECT * FROM {table}"));
        slow_frontier(&database, &format!("naive_{table}"), table);
        slow_frontier(&database, &format!("ours_{table}"), &format!("all_{table}"));
    }
    let seen = |kind: &str, id: u64| {
        let settings = database.settings.clone();
        let late = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(400));
            let database = Database::named(&settings.database, true);
            ["a", "b"]
                .iter()
                .for_each(|table| database.run(&format!("INSERT INTO {table} VALUES (5, {id})")));
        });
        let begun = std::time::Instant::now();
        let sql = format!(
            "SELECT countIf(a.id = {id}), countIf(b.id = {id}) FROM {kind}_a AS a FULL OUTER JOIN {kind}_b AS b ON a.id = b.id"
        );
        let counts = database.ask(&sql);
        assert!(begun.elapsed() < Duration::from_millis(1_900), "the frontier was read more than once");
        late.join().unwrap();
        counts
    };
    assert_eq!(seen("naive", 1), "0\t1", "the table named first was looked at before the frontier");
    assert_eq!(seen("ours", 2), "1\t1");
}

#[test]
#[ignore = "needs services"]
fn service_views_use_the_primary_key_of_their_tables() {
    let (database, bench) = (Database::migrated(), Bench::of(50, 20, 50));
    bench.load(&database.settings);
    let plan = database
        .ask("EXPLAIN indexes = 1 SELECT count() FROM orders WHERE tenant = 'acme' AND offer_id = 'offer-3'");
    assert!(plan.contains("PrimaryKey") && plan.contains("offer_id"), "{plan}");
}
