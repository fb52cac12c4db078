//! Replays the log with the recorded bindings, and compares what comes out with what was committed.
//!
//! ```text
//!   log.db, bindings, settings as recorded ─> the same jobs ─> scratch directory ─┐
//!                                                                                 ├─> first difference
//!   facts.*, dead-letters, serving tables, digests as committed ──────────────────┘
//! ```
//!
//! It only reads the data directory, and may run beside the pipeline: it compares what was decided when it
//! began. The scratch directory is removed at the end.

use crate::config::Config;
use crate::engine::{self, EngineError};
use crate::pipeline::Pipeline;
use connectors::embedded::{Log, LogEpochs, StoredRecord};
use operators::settings::Settings;
use runtime::bindings::BindingStore;
use runtime::committer::Wakers;
use runtime::run::{Mode, Stores};
use runtime::shared::Shared;
use runtime::snapshot::Manifest;
use runtime::snapshot::store::SnapshotStore;
use runtime::{BEFORE_EVERYTHING, Epoch};
use sinks::embedded::{BindingsDb, RowDifference, compare, hex, seed_digest};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// Verifies a data directory. Differences come by epoch.
///
/// # Errors
/// Where the replay can't be done at all.
pub fn verify(options: &Options<'_>) -> Result<Report, EngineError> {
    let subject = Subject::of(options)?;
    let tables = sinks::embedded::Reader::open(&subject.state)?;
    let through = tables.progress()?.decided;
    let from = start(options, &subject, through)?;
    let began = from.as_ref().map_or(Epoch(0), |manifest| manifest.epoch);
    prepare(options, &subject, &tables, began)?;
    replay(options, &subject, from, through)?;
    let mut differences = Vec::new();
    let facts = compare_facts(options, &subject, began, through, &mut differences)?;
    compare_digests(options, &subject, &tables, (began, through), &mut differences)?;
    let rows = compare(options.scratch, &subject.state, through, began == Epoch(0))?;
    differences.extend(rows.into_iter().map(Difference::from));
    differences.sort_by_key(|difference| difference.epoch);
    Ok(Report { from: began, through, facts, differences })
}

/// The pipeline that is verified.
struct Subject {
    pipeline: Pipeline,
    state: PathBuf,
    /// As recorded: the jobs that ran then, not those configured now.
    settings: Settings,
}

impl Subject {
    fn of(options: &Options<'_>) -> Result<Self, EngineError> {
        let pipeline = Pipeline::of(options.config);
        let state = pipeline.state_dir(options.data_dir);
        let mut settings = pipeline.settings(options.config, options.data_dir)?;
        if let Some(last) = BindingsDb::open_read_only(&state)?.generations()?.last() {
            settings = Settings::from_recorded(&last.settings)?.with_ticket_key(settings.ticket_key)?;
        }
        Ok(Subject { pipeline, state, settings })
    }

    fn writes(&self, topic: &str) -> bool {
        self.pipeline.writes(topic, &self.settings)
    }

    fn facts(&self, dir: &Path) -> Result<LogEpochs, EngineError> {
        Ok(LogEpochs::open(dir, &self.pipeline.name())?)
    }
}

fn snapshots(dir: &Path) -> Result<SnapshotStore, EngineError> {
    Ok(SnapshotStore::local(&dir.join("snapshots"))?)
}

fn start(options: &Options<'_>, subject: &Subject, through: Epoch) -> Result<Option<Manifest>, EngineError> {
    if !options.from_snapshot {
        return Ok(None);
    }
    let manifests = snapshots(&subject.state)?.manifests()?;
    Ok(manifests.into_iter().find(|manifest| manifest.epoch <= through))
}

/// Gives the scratch directory the topics, schema ids and running digests that the replay takes up.
fn prepare(
    options: &Options<'_>,
    subject: &Subject,
    tables: &sinks::embedded::Reader,
    began: Epoch,
) -> Result<(), EngineError> {
    let committed = Log::open_read_only(options.data_dir)?;
    let mut scratch = Log::open(options.scratch)?;
    for topic in committed.topics()? {
        if subject.writes(&topic.topic) {
            scratch.ensure_topic(&topic.topic, topic.ends.len() as u32)?;
        }
    }
    if began > Epoch(0) {
        let digest = subject.facts(options.data_dir)?.digest_at(began)?;
        subject.facts(options.scratch)?.seed_digest(began, digest)?;
        seed_digest(options.scratch, began, tables.epoch_digest_at(began)?)?;
    }
    Ok(())
}

fn replay(
    options: &Options<'_>,
    subject: &Subject,
    from: Option<Manifest>,
    through: Epoch,
) -> Result<(), EngineError> {
    let (dir, scratch) = (options.data_dir, options.scratch);
    let Subject { pipeline, state, settings } = subject;
    let generation = BindingsDb::open(scratch)?
        .begin_generation(engine::CODE_VERSION, &settings.to_recorded(), options.workers, BEFORE_EVERYTHING)?
        .generation;
    let ids = connectors::embedded::Registry::open(dir)?.register_own()?;
    let stores = Stores {
        readers: engine::readers(dir, pipeline, options.workers)?,
        bindings: Box::new(BindingsDb::open_read_only(state)?),
        sinks: engine::sinks((scratch, scratch), pipeline, generation, ids)?,
        snapshots: Some(snapshots(state)?),
    };
    let run_options = engine::run_options(options.config, options.workers, true);
    let job = Arc::new(pipeline.job(settings.clone()));
    let (shared, wakers) = (Arc::new(Shared::default()), Arc::new(Wakers::default()));
    Ok(runtime::run::run(job, &run_options, Mode::Replay { through, from }, stores, &shared, &wakers)?)
}

/// Records of one partition of one side that belong to the epochs replayed.
struct Facts<'a> {
    log: &'a Log,
    topic: &'a str,
    partition: u32,
    next: u64,
    end: u64,
    from: Epoch,
    through: Epoch,
    ready: std::vec::IntoIter<StoredRecord>,
}

impl Facts<'_> {
    fn next(&mut self) -> Result<Option<(Epoch, StoredRecord)>, EngineError> {
        loop {
            for record in self.ready.by_ref() {
                let epoch = epoch_of(&record);
                if epoch > self.from && epoch <= self.through {
                    return Ok(Some((epoch, record)));
                }
            }
            if self.next >= self.end {
                return Ok(None);
            }
            let records = self.log.read(self.topic, self.partition, self.next, 10_000)?;
            self.next = records.last().map_or(self.end, |record| record.offset + 1);
            self.ready = records.into_iter();
        }
    }
}

/// A fact without a readable header belongs to no epoch that could have been replayed: it is compared last.
fn epoch_of(record: &StoredRecord) -> Epoch {
    let header = record.headers.iter().find(|(name, _)| name == "epoch");
    let text = header.and_then(|(_, bytes)| std::str::from_utf8(bytes).ok());
    Epoch(text.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX))
}

fn compare_facts(
    options: &Options<'_>,
    subject: &Subject,
    from: Epoch,
    through: Epoch,
    differences: &mut Vec<Difference>,
) -> Result<u64, EngineError> {
    let committed = Log::open_read_only(options.data_dir)?;
    let replayed = Log::open_read_only(options.scratch)?;
    let mut compared = 0;
    for topic in replayed.topics()?.iter().filter(|topic| subject.writes(&topic.topic)) {
        for partition in 0..topic.ends.len() as u32 {
            let side = |log| -> Result<Facts<'_>, EngineError> {
                let (topic, next, ready) = (topic.topic.as_str(), 0, Vec::new().into_iter());
                let end = Log::end(log, topic, partition).unwrap_or(0);
                Ok(Facts { log, topic, partition, next, end, from, through, ready })
            };
            let (mut ours, mut theirs) = (side(&committed)?, side(&replayed)?);
            compared += compare_partition(&mut ours, &mut theirs, differences)?;
        }
    }
    Ok(compared)
}

/// Compares until the first difference; how many were the same.
fn compare_partition(
    committed: &mut Facts<'_>,
    replayed: &mut Facts<'_>,
    differences: &mut Vec<Difference>,
) -> Result<u64, EngineError> {
    let mut same = 0;
    loop {
        let (c, r) = (committed.next()?, replayed.next()?);
        let said = |side: &Option<(Epoch, StoredRecord)>| {
            side.as_ref().map(|(e, f)| (*e, f.key.clone(), f.value.clone(), f.timestamp_ms))
        };
        match (said(&c), said(&r)) {
            (None, None) => return Ok(same),
            (ours, theirs) if ours == theirs => same += 1,
            _ => {
                let epoch = [&c, &r].into_iter().flatten().map(|(epoch, _)| *epoch).min().unwrap_or_default();
                let key =
                    r.as_ref().or(c.as_ref()).and_then(|(_, fact)| fact.key.clone()).unwrap_or_default();
                differences.push(Difference {
                    epoch,
                    place: format!("topic {} partition {}", committed.topic, committed.partition),
                    key: String::from_utf8_lossy(&key).into_owned(),
                    committed: show(c),
                    replayed: show(r),
                });
                return Ok(same);
            }
        }
    }
}

fn show(side: Option<(Epoch, StoredRecord)>) -> String {
    let Some((epoch, fact)) = side else { return "no further record".to_owned() };
    let value = fact.value.unwrap_or_default();
    format!("offset {} epoch {epoch}: {}", fact.offset, crate::commands::output::readable(&value))
}

fn compare_digests(
    options: &Options<'_>,
    subject: &Subject,
    tables: &sinks::embedded::Reader,
    (from, through): (Epoch, Epoch),
    differences: &mut Vec<Difference>,
) -> Result<(), EngineError> {
    let (ours, theirs) = (subject.facts(options.data_dir)?, subject.facts(options.scratch)?);
    let pair = (ours.digests(from, usize::MAX >> 1)?, theirs.digests(from, usize::MAX >> 1)?);
    differences.extend(first_digest("digest of facts", pair, through));
    let theirs = sinks::embedded::Reader::open(options.scratch)?;
    let pair = (tables.epoch_digests(from, usize::MAX >> 1)?, theirs.epoch_digests(from, usize::MAX >> 1)?);
    differences.extend(first_digest("digest of serving rows", pair, through));
    Ok(())
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
