//! Tables and views on the server: what the mirror keeps for itself, and one table and view for each topic.
//!
//! Every statement may be repeated. What a table has is asked of the server before it is changed, so that a crash
//! between two changes leaves nothing undone.

use super::binary::decimal_width;
use super::names::{CURRENT, quoted_name};
use super::rows::{REJECTED, TRUNCATIONS, is_null_name, key_type};
use super::state::{Table, TableColumn};
use crate::clickhouse::client::{Client, quoted};
use crate::clickhouse::error::{ClickHouseError, Result};
use crate::clickhouse::migrate::fill_in;
use crate::clickhouse::settings::ClickHouseSettings;
use schemas::captured::{ColumnType, date_text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// How far each partition is mirrored; the newest batch counts.
pub(super) const PROGRESS: &str = "mirror_progress";

const OWN_TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS mirror_progress @on_cluster@ (
  topic       String,
  `partition` UInt32,
  mirror_id   String,
  batch       UInt64,
  next        UInt64,                 -- everything before it is in its table
  snapshot    UInt64,                 -- position of the newest snapshot met before it
  lsn         UInt64,                 -- position of its last row
  changed_at  DateTime64(3, 'UTC'),   -- when the source made it
  mirrored_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = @ReplacingMergeTree(batch)@
ORDER BY (topic, `partition`)
SETTINGS @settings@",
    "CREATE TABLE IF NOT EXISTS mirror_truncations @on_cluster@ (
  topic       String,
  lsn         UInt64,                 -- rows of earlier changes are gone
  __partition UInt32,
  __offset    UInt64
)
ENGINE = @ReplacingMergeTree@
ORDER BY (topic, lsn)
SETTINGS @settings@",
    "CREATE TABLE IF NOT EXISTS mirror_rejected @on_cluster@ (
  topic       String,
  __partition UInt32,
  __offset    UInt64,
  reason      String,
  `key`       String,
  value       String,
  rejected_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = @ReplacingMergeTree@
ORDER BY (topic, __partition, __offset)
SETTINGS @settings@",
];

/// What every table has besides its source's columns.
const OWN_COLUMNS: [&str; 7] =
    ["__version", "__deleted", "__lsn", "__partition", "__offset", "__changed_at", "__mirrored_at"];

/// Makes the mirror's own tables, and those of the topics as they are to be.
pub(super) struct Ddl<'a> {
    pub client: &'a Client,
    pub stop: &'a AtomicBool,
    pub settings: &'a ClickHouseSettings,
}

/// Columns the server has: by table, by name, with their types.
pub(super) type Columns = BTreeMap<String, BTreeMap<String, String>>;

impl Ddl<'_> {
    /// The mirror's own tables; the database, where this user may make it.
    pub fn own_tables(&self) -> Result<()> {
        let exists =
            format!("SELECT count() FROM system.databases WHERE name = {}", quoted(&self.settings.database));
        let nowhere = self.client.http.clone().with_database("default");
        let found = nowhere.query_raw(&exists).fetch_one::<u64>();
        if self.client.wait("look for its database", Some(self.stop), found)? == 0 {
            let create = format!("CREATE DATABASE IF NOT EXISTS {} @on_cluster@", self.settings.database);
            let create = nowhere.query_raw(&fill_in(&create, self.settings)).execute();
            self.client.wait("create its database", Some(self.stop), create)?;
        }
        OWN_TABLES
            .iter()
            .try_for_each(|create| self.run("make its own tables", &fill_in(create, self.settings)))
    }

    fn run(&self, doing: &'static str, sql: &str) -> Result<()> {
        self.client.change(doing, Some(self.stop), sql)
    }

    /// What is there.
    pub fn columns(&self) -> Result<Columns> {
        let sql = "SELECT table, name, type FROM system.columns WHERE database = currentDatabase()";
        let mut all = Columns::new();
        for (table, name, ty) in
            self.client.rows::<(String, String, String)>("read its columns", Some(self.stop), sql)?
        {
            all.entry(table).or_default().insert(name, ty);
        }
        Ok(all)
    }

    /// Brings one table and its view to what they are to be.
    pub fn bring_up(&self, topic: &str, table: &Table, there: &Columns) -> Result<()> {
        match there.get(&table.name) {
            None => self.run("make a table", &self.create(table))?,
            Some(known) => self.alter(table, known)?,
        }
        self.run("make a view", &self.view(topic, table))
    }

    fn create(&self, table: &Table) -> String {
        let mut columns: Vec<String> = Vec::new();
        for (name, ty, default) in physical(table) {
            columns.push(format!("{} {ty}{default}", quoted_name(&name)));
        }
        let key = table.key.iter().map(|name| quoted_name(name)).collect::<Vec<_>>().join(", ");
        let fill = |text: &str| fill_in(text, self.settings);
        format!(
            "CREATE TABLE IF NOT EXISTS {} {} ({}, __version UInt128, __deleted UInt8, __lsn UInt64, __partition UInt32,
             __offset UInt64, __changed_at DateTime64(3, 'UTC'), __mirrored_at DateTime64(3, 'UTC') DEFAULT now64(3),
             INDEX __offsets (__offset) TYPE minmax GRANULARITY 4)
             ENGINE = {} ORDER BY ({key}) SETTINGS {}",
            quoted_name(&table.name),
            fill("@on_cluster@"),
            columns.join(", "),
            fill("@ReplacingMergeTree(__version, __deleted)@"),
            fill("@settings@"),
        )
    }

    fn alter(&self, table: &Table, known: &BTreeMap<String, String>) -> Result<()> {
        let wanted = physical(table);
        let mut changes: Vec<String> = Vec::new();
        let ours = |name: &str| wanted.iter().any(|(wanted, ..)| wanted == name);
        for name in known.keys().filter(|name| !OWN_COLUMNS.contains(&name.as_str()) && !ours(name)) {
            changes.push(format!("DROP COLUMN IF EXISTS {}", quoted_name(name)));
        }
        for (name, ty, default) in &wanted {
            match known.get(name) {
                None => changes.push(format!("ADD COLUMN IF NOT EXISTS {} {ty}{default}", quoted_name(name))),
                Some(theirs) if !same_type(theirs, ty) => {
                    if table.is_key(name) {
                        return Err(self.key_widened(table, name, theirs, ty));
                    }
                    changes.push(format!("MODIFY COLUMN {} {ty}{default}", quoted_name(name)));
                }
                Some(_) => {}
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let cluster = fill_in("@on_cluster@", self.settings);
        let sql = format!(
            "ALTER TABLE {} {cluster} {} SETTINGS alter_sync = 2, mutations_sync = 2",
            quoted_name(&table.name),
            changes.join(", ")
        );
        self.run("change a table", &sql)
    }

    fn key_widened(&self, table: &Table, column: &str, theirs: &str, ours: &str) -> ClickHouseError {
        ClickHouseError::Stop {
            place: format!("{}, table {}", self.client.place, table.name),
            problem: format!(
                "the key's column `{column}` is to become {ours}, and ClickHouse can't change that of {theirs}"
            ),
            remedy: super::REMEDY_AGAIN.to_owned(),
        }
    }

    /// Plain semantics: the newest row of each key, unless it was deleted, or truncated since.
    fn view(&self, topic: &str, table: &Table) -> String {
        let mut names: Vec<String> = Vec::new();
        for column in &table.columns {
            names.push(format!("{} AS {}", quoted_name(&column.stored), quoted_name(&column.name)));
            if matches!(column.ty, ColumnType::Array(_)) {
                let [stored, name] =
                    [&column.stored, &column.name].map(|name| quoted_name(&is_null_name(name)));
                names.push(format!("{stored} AS {name}"));
            }
        }
        format!(
            "CREATE OR REPLACE VIEW {} {} AS SELECT {} FROM {} FINAL
             WHERE __lsn >= (SELECT max(lsn) FROM {TRUNCATIONS} WHERE topic = {})",
            quoted_name(&format!("{}{CURRENT}", table.name)),
            fill_in("@on_cluster@", self.settings),
            names.join(", "),
            quoted_name(&table.name),
            quoted(topic)
        )
    }
}

/// The names a table of a topic can't have.
pub(super) fn is_own(name: &str) -> bool {
    [PROGRESS, TRUNCATIONS, REJECTED].contains(&name)
}

/// The server's columns of a table: name, type, default.
fn physical(table: &Table) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for column in &table.columns {
        let name = column.stored.clone();
        if table.is_key(&name) {
            all.push((name, sql_type(&key_type(&column.ty)), String::new()));
        } else if matches!(column.ty, ColumnType::Array(_)) {
            all.push((name.clone(), sql_type(&column.ty), String::new()));
            // Rows from before the column was there have none.
            all.push((is_null_name(&name), "Bool".to_owned(), " DEFAULT true".to_owned()));
        } else {
            all.push((name, format!("Nullable({})", sql_type(&column.ty)), default_of(column)));
        }
    }
    all
}

/// What rows show that were there before the column: Postgres gives them its constant default.
fn default_of(column: &TableColumn) -> String {
    use ColumnType as T;
    let digits = |default: &Value| match default {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let Some(default) = &column.default else { return String::new() };
    let literal = match (default, &column.ty) {
        (Value::Bool(flag), T::Bool) => flag.to_string(),
        (Value::Number(n), T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64) => n.to_string(),
        (Value::Number(days), T::Date) => format!("toDate32('{}')", date_text(days.as_i64().unwrap_or(0))),
        (Value::Number(micros), T::Timestamp { .. }) => format!("fromUnixTimestamp64Micro({micros}, 'UTC')"),
        (Value::String(_) | Value::Number(_), T::Decimal { precision, scale }) => {
            format!("toDecimal{}('{}', {scale})", 8 * decimal_width(*precision), digits(default))
        }
        (Value::String(_) | Value::Number(_), T::Text) | (Value::String(_), T::Uuid) => {
            quoted(&digits(default))
        }
        _ => return String::new(),
    };
    format!(" DEFAULT {literal}")
}

/// Servers put a space after a comma, or don't.
fn same_type(a: &str, b: &str) -> bool {
    let bare = |text: &str| text.replace(' ', "");
    bare(a) == bare(b)
}

/// A type as ClickHouse calls it.
pub(super) fn sql_type(ty: &ColumnType) -> String {
    use ColumnType as T;
    match ty {
        T::Bool => "Bool".to_owned(),
        T::Int16 => "Int16".to_owned(),
        T::Int32 => "Int32".to_owned(),
        T::Int64 => "Int64".to_owned(),
        T::Float32 => "Float32".to_owned(),
        T::Float64 => "Float64".to_owned(),
        T::Decimal { precision, scale } => format!("Decimal({precision}, {scale})"),
        T::Text | T::Bytes | T::AnyDecimal | T::Json => "String".to_owned(),
        T::Uuid => "UUID".to_owned(),
        T::Date => "Date32".to_owned(),
        T::Time { digits } => format!("Time64({digits})"),
        T::Timestamp { digits } => format!("DateTime64({digits}, 'UTC')"),
        T::ZonedTimestamp => "DateTime64(6, 'UTC')".to_owned(),
        T::Array(items) => format!("Array(Nullable({}))", sql_type(items)),
    }
}
