//! Follows what is decided: the frontier always, facts where somebody listens.
//!
//! ```text
//!   frontier moves ─┬─ somebody listens ─> facts.* from where we stand, up to that epoch ─> Step
//!                   └─ nobody does ──────> passed over: nothing is read
//! ```
//!
//! A fact is in the log a moment before its epoch is decided, so reading stops at the first one of a later
//! epoch and goes on there next time: nothing is told twice or left out. Whoever begins to listen is told of every epoch
//! after the one that was passed over last; where that one ends in each partition is looked up in the log then.
//!
//! A step is whole epochs of about [`PART`] facts a partition, so what has piled up while a store was away is told
//! bit by bit. What can't be read is asked for again, and nothing of a step is told unless all of it was read.

use super::facts::{Bounds, Facts, Partition, sort};
use super::{Pulse, failed};
use crate::stores::{Stores, Tables};
use api::backend::{Failed, Follow, Frontier, Positions, Step, Told};
use connectors::embedded::TopicInfo;
use runtime::Epoch;
use runtime::bindings::BindingStore;
use runtime::shared::Shared;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Facts of a partition read for one step, unless one epoch has more.
const PART: usize = 500;
/// Epochs read for one step at most.
const STRIDE_MAX: u64 = 10_000;
/// How often another process's frontier is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often a log is asked for its topics where that costs something.
const TOPICS_EVERY: Duration = Duration::from_secs(5);
/// Bindings read at once.
const BINDINGS: usize = 1_000;

/// Ends (exclusive) of inputs' partitions that moved.
type Ends = BTreeMap<(String, u32), u64>;

/// A pipeline that runs in this process.
#[derive(Clone)]
pub struct Beside {
    pub pulse: Arc<Pulse>,
    pub shared: Arc<Shared>,
}

/// See the module.
pub struct Follower {
    facts: Facts,
    tables: Box<dyn Tables>,
    bindings: Box<dyn BindingStore>,
    /// Names of inputs by their numbers.
    inputs: &'static [&'static str],
    beside: Option<Beside>,
    /// Behind what was told; where facts are passed over, not behind what is decided.
    positions: Positions,
    /// Whether facts are passed over.
    passing: bool,
    /// The last epoch whose facts were told or passed over.
    told: Epoch,
    decided: Epoch,
    /// Epochs to read for one step: about as many as have so many facts.
    stride: u64,
    /// Up to where bindings were looked at.
    bound: Epoch,
    /// Not told yet.
    ends: Ends,
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
        let facts = Facts::open(stores, topics)?;
        let mut tables = stores.tables().map_err(failed)?;
        let bindings = stores.recorded_bindings().map_err(failed)?;
        let decided = tables.progress().map_err(failed)?.decided;
        Ok(Follower {
            facts,
            tables,
            bindings,
            inputs: stores.pipeline().topics(),
            beside,
            positions: Positions::new(),
            passing: true,
            told: decided,
            decided,
            stride: 1,
            bound: decided,
            ends: Ends::new(),
            moved: Instant::now(),
            infos: Vec::new(),
            asked: None,
            cheap: stores.log_is_embedded(),
        })
    }

    /// Where the frontier is, once it has moved or time is up.
    fn wait(&mut self, limit: Duration) -> Result<Frontier, Failed> {
        if let Some(beside) = self.beside.clone() {
            let (decided, ends) = beside.pulse.wait(self.decided, limit);
            let progress = self.tables.progress().map_err(failed)?;
            let ends = ends.into_iter().map(|((topic, partition), end)| ((topic.to_owned(), partition), end));
            self.ends.extend(ends);
            self.decided = decided.max(progress.decided);
            let (epoch, age_ms) = (self.decided.0, beside.shared.frontier_age_ms());
            return Ok(Frontier { epoch, now_ms: progress.decided_now, age_ms });
        }
        let until = Instant::now() + limit;
        loop {
            let progress = self.tables.progress().map_err(failed)?;
            if progress.decided > self.decided || Instant::now() >= until {
                self.look_at_bindings(progress.decided)?;
                if progress.decided > self.decided {
                    (self.moved, self.decided) = (Instant::now(), progress.decided);
                }
                let age_ms = self.moved.elapsed().as_millis() as i64;
                return Ok(Frontier { epoch: self.decided.0, now_ms: progress.decided_now, age_ms });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Takes ends of partitions out of the bindings that became decided.
    fn look_at_bindings(&mut self, decided: Epoch) -> Result<(), Failed> {
        while self.bound < decided {
            let rows = self.bindings.read(self.bound, BINDINGS);
            let rows = rows.map_err(|error| Failed::Away(error.to_string()))?;
            let before = self.bound;
            for row in rows.into_iter().filter(|row| row.epoch <= decided) {
                self.bound = row.epoch;
                for end in row.ends {
                    let topic = self.inputs[usize::from(end.partition.topic.0)].to_owned();
                    self.ends.insert((topic, end.partition.partition), end.end.0);
                }
            }
            if self.bound == before {
                break;
            }
        }
        Ok(())
    }

    fn refresh(&mut self) -> Result<(), Failed> {
        let old = self.asked.is_none_or(|asked| asked.elapsed() > TOPICS_EVERY);
        if self.cheap || self.passing || old {
            (self.infos, self.asked) = (self.facts.infos()?, Some(Instant::now()));
        }
        Ok(())
    }

    /// Every partition, and where it ended when it was asked.
    fn partitions(&self) -> Vec<(Partition, u64)> {
        let all = self.infos.iter().flat_map(|(topic, info)| {
            info.ends.iter().enumerate().map(|(partition, end)| ((*topic, partition as u32), *end))
        });
        all.collect()
    }

    /// Goes behind the facts that were passed over.
    fn catch_up(&mut self) -> Result<(), Failed> {
        self.facts.look();
        for (partition, end) in self.partitions() {
            let at = self.positions.get(&partition).copied().unwrap_or(0);
            let behind = self.facts.behind(partition, (at, end), self.told.0)?;
            self.positions.insert(partition, behind);
        }
        self.passing = false;
        Ok(())
    }

    /// Facts of whole epochs after what was told, where they end, and the last epoch of them.
    fn read(&mut self) -> Result<(Vec<Told>, Positions, Epoch), Failed> {
        let (mut max, wanted) = (PART, self.decided.0.min(self.told.0 + self.stride));
        self.facts.look();
        loop {
            let (mut facts, mut positions, mut whole) = (Vec::new(), self.positions.clone(), wanted);
            for (partition, end) in self.partitions() {
                // Ends that were asked for a while ago are none.
                let end = if self.cheap { end } else { u64::MAX };
                let bounds = Bounds { end, max, through: whole };
                let at = positions.entry(partition).or_default();
                if let Some(cut) = self.facts.read(partition, at, bounds, &mut facts)? {
                    whole = whole.min(cut.saturating_sub(1));
                }
            }
            if whole > self.told.0 {
                // What is left for the next time was read in vain: so few epochs that it seldom happens.
                let few = facts.len() < PART;
                self.stride = if few {
                    self.stride.saturating_mul(2).min(STRIDE_MAX)
                } else {
                    (whole - self.told.0).max(1)
                };
                return Ok((cut(facts, &mut positions, whole), positions, Epoch(whole)));
            }
            // One epoch has more.
            max *= 2;
        }
    }
}

/// Leaves later epochs for the next time.
fn cut(mut facts: Vec<Told>, positions: &mut Positions, whole: u64) -> Vec<Told> {
    for later in facts.iter().filter(|told| told.epoch > whole) {
        let at = positions.entry((later.place.topic, later.place.partition)).or_default();
        *at = later.place.offset.min(*at);
    }
    facts.retain(|told| told.epoch <= whole);
    sort(&mut facts);
    facts
}

impl Follow for Follower {
    fn positions(&self) -> Option<Positions> {
        (!self.passing).then(|| self.positions.clone())
    }

    fn next(&mut self, limit: Duration, listening: &dyn Fn() -> bool) -> Result<Step, Failed> {
        let limit = if !self.passing && self.told < self.decided { Duration::ZERO } else { limit };
        let mut frontier = self.wait(limit)?;
        let mut facts = Vec::new();
        if listening() {
            if self.passing || self.told < self.decided {
                self.refresh()?;
            }
            if self.passing {
                self.catch_up()?;
            }
            if self.told < self.decided {
                (facts, self.positions, self.told) = self.read()?;
            }
            frontier.epoch = self.told.0;
        } else {
            (self.passing, self.told) = (true, self.decided);
        }
        let ends = std::mem::take(&mut self.ends);
        let ends = ends.into_iter().map(|((topic, partition), end)| (topic, partition, end)).collect();
        Ok(Step { frontier, facts, ends, decided: self.decided.0 })
    }
}
