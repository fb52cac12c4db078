//! Replays the log with the recorded bindings, and compares what comes out with what was committed.
//!
//! ```text
//!   log, bindings, settings as recorded ─> the same jobs ─> scratch directory ─┐
//!                                                                                 ├─> first difference
//!   facts.*, dead-letters, serving tables, digests as committed ──────────────────┘
//! ```
//!
//! It only reads the data directory, and may run beside the pipeline: it compares what was decided when it
//! began. The scratch directory is removed at the end.

mod facts;

use crate::config::Config;
use crate::engine::{self, EngineError};
use crate::pipeline::Pipeline;
use crate::stores::{StoreError, Stores, Tables};
use connectors::embedded::{Log, LogEpochs};
use operators::settings::Settings;
use runtime::committer::Wakers;
use runtime::run::{Mode, Stores as Parts};
use runtime::shared::Shared;
use runtime::snapshot::Manifest;
use runtime::snapshot::store::SnapshotStore;
use runtime::{BEFORE_EVERYTHING, Epoch};
use sinks::embedded::{RowDifference, hex, seed_digest};
use std::path::Path;
use std::sync::Arc;

/// How often a snapshot may be deleted while it is copied, each time for a newer one.
const SNAPSHOT_TRIES: u32 = 20;

/// How to verify.
pub struct Options<'a> {
    pub config: &'a Config,
    pub data_dir: &'a Path,
    pub scratch: &'a Path,
    pub workers: usize,
    /// Begin with the newest snapshot instead of the log's beginning.
    pub from_snapshot: bool,
}

/// What was found.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// The replay covers the epochs after `from` up to and including `through`.
    pub from: Epoch,
    pub through: Epoch,
    pub facts: u64,
    pub differences: Vec<Difference>,
}

/// Something that isn't as a replay gives it. The first of each kind and place is reported.
#[derive(Debug, serde::Serialize)]
pub struct Difference {
    pub epoch: Epoch,
    /// A topic and partition, a table, or a digest.
    pub place: String,
    pub key: String,
    pub committed: String,
    pub replayed: String,
}

/// Verifies what was committed. Differences come by epoch.
///
/// # Errors
/// Where the replay can't be done at all.
pub fn verify(options: &Options<'_>) -> Result<Report, EngineError> {
    let subject = Subject::of(options)?;
    let mut tables = subject.stores.tables()?;
    let (from, through) = subject.start(tables.as_mut(), options.from_snapshot)?;
    let began = from.as_ref().map_or(Epoch(0), |manifest| manifest.epoch);
    subject.prepare(tables.as_mut(), began)?;
    subject.replay(options, from, through)?;
    let mut differences = Vec::new();
    let facts = subject.compare_facts(began, through, &mut differences)?;
    subject.compare_digests(tables.as_mut(), (began, through), &mut differences)?;
    let rows = tables.compare(&subject.scratch.state_dir(), through, began == Epoch(0))?;
    differences.extend(rows.into_iter().map(Difference::from));
    differences.sort_by_key(|difference| difference.epoch);
    Ok(Report { from: began, through, facts, differences })
}

/// The pipeline that is verified, and where its replay goes.
struct Subject {
    stores: Stores,
    /// Always embedded.
    scratch: Stores,
    /// Where the replay finds its snapshot.
    copies: SnapshotStore,
    /// As recorded: the jobs that ran then, not those configured now.
    settings: Settings,
}

impl Subject {
    fn of(options: &Options<'_>) -> Result<Self, EngineError> {
        let stores = Stores::of(options.config, options.data_dir);
        let scratch = Stores::embedded(options.config, options.scratch);
        let mut settings = stores.pipeline().settings(options.config, options.data_dir)?;
        if let Some(last) = stores.recorded_bindings()?.generations()?.last() {
            settings = Settings::from_recorded(&last.settings)?.with_ticket_key(settings.ticket_key)?;
        }
        let copies = SnapshotStore::local(&scratch.dir().join("snapshot")).map_err(StoreError::from)?;
        Ok(Subject { stores, scratch, copies, settings })
    }

    fn pipeline(&self) -> &Pipeline {
        self.stores.pipeline()
    }

    fn writes(&self, topic: &str) -> bool {
        self.pipeline().writes(topic, &self.settings)
    }

    /// The newest snapshot, where the replay begins with one, and the last epoch decided. Its files are copied first: a
    /// pipeline that runs beside deletes those it needs no more.
    fn start(
        &self,
        tables: &mut dyn Tables,
        from_snapshot: bool,
    ) -> Result<(Option<Manifest>, Epoch), EngineError> {
        if !from_snapshot {
            return Ok((None, tables.progress()?.decided));
        }
        let store = self.stores.snapshots()?;
        for tries_left in (0..SNAPSHOT_TRIES).rev() {
            let manifests = store.manifests().map_err(StoreError::from)?;
            let through = tables.progress()?.decided;
            let newest = manifests.into_iter().find(|manifest| manifest.epoch <= through);
            let Some(newest) = newest else { return Ok((None, through)) };
            match store.copy_files(&newest, &self.copies) {
                Ok(()) => return Ok((Some(newest), through)),
                Err(error) if error.is_absence() && tries_left > 0 => {}
                Err(error) => return Err(StoreError::from(error).into()),
            }
        }
        unreachable!("the last try returns")
    }

    /// Gives the scratch directory the topics, schema ids and running digests that the replay takes up.
    fn prepare(&self, tables: &mut dyn Tables, began: Epoch) -> Result<(), EngineError> {
        let (dir, state) = (self.scratch.dir(), self.scratch.state_dir());
        let mut scratch = Log::open(dir).map_err(StoreError::from)?;
        for topic in self.stores.log()?.topics()? {
            if self.writes(&topic.topic) {
                scratch.ensure_topic(&topic.topic, topic.ends.len() as u32).map_err(StoreError::from)?;
            }
        }
        if began > Epoch(0) {
            if let Some(mut facts) = self.stores.facts_progress()? {
                let digest = facts.digest_at(began)?;
                let scratch = LogEpochs::open(dir, &self.pipeline().name());
                scratch.and_then(|facts| facts.seed_digest(began, digest)).map_err(StoreError::from)?;
            }
            self.scratch.bindings()?; // makes the file
            seed_digest(&state, began, tables.epoch_digest_at(began)?).map_err(StoreError::from)?;
        }
        Ok(())
    }

    fn replay(
        &self,
        options: &Options<'_>,
        from: Option<Manifest>,
        through: Epoch,
    ) -> Result<(), EngineError> {
        let recorded = self.settings.to_recorded();
        let mut bindings = self.scratch.bindings()?;
        let generation =
            bindings.begin_generation(engine::CODE_VERSION, &recorded, options.workers, BEFORE_EVERYTHING)?;
        let parts = Parts {
            readers: self.stores.readers(options.workers)?,
            bindings: self.stores.recorded_bindings()?,
            sinks: engine::sinks(&self.scratch, generation.generation, self.stores.ids()?, None)?,
            snapshots: Some(self.copies.clone()),
        };
        let run_options = engine::run_options(options.config, options.workers, true);
        let job = Arc::new(self.pipeline().job(self.settings.clone()));
        let (shared, wakers) = (Arc::new(Shared::default()), Arc::new(Wakers::default()));
        Ok(runtime::run::run(job, &run_options, Mode::Replay { through, from }, parts, &shared, &wakers)?)
    }

    fn compare_facts(
        &self,
        from: Epoch,
        through: Epoch,
        differences: &mut Vec<Difference>,
    ) -> Result<u64, EngineError> {
        let (mut committed, mut replayed) = (self.stores.log()?, self.scratch.log()?);
        let mut compared = 0;
        for topic in replayed.topics()?.iter().filter(|topic| self.writes(&topic.topic)) {
            let (name, partitions) = (topic.topic.as_str(), topic.ends.len() as u32);
            let mut sides = facts::Sides { committed: committed.as_mut(), replayed: replayed.as_mut() };
            compared += sides.compare((name, partitions), (from, through), differences)?;
        }
        Ok(compared)
    }

    fn compare_digests(
        &self,
        tables: &mut dyn Tables,
        (from, through): (Epoch, Epoch),
        differences: &mut Vec<Difference>,
    ) -> Result<(), EngineError> {
        // Where there is none, facts were compared record by record all the same.
        if let (Some(mut ours), Some(mut theirs)) =
            (self.stores.facts_progress()?, self.scratch.facts_progress()?)
        {
            let pair = (ours.digests(from)?, theirs.digests(from)?);
            differences.extend(first_digest("digest of facts", pair, through));
        }
        let pair = (tables.epoch_digests(from)?, self.scratch.tables()?.epoch_digests(from)?);
        differences.extend(first_digest("digest of serving rows", pair, through));
        Ok(())
    }
}

type Digests = Vec<(Epoch, runtime::digest::Digest)>;

fn first_digest(
    place: &str,
    (mut ours, mut theirs): (Digests, Digests),
    through: Epoch,
) -> Option<Difference> {
    ours.retain(|(epoch, _)| *epoch <= through);
    theirs.retain(|(epoch, _)| *epoch <= through);
    let at = (0..ours.len().max(theirs.len())).find(|n| ours.get(*n) != theirs.get(*n))?;
    let show = |side: Option<&(Epoch, runtime::digest::Digest)>| {
        side.map_or("nothing".to_owned(), |(epoch, digest)| format!("epoch {epoch}: {}", hex(digest)))
    };
    let epoch = [ours.get(at), theirs.get(at)].into_iter().flatten().map(|(epoch, _)| *epoch).min()?;
    Some(Difference {
        epoch,
        place: place.to_owned(),
        key: String::new(),
        committed: show(ours.get(at)),
        replayed: show(theirs.get(at)),
    })
}

impl From<RowDifference> for Difference {
    fn from(row: RowDifference) -> Self {
        let none = || "no such row".to_owned();
        Difference {
            epoch: row.epoch,
            place: format!("table {}", row.table),
            key: row.key,
            committed: row.committed.unwrap_or_else(none),
            replayed: row.replayed.unwrap_or_else(none),
        }
    }
}
