//! Brings a ClickHouse database up to date, from the SQL files in `sinks/clickhouse/`.
//!
//! ClickHouse has no transaction over statements: every statement can be run again, a file is noted as applied
//! after its last one, and a crash in between runs the whole file once more. A file never changes once it has
//! been released: its digest is noted with it.

use super::client::{Client, quoted};
use super::error::{ClickHouseError, Result};
use super::settings::ClickHouseSettings;
use crate::migration::Migration;
use sha2::{Digest, Sha256};

const FILES: &[(u32, &str, &str)] = &[
    (1, "facts", include_str!("../../clickhouse/0001_facts.sql")),
    (2, "views", include_str!("../../clickhouse/0002_views.sql")),
    (3, "aggregates", include_str!("../../clickhouse/0003_aggregates.sql")),
    (4, "draws", include_str!("../../clickhouse/0004_draws.sql")),
];

const MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS migrations @on_cluster@ (
  number     UInt32,
  name       String,
  sha256     String,
  applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = @MergeTree@
ORDER BY number";

/// Once per query, whatever the number of views in it: the same text is evaluated once.
const FRONTIER: &str = "(SELECT mapFromArrays(groupArray(topic), groupArray(epoch)) FROM published)";

/// What there is to apply. Changes nothing.
///
/// # Errors
/// Where the server can't be asked, or was brought up by another version.
pub fn plan(settings: &ClickHouseSettings) -> Result<Vec<Migration>> {
    let client = Client::new(settings)?;
    applied(&client, settings).and_then(|applied| compare(&client.place, &applied))
}

/// Makes the database where it is missing and applies what it lacks: returns what it applied.
///
/// # Errors
/// As [`plan`]. What was applied stays; run it again.
pub fn migrate(settings: &ClickHouseSettings) -> Result<Vec<Migration>> {
    create_database(settings)?;
    let client = Client::new(settings)?;
    client.run("note migrations", None, &fill_in(MIGRATIONS, settings))?;
    let due = compare(&client.place, &applied(&client, settings)?)?;
    let due: Vec<Migration> = due.into_iter().filter(|migration| !migration.applied).collect();
    for migration in &due {
        for statement in rendered(migration.sql, settings) {
            client.run("apply a migration", None, &statement)?;
        }
        let Migration { number, name, sql, .. } = migration;
        let note = format!(
            "INSERT INTO migrations (number, name, sha256) SETTINGS async_insert = 0 VALUES ({number}, {}, '{}')",
            quoted(name),
            digest(sql)
        );
        client.run("note a migration", None, &note)?;
    }
    Ok(due)
}

/// Makes the database where it is missing.
///
/// # Errors
/// As [`plan`].
pub fn create_database(settings: &ClickHouseSettings) -> Result<()> {
    let client = Client::new(settings)?;
    let database = &settings.database;
    let create = fill_in(&format!("CREATE DATABASE IF NOT EXISTS {database} @on_cluster@"), settings);
    let nowhere = client.http.clone().with_database("default");
    client.wait("create the database", None, nowhere.query_raw(&create).execute())
}

/// Whether the database is up to date: what a loader needs to know.
pub(super) fn is_current(client: &Client, settings: &ClickHouseSettings) -> Result<bool> {
    let migrations = compare(&client.place, &applied(client, settings)?)?;
    Ok(migrations.iter().all(|migration| migration.applied))
}

/// Number and digest of what the server has; nothing where there is no database yet.
fn applied(client: &Client, settings: &ClickHouseSettings) -> Result<Vec<(u32, String)>> {
    let exists = format!(
        "SELECT count() FROM system.tables WHERE database = '{}' AND name = 'migrations'",
        settings.database
    );
    let nowhere = client.http.clone().with_database("default");
    let exists = client.wait("read its migrations", None, nowhere.query_raw(&exists).fetch_one::<u64>())?;
    if exists == 0 {
        return Ok(Vec::new());
    }
    client.rows("read its migrations", None, "SELECT DISTINCT number, sha256 FROM migrations ORDER BY number")
}

fn compare(place: &str, applied: &[(u32, String)]) -> Result<Vec<Migration>> {
    let (ours, theirs) = (FILES.len() as u32, applied.last().map_or(0, |(number, _)| *number));
    if theirs > ours {
        return Err(ClickHouseError::NewerMigration { place: place.to_owned(), ours, theirs });
    }
    let look = |&(number, name, sql): &(u32, &'static str, &'static str)| {
        let same = applied.iter().filter(|(n, _)| *n == number).map(|(_, sha)| *sha == digest(sql));
        match same.collect::<Vec<_>>().as_slice() {
            [] => Ok(Migration { number, name, sql, applied: false }),
            all if all.iter().all(|same| *same) => Ok(Migration { number, name, sql, applied: true }),
            _ => Err(ClickHouseError::OtherMigration {
                place: place.to_owned(),
                number,
                name: name.to_owned(),
            }),
        }
    };
    FILES.iter().map(look).collect()
}

fn digest(sql: &str) -> String {
    Sha256::digest(sql).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The statements of a file, filled in for these settings.
pub fn rendered(sql: &str, settings: &ClickHouseSettings) -> Vec<String> {
    let statements = sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty());
    statements.map(|statement| fill_in(statement, settings)).collect()
}

/// Fills in engines, cluster, settings and the frontier.
pub(super) fn fill_in(sql: &str, settings: &ClickHouseSettings) -> String {
    let mut parts = sql.split('@');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    while let Some(name) = parts.next() {
        filled += &value(name, settings);
        filled +=
            parts.next().expect("an at sign in a migration is one of a pair; a test fills all of them in");
    }
    filled
}

fn value(name: &str, settings: &ClickHouseSettings) -> String {
    let cluster = settings.cluster.as_deref();
    match (name, cluster) {
        ("on_cluster", None) => String::new(),
        ("on_cluster", Some(cluster)) => format!("ON CLUSTER '{cluster}'"),
        ("frontier", _) => FRONTIER.to_owned(),
        ("settings", None) => {
            "non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1"
                .to_owned()
        }
        ("settings", Some(_)) => "replicated_deduplication_window = 10000, \
             replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1"
            .to_owned(),
        (engine, None) => engine.to_owned(),
        (engine, Some(_)) => replicated(engine),
    }
}

/// `ReplacingMergeTree(epoch)` as its replicated kind: place and replica come before its own arguments.
fn replicated(engine: &str) -> String {
    let (kind, arguments) = engine.split_once('(').unwrap_or((engine, ")"));
    let place = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'";
    let comma = if arguments == ")" { "" } else { ", " };
    format!("Replicated{kind}({place}{comma}{arguments}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(cluster: Option<&str>) -> String {
        let cluster = cluster.map(str::to_owned);
        let settings = ClickHouseSettings { cluster, ..ClickHouseSettings::default() };
        FILES.iter().flat_map(|(_, _, sql)| rendered(sql, &settings)).collect::<Vec<_>>().join("\n\n")
    }

    #[test]
    fn every_name_is_filled_in_for_a_single_server_and_for_a_cluster() {
        let (single, cluster) = (all(None), all(Some("main")));
        assert!(!single.contains('@') && !cluster.contains('@'));
        assert!(single.contains("ENGINE = ReplacingMergeTree(epoch)") && !single.contains("CLUSTER"));
        assert!(cluster.contains("'{replica}', epoch)") && !cluster.contains("ENGINE = MergeTree"));
        assert_eq!(cluster.matches("CREATE ").count(), cluster.matches("ON CLUSTER 'main'").count());
    }

    #[test]
    fn every_table_that_is_inserted_into_again_remembers_tokens() {
        let statements: Vec<String> = all(None).split("\n\n").map(str::to_owned).collect();
        let tables = statements.iter().filter(|s| s.contains("PARTITION BY"));
        assert_eq!(tables.clone().count(), 15, "10 tables of facts and 5 aggregates");
        assert!(tables.into_iter().all(|s| s.contains("non_replicated_deduplication_window = 10000")));
    }

    #[test]
    fn a_file_that_was_applied_in_another_version_is_refused() {
        let place = "ClickHouse";
        let other = compare(place, &[(1, "00".to_owned())]).unwrap_err().to_string();
        assert!(other.contains("migration 1 (facts) is not the one that was applied there"), "{other}");
        let newer = compare(place, &[(99, "00".to_owned())]).unwrap_err().to_string();
        assert!(newer.contains("migration 99, this program knows 4"), "{newer}");
    }
}
