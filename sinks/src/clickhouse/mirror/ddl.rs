//! Tables and views on the server: what the mirror keeps for itself, and one table and view for each topic.
//!
//! Every statement may be repeated. What a table has is asked of the server before it is changed, so that a crash
//! between two changes leaves nothing undone.

use super::binary::decimal_width;
use super::names::{CURRENT, quoted_name};
use super::notes::{REJECTED, TRUNCATIONS};
use super::rows::{is_null_name, key_type};
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

/// A table is another one as soon as its columns are; its rows follow by and by, and until then are read as if they had. To wait
/// for them would hold all other tables up. Nor is a table waited for that somebody else is changing.
const IN_ITS_OWN_TIME: &str = "SETTINGS alter_sync = 0, mutations_sync = 0, lock_acquire_timeout = 5";

/// Asks for tables and changes them.
pub(super) struct Ddl<'a> {
    pub client: &'a Client,
    pub stop: &'a AtomicBool,
    pub settings: &'a ClickHouseSettings,
}

/// Columns the server has: by table, by name.
pub(super) type Columns = BTreeMap<String, BTreeMap<String, There>>;

/// A column as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct There {
    pub ty: String,
    /// Worked out by the server (MATERIALIZED, ALIAS, EPHEMERAL), so that nobody can write it.
    pub computed: bool,
}

/// One statement, and what it does.
pub(super) struct Statement {
    pub doing: &'static str,
    pub sql: String,
}

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

    /// Runs one.
    pub fn run(&self, doing: &'static str, sql: &str) -> Result<()> {
        self.client.change(doing, Some(self.stop), sql)
    }

    /// What is there.
    pub fn columns(&self) -> Result<Columns> {
        let sql = "SELECT table, name, type, default_kind IN ('MATERIALIZED', 'ALIAS', 'EPHEMERAL') FROM system.columns
                   WHERE database = currentDatabase()";
        let mut all = Columns::new();
        for (table, name, ty, computed) in
            self.client.rows::<(String, String, String, u8)>("read its columns", Some(self.stop), sql)?
        {
            all.entry(table).or_default().insert(name, There { ty, computed: computed == 1 });
        }
        Ok(all)
    }
}

/// What brings tables to what they are to be.
pub(super) struct Plan<'a> {
    pub settings: &'a ClickHouseSettings,
    /// The server, in messages.
    pub place: &'a str,
}

impl Plan<'_> {
    /// The statements for one table and its view.
    pub fn statements(&self, topic: &str, table: &Table, there: &Columns) -> Result<Vec<Statement>> {
        let change = match there.get(&table.name) {
            None => Some(Statement { doing: "make a table", sql: self.create(table) }),
            Some(known) => self.alter(table, known)?.map(|sql| Statement { doing: "change a table", sql }),
        };
        let view = Statement { doing: "make a view", sql: self.view(topic, table) };
        Ok(change.into_iter().chain([view]).collect())
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

    /// Columns that aren't ours stay as they are: somebody has put them there by hand.
    fn alter(&self, table: &Table, known: &BTreeMap<String, There>) -> Result<Option<String>> {
        let wanted = physical(table);
        let mut changes: Vec<String> = Vec::new();
        let is_ours = |name: &&String| known.get(*name).is_some_and(|there| !there.computed);
        for name in table.dropping.iter().filter(is_ours) {
            changes.push(format!("DROP COLUMN IF EXISTS {}", quoted_name(name)));
        }
        for (name, ty, default) in &wanted {
            match known.get(name) {
                None => changes.push(format!("ADD COLUMN IF NOT EXISTS {} {ty}{default}", quoted_name(name))),
                Some(There { computed: true, .. }) => return Err(self.taken(table, name)),
                Some(There { ty: theirs, .. }) if !same_type(theirs, ty) => {
                    if table.is_key(name) {
                        return Err(self.key_widened(table, name, theirs, ty));
                    }
                    if narrows(theirs, ty) {
                        return Err(self.narrowed(table, name, theirs, ty));
                    }
                    changes.push(format!("MODIFY COLUMN {} {ty}{default}", quoted_name(name)));
                }
                Some(_) => {}
            }
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let cluster = fill_in("@on_cluster@", self.settings);
        Ok(Some(format!(
            "ALTER TABLE {} {cluster} {} {IN_ITS_OWN_TIME}",
            quoted_name(&table.name),
            changes.join(", ")
        )))
    }

    fn refused(&self, table: &Table, problem: String, remedy: &str) -> ClickHouseError {
        let place = format!("{}, table {}", self.place, table.name);
        ClickHouseError::Stop { place, problem, remedy: remedy.to_owned() }
    }

    fn key_widened(&self, table: &Table, column: &str, theirs: &str, ours: &str) -> ClickHouseError {
        let problem = format!(
            "the key's column `{column}` is to become {ours}, and ClickHouse can't change that of {theirs}"
        );
        self.refused(table, problem, super::REMEDY_AGAIN)
    }

    fn taken(&self, table: &Table, column: &str) -> ClickHouseError {
        let problem =
            format!("the source has a column `{column}`, and one that was added by hand has its name");
        self.refused(table, problem, "drop that, or rename it")
    }

    /// Values that are there may not fit any more: only a document that is older than the server would ask for that.
    fn narrowed(&self, table: &Table, column: &str, theirs: &str, ours: &str) -> ClickHouseError {
        let problem =
            format!("the column `{column}` is {theirs} there, wider than the {ours} that was recorded");
        let remedy = "if it was changed by hand, change it back; else a newer process mirrors: end this one";
        self.refused(table, problem, remedy)
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

/// Whether values of the one type may not fit the other.
fn narrows(theirs: &str, ours: &str) -> bool {
    match (measure(theirs), measure(ours)) {
        (Some((family, whole, scale)), Some((other, whole_ours, scale_ours))) if family == other => {
            whole > whole_ours || scale > scale_ours
        }
        (_, ours) => bare(theirs) == "String" && ours.is_some(),
    }
}

/// A type without what stands around it.
fn bare(ty: &str) -> &str {
    let mut rest = ty;
    while let Some(inside) =
        ["Nullable(", "Array(", "LowCardinality("].iter().find_map(|head| rest.strip_prefix(head))
    {
        rest = inside.strip_suffix(')').unwrap_or(inside);
    }
    rest
}

/// Of a type whose sizes are ordered: its family, digits before and after the point.
fn measure(ty: &str) -> Option<(&'static str, u32, u32)> {
    let (name, rest) = bare(ty).split_once('(').unwrap_or((bare(ty), ""));
    let mut numbers = rest.trim_end_matches(')').split(',').map_while(|part| part.trim().parse::<u32>().ok());
    let mut next = || numbers.next().unwrap_or(0);
    Some(match name {
        "Int16" => ("number", 5, 0),
        "Int32" => ("number", 10, 0),
        "Int64" => ("number", 19, 0),
        "Decimal" => {
            let (precision, scale) = (next(), next());
            ("number", precision.saturating_sub(scale), scale)
        }
        "Float32" => ("float", 32, 0),
        "Float64" => ("float", 64, 0),
        "DateTime64" => ("time", 0, next()),
        "Time64" => ("clock", 0, next()),
        _ => return None,
    })
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

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test: what fails here fails the test
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// `id:Int64 a:Nullable(String) b=Nullable(String)`, `=` where the server works it out.
    fn there(text: &str) -> BTreeMap<String, There> {
        let column = |text: &str| {
            let (name, ty) = text.split_once([':', '=']).unwrap();
            (name.to_owned(), There { ty: ty.to_owned(), computed: text.contains('=') })
        };
        text.split(' ').map(column).collect()
    }

    /// `id:n a:text`: numbers and texts.
    fn table(text: &str, dropping: &str) -> Table {
        let column = |text: &str| {
            let (name, ty) = text.split_once(':').unwrap();
            let ty = if ty == "n" { ColumnType::Int32 } else { ColumnType::Text };
            TableColumn { name: name.to_owned(), stored: name.to_owned(), ty, since: 0, default: None }
        };
        let dropping: BTreeSet<String> = dropping.split_whitespace().map(str::to_owned).collect();
        let columns = text.split(' ').map(column).collect();
        let (key, gone) = (vec!["id".to_owned()], BTreeSet::new());
        Table { name: "things".to_owned(), key, columns, position: 9, gone, dropping }
    }

    /// What is done to a table that has `has`, or what speaks against it.
    fn check(has: &str, wanted: &str, dropping: &str, expected: std::result::Result<Option<&str>, &str>) {
        let settings = ClickHouseSettings::default();
        let plan = Plan { settings: &settings, place: "ch" };
        match (plan.alter(&table(wanted, dropping), &there(has)), expected) {
            (Ok(sql), Ok(expected)) => {
                let done = sql.map(|sql| {
                    let sql = sql.trim_start_matches("ALTER TABLE `things`").trim().to_owned();
                    sql.replace(IN_ITS_OWN_TIME, "").trim_end().to_owned()
                });
                assert_eq!(done.as_deref(), expected, "{has} -> {wanted}");
            }
            (Err(problem), Err(expected)) => assert!(problem.to_string().contains(expected), "{problem}"),
            (other, _) => panic!("{has} -> {wanted}: {other:?}"),
        }
    }

    #[test]
    fn columns_that_were_added_by_hand_stay() {
        let has = "id:Int64 a:Nullable(String) upper=String note:String __version:UInt128";
        check(has, "id:n a:text", "", Ok(None));
        check(has, "id:n a:text b:text", "", Ok(Some("ADD COLUMN IF NOT EXISTS `b` Nullable(String)")));
        check(has, "id:n", "a", Ok(Some("DROP COLUMN IF EXISTS `a`")));
        check(has, "id:n", "a upper", Ok(Some("DROP COLUMN IF EXISTS `a`")));
        check(has, "id:n a:text upper:text", "", Err("added by hand has its name"));
    }

    #[test]
    fn no_column_becomes_narrower_than_the_server_has_it() {
        check("id:Int64 a:Nullable(Int16)", "id:n a:n", "", Ok(Some("MODIFY COLUMN `a` Nullable(Int32)")));
        for wider in ["Nullable(Int64)", "Nullable(Decimal(12,2))", "Nullable(String)"] {
            check(&format!("id:Int64 a:{wider}"), "id:n a:n", "", Err("wider than"));
        }
        check(
            "id:Int64 a:Nullable(Int64)",
            "id:n a:text",
            "",
            Ok(Some("MODIFY COLUMN `a` Nullable(String)")),
        );
        check("id:String a:Nullable(String)", "id:n a:text", "", Err("ClickHouse can't change"));
        assert!(narrows("Nullable(DateTime64(6, 'UTC'))", "Nullable(DateTime64(3, 'UTC'))"));
        assert!(!narrows("Nullable(Decimal(10, 2))", "Nullable(Decimal(14, 2))"));
        assert!(narrows("Nullable(Decimal(10, 2))", "Nullable(Int32)"));
    }
}
