//! Two data directories side by side: what a replay gives, and what was committed.
//!
//! A pipeline may go on committing while they are compared: rows that it has written after `through` are left
//! out, on both sides.

use super::db::Db;
use super::error::{EmbeddedError, Result};
use crate::answers::RowDifference;
use runtime::Epoch;
use rusqlite::{Row, params};
use schemas::rows::TableSpec;
use schemas::tables::ALL_TABLES;
use std::path::Path;

/// The first difference of each table, by epoch; none where they agree. `whole`: the replay began with the
/// log, so that it must have every row; else only its rows are compared.
///
/// # Errors
/// Where one of the two can't be read.
pub fn compare(replayed: &Path, committed: &Path, through: Epoch, whole: bool) -> Result<Vec<RowDifference>> {
    let db = Db::open(replayed)?;
    let other = committed.join("tombola.db").display().to_string();
    let run = || -> rusqlite::Result<Vec<RowDifference>> {
        db.conn.execute("ATTACH ?1 AS committed", [format!("file:{other}?mode=ro")])?;
        let mut found = Vec::new();
        for table in ALL_TABLES {
            found.extend(first(&db, &replayed_sql(table), table, through)?);
            if whole {
                found.extend(first(&db, &missing_sql(table), table, through)?);
            }
        }
        found.sort_by_key(|difference| difference.epoch);
        Ok(found)
    };
    run().map_err(|e| db.failed("compare with what was committed", e))
}

fn names(table: &TableSpec) -> impl Iterator<Item = &'static str> + Clone {
    table.columns.iter().map(|column| column.name).chain(["epoch"])
}

fn key_names(table: &TableSpec) -> impl Iterator<Item = &'static str> + Clone {
    names(table).take(table.key)
}

fn join(parts: impl Iterator<Item = String>, with: &str) -> String {
    parts.collect::<Vec<_>>().join(with)
}

/// `column=value` of every column of `side`, or NULL where the row isn't there.
fn shown(table: &TableSpec, side: &str) -> String {
    let parts = names(table).map(|name| format!("'{name}=' || quote({side}.{name})"));
    let first = key_names(table).next().expect("every table has a key");
    format!("CASE WHEN {side}.{first} IS NULL THEN NULL ELSE {} END", join(parts, " || ' ' || "))
}

fn select(table: &TableSpec, key_side: &str) -> String {
    let key = join(key_names(table).map(|name| format!("{key_side}.{name}")), " || '/' || ");
    format!("SELECT {key}, {key_side}.epoch, {}, {}", shown(table, "c"), shown(table, "r"))
}

fn on(table: &TableSpec) -> String {
    join(key_names(table).map(|name| format!("c.{name} = r.{name}")), " AND ")
}

/// Rows of the replay that are missing or other on the committed side.
fn replayed_sql(table: &TableSpec) -> String {
    let (name, select, on) = (table.name, select(table, "r"), on(table));
    let first = key_names(table).next().expect("every table has a key");
    let differ = join(names(table).map(|name| format!("c.{name} IS NOT r.{name}")), " OR ");
    format!(
        "{select} FROM main.{name} r LEFT JOIN committed.{name} c ON {on} \
         WHERE c.{first} IS NULL OR (c.epoch <= ?1 AND ({differ})) ORDER BY r.epoch LIMIT 1"
    )
}

/// Committed rows that the replay doesn't have.
fn missing_sql(table: &TableSpec) -> String {
    let (name, select, on) = (table.name, select(table, "c"), on(table));
    let first = key_names(table).next().expect("every table has a key");
    format!(
        "{select} FROM committed.{name} c LEFT JOIN main.{name} r ON {on} \
         WHERE c.epoch <= ?1 AND r.{first} IS NULL ORDER BY c.epoch LIMIT 1"
    )
}

fn first(db: &Db, sql: &str, table: &TableSpec, through: Epoch) -> rusqlite::Result<Option<RowDifference>> {
    let name = table.name;
    let read = |row: &Row<'_>| {
        Ok(RowDifference {
            table: name,
            key: row.get(0)?,
            epoch: Epoch(row.get::<_, i64>(1)? as u64),
            committed: row.get(2)?,
            replayed: row.get(3)?,
        })
    };
    let mut found = db.conn.prepare(sql)?;
    let mut rows = found.query_map(params![through.0 as i64], read)?;
    rows.next().transpose()
}

/// Where a replay that doesn't begin with the log takes its running digest up.
///
/// # Errors
/// See [`EmbeddedError`].
pub fn seed_digest(
    dir: &Path,
    through: Epoch,
    digest: runtime::digest::Digest,
) -> std::result::Result<(), EmbeddedError> {
    let db = Db::open(dir)?;
    let insert = "INSERT INTO epoch_digests (epoch, digest) VALUES (?1, ?2)";
    db.conn
        .execute(insert, params![through.0 as i64, digest])
        .map(drop)
        .map_err(|e| db.failed("seed a digest", e))
}
