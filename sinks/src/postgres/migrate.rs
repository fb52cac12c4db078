//! Migrations: numbered files, each applied once, all that are pending in one transaction.
//!
//! ```text
//!   migrations/serving/0001_serving.sql ─┐                      ┌─ schema of the pipeline
//!   migrations/oltp/0001_reference.sql  ─┴─ BEGIN · lock · ... ─┴─ schema `public`
//!   migrations/roles/*.sql ─── an administrator, as often as one likes
//! ```
//!
//! Invariants: what is applied is recorded in the same transaction with the file's SHA-256, and a file that
//! was changed afterwards is refused; two that migrate at once take turns. A crash applies nothing.
//!
//! Our own hundred lines and not a library: none of those looked at puts its table and its lock into one schema
//! of several, and with these files there is nothing else to do.

use super::error::{PostgresError, Result};
use super::session::Session;
use super::settings::PostgresSettings;
use crate::digest::hex;
use crate::migration::Migration;
use sha2::{Digest, Sha256};

/// What is migrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationSet {
    /// A pipeline's own tables and the serving tables, in the settings' schema.
    Serving,
    /// The reference tables the jobs follow, the outbox and what Debezium needs, in the schema `public`.
    Oltp,
}

const fn file(number: u32, name: &'static str, sql: &'static str) -> Migration {
    Migration { number, name, sql, applied: false }
}

/// In order, numbered from 1. A file that was released is never changed: the next one changes what it made.
const SERVING: &[Migration] = &[
    file(1, "serving", include_str!("../../migrations/serving/0001_serving.sql")),
    file(2, "draws", include_str!("../../migrations/serving/0002_draws.sql")),
    file(3, "publishing", include_str!("../../migrations/serving/0003_publishing.sql")),
    file(4, "mirror", include_str!("../../migrations/serving/0004_mirror.sql")),
];
const OLTP: &[Migration] = &[
    file(1, "reference", include_str!("../../migrations/oltp/0001_reference.sql")),
    file(2, "draws", include_str!("../../migrations/oltp/0002_draws.sql")),
    file(3, "boxes_and_trips", include_str!("../../migrations/oltp/0003_boxes_and_trips.sql")),
];
const SERVING_ROLES: &str = include_str!("../../migrations/roles/serving.sql");
const OLTP_ROLES: &str = include_str!("../../migrations/roles/oltp.sql");

const LEDGER: &str = "CREATE TABLE IF NOT EXISTS tombola_migrations (
    family     text NOT NULL,
    number     integer NOT NULL,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (family, number)
)";

impl MigrationSet {
    fn files(self) -> &'static [Migration] {
        match self {
            MigrationSet::Serving => SERVING,
            MigrationSet::Oltp => OLTP,
        }
    }

    fn family(self) -> &'static str {
        match self {
            MigrationSet::Serving => "serving",
            MigrationSet::Oltp => "oltp",
        }
    }

    fn roles(self) -> &'static str {
        match self {
            MigrationSet::Serving => SERVING_ROLES,
            MigrationSet::Oltp => OLTP_ROLES,
        }
    }

    fn open(self, settings: &PostgresSettings) -> Result<Session> {
        let mut settings = settings.clone();
        if self == MigrationSet::Oltp {
            settings.schema = "public".to_owned();
        }
        Session::open(&settings, "migrate")
    }
}

/// Every file, and whether it is applied. Changes nothing.
///
/// # Errors
/// See [`PostgresError`].
pub fn plan(settings: &PostgresSettings, set: MigrationSet) -> Result<Vec<Migration>> {
    let session = set.open(settings)?;
    let exists = "SELECT to_regclass('tombola_migrations') IS NOT NULL";
    let exists = session.row("look for migrations", exists, &[])?;
    let applied = if exists.get(0) { applied(&session, set)? } else { 0 };
    Ok(set.files().iter().map(|file| Migration { applied: file.number <= applied, ..*file }).collect())
}

/// Applies what is pending and says what that was. To be run as the owner of the schema, which is made where
/// there is none.
///
/// # Errors
/// See [`PostgresError`]. Nothing is applied then.
pub fn migrate(settings: &PostgresSettings, set: MigrationSet) -> Result<Vec<Migration>> {
    let session = set.open(settings)?;
    begin(&session)?;
    let schema = "SELECT current_schema() IS NULL";
    let missing = session.row("look for the schema", schema, &[])?;
    if missing.get(0) {
        session.run("create the schema", &format!("CREATE SCHEMA \"{}\"", settings.schema))?;
    }
    session.run("record migrations", LEDGER)?;
    let applied = applied(&session, set)?;
    let pending = set.files().iter().filter(|file| file.number > applied);
    let pending: Vec<Migration> = pending.map(|file| Migration { applied: true, ..*file }).collect();
    for file in &pending {
        session.run("migrate", file.sql)?;
        let record = "INSERT INTO tombola_migrations (family, number, name, sha256) VALUES ($1, $2, $3, $4)";
        let (family, number, sha256) = (set.family(), file.number as i32, sha256(file.sql));
        session.execute("record a migration", record, &[&family, &number, &file.name, &sha256])?;
    }
    session.run("migrate", "COMMIT")?;
    Ok(pending)
}

/// The administrator's step: makes the roles where they are missing and grants each what it needs, no more.
///
/// # Errors
/// See [`PostgresError`]. Nothing is granted then.
pub fn grant_roles(settings: &PostgresSettings, set: MigrationSet) -> Result<()> {
    let session = set.open(settings)?;
    begin(&session)?;
    check_migrated(&session, set)?;
    session.run("grant roles", set.roles())?;
    session.run("grant roles", "COMMIT")
}

/// One migrates at a time in a database.
fn begin(session: &Session) -> Result<()> {
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('tombola migrate', 0))";
    session.run("take the lock of migrations", lock)
}

fn sha256(sql: &str) -> String {
    hex(&Sha256::digest(sql))
}

/// The number of the last file applied. Every applied one must be as it was then.
fn applied(session: &Session, set: MigrationSet) -> Result<u32> {
    let read = "SELECT number, sha256 FROM tombola_migrations WHERE family = $1 ORDER BY number";
    let rows = session.rows("read migrations", read, &[&set.family()])?;
    let place = || session.place.clone();
    for (at, row) in rows.iter().enumerate() {
        let (number, then): (i32, String) = (row.get(0), row.get(1));
        let Some(file) = set.files().get(at) else {
            let problem = format!("it is migrated up to {number}, this program knows {at} migrations");
            return Err(PostgresError::Newer { place: place(), problem });
        };
        if number as u32 != file.number || then != sha256(file.sql) {
            let problem = format!("migration {number} was applied from another file than {}", file.name);
            return Err(PostgresError::Newer { place: place(), problem });
        }
    }
    Ok(rows.len() as u32)
}

/// Fails unless every migration this program has is applied, and no other.
pub(crate) fn check_migrated(session: &Session, set: MigrationSet) -> Result<()> {
    let (applied, known) = (applied(session, set)? as usize, set.files().len());
    if applied == known {
        return Ok(());
    }
    let problem = format!("{applied} of {known} migrations are applied");
    Err(PostgresError::NotMigrated { place: session.place.clone(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_numbered_one_after_the_other() {
        for set in [MigrationSet::Serving, MigrationSet::Oltp] {
            let numbers: Vec<u32> = set.files().iter().map(|file| file.number).collect();
            assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_file_ends_its_own_transaction() {
        let ends = |line: &str| {
            ["BEGIN;", "COMMIT", "ROLLBACK"].iter().any(|word| line.trim_start().starts_with(word))
        };
        for sql in SERVING.iter().chain(OLTP).map(|file| file.sql).chain([SERVING_ROLES, OLTP_ROLES]) {
            assert!(!sql.lines().any(ends), "{sql}");
        }
    }
}
