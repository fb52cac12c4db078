//! Damage and want: snapshots, manifests and log batches that aren't what they were, and disks that are full.
//!
//! What can be replaced by a longer replay is, with a warning; what can't stops the run with the place named.
//! Afterwards, with the damage repaired, the answer is the undisturbed run's: nothing lost, nothing doubled.

mod support;

use rusqlite::{Connection, params};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::disk::SmallDisk;
use support::process::{self, Ended};
use support::trial::Scenario;
use support::{Folder, Pace, RULES, books, configure, workload};

/// A scenario, and a directory of it that was killed on its way, with several manifests written.
fn interrupted(seed: u64) -> (Scenario, Folder) {
    let mut scenario = Scenario::new(seed, 700);
    let dir = scenario.slow_directory();
    for _ in 0..3 {
        assert!(scenario.run_to_kill_point(dir.path(), "manifest.after_write", 1), "a manifest is written");
    }
    assert!(manifests(dir.path()).len() >= 2, "there is a manifest to fall back on");
    (scenario, dir)
}

/// Files below `folder`, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The newest manifests first.
fn manifests(dir: &Path) -> Vec<PathBuf> {
    let mut found = files(&dir.join("snapshots/manifests"));
    found.reverse();
    found
}

/// The files a manifest names.
fn files_of(dir: &Path, manifest: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(manifest).expect("the manifest can be read");
    let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let files = json["deltas"].as_array().expect("deltas").iter().chain(json.get("base"));
    let paths = files.filter_map(|file| file["path"].as_str());
    paths.map(|path| dir.join("snapshots").join(path)).collect()
}

fn truncate(path: &Path) {
    let bytes = std::fs::read(path).expect("the file can be read");
    std::fs::write(path, &bytes[..bytes.len() / 2]).expect("the file can be written");
}

fn alter(path: &Path) {
    let mut bytes = std::fs::read(path).expect("the file can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(path, bytes).expect("the file can be written");
}

fn drain(scenario: &mut Scenario, dir: &Path) -> Ended {
    process::end_of(process::drain(dir, scenario.workers()))
}

#[test]
fn a_snapshot_that_is_damaged_costs_a_longer_replay() {
    type Damage = fn(&Path);
    for (seed, damage, wanted) in [
        (101, truncate as Damage, "bytes instead of"),
        (102, alter as Damage, "SHA-256 is not the manifest's"),
        (103, |path| std::fs::remove_file(path).expect("the file can be removed"), "not found"),
    ] {
        let (mut scenario, dir) = interrupted(seed);
        let newest = manifests(dir.path()).remove(0);
        damage(files_of(dir.path(), &newest).last().expect("the newest manifest names files"));
        drain(&mut scenario, dir.path()).assert(0, &["a snapshot can't be used", wanted]);
        scenario.finish(dir.path());
    }
}

#[test]
fn without_any_sound_snapshot_the_log_is_replayed_from_its_start() {
    let (mut scenario, dir) = interrupted(104);
    files(&dir.path().join("snapshots/snapshots")).iter().for_each(|file| truncate(file));
    drain(&mut scenario, dir.path()).assert(0, &["a snapshot can't be used"]);
    scenario.finish(dir.path());
}

#[test]
fn a_manifest_that_is_damaged_is_passed_over() {
    let (mut scenario, dir) = interrupted(105);
    truncate(&manifests(dir.path())[0]);
    drain(&mut scenario, dir.path()).assert(0, &["a snapshot manifest can't be used", "is damaged"]);
    scenario.finish(dir.path());
}

#[test]
fn snapshots_of_another_directory_are_refused() {
    let (mut scenario, dir) = interrupted(106);
    let other = scenario.directory();
    let copied = Command::new("cp").arg("-r").arg(dir.path().join("snapshots")).arg(other.path()).status();
    assert!(copied.expect("cp can be called").success());
    drain(&mut scenario, other.path())
        .assert(1, &["is ahead of the bindings", "remove the snapshots folder"]);
    std::fs::remove_dir_all(other.path().join("snapshots")).expect("it can be removed");
    scenario.finish(other.path());
}

/// The bindings as an older copy has them; facts and snapshots are newer.
const OLDER: &str = "DELETE FROM bindings WHERE epoch > 5; DELETE FROM epoch_digests WHERE epoch > 5;
                     UPDATE frontiers SET epoch = min(epoch, 5)";

#[test]
fn bindings_that_went_back_stop_the_run_before_it_tells_anything_and_restored_it_goes_on() {
    let (mut scenario, dir) = interrupted(114);
    let file = dir.path().join("tombola.db");
    let kept = dir.path().join("kept.db");
    let tables = Connection::open(&file).expect("the tables can be opened");
    tables.execute("VACUUM INTO ?1", [kept.to_str()]).expect("a copy is made");
    tables.execute_batch(OLDER).expect("the tables can be changed");
    drop(tables);
    let refused = ["facts: it has epochs up to", "the bindings end at epoch 5", "A store went back"];
    drain(&mut scenario, dir.path()).assert(1, &refused);
    // Without the snapshots it looks as if there had never been more epochs; the facts know better.
    std::fs::remove_dir_all(dir.path().join("snapshots")).expect("it can be removed");
    drain(&mut scenario, dir.path()).assert(1, &refused);
    for name in ["tombola.db-wal", "tombola.db-shm"] {
        // Gone with the last connection, if it ended well.
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    std::fs::rename(&kept, &file).expect("the copy can be put back");
    scenario.finish(dir.path());
}

fn log(dir: &Path) -> Connection {
    Connection::open(dir.join("log.db")).expect("the log can be opened")
}

/// The id of a partition and its last batch.
fn last_batch(log: &Connection, topic: &str, partition: u32) -> (i64, i64, Vec<u8>) {
    let sql = "SELECT p.id, b.base_offset, b.bytes FROM batches b JOIN partitions p ON p.id = b.partition
               WHERE p.topic = ?1 AND p.partition = ?2 ORDER BY b.base_offset DESC LIMIT 1";
    let row =
        log.query_row(sql, params![topic, partition], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    row.expect("the partition has batches")
}

fn set_bytes(log: &Connection, (partition, base, bytes): (i64, i64, &[u8])) {
    let sql = "UPDATE batches SET bytes = ?3 WHERE partition = ?1 AND base_offset = ?2";
    assert_eq!(log.execute(sql, params![partition, base, bytes]).expect("it can be updated"), 1);
}

#[test]
fn a_damaged_batch_of_the_log_stops_the_run_with_its_place_and_restored_it_goes_on() {
    for (seed, topic) in [(107, "commands.orders"), (108, "oltp.public.offers")] {
        let mut scenario = Scenario::new(seed, 600);
        let dir = scenario.directory();
        let (partition, base, bytes) = last_batch(&log(dir.path()), topic, 1);
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        set_bytes(&log(dir.path()), (partition, base, &damaged));
        let place = format!("topic {topic}, partition 1, offset {base}");
        for _ in 0..2 {
            drain(&mut scenario, dir.path()).assert(1, &[&place, "is damaged", "restore"]);
        }
        set_bytes(&log(dir.path()), (partition, base, &bytes));
        scenario.finish(dir.path());
    }
}

/// Takes the last batch of a partition away; the offset at which it ends now.
fn cut(dir: &Path, topic: &str, partition: u32) -> i64 {
    let log = log(dir);
    let (id, base, _) = last_batch(&log, topic, partition);
    let delete = "DELETE FROM batches WHERE partition = ?1 AND base_offset = ?2";
    log.execute(delete, params![id, base]).expect("it can be deleted");
    log.execute("UPDATE partitions SET end_offset = ?2 WHERE id = ?1", params![id, base]).expect("an update");
    base
}

#[test]
fn a_log_that_ends_below_what_was_bound_stops_the_run_with_the_place() {
    let mut scenario = Scenario::new(109, 400);
    for with_snapshots in [true, false] {
        let dir = scenario.directory();
        process::drain_well(dir.path(), 2);
        if !with_snapshots {
            std::fs::remove_dir_all(dir.path().join("snapshots")).expect("it can be removed");
        }
        let end = format!("the log ends at {}", cut(dir.path(), "commands.orders", 1));
        let wanted = ["topic commands.orders, partition 1", &end, "restore"];
        drain(&mut scenario, dir.path()).assert(1, &wanted);
        scenario.assert_same(dir.path());
    }
}

/// `tombola run --until-drained` that may make no file larger than this many KiB, as on a full disk.
fn drain_within(dir: &Path, workers: u64, file_kib_max: u64) -> Ended {
    let drain = process::drain(dir, workers);
    let mut limited = Command::new("bash");
    // Ignored, the signal turns into an error of the write that exceeds the limit.
    let script = format!("trap '' XFSZ; ulimit -f {file_kib_max}; exec \"$0\" \"$@\"");
    limited.arg("-c").arg(script).arg(drain.get_program()).args(drain.get_args());
    limited.env("TOMBOLA_LOG", "warn").arg0("bash");
    limited.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    process::end_of(limited)
}

#[test]
fn a_write_that_fails_for_want_of_space_stops_the_run_and_with_space_it_goes_on() {
    let mut scenario = Scenario::new(110, 600);
    let mut failed = 0;
    for file_kib_max in [40, 120, 250, 400, 700] {
        let dir = scenario.directory();
        let ended = drain_within(dir.path(), scenario.workers(), file_kib_max);
        if ended.code() != 0 {
            ended.assert(1, &["space"]);
            failed += 1;
        }
        scenario.finish(dir.path());
    }
    assert!(failed >= 2, "the limits are reached: {failed} of 5");
}

#[test]
fn a_full_disk_stops_the_run_and_freed_it_goes_on() {
    let mut scenario = Scenario::new(111, 600);
    let mut failed = 0;
    for kib in [700, 1_000, 1_300] {
        let Some(disk) = SmallDisk::mount(kib) else {
            eprintln!("skipped: mounting a small file system needs rights this user doesn't have");
            return;
        };
        let dir = disk.path();
        scenario.copy_into(dir);
        let ended = drain(&mut scenario, dir);
        if ended.code() != 0 {
            ended.assert(1, &["space"]);
            failed += 1;
        }
        disk.grow(100_000);
        scenario.finish(dir);
    }
    assert!(failed >= 2, "the disks are too small: {failed} of 3");
}

/// `tombola verify` after someone has changed the tables by hand.
fn tampered(scenario: &mut Scenario, sql: &str) -> Ended {
    let dir = scenario.directory();
    process::drain_well(dir.path(), 2);
    let tables = Connection::open(dir.path().join("tombola.db")).expect("the tables can be opened");
    assert_eq!(tables.execute(sql, []).expect("the statement is good"), 1, "{sql}");
    drop(tables);
    process::end_of(process::tombola(dir.path(), &["verify", "--workers", "3"]))
}

#[test]
fn a_row_changed_by_hand_is_found_and_named() {
    let mut scenario = Scenario::new(112, 150);
    for (sql, wanted) in [
        ("UPDATE orders SET amount_minor = amount_minor + 1 WHERE order_id = 'order-7'", "order-7"),
        ("DELETE FROM orders WHERE order_id = 'order-9'", "order-9"),
        (
            "UPDATE stock SET sold = sold + 1 WHERE tenant = 'tenant-1' AND offer_id = 'offer-2'",
            "tenant-1/offer-2",
        ),
        (
            "INSERT INTO tickets SELECT tenant, 'forged', order_id, offer_id, payload, epoch FROM tickets LIMIT 1",
            "forged",
        ),
    ] {
        let ended = tampered(&mut scenario, sql).assert(1, &[]);
        assert!(ended.stdout.contains("NOT as the log says"), "{ended:?}");
        assert!(ended.stdout.contains(wanted), "{wanted} is not named: {ended:?}");
    }
}

#[test]
fn a_producer_on_a_full_disk_says_what_is_in_and_the_rest_can_be_sent_later() {
    let Some(disk) = SmallDisk::mount(450) else {
        eprintln!("skipped: mounting a small file system needs rights this user doesn't have");
        return;
    };
    let dir = disk.path();
    configure(dir, Pace { epoch_records_max: 500, epochs_in_flight_max: 4 }, RULES);
    let file = Folder::new();
    let file = file.path().join("orders.ndjson");
    let lines = workload::ndjson(&workload::records(113, 12_000), "commands.orders");
    std::fs::write(&file, &lines).expect("the file can be written");
    let file = file.display().to_string();
    let produce =
        || process::end_of(process::tombola(dir, &["produce", "commands.orders", &file, "--event-time"]));
    produce().assert(1, &["the disk is full", "free space", "are in; send the rest again"]);
    disk.grow(100_000);
    produce().assert(0, &[]);
    process::drain_well(dir, 2);
    books::assert_each_order_decided_once(dir);
    process::verify(dir, 1);
}
