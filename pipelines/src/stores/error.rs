//! A store that can't be used, and which exit code that is.

use crate::commands::Failure;
use runtime::bindings::BindingError;
use runtime::patience::MayPass;
use runtime::sink::SinkError;
use runtime::snapshot::SnapshotError;
use std::path::PathBuf;

/// Why a store can't be used. Its message names the place and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Log(#[from] connectors::embedded::EmbeddedError),
    #[error(transparent)]
    Tables(#[from] sinks::embedded::EmbeddedError),
    #[error(transparent)]
    Kafka(#[from] connectors::kafka::KafkaError),
    #[error(transparent)]
    Postgres(#[from] sinks::postgres::PostgresError),
    #[error(transparent)]
    ClickHouse(#[from] sinks::clickhouse::ClickHouseError),
    #[error("a thread can't be started: {0}; raise the limit of threads")]
    NoThread(#[source] std::io::Error),
    #[error("{setting}: {}: {problem}; name a file that this user may read", path.display())]
    Secret { setting: String, path: PathBuf, problem: std::io::Error },
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    #[error(transparent)]
    Images(#[from] sinks::images::ImageError),
    #[error(transparent)]
    Bindings(#[from] BindingError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("{0}")]
    MirrorDocument(String),
    #[error("{}: {problem}; check that the data directory may be written", path.display())]
    Locked { path: PathBuf, problem: std::io::Error },
    #[error("{} holds no {file}: {remedy}, or name another --data-dir or other --jobs", dir.display())]
    Nothing { dir: PathBuf, file: &'static str, remedy: &'static str },
}

impl MayPass for StoreError {
    fn may_pass(&self) -> bool {
        match self {
            StoreError::Kafka(error) => error.may_pass(),
            StoreError::Postgres(error) => error.is_passing(),
            StoreError::Bindings(error) => error.may_pass(),
            StoreError::Sink(error) => error.may_pass(),
            _ => false,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Log(error) => error.into(),
            StoreError::Tables(error) => error.into(),
            StoreError::Nothing { .. } | StoreError::Images(_) | StoreError::Secret { .. } => {
                Failure::Usage(error.to_string())
            }
            other => Failure::Runtime(other.to_string()),
        }
    }
}
