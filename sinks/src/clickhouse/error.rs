//! What can go wrong with ClickHouse. Every message names the place and the remedy.

use crate::tls::{Refusal, TlsError, refusal};

/// A failure of ClickHouse, or of the loader's own stores.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    #[error("clickhouse.{name} {remedy}")]
    Setting { name: &'static str, remedy: &'static str },
    #[error("{file}: the password can't be read: {source}; check clickhouse.password_file")]
    Password { file: String, source: std::io::Error },
    #[error("clickhouse: {source}")]
    Tls { source: TlsError },
    /// Whoever answers isn't who was asked for, or can't be told; the same may succeed once that is mended.
    #[error("{place}: {doing}: {problem}; {remedy}")]
    Refusal { place: String, doing: &'static str, problem: String, remedy: String },
    /// The same may succeed later.
    #[error(
        "{place}: {doing}: {source}; check that it is up and lets this user in, and that clickhouse.url begins with https:// where it speaks TLS"
    )]
    Request { place: String, doing: &'static str, source: clickhouse::error::Error },
    #[error("{place}: {doing}: no answer within {timeout_ms} ms; check its load, and the network between")]
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

impl ClickHouseError {
    /// A request that failed, whoever refused it.
    pub(super) fn of_request(place: String, doing: &'static str, source: clickhouse::error::Error) -> Self {
        match refusal(&source) {
            Some(Refusal { problem, cure }) => {
                let problem = format!("TLS with the server failed: {problem}");
                ClickHouseError::Refusal { place, doing, problem, remedy: cure.remedy("clickhouse") }
            }
            None => ClickHouseError::Request { place, doing, source },
        }
    }

    /// Whether the same may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        use ClickHouseError::{Refusal, Request, TimedOut};
        matches!(self, Request { .. } | TimedOut { .. } | Refusal { .. })
    }
}

pub(super) type Result<T> = std::result::Result<T, ClickHouseError>;
