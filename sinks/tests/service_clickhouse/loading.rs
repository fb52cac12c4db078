//! Loading as such: backlogs, empty epochs, large epochs, several loaders one after the other, foreign servers.

use crate::support::{Bench, Database, TestPlans, assert_holds, wait_problem};
use runtime::Epoch;
use sinks::clickhouse::{ClickHouseSettings, LoaderState, PlanStore, migrate, plan, rendered};
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
#[ignore = "needs services"]
fn service_a_backlog_is_loaded_whole_and_only_what_is_decided_is_published() {
    let (database, bench) = (Database::migrated(), Bench::of(300, 8, 200));
    bench.load(&database.settings);
    assert_holds(&database, &bench.log.world, 200);
    bench.decided.store(300, Ordering::SeqCst);
    bench.load(&database.settings);
    assert_holds(&database, &bench.log.world, 300);
}

#[test]
#[ignore = "needs services"]
fn service_an_epoch_larger_than_a_batch_is_loaded_in_parts_and_seen_as_a_whole() {
    let (database, bench) = (Database::migrated(), Bench::of(7, 900, 7));
    assert!(bench.log.world.facts("facts.orders", 1).count() > database.settings.batch_rows_max);
    let loader = bench.start(&database.settings);
    let (status, mut seen) = (loader.status(), std::collections::BTreeSet::new());
    while !status.wait_published(Epoch(7), Duration::from_millis(1)) {
        seen.insert(database.number("SELECT count() FROM orders"));
    }
    let whole = |epoch| bench.log.world.facts("facts.orders", epoch).count() as i64;
    let wholes: Vec<i64> = (0..=7).map(whole).collect();
    assert!(seen.iter().all(|count| wholes.contains(count)), "{seen:?} but only {wholes:?} are whole epochs");
    assert_holds(&database, &bench.log.world, 7);
}

#[test]
#[ignore = "needs services"]
fn service_epochs_without_facts_are_published() {
    let (database, bench) = (Database::migrated(), Bench::of(20, 4, 20));
    bench.load(&database.settings);
    bench.decided.store(1_000, Ordering::SeqCst);
    bench.load(&database.settings);
    assert_eq!(database.number("SELECT min(epoch) FROM published"), 1_000);
    let mut plans = TestPlans::open(bench.dir.path(), bench.decided.clone());
    assert_eq!(plans.published().unwrap(), Epoch(1_000));
}

#[test]
#[ignore = "needs services"]
fn service_facts_that_come_while_it_runs_are_loaded() {
    let (database, bench) = (Database::migrated(), Bench::of(400, 6, 0));
    bench.log.appended.store(0, Ordering::SeqCst);
    let loader = bench.start(&database.settings);
    for epoch in 1..=400 {
        bench.log.appended.store(epoch, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(3));
        bench.decided.store(epoch.saturating_sub(2), Ordering::SeqCst);
    }
    bench.decided.store(400, Ordering::SeqCst);
    assert!(
        loader.status().wait_published(Epoch(400), Duration::from_secs(90)),
        "{:?}",
        loader.status().get()
    );
    assert!(loader.status().get().batches > 3);
    assert_holds(&database, &bench.log.world, 400);
}

fn refusal(bench: &Bench, settings: &ClickHouseSettings) -> String {
    let loader = bench.start(settings);
    loader.status().wait_published(Epoch(u64::MAX), Duration::from_secs(120));
    let figures = loader.status().get();
    assert_eq!(figures.state, LoaderState::Stopped, "{figures:?}");
    figures.problem.unwrap()
}

#[test]
#[ignore = "needs services"]
fn service_a_server_that_is_not_the_one_that_was_loaded_into_is_left_alone() {
    let (first, second) = (Database::migrated(), Database::migrated());
    let (ours, theirs) = (Bench::of(20, 6, 20), Bench::of(20, 6, 20));
    ours.load(&first.settings);
    let foreign = refusal(&theirs, &first.settings);
    assert!(foreign.contains("were loaded by another loader"), "{foreign}");
    let emptied = refusal(&ours, &second.settings);
    assert!(emptied.contains("knows nothing of the pipeline `sales`"), "{emptied}");
    first.run("ALTER TABLE facts_orders DELETE WHERE offset > 3 SETTINGS mutations_sync = 2");
    let behind = refusal(&ours, &first.settings);
    assert!(behind.contains("only up to offset 3"), "{behind}");
}

#[test]
#[ignore = "needs services"]
fn service_plans_restored_from_an_older_backup_are_noticed() {
    let (database, bench) = (Database::migrated(), Bench::of(40, 6, 20));
    bench.load(&database.settings);
    let backup = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(bench.dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), backup.path().join(entry.file_name())).unwrap();
    }
    bench.decided.store(40, Ordering::SeqCst);
    bench.load(&database.settings);
    let restored = Bench { dir: backup, log: bench.log.clone(), decided: bench.decided.clone() };
    let ahead = refusal(&restored, &database.settings);
    assert!(ahead.contains("which was never planned"), "{ahead}");
}

#[test]
#[ignore = "needs services"]
fn service_a_zombie_loader_stops_and_changes_nothing() {
    let (database, bench) = (Database::migrated(), Bench::of(60, 6, 30));
    let zombie = bench.start(&database.settings);
    assert!(zombie.status().wait_published(Epoch(30), Duration::from_secs(90)));
    let loader = bench.start(&database.settings);
    bench.decided.store(60, Ordering::SeqCst);
    assert!(
        loader.status().wait_published(Epoch(60), Duration::from_secs(90)),
        "{:?}",
        loader.status().get()
    );
    zombie.status().wait_published(Epoch(u64::MAX), Duration::from_secs(120));
    let figures = zombie.status().get();
    assert_eq!(figures.state, LoaderState::Stopped, "{figures:?}");
    assert!(figures.problem.unwrap().contains("is fenced off by generation 2"));
    assert_holds(&database, &bench.log.world, 60);
}

#[test]
#[ignore = "needs services"]
fn service_migrations_are_applied_once_and_a_loader_waits_for_them() {
    let (database, bench) = (Database::empty(), Bench::of(20, 6, 20));
    let loader = bench.start(&database.settings);
    let figures = wait_problem(&loader, "run `tombola migrate`");
    assert_eq!(figures.state, LoaderState::Waiting);
    assert!(plan(&database.settings).unwrap().iter().all(|migration| !migration.applied));
    assert_eq!(migrate(&database.settings).unwrap().len(), 4);
    assert_eq!(migrate(&database.settings).unwrap(), []);
    assert!(plan(&database.settings).unwrap().iter().all(|migration| migration.applied));
    assert!(
        loader.status().wait_published(Epoch(20), Duration::from_secs(90)),
        "{:?}",
        loader.status().get()
    );
    assert_holds(&database, &bench.log.world, 20);
}

#[test]
#[ignore = "needs services"]
fn service_every_file_can_be_applied_again_after_a_crash_within_it() {
    let database = Database::migrated();
    for migration in plan(&database.settings).unwrap() {
        rendered(migration.sql, &database.settings).iter().for_each(|statement| database.run(statement));
    }
}

#[test]
#[ignore = "needs services"]
fn service_what_a_cluster_would_be_told_is_understood() {
    let database = Database::empty();
    let settings = ClickHouseSettings { cluster: Some("main".to_owned()), ..database.settings.clone() };
    let mut replicated = 0;
    for migration in plan(&database.settings).unwrap() {
        for statement in rendered(migration.sql, &settings) {
            let tree = database.ask(&format!("EXPLAIN AST {statement}"));
            replicated += i32::from(tree.contains("Function Replicated"));
        }
    }
    assert_eq!(replicated, 17, "10 tables of facts, 5 aggregates, frontiers, loaders");
}
