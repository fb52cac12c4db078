//! What can go wrong with ClickHouse. Every message names the place and the remedy.

/// A failure of ClickHouse, or of the loader's own stores.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    #[error("clickhouse.{name} {remedy}")]
    Setting { name: &'static str, remedy: &'static str },
    #[error("{file}: the password can't be read: {source}; check clickhouse.password_file")]
    Password { file: String, source: std::io::Error },
    /// The same may succeed later.
    #[error("{place}: {doing}: {source}; check that it is up and lets this user in")]
    Request { place: String, doing: &'static str, source: clickhouse::error::Error },
    #[error(
        "{place}: {doing}: no answer within {timeout_ms} ms; check its load, or raise clickhouse.timeout_ms"
    )]
    TimedOut { place: String, doing: &'static str, timeout_ms: u64 },
    #[error(
        "{place}: migration {number} ({name}) is not the one that was applied there; run the version of Tombola that applied it, or a newer one"
    )]
    OtherMigration { place: String, number: u32, name: String },
    #[error(
        "{place} was brought up by a newer version of Tombola (migration {theirs}, this program knows {ours}); run that version"
    )]
    NewerMigration { place: String, ours: u32, theirs: u32 },
    /// An operator is needed: going on would double or lose facts.
    #[error("{place}: {problem}; {remedy}")]
    Stop { place: String, problem: String, remedy: String },
}

pub(super) type Result<T> = std::result::Result<T, ClickHouseError>;
