//! Real services: where they are, emptied for each scenario, killed, stopped and started again.
//!
//! `scripts/test` brings them up and says in the environment where. Tests that use them take turns, as each
//! needs the topics and the schema for itself and some kill what others would be using.

use super::process::{self, Ended};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static TURN: Mutex<()> = Mutex::new(());

/// All services, empty, for one test.
pub struct Services {
    _turn: MutexGuard<'static, ()>,
}

/// What a test is told about its services.
pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run scripts/test, or `set -a; . STATE/endpoints.env` after scripts/services up")
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `scripts/services` with these arguments, about the services of this environment.
pub fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(root().join("scripts/services"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// One of the Python programs beside the tests.
pub fn foreign(program: &str, arguments: &[&str]) -> Command {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(program);
    let mut command = script(&["python", file.to_str().expect("a path in UTF-8")]);
    command.args(arguments);
    command
}

/// Runs a command to its end, which must be a good one.
pub fn well(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).expect("it speaks UTF-8")
}

/// One statement for a database.
pub fn sql(url: &str, statement: &str) -> String {
    well(psql(url, statement)).trim_end().to_owned()
}

/// The same, yet to be run.
pub fn psql(url: &str, statement: &str) -> Command {
    let mut psql = Command::new("psql");
    psql.args([url, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement]).stdin(Stdio::null());
    psql
}

/// Registers a schema of some other program in the registry at this address; its id.
pub fn register(registry: &str, subject: &str, avsc: &str) -> u32 {
    let url = format!("{registry}/subjects/{subject}/versions");
    let body = serde_json::json!({ "schema": avsc }).to_string();
    let mut curl = Command::new("curl");
    curl.args(["-sSf", "-H", "Content-Type: application/vnd.schemaregistry.v1+json", "-d", &body, &url]);
    let answer: serde_json::Value = serde_json::from_str(&well(curl)).expect("JSON");
    answer["id"].as_u64().and_then(|id| u32::try_from(id).ok()).expect("an id")
}

/// The contract of an order as somebody wrote it down who counts in words.
pub fn counted_in_words(place_order: &str) -> String {
    let number = "\"quantity\", \"type\": \"int\"";
    assert!(place_order.contains(number));
    place_order.replacen(number, "\"quantity\", \"type\": \"string\"", 1)
}

/// How far a frontier has come in the serving store at this address.
pub fn frontier_in(url: &str, name: &str) -> i64 {
    let question = format!("SELECT epoch FROM tombola.frontiers WHERE name = '{name}'");
    sql(url, &question).parse().expect("a number")
}

/// How far one has come in that of the environment.
pub fn frontier(name: &str) -> i64 {
    frontier_in(&env("PG_URL"), name)
}

/// Records of a topic, as a consumer of committed ones sees them that isn't ours.
pub fn records_in(topic: &str) -> usize {
    well(committed_offsets(topic)).lines().count()
}

/// The same; none of a topic that isn't there.
pub fn try_records_in(topic: &str) -> usize {
    let output = committed_offsets(topic).output().expect("kcat can be called");
    if output.status.success() { output.stdout.iter().filter(|byte| **byte == b'\n').count() } else { 0 }
}

fn committed_offsets(topic: &str) -> Command {
    let mut kcat = Command::new("kcat");
    kcat.args(["-C", "-b", &env("KAFKA_BOOTSTRAP"), "-X", "isolation.level=read_committed", "-t", topic]);
    kcat.args(["-m", "60", "-e", "-q", "-o", "beginning", "-f", "%o\\n"]).stdin(Stdio::null());
    kcat
}

/// Asks until it holds; a panic where it doesn't in time.
pub fn wait_until(what: &str, at_most: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < at_most, "{what}: not after {} s", at_most.as_secs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

impl Services {
    /// Waits for its turn, and empties Kafka and the serving store.
    pub fn empty() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // A test that failed may have left one killed or stopped.
        for service in ["kafka", "registry", "postgres", "connect", "clickhouse"] {
            let _ = script(&["cont", service]).output();
        }
        for service in ["kafka", "registry", "postgres"] {
            well(script(&["start", service]));
        }
        well(foreign("empty.py", &[]));
        sql(&env("PG_URL"), "DROP SCHEMA IF EXISTS tombola CASCADE");
        Services { _turn: turn }
    }

    /// Writes the settings of a data directory that works on these services, and makes topics and tables.
    pub fn configure(&self, dir: &Path, further: &str) {
        self.configure_with(dir, &env("PG_URL"), further);
    }

    /// The same with another Postgres.
    pub fn configure_with(&self, dir: &Path, postgres: &str, further: &str) {
        let [bootstrap, registry] = ["KAFKA_BOOTSTRAP", "REGISTRY_URL"].map(env);
        let text = format!(
            "[log]\nkind = \"kafka\"\n[kafka]\nbootstrap = \"{bootstrap}\"\nregistry_url = \"{registry}\"\n\
             [serving]\nkind = \"postgres\"\n[postgres]\nurl = \"{postgres}\"\n{further}"
        );
        std::fs::write(dir.join("tombola.toml"), text).expect("the directory can be written");
        for arguments in [&["topics", "apply"][..], &["migrate"]] {
            process::end_of(process::tombola(dir, arguments)).assert(0, &[]);
        }
    }

    /// SIGKILL.
    pub fn kill(&self, service: &str) {
        well(script(&["kill", service]));
    }

    /// Starts it again on what it has; returns when it answers.
    pub fn start(&self, service: &str) {
        well(script(&["start", service]));
    }

    /// SIGSTOP for a while: they are there and say nothing.
    pub fn stop_for(&self, services: &[&str], pause: Duration) {
        services.iter().for_each(|service| drop(well(script(&["stop", service]))));
        std::thread::sleep(pause);
        services.iter().for_each(|service| drop(well(script(&["cont", service]))));
    }
}

/// The digests of all tables, a line each.
pub fn digests(dir: &Path) -> String {
    let Ended { stdout, .. } = process::end_of(process::tombola(dir, &["digest"])).assert(0, &[]);
    stdout
}
