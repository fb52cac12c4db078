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

/// Whether a sample is of whole epochs only.
fn whole(database: &Database, sql: &str) -> bool {
    database.ask(sql).starts_with("0\t0\t")
}

#[test]
#[ignore = "needs services"]
fn service_a_join_under_load_never_sees_half_an_epoch_in_a_thousand_samples() {
    let (database, bench) = (Database::migrated(), Bench::of(20_000, 1, 1));
    let loader = bench.start(&database.settings);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for epoch in (1..20_000).take_while(|_| !over.load(Ordering::SeqCst)) {
                bench.decided.store(epoch, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(8));
            }
        });
        let ours = query("orders", "stock", "orders_per_minute");
        let naive = query("facts_orders", "facts_stock", "order_minutes");
        let (mut torn, mut torn_beside) = (0, 0);
        for sample in 0..1_000 {
            torn += i32::from(!whole(&database, &ours));
            torn_beside += i32::from(sample % 5 == 0 && !whole(&database, &naive));
        }
        over.store(true, Ordering::SeqCst);
        let batches = loader.status().get().batches;
        println!(
            "torn: {torn} of 1000 through the views, {torn_beside} of 200 beside them; {batches} batches"
        );
        assert_eq!(torn, 0);
        assert!(batches > 20, "hardly anything was loaded meanwhile: nothing was shown");
        assert!(torn_beside > 0, "without the views nothing is torn either: the samples show nothing");
    });
    let last = bench.decided.load(Ordering::SeqCst);
    assert!(loader.status().wait_published(Epoch(last), Duration::from_secs(300)));
    assert_holds(&database, &bench.log.world, last);
}

/// Two tables, a row of each in one epoch, and a frontier whose reading takes as long as ClickHouse lets anything sleep.
fn slow_frontier(database: &Database, view: &str, from: &str) {
    database.run(&format!(
        "CREATE VIEW {view} AS SELECT * FROM {from} WHERE epoch <= (SELECT max(epoch) + sleep(3) FROM frontier)"
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
            std::thread::sleep(Duration::from_secs(1));
            let database = Database::named(&settings.database, true);
            ["a", "b"]
                .iter()
                .for_each(|table| database.run(&format!("INSERT INTO {table} VALUES (5, {id})")));
        });
        let begun = std::time::Instant::now();
        let sql = format!(
            "SELECT countIf(a.id = {id}), countIf(b.id = {id}) FROM {kind}_a AS a FULL OUTER JOIN {kind}_b AS b ON a.id = b.id"
        );
        let (counts, took) = (database.ask(&sql), begun.elapsed());
        late.join().unwrap();
        println!("{kind}, {id}: {counts:?} after {took:?}");
        (counts, took)
    };
    // A try in which a slow machine inserts too early or too late shows nothing, and neither does one that takes so long that
    // the frontier may have been read twice.
    let sees = |kind: &str, mut ids: std::ops::Range<u64>, expected: &str| {
        ids.any(|id| {
            let (counts, took) = seen(kind, id);
            counts == expected && took < Duration::from_millis(5_900)
        })
    };
    assert!(sees("naive", 1..6, "0\t1"), "the table named first is looked at before the frontier");
    assert!(sees("ours", 6..11, "1\t1"), "both are looked at after the frontier, which is read once");
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
