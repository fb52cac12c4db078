//! Snapshots go to an S3-speaking server whose disk is full: sales go on, and so do snapshots once there is room.
//!
//! The server is a real one, of this test's own, on a small file system.

mod support;

use rusqlite::{Connection, OpenFlags};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::disk::SmallDisk;
use support::process::{self, Running};
use support::services::{env, script, wait_until, well};
use support::workload::{self, Timed};
use support::{Folder, Pace, RULES, books, configure};

const SOON: Duration = Duration::from_secs(240);

/// A bucket on a disk of 32 MB.
struct Bucket {
    disk: SmallDisk,
}

impl Bucket {
    fn up() -> Option<Self> {
        let bucket = Bucket { disk: SmallDisk::mount(32 << 10)? };
        well(bucket.script(&["up", "s3"]));
        Some(bucket)
    }

    fn script(&self, arguments: &[&str]) -> Command {
        let port_base: u32 = env("TOMBOLA_SERVICES_PORT_BASE").parse().expect("a port");
        let mut command = script(arguments);
        command.env("TOMBOLA_SERVICES_STATE", self.disk.path().join("state"));
        command.env("TOMBOLA_SERVICES_PORT_BASE", (port_base + 50).to_string()).env_remove("TOMBOLA_S3_PORT");
        command
    }

    /// The section of a data directory's settings.
    fn settings(&self) -> String {
        let file = self.disk.path().join("state/endpoints.env");
        let text = std::fs::read_to_string(file).expect("it is up");
        let [url, region, key, secret] =
            ["S3_URL", "S3_REGION", "S3_ACCESS_KEY", "S3_SECRET_KEY"].map(|name| {
                let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
                value.expect("endpoints.env says it").to_owned()
            });
        format!(
            "[snapshots]\nurl = \"s3://tombola/full\"\noptions = {{ aws_endpoint = \"{url}\", aws_region = \"{region}\", \
             aws_access_key_id = \"{key}\", aws_secret_access_key = \"{secret}\", allow_http = \"true\" }}\n"
        )
    }

    fn filler(&self) -> PathBuf {
        self.disk.path().join("filler")
    }

    /// Leaves no room for anything.
    fn fill(&self) {
        let mut filler = std::fs::File::create(self.filler()).expect("there is room for its name");
        while filler.write_all(&[7; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it is there");
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.script(&["down"]).output();
    }
}

/// A run that goes on until it is told to stop.
fn run(dir: &Path, workers: &str) -> Running {
    Running::start(process::tombola(dir, &["run", "--workers", workers]))
}

/// What a run says of itself, in its newest figures.
fn metric(dir: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(dir.join("metrics.prom")).unwrap_or_default();
    let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name));
    let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse::<f64>().ok());
    value.unwrap_or_default() as u64
}

/// Orders in the tables.
fn orders(dir: &Path) -> u64 {
    let tables = Connection::open_with_flags(dir.join("tombola.db"), OpenFlags::SQLITE_OPEN_READ_ONLY);
    let count =
        tables.and_then(|db| db.query_row("SELECT count(*) FROM orders", [], |row| row.get::<_, i64>(0)));
    count.map_or(0, i64::unsigned_abs)
}

/// Sends orders and waits until most of them are in the tables.
fn sell(dir: &Path, ids: &schemas::SchemaIds, records: &[Timed], doing: &str) {
    let wanted = orders(dir) + 60;
    workload::append(dir, ids, records, 0);
    wait_until(doing, SOON, || orders(dir) >= wanted);
}

#[test]
#[ignore = "needs services"]
fn service_a_full_bucket_of_snapshots_stops_no_sale_and_is_used_again_once_there_is_room() {
    let Some(bucket) = Bucket::up() else {
        eprintln!("skipped: mounting a small file system needs rights this user doesn't have");
        return;
    };
    let dir = Folder::new();
    let dir = dir.path();
    configure(dir, Pace { epoch_records_max: 500, epochs_in_flight_max: 8 }, RULES);
    let mut settings = std::fs::OpenOptions::new().append(true).open(dir.join("tombola.toml")).expect("made");
    settings.write_all(bucket.settings().as_bytes()).expect("it can be written");
    let (ids, records) = (workload::prepare(dir), workload::records(131, 800));
    let (first, rest) = records.split_at(records.len() / 4);
    let (second, rest) = rest.split_at(rest.len() / 3);
    let (third, fourth) = rest.split_at(rest.len() / 2);

    let mut before = run(dir, "2");
    sell(dir, &ids, first, "orders are sold");
    wait_until("a snapshot is written", SOON, || metric(dir, "tombola_snapshot_epoch") > 0);
    bucket.fill();
    wait_until("the bucket refuses", SOON, || metric(dir, "tombola_snapshot_retries_total") > 0);
    let kept = metric(dir, "tombola_snapshot_epoch");
    sell(dir, &ids, second, "orders are sold while the bucket is full");
    assert!(before.runs(), "a full bucket ended it");
    before.kill();
    let told = before.wait().stderr;
    assert!(told.contains("a snapshot waits for its store") && told.contains("free space"), "{told}");

    std::fs::remove_file(dir.join("metrics.prom")).expect("it was written");
    let mut after = run(dir, "1");
    sell(dir, &ids, third, "orders are sold after a restart, by the last good snapshot and the log");
    wait_until("it refuses again", SOON, || metric(dir, "tombola_snapshot_retries_total") > 0);
    assert!(metric(dir, "tombola_snapshot_epoch") <= kept, "nothing newer can have been written");
    bucket.free();
    wait_until("snapshots are written again", SOON, || metric(dir, "tombola_snapshot_epoch") > kept);
    sell(dir, &ids, fourth, "orders are sold");
    after.signal("TERM");
    after.wait().assert(0, &[]);
    process::drain_well(dir, 2);
    books::assert_balanced(dir);
    books::assert_movements_follow(dir);
    books::assert_each_order_decided_once(dir);
    process::verify(dir, 2);
}
