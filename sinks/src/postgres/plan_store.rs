//! [`PlanStore`] of a schema in Postgres: plans, the two frontiers, each on a connection of its own.

use super::error::Result;
use super::plans::PostgresPlans;
use super::published::PostgresPublished;
use super::settings::PostgresSettings;
use crate::clickhouse::{Batch, PlanState, PlanStore};
use runtime::sink::SinkError;
use runtime::{Epoch, Generation};

const NAME: &str = "loader";

/// What a loader into ClickHouse records in Postgres.
pub struct PostgresPlanStore {
    plans: PostgresPlans,
    published: PostgresPublished,
}

impl PostgresPlanStore {
    /// Opens the plans of a schema for one generation of the pipeline.
    ///
    /// # Errors
    /// See [`super::PostgresError`].
    pub fn open(settings: &PostgresSettings, generation: Generation) -> Result<Self> {
        Ok(PostgresPlanStore {
            plans: PostgresPlans::open(settings, generation)?,
            published: PostgresPublished::open(settings, generation)?,
        })
    }
}

impl PlanStore for PostgresPlanStore {
    fn decided(&mut self) -> std::result::Result<Epoch, SinkError> {
        self.published.decided()
    }

    fn published(&mut self) -> std::result::Result<Epoch, SinkError> {
        self.published.published()
    }

    fn state(&mut self) -> std::result::Result<PlanState, SinkError> {
        let plans = self.plans.state()?;
        let batch = |json: &str| -> std::result::Result<Batch, SinkError> {
            serde_json::from_str(json).map_err(|e| SinkError::Stop {
                sink: NAME,
                problem: format!("the recorded batch can't be read: {e}"),
                remedy: "run the version of Tombola that wrote it, or restore loader_batch from a backup"
                    .to_owned(),
            })
        };
        let pending = plans.last.as_ref().filter(|last| last.pending);
        Ok(PlanState {
            loader_id: plans.loader_id.clone(),
            last: plans.last.as_ref().map_or(0, |last| last.number),
            positions: plans.positions.clone(),
            pending: pending.map(|last| batch(&last.json)).transpose()?,
        })
    }

    fn record(&mut self, batch: &Batch) -> std::result::Result<(), SinkError> {
        let json = serde_json::to_string(batch).expect("a batch is plain data");
        self.plans.record(batch.number, &json)
    }

    fn record_attempt(&mut self, attempt: u32) -> std::result::Result<(), SinkError> {
        self.plans.record_attempt(attempt)
    }

    fn done(&mut self) -> std::result::Result<(), SinkError> {
        self.plans.done()
    }

    fn set_published(&mut self, epoch: Epoch) -> std::result::Result<(), SinkError> {
        self.published.set_published(epoch)
    }
}
