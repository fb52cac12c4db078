//! A pipeline that mirrors into a real ClickHouse, and messages as Debezium writes them.

use super::captured::{try_clickhouse, wrapped};
use super::process::{self, Running};
use super::services::{Services, env, script, sql, well};
use super::{Folder, analytics};
use serde_json::{Value, json};
use std::path::Path;

/// Statements for the source.
pub fn change(statements: &str) {
    sql(&env("PG_URL"), &format!("SET search_path = public; {statements}"));
}

/// What a pipeline that mirrors is told besides.
const MIRROR: &str = "[mirror]\ntopics = [\"oltp.public.*\"]\ninterval_ms = 100\n\
                      [tickets]\nkey = \"a key for tests, not for tickets\"\n";

/// Settings of a pipeline that mirrors.
pub fn settings(dir: &Path) -> String {
    analytics::settings(dir, "mirror_facts") + MIRROR
}

/// Everything empty, and a data directory on it.
pub fn begin() -> (Services, Folder) {
    let (services, dir) = (Services::empty(), Folder::new());
    for service in ["connect", "clickhouse"] {
        well(script(&["start", service]));
    }
    ["mirror", "mirror_facts"].into_iter().for_each(analytics::forget);
    services.configure(dir.path(), &settings(dir.path()));
    (services, dir)
}

/// A pipeline on it.
pub fn run(dir: &Path) -> Running {
    Running::start(process::tombola(dir, &["run"]))
}

/// A row's cells besides its id: name, type, value.
pub type Cells = Vec<(String, &'static str, Value)>;

/// A message of a table `things` as Debezium writes it in JSON with its schema; the key, the value.
pub fn told(op: &str, id: i64, cells: &Cells, lsn: u64) -> (Vec<u8>, Vec<u8>) {
    let field = |name: &str, ty: &str| json!({ "field": name, "type": ty });
    let fields = cells.iter().map(|(name, ty, _)| field(name, ty));
    let fields: Vec<Value> = std::iter::once(field("id", "int32")).chain(fields).collect();
    let row = json!({ "type": "struct", "field": "after", "fields": fields });
    let schema = json!({ "type": "struct", "fields": [row] });
    let mut after = json!({ "id": id });
    cells.iter().for_each(|(name, _, value)| after[name] = value.clone());
    let after = (op == "u").then_some(after);
    let payload = json!({ "op": op, "before": null, "after": after, "source": { "lsn": lsn, "ts_ms": 1_700_000_000_000_i64, "snapshot": "false" } });
    let key = json!({ "type": "struct", "fields": [field("id", "int32")] });
    (wrapped(&key, &json!({ "id": id })), wrapped(&schema, &payload))
}

/// The same of the columns `n` and `word`.
pub fn message(op: &str, id: i64, after: Option<(i64, &str)>, lsn: u64) -> (Vec<u8>, Vec<u8>) {
    let (n, word) = after.unwrap_or_default();
    told(op, id, &vec![("n".to_owned(), "int64", json!(n)), ("word".to_owned(), "string", json!(word))], lsn)
}

/// Everything empty, and a data directory on the embedded log.
pub fn begin_embedded() -> (Services, Folder) {
    let (services, _) = begin();
    let dir = Folder::new();
    std::fs::write(dir.path().join("tombola.toml"), settings(dir.path())).expect("it can be written");
    process::end_of(process::tombola(dir.path(), &["migrate"])).assert(0, &[]);
    (services, dir)
}

/// How many records are mirrored.
pub fn next() -> Result<String, String> {
    try_clickhouse("SELECT sum(next) FROM mirror.mirror_progress FINAL")
}

/// A run that dies at a step.
pub fn killed_at(dir: &Path, point: &str) {
    let mut command = process::tombola(dir, &["run"]);
    command.env("TOMBOLA_KILL_AT", format!("{point}:1"));
    let ended = process::end_of(command);
    assert!(ended.was_killed(), "{point}: {ended:?}");
}
