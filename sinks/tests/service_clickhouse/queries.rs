//! The dashboards' queries, each on loaded facts.

use crate::support::{Bench, Database};
use crate::world::record_time;
use std::path::Path;

/// Settings that give a query its parameters: a tenant and a span of time.
const PARAMETERS: [(&str, &str); 3] =
    [("param_tenant", "acme"), ("param_from", "2024-11-30 00:00:00"), ("param_to", "2024-12-02 00:00:00")];

#[test]
#[ignore = "needs services"]
fn service_every_dashboard_query_finds_what_was_loaded() {
    let (database, bench) = (Database::migrated(), Bench::of(200, 10, 200));
    assert!(record_time(200) < record_time(100) + 86_400_000, "within the span that is asked for");
    bench.load(&database.settings);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/clickhouse/queries");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        let sql = std::fs::read_to_string(file).unwrap();
        let answer =
            database.try_ask(&sql, &PARAMETERS).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert!(!answer.trim().is_empty(), "{} finds nothing", file.display());
        let other = [&[("param_tenant", "other")], &PARAMETERS[1..]].concat();
        let theirs = database.try_ask(&sql, &other).unwrap();
        let shared = file.ends_with("dead_letters.sql");
        assert!(theirs.is_empty() || shared, "{} shows one tenant another's rows", file.display());
    }
    assert_eq!(files.len(), 10);
    check_figures(&database);
}

/// 1,600 orders, one in seven refused for two reasons.
fn check_figures(database: &Database) {
    let ask = |name: &str| {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/clickhouse/queries/{name}.sql"));
        let sql = std::fs::read_to_string(path).unwrap();
        database.try_ask(sql.trim_end(), &PARAMETERS).unwrap().trim_end().to_owned()
    };
    assert_eq!(ask("refusals_by_reason"), "offer_closed\t228\nsold_out\t228");
    let sum = |name: &str, column: usize| {
        let cell = |line: &str| line.split('\t').nth(column).unwrap().parse::<u64>().unwrap();
        ask(name).lines().map(cell).sum::<u64>()
    };
    assert_eq!(sum("revenue_per_minute", 2), 1_600 - 228);
    assert_eq!((sum("success_rate", 1), sum("success_rate", 2)), (1_600 - 228, 228));
}
