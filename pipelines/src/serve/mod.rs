//! The API in front of a pipeline's stores: what the crate `api` asks for as traits, done with [`Stores`].
//!
//! ```text
//!   tombola demo, tombola run --api   pipeline and API in one process, the frontier told as it moves
//!   tombola api                       the API alone: the frontier is looked at in the tables
//! ```

mod changes;
mod facts;
mod follower;
mod images;
mod letters;
mod pulse;
mod settings;
mod tables;

pub use follower::Beside;
pub use pulse::Pulse;
pub use settings::settings;

use crate::commands::Failure;
use crate::retry::{self, Outcome, RecordId};
use crate::stores::{Append, StoreError, Stores};
use crate::traces::Exporter;
use api::backend::{self, Backend, Failed, Follow, History, NewRecord, Place, Retried};
use api::{ApiError, ApiSettings, Server};
use runtime::Epoch;
use runtime::patience::MayPass as _;
use runtime::trace::Tracer;
use schemas::SchemaIds;
use schemas::rows::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Topics of facts that are followed, where the pipeline tells them.
const FOLLOWED: [&str; 5] = ["facts.orders", "facts.stock", "facts.fraud", "facts.draws", "dead-letters"];
/// Bindings looked through at once.
const BINDINGS: u64 = 5_000;

/// The stores as the API sees them.
struct Behind {
    stores: Stores,
    topics: Vec<&'static str>,
    beside: Option<Beside>,
    metrics: PathBuf,
}

/// Serves the API in front of these stores.
///
/// # Errors
/// See [`ApiError`].
pub fn start(
    address: SocketAddr,
    settings: ApiSettings,
    stores: &Stores,
    beside: Option<Beside>,
) -> Result<Server, ApiError> {
    let told = stores.told_topics();
    let topics = FOLLOWED.into_iter().filter(|topic| told.contains(topic)).collect();
    let metrics = stores.state_dir().join(crate::metrics::FILE);
    let behind = Behind { stores: stores.clone(), topics, beside, metrics };
    Server::start(address, settings, Arc::new(behind))
}

/// A store's failure as the API tells it.
fn failed(error: StoreError) -> Failed {
    use sinks::embedded::EmbeddedError as Tables;
    use sinks::postgres::PostgresError;
    match &error {
        StoreError::Tables(Tables::Refused { .. }) | StoreError::Postgres(PostgresError::Refused { .. }) => {
            Failed::Refused("the question can't be answered".to_owned())
        }
        StoreError::Tables(Tables::TooLong { .. }) | StoreError::Postgres(PostgresError::TooLong { .. }) => {
            Failed::TooLong(error.to_string())
        }
        _ => {
            if !error.may_pass() {
                tracing::debug!(%error, "a store can't be used by the API");
            }
            Failed::Away(error.to_string())
        }
    }
}

struct Appending(Box<dyn Append>);

impl backend::Append for Appending {
    fn append(&mut self, records: &[NewRecord]) -> Result<Vec<Place>, Failed> {
        let timestamp_ms = crate::clock_ms();
        let mut topics: Vec<(&str, Vec<connectors::embedded::NewRecord>)> = Vec::new();
        // Where each record went: the number of its topic, and its own within it.
        let mut at = Vec::with_capacity(records.len());
        for record in records {
            let number = topics.iter().position(|(topic, _)| *topic == record.topic).unwrap_or_else(|| {
                topics.push((record.topic, Vec::new()));
                topics.len() - 1
            });
            at.push((number, topics[number].1.len()));
            topics[number].1.push(connectors::embedded::NewRecord {
                partition: None,
                key: record.key.clone(),
                value: Some(record.value.clone()),
                timestamp_ms,
                headers: record.headers.clone(),
            });
        }
        let slices: Vec<(&str, &[connectors::embedded::NewRecord])> =
            topics.iter().map(|(topic, records)| (*topic, records.as_slice())).collect();
        let placed = self.0.append_many(&slices).map_err(failed)?;
        let place = |(record, (topic, own)): (&NewRecord, (usize, usize))| {
            let (partition, offset) = placed[topic][own];
            Place { topic: record.topic, partition, offset }
        };
        Ok(records.iter().zip(at).map(place).collect())
    }
}

impl Backend for Behind {
    fn ids(&self) -> Result<SchemaIds, Failed> {
        self.stores.prepare().map_err(failed)
    }

    fn appender(&self) -> Result<Box<dyn backend::Append>, Failed> {
        Ok(Box::new(Appending(self.stores.appender().map_err(failed)?)))
    }

    fn tables(&self) -> Result<Box<dyn backend::Tables>, Failed> {
        Ok(Box::new(tables::Reading::new(&self.stores)?))
    }

    fn follow(&self) -> Result<Box<dyn Follow>, Failed> {
        Ok(Box::new(follower::Follower::open(&self.stores, &self.topics, self.beside.clone())?))
    }

    fn history(&self) -> Result<Box<dyn History>, Failed> {
        Ok(Box::new(facts::Facts::open(&self.stores, &self.topics)?))
    }

    fn images(&self) -> Result<Box<dyn backend::Images>, Failed> {
        Ok(Box::new(images::Finding::open(&self.stores)?))
    }

    fn partitions(&self) -> Result<BTreeMap<String, u32>, Failed> {
        let mut topics = self.stores.log().and_then(|mut log| log.topics()).map_err(failed)?;
        topics.retain(|info| self.stores.pipeline().topics().contains(&info.topic.as_str()));
        Ok(topics.into_iter().map(|info| (info.topic, info.ends.len() as u32)).collect())
    }

    fn decided_end(&self, topic: &str, partition: u32) -> Result<u64, Failed> {
        let number = self.stores.pipeline().topics().iter().position(|name| *name == topic);
        let number = number.ok_or_else(|| Failed::Refused(format!("{topic} is no input here")))?;
        let mut tables = self.stores.tables().map_err(failed)?;
        let mut bindings = self.stores.recorded_bindings().map_err(failed)?;
        let mut before = tables.progress().map_err(failed)?.decided.0;
        // Backwards: what moved last names its end, and a partition in use moved a moment ago.
        while before > 0 {
            let after = before.saturating_sub(BINDINGS);
            let rows = bindings.read(Epoch(after), (before - after) as usize);
            let rows = rows.map_err(|error| Failed::Away(error.to_string()))?;
            let ends = rows.iter().flat_map(|row| &row.ends);
            let of_it = ends.filter(|end| {
                usize::from(end.partition.topic.0) == number && end.partition.partition == partition
            });
            if let Some(end) = of_it.map(|end| end.end.0).max() {
                return Ok(end);
            }
            before = after;
        }
        Ok(0)
    }

    fn retry(&self, ids: &[String]) -> Result<Vec<Retried>, Failed> {
        let ids = ids.iter().map(|id| RecordId::parse(id)).collect::<Result<Vec<_>, _>>().map_err(refused)?;
        self.check_dead(&ids)?;
        let outcomes = retry::retry(&self.stores, &ids).map_err(refused)?;
        let retried = |(id, outcome): (&RecordId, Outcome)| match outcome {
            Outcome::Appended { offset } => {
                Retried { id: id.to_string(), outcome: "appended", offset: Some(offset) }
            }
            Outcome::Already => Retried { id: id.to_string(), outcome: "already", offset: None },
        };
        Ok(ids.iter().zip(outcomes).map(retried).collect())
    }

    fn metrics(&self) -> String {
        // A pipeline that has not run yet has written none.
        std::fs::read_to_string(&self.metrics).unwrap_or_default()
    }

    fn tracer(&self) -> Result<Option<Arc<dyn Tracer>>, Failed> {
        let settings = self.stores.tracing();
        let exporter = Exporter::start(settings, format!("{}-api", settings.service));
        let exporter = exporter.map_err(|error| Failed::Refused(error.to_string()))?;
        Ok(exporter.map(|exporter| exporter as Arc<dyn Tracer>))
    }

    fn takes_reference(&self) -> bool {
        self.stores.log_is_embedded()
    }

    fn changes(&self) -> Result<Box<dyn backend::Change>, Failed> {
        Ok(Box::new(changes::Changing::open(&self.stores)?))
    }
}

impl Behind {
    /// Only what is a dead letter may be sent in again.
    fn check_dead(&self, ids: &[RecordId]) -> Result<(), Failed> {
        let quoted: Vec<String> = ids.iter().map(|id| tables::quoted(&id.to_string())).collect();
        let sql = format!("SELECT id FROM dead_letters WHERE id IN ({})", quoted.join(", "));
        let mut tables = self.stores.tables().map_err(failed)?;
        let found = tables.query(&sql, ids.len(), 10_000).map_err(failed)?;
        let known = |id: &RecordId| found.rows.iter().any(|row| row[0] == Value::Text(id.to_string().into()));
        match ids.iter().find(|id| !known(id)) {
            Some(stranger) => Err(Failed::Refused(format!("{stranger} is no dead letter"))),
            None => Ok(()),
        }
    }
}

fn refused(failure: Failure) -> Failed {
    match failure {
        Failure::Usage(problem) => Failed::Refused(problem),
        other => Failed::Away(other.to_string()),
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Auth(_) | ApiError::Bind { .. } | ApiError::OpenToAll(_) => {
                Failure::Usage(error.to_string())
            }
            ApiError::Thread(_) | ApiError::Stores(_) => Failure::Runtime(error.to_string()),
        }
    }
}
