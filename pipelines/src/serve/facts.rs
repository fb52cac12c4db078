//! Facts out of the log for the API: those that are decided now, and those that were told before.
//!
//! ```text
//!   frontier moves ─> facts.* from where we stand, up to that epoch ─> Step
//! ```
//!
//! A fact is in the log a moment before its epoch is decided, so reading stops at the first one of a later
//! epoch and goes on there next time: nothing is told twice or left out. What can't be read is asked for again.

use super::{Pulse, failed};
use crate::stores::{LogView, Stores, Tables};
use api::backend::{Failed, Follow, Frontier, History, Place, Positions, Step, Told};
use connectors::embedded::{StoredRecord, TopicInfo};
use runtime::Epoch;
use runtime::bindings::BindingStore;
use runtime::shared::Shared;
use schemas::Decoder;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records read at once.
const READ: usize = 1_000;
/// How often another process's frontier is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often a log is asked for its topics where that costs something.
const TOPICS_EVERY: Duration = Duration::from_secs(5);
/// Bindings read at once.
const BINDINGS: usize = 1_000;

/// Ends of inputs' partitions: topic, partition, end (exclusive).
type Ends = Vec<(String, u32, u64)>;

/// A pipeline that runs in this process.
#[derive(Clone)]
pub struct Beside {
    pub pulse: Arc<Pulse>,
    pub shared: Arc<Shared>,
}

/// Reads facts and decodes them.
pub struct Facts {
    log: Box<dyn LogView>,
    decoder: Decoder,
    /// Topics that are read.
    topics: Vec<&'static str>,
}

impl Facts {
    /// Opens the log of a pipeline, for the topics it tells.
    pub fn open(stores: &Stores, topics: &[&'static str]) -> Result<Facts, Failed> {
        let ids = stores.ids().map_err(failed)?;
        let decoder = Decoder::with_own(|record| ids.of(record));
        Ok(Facts { log: stores.log().map_err(failed)?, decoder, topics: topics.to_vec() })
    }

    fn infos(&mut self) -> Result<Vec<(&'static str, TopicInfo)>, Failed> {
        let infos = self.log.topics().map_err(failed)?;
        let known = |info: TopicInfo| Some((*self.topics.iter().find(|topic| **topic == info.topic)?, info));
        Ok(infos.into_iter().filter_map(known).collect())
    }

    /// Reads a partition from `*at` up to `end`, and no further than `through`; moves `*at` behind what was read.
    fn read(
        &mut self,
        (topic, partition): (&'static str, u32),
        at: &mut u64,
        (end, max): (u64, usize),
        through: Option<u64>,
        told: &mut Vec<Told>,
    ) -> Result<(), Failed> {
        let mut read = 0;
        while *at < end && read < max {
            let records = self.log.read(topic, partition, *at, READ.min(max)).map_err(failed)?;
            if records.is_empty() {
                return Ok(());
            }
            for record in records.into_iter().filter(|record| record.offset < end) {
                let offset = record.offset;
                let epoch = record.epoch().map_or(0, |epoch| epoch.0);
                if through.is_some_and(|through| epoch > through) {
                    return Ok(());
                }
                if let Some(fact) = self.decode(&record)? {
                    told.push(Told { place: Place { topic, partition, offset }, epoch, fact });
                }
                (*at, read) = (offset + 1, read + 1);
            }
        }
        Ok(())
    }

    fn decode(&mut self, record: &StoredRecord) -> Result<Option<schemas::Fact>, Failed> {
        let Some(value) = record.value.as_deref() else { return Ok(None) };
        if let Ok((id, _)) = schemas::avro::split_header(value)
            && !self.decoder.knows(id)
            && let Some(schema) = self.log.schema(id).map_err(failed)?
        {
            self.decoder.add(id, &schema);
        }
        Ok(self.decoder.decode_fact(value).ok())
    }
}

impl History for Facts {
    fn read(&mut self, from: &Positions, to: &Positions, max: usize) -> Result<Vec<Told>, Failed> {
        let mut told = Vec::new();
        for ((topic, partition), end) in to {
            let mut at = from.get(&(*topic, *partition)).copied().unwrap_or(0);
            Facts::read(self, (topic, *partition), &mut at, (*end, max), None, &mut told)?;
        }
        sort(&mut told);
        Ok(told)
    }
}

/// By epoch; within one, by place.
fn sort(told: &mut [Told]) {
    told.sort_by_key(|told| (told.epoch, told.place));
}

/// Follows a pipeline's facts and frontier.
pub struct Follower {
    facts: Facts,
    tables: Box<dyn Tables>,
    bindings: Box<dyn BindingStore>,
    /// Names of inputs by their numbers.
    inputs: &'static [&'static str],
    beside: Option<Beside>,
    positions: Positions,
    decided: Epoch,
    /// Up to where bindings were looked at.
    bound: Epoch,
    moved: Instant,
    /// Topics as they were last asked for, where asking costs something.
    infos: Vec<(&'static str, TopicInfo)>,
    asked: Option<Instant>,
    /// Whether ends are free to ask for.
    cheap: bool,
}

impl Follower {
    /// From now on.
    pub fn open(stores: &Stores, topics: &[&'static str], beside: Option<Beside>) -> Result<Self, Failed> {
        let mut facts = Facts::open(stores, topics)?;
        let mut tables = stores.tables().map_err(failed)?;
        let bindings = stores.recorded_bindings().map_err(failed)?;
        let decided = tables.progress().map_err(failed)?.decided;
        let infos = facts.infos()?;
        let partitions = infos.iter().flat_map(|(topic, info)| {
            info.ends.iter().enumerate().map(|(partition, end)| ((*topic, partition as u32), *end))
        });
        let positions = partitions.collect();
        let (inputs, cheap) = (stores.pipeline().topics(), stores.log_is_embedded());
        Ok(Follower {
            facts,
            tables,
            bindings,
            inputs,
            beside,
            positions,
            decided,
            bound: decided,
            moved: Instant::now(),
            infos,
            asked: Some(Instant::now()),
            cheap,
        })
    }

    /// Where the frontier is, once it has moved or time is up; and the ends that moved.
    fn wait(&mut self, limit: Duration) -> Result<(Frontier, Ends), Failed> {
        if let Some(beside) = self.beside.clone() {
            let (decided, ends) = beside.pulse.wait(self.decided, limit);
            let progress = self.tables.progress().map_err(failed)?;
            let epoch = decided.max(progress.decided).0;
            let age_ms = beside.shared.frontier_age_ms();
            let ends = ends.into_iter().map(|((topic, partition), end)| (topic.to_owned(), partition, end));
            return Ok((Frontier { epoch, now_ms: progress.decided_now, age_ms }, ends.collect()));
        }
        let until = Instant::now() + limit;
        loop {
            let progress = self.tables.progress().map_err(failed)?;
            if progress.decided > self.decided || Instant::now() >= until {
                let ends = self.ends(progress.decided)?;
                if progress.decided > self.decided {
                    self.moved = Instant::now();
                }
                let age_ms = self.moved.elapsed().as_millis() as i64;
                let (epoch, now_ms) = (progress.decided.0, progress.decided_now);
                return Ok((Frontier { epoch, now_ms, age_ms }, ends));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Ends of partitions out of the bindings that became decided.
    fn ends(&mut self, decided: Epoch) -> Result<Ends, Failed> {
        let mut ends = BTreeMap::new();
        while self.bound < decided {
            let rows = self.bindings.read(self.bound, BINDINGS);
            let rows = rows.map_err(|error| Failed::Away(error.to_string()))?;
            let count = rows.len();
            for row in rows.into_iter().filter(|row| row.epoch <= decided) {
                self.bound = row.epoch;
                let named = row.ends.iter().map(|end| (end.partition, end.end.0));
                ends.extend(named);
            }
            if count == 0 {
                break;
            }
        }
        let name = |id: runtime::TopicId| self.inputs[usize::from(id.0)].to_owned();
        Ok(ends.into_iter().map(|(at, end)| (name(at.topic), at.partition, end)).collect())
    }

    fn refresh(&mut self) -> Result<(), Failed> {
        let old = self.asked.is_none_or(|asked| asked.elapsed() > TOPICS_EVERY);
        if self.cheap || old {
            (self.infos, self.asked) = (self.facts.infos()?, Some(Instant::now()));
        }
        Ok(())
    }
}

impl Follow for Follower {
    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn next(&mut self, limit: Duration) -> Result<Step, Failed> {
        let (frontier, ends) = self.wait(limit)?;
        let mut facts = Vec::new();
        if frontier.epoch > self.decided.0 {
            self.refresh()?;
            let mut positions = self.positions.clone();
            for (topic, info) in &self.infos {
                for (partition, end) in info.ends.iter().enumerate() {
                    let at = positions.entry((*topic, partition as u32)).or_default();
                    // Ends that were asked for a while ago are none.
                    let end = if self.cheap { *end } else { u64::MAX };
                    let bounds = (end, usize::MAX);
                    let place = (*topic, partition as u32);
                    self.facts.read(place, at, bounds, Some(frontier.epoch), &mut facts)?;
                }
            }
            sort(&mut facts);
            // Nothing of it is told unless all of it was read.
            self.positions = positions;
            self.decided = Epoch(frontier.epoch);
        }
        Ok(Step { frontier, facts, ends })
    }
}
