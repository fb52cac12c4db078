//! What ClickHouse does to an insert that is sent twice: each trap bites a naive table and not ours.

use crate::support::{Bench, Database, assert_holds};
use runtime::Epoch;
use sinks::clickhouse::{Batch, BatchRange, INSERT_SETTINGS, LoaderState, PlanStore};

const TOKEN: &str = "insert_deduplication_token";

/// A table like ours, or without what makes it ours.
fn table(database: &Database, name: &str, settings: &str) {
    database.run(&format!(
        "CREATE TABLE {name} (at Date, x UInt64) ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY x {settings}"
    ));
}

fn insert(database: &Database, name: &str, (at, x): (&str, u64), token: &str) {
    let sql = format!("INSERT INTO {name} VALUES ('{at}', {x})");
    database.run_with(&sql, &[(TOKEN, token), ("async_insert", "0")]).unwrap();
}

fn count(database: &Database, name: &str) -> i64 {
    database.number(&format!("SELECT count() FROM {name}"))
}

const WINDOW: &str = "SETTINGS non_replicated_deduplication_window = 10000";

#[test]
#[ignore = "needs services"]
fn service_a_token_is_ignored_unless_the_table_has_a_window() {
    let database = Database::empty();
    table(&database, "naive", "");
    table(&database, "ours", WINDOW);
    for name in ["naive", "ours"] {
        (0..2).for_each(|_| insert(&database, name, ("2024-11-01", 1), "t"));
    }
    assert_eq!((count(&database, "naive"), count(&database, "ours")), (2, 1));
}

#[test]
#[ignore = "needs services"]
fn service_a_token_holds_within_one_partition_only() {
    let database = Database::empty();
    table(&database, "naive", WINDOW);
    // Rows that land in another month when they are sent again are taken again.
    insert(&database, "naive", ("2024-11-01", 1), "t");
    insert(&database, "naive", ("2024-12-01", 1), "t");
    assert_eq!(count(&database, "naive"), 2);
    // Ours: a row's month follows from its fact, and each month has an insert and a token of its own.
    let (database, bench) = (Database::migrated(), Bench::of(120, 3, 120));
    bench.load(&database.settings);
    let months = "SELECT arraySort(groupUniqArray(toYYYYMM(recorded_at))) FROM facts_orders";
    assert_eq!(database.ask(months), "[202411,202412]");
    assert_holds(&database, &bench.log.world, 120);
}

#[test]
#[ignore = "needs services"]
fn service_an_insert_over_two_partitions_is_not_one_step_and_ours_is_refused() {
    let database = Database::empty();
    table(&database, "ours", WINDOW);
    let sql = "INSERT INTO ours SELECT toDate('2024-11-15') + number * 30, number FROM numbers(2)";
    let refused = database.run_with(sql, &INSERT_SETTINGS).unwrap_err();
    assert!(refused.contains("Too many partitions"), "{refused}");
    assert_eq!(count(&database, "ours"), 0);
}

#[test]
#[ignore = "needs services"]
fn service_a_window_counts_parts_and_forgets() {
    let database = Database::empty();
    table(&database, "naive", "SETTINGS non_replicated_deduplication_window = 2");
    table(&database, "ours", WINDOW);
    for name in ["naive", "ours"] {
        for x in (0..200).chain([0]) {
            insert(&database, name, ("2024-11-01", x), &format!("t{x}"));
        }
    }
    assert_eq!((count(&database, "naive"), count(&database, "ours")), (201, 200));
}

#[test]
#[ignore = "needs services"]
fn service_an_insert_of_more_than_one_block_is_there_in_part_after_an_error() {
    let database = Database::empty();
    // A block is committed when the next one comes, so it takes a third to leave something behind.
    let last = 2_200_000_u64;
    database.run(&format!(
        "CREATE TABLE t (x UInt64, CONSTRAINT bad CHECK x != {last}) ENGINE = MergeTree ORDER BY x {WINDOW}"
    ));
    let sql = "INSERT INTO t FORMAT RowBinary";
    let rows = |from: u64| (from..=last).flat_map(u64::to_le_bytes).collect::<Vec<u8>>();
    let refused = database.insert_bytes(sql, rows(0), &[]).unwrap_err();
    assert!(refused.contains("bad"), "{refused}");
    let in_part = count(&database, "t");
    assert!(in_part > 0, "an insert of {last} rows was one step: the bound may be raised");
    // Ours is at most a million rows.
    database.run("TRUNCATE TABLE t");
    let refused = database.insert_bytes(sql, rows(last - 999_999), &INSERT_SETTINGS).unwrap_err();
    assert!(refused.contains("bad"), "{refused}");
    assert_eq!(count(&database, "t"), 0);
}

#[test]
#[ignore = "needs services"]
fn service_an_aggregate_without_a_window_counts_twice() {
    let database = Database::empty();
    for (name, settings) in [("naive", ""), ("ours", WINDOW)] {
        table(&database, &format!("{name}_source"), WINDOW);
        table(&database, name, settings);
        database.run(&format!("CREATE MATERIALIZED VIEW {name}_mv TO {name} AS SELECT * FROM {name}_source"));
        (0..2).for_each(|_| insert(&database, &format!("{name}_source"), ("2024-11-01", 1), "t"));
        assert_eq!(count(&database, &format!("{name}_source")), 1);
    }
    assert_eq!((count(&database, "naive"), count(&database, "ours")), (2, 1));
}

#[test]
#[ignore = "needs services"]
fn service_other_rows_under_a_token_are_dropped_in_silence() {
    let database = Database::empty();
    table(&database, "naive", WINDOW);
    insert(&database, "naive", ("2024-11-01", 1), "t");
    insert(&database, "naive", ("2024-11-01", 2), "t");
    assert_eq!(database.ask("SELECT groupArray(x) FROM naive"), "[1]");
}

/// A batch that another process has recorded and maybe sent, and whose rows the server lost after it had noted
/// their token: what a crash between the two leaves behind.
#[test]
#[ignore = "needs services"]
fn service_rows_that_the_server_drops_without_having_them_are_found_missing_and_sent_again() {
    let (database, bench) = (Database::migrated(), Bench::of(50, 6, 50));
    let mut plans = crate::support::TestPlans::open(bench.dir.path(), bench.decided.clone());
    let range = |partition| {
        let rows = bench.log.world.facts("facts.orders", 50).filter(|(_, r)| order_partition(r) == partition);
        let to = rows.count() as u64;
        BatchRange { topic: "facts.orders".to_owned(), partition, from: 0, to, rows: to, insert: None }
    };
    let batch = Batch { number: 1, through: Epoch(50), attempt: 1, ranges: vec![range(0), range(1)] };
    let loader_id = plans.state().unwrap().loader_id;
    plans.record(&batch).unwrap();
    let token = format!("{loader_id}/1/1/facts.orders/1/0-{}/202411", batch.ranges[1].to);
    let other = "INSERT INTO facts_orders (tenant, event, recorded_at, batch_epoch, topic_partition, offset)
                 VALUES ('acme', 'confirmed', '2024-11-30 12:00:00', 50, 'facts.orders/1', 0)";
    database.run_with(other, &[&INSERT_SETTINGS[..], &[(TOKEN, &token)]].concat()).unwrap();
    database.run("ALTER TABLE facts_orders DELETE WHERE 1 SETTINGS mutations_sync = 2");
    assert_eq!(count(&database, "order_minutes"), 1, "the aggregate still counts what was lost");
    database.run(&format!("INSERT INTO loaders (pipeline, loader_id) VALUES ('sales', '{loader_id}')"));
    bench.load(&database.settings);
    assert_holds(&database, &bench.log.world, 50);
}

fn order_partition(record: &schemas::facts::FactRecord) -> u32 {
    let schemas::Fact::Order(order) = &record.fact else { unreachable!() };
    order.order_id.rsplit('-').next().unwrap().parse::<u32>().unwrap() % 2
}

#[test]
#[ignore = "needs services"]
fn service_a_server_that_holds_part_of_an_insert_stops_the_loader_with_a_remedy() {
    let (database, bench) = (Database::migrated(), Bench::of(20, 6, 20));
    bench.load(&database.settings);
    // The last batch as if it had not been heard of, and a row of it gone.
    let mut plans = crate::support::TestPlans::open(bench.dir.path(), bench.decided.clone());
    let to = plans.state().unwrap().positions.iter().find(|(topic, ..)| topic == "facts.tickets").unwrap().2;
    let range =
        BatchRange { topic: "facts.tickets".to_owned(), partition: 0, from: 0, to, rows: to, insert: None };
    let number = plans.state().unwrap().last + 1;
    plans.record(&Batch { number, through: Epoch(20), attempt: 2, ranges: vec![range] }).unwrap();
    database.run("ALTER TABLE facts_tickets DELETE WHERE offset = 0 SETTINGS mutations_sync = 2");
    let loader = bench.start(&database.settings);
    loader.status().wait_published(Epoch(21), std::time::Duration::from_secs(120));
    let figures = loader.status().get();
    assert_eq!(figures.state, LoaderState::Stopped);
    let problem = figures.problem.unwrap();
    assert!(problem.contains("rows of facts.tickets/0") && problem.contains("restore it"), "{problem}");
}
