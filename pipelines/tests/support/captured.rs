//! A connector of a test's own, and the tables it captures, compared with their mirror.

use super::connector::{connect, forget};
use super::services::{env, sql, wait_until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Generous: Connect and Debezium take their time to start and to stop.
const PATIENCE: Duration = Duration::from_secs(300);

/// Debezium on some tables; gone when it is dropped.
pub struct Connector {
    name: &'static str,
}

/// What `deploy/debezium` has in a file, filled in from the environment.
fn settings_of(file: &str) -> serde_json::Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/debezium").join(file);
    let mut text = std::fs::read_to_string(path).expect("it is in the repository");
    for name in ["PG_HOST", "PG_PORT", "PG_USER", "PG_PASSWORD", "PG_DATABASE", "REGISTRY_URL"] {
        let name = format!("CONNECT_{name}");
        text = text.replace(&format!("${{{name}}}"), &std::env::var(&name).unwrap_or_default());
    }
    text = text.replace("${TOPIC_REPLICATION_FACTOR}", "1").replace("${CONNECT_PG_SSLMODE}", "disable");
    serde_json::from_str(&text).expect("settings are JSON")
}

impl Connector {
    /// Captures these tables of schema `public` into topics below `oltp`; returns when it runs.
    pub fn start(name: &'static str, tables: &str, format: &str) -> Connector {
        let mut settings = settings_of("reference.json");
        settings.extend(settings_of(format));
        for (key, value) in [
            ("table.include.list", tables),
            ("slot.name", name),
            ("publication.name", name),
            ("publication.autocreate.mode", "filtered"),
        ] {
            settings.insert(key.to_owned(), value.into());
        }
        settings.remove("database.sslrootcert");
        settings.remove("heartbeat.action.query");
        settings.remove("heartbeat.interval.ms");
        drop(Connector { name });
        let body = Value::Object(settings).to_string();
        wait_until("Connect takes the connector", PATIENCE, || {
            let (_, code) = connect("PUT", name, "/config", Some(&body));
            ["200", "201"].contains(&code.as_str())
        });
        wait_until("the connector runs", PATIENCE, || {
            let (status, _) = connect("GET", name, "/status", None);
            status.matches("\"state\":\"RUNNING\"").count() == 2
        });
        Connector { name }
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        let name = self.name;
        forget(name);
        let slot = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{name}' AND NOT active"
        );
        wait_until("the slot's end", PATIENCE, || {
            let gone = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{name}'");
            sql(&env("PG_URL"), &slot);
            sql(&env("PG_URL"), &gone) == "0"
        });
        sql(&env("PG_URL"), &format!("DROP PUBLICATION IF EXISTS {name}"));
    }
}

/// The answer of ClickHouse, as tab-separated text.
pub fn clickhouse(question: &str) -> String {
    try_clickhouse(question).unwrap_or_else(|problem| panic!("{question}: {problem}"))
}

/// The same, or what speaks against it.
pub fn try_clickhouse(question: &str) -> Result<String, String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail-with-body", "--max-time", "60", "--data-binary", question]);
    let user = format!("{}:{}", env("CLICKHOUSE_USER"), env("CLICKHOUSE_PASSWORD"));
    curl.args(["-u", &user, &env("CLICKHOUSE_URL")]).stdin(Stdio::null());
    let output = curl.output().expect("curl can be called");
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// A column, and how it is written so that both sides write it alike: `@` stands for its name.
pub struct Compared {
    pub name: &'static str,
    pub postgres: &'static str,
    pub clickhouse: &'static str,
}

/// By the kind of its type.
pub fn column(name: &'static str, kind: &str) -> Compared {
    let (postgres, clickhouse) = match kind {
        "plain" => ("@::text", "toString(@)"),
        "number" => ("trim_scale(@)::text", "toString(@)"),
        "bytes" => ("encode(@, 'hex')", "lower(hex(@))"),
        "time" => ("to_char(@, 'HH24:MI:SS.US')", "toString(@)"),
        "micros" => ("to_char(@, 'YYYY-MM-DD HH24:MI:SS.US')", "toString(@)"),
        "millis" => ("to_char(@, 'YYYY-MM-DD HH24:MI:SS.MS')", "toString(@)"),
        "zoned" => ("to_char(@ AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')", "toString(@)"),
        "array" => ("array_to_json(@)::text", "if(@_is_null, NULL, toJSONString(@))"),
        "large" => ("md5(@)", "lower(hex(MD5(@)))"),
        "large array" => {
            ("md5(array_to_json(@)::text)", "if(@_is_null, NULL, lower(hex(MD5(toJSONString(@)))))")
        }
        other => panic!("{other} is no kind of column"),
    };
    Compared { name, postgres, clickhouse }
}

fn joined(columns: &[Compared], null: &str, of: impl Fn(&Compared) -> &'static str) -> String {
    let each = columns.iter().map(|column| format!("{null}({}, '~')", of(column).replace('@', column.name)));
    each.collect::<Vec<_>>().join(", ")
}

/// The rows of the source, and of its mirror.
fn both(table: &str, columns: &[Compared]) -> (String, Result<String, String>) {
    let order = columns[0].name;
    let source = joined(columns, "coalesce", |column| column.postgres);
    let source =
        sql(&env("PG_URL"), &format!("SELECT concat_ws('|', {source}) FROM public.{table} ORDER BY {order}"));
    let mirror = joined(columns, "ifNull", |column| column.clickhouse);
    let mirror = format!(
        "SELECT concatWithSeparator('|', {mirror}) FROM mirror.{table}_current ORDER BY {order} FORMAT TSVRaw"
    );
    (source, try_clickhouse(&mirror))
}

/// Waits until every row of the mirror is as in the source, and no row is missing or too many.
pub fn wait_until_mirrored(what: &str, table: &str, columns: &[Compared]) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let (source, mirror) = both(table, columns);
        if mirror.as_ref() == Ok(&source) {
            return;
        }
        if std::time::Instant::now() > deadline {
            panic!("{what}: {}", difference(&source, &mirror));
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn difference(source: &str, mirror: &Result<String, String>) -> String {
    let mirror = match mirror {
        Ok(mirror) => mirror,
        Err(problem) => return problem.clone(),
    };
    let (ours, theirs): (Vec<&str>, Vec<&str>) = (mirror.lines().collect(), source.lines().collect());
    let first = theirs.iter().zip(&ours).find(|(theirs, ours)| theirs != ours);
    format!("{} rows in the source, {} in the mirror; first difference {first:?}", theirs.len(), ours.len())
}

/// Every record of the topic is at most one row: what is missing of them was replaced by a newer one.
pub fn assert_no_record_twice(table: &str) {
    let question = format!("SELECT count(), uniqExact(__partition, __offset) FROM mirror.{table}");
    let answer = clickhouse(&question);
    let (rows, records) = answer.split_once('\t').expect("two numbers");
    assert_eq!(rows, records, "rows of {table}, and records they are of");
}

/// A message in Connect's JSON, with its schema.
pub fn wrapped(schema: &Value, payload: &Value) -> Vec<u8> {
    json!({ "schema": schema, "payload": payload }).to_string().into_bytes()
}
