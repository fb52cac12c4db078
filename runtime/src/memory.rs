//! A log, a bindings store and a sink in memory: for tests and for measuring the engine alone.
//!
//! They outlive a run, as the real ones do, so a test can fail a run and start the next one on them. They
//! keep the contracts of the traits, fencing included.

use crate::bindings::{Binding, BindingError, BindingStore, GenerationInfo};
use crate::sink::{EpochItems, Item, Sink, SinkError};
use crate::source::{Claim, Fetch, Fetched, LogError, LogReader};
use crate::types::{Class, Epoch, Generation, Millis, Offset, PartitionId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Partitions<R> = BTreeMap<PartitionId, Vec<(Claim, Class, R)>>;

/// A log of any number of partitions.
#[derive(Clone)]
pub struct MemoryLog<R> {
    partitions: Arc<Mutex<Partitions<R>>>,
}

impl<R> MemoryLog<R> {
    /// A log with these partitions, empty.
    pub fn new(partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        let partitions = partitions.into_iter().map(|id| (id, Vec::new())).collect();
        MemoryLog { partitions: Arc::new(Mutex::new(partitions)) }
    }

    /// Appends records to a partition.
    pub fn append(&self, id: PartitionId, records: impl IntoIterator<Item = (Claim, Class, R)>) {
        locked(&self.partitions).entry(id).or_default().extend(records);
    }
}

impl<R: Clone + Send + 'static> LogReader for MemoryLog<R> {
    type Record = R;

    fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
        Ok(locked(&self.partitions).keys().copied().collect())
    }

    fn fetch(&mut self, partition: PartitionId, from: Offset, max: usize) -> Result<Fetch<R>, LogError> {
        let partitions = locked(&self.partitions);
        let all = &partitions[&partition];
        let (start, from) = (from, from.0 as usize);
        let to = all.len().min(from.saturating_add(max));
        let fetched = |(i, (claim, class, body)): (usize, &(Claim, Class, R))| Fetched {
            offset: Offset((from + i) as u64),
            claim: *claim,
            class: *class,
            body: body.clone(),
            unread: None,
        };
        let records = all.get(from..to).unwrap_or_default().iter().enumerate().map(fetched).collect();
        Ok(Fetch::dense(start, records, Offset(all.len() as u64)))
    }

    fn wait(&mut self, timeout_ms: u64) {
        std::thread::sleep(std::time::Duration::from_millis(timeout_ms.min(1)));
    }
}

#[derive(Default)]
struct Bound {
    generations: Vec<GenerationInfo>,
    rows: Vec<Binding>,
}

/// Bindings that outlive a run.
#[derive(Clone, Default)]
pub struct MemoryBindings {
    bound: Arc<Mutex<Bound>>,
    /// The generation this handle began.
    ours: Option<Generation>,
}

impl BindingStore for MemoryBindings {
    fn begin_generation(
        &mut self,
        code_version: &str,
        settings: &str,
        workers: usize,
        started_ms: Millis,
    ) -> Result<GenerationInfo, BindingError> {
        let mut bound = locked(&self.bound);
        let info = GenerationInfo {
            generation: Generation(bound.generations.len() as u64 + 1),
            code_version: code_version.to_owned(),
            settings: settings.to_owned(),
            workers,
            started_ms,
            first_after: bound.rows.last().map_or(Epoch(0), |row| row.epoch),
        };
        bound.generations.push(info.clone());
        self.ours = Some(info.generation);
        Ok(info)
    }

    fn append(&mut self, rows: &[Binding]) -> Result<(), BindingError> {
        let mut bound = locked(&self.bound);
        let newest = bound.generations.last().map_or(Generation(0), |info| info.generation);
        if let Some(ours) = self.ours.filter(|ours| *ours < newest) {
            return Err(BindingError::Fenced { ours, theirs: newest });
        }
        bound.rows.extend_from_slice(rows);
        Ok(())
    }

    fn last(&mut self) -> Result<Epoch, BindingError> {
        Ok(locked(&self.bound).rows.last().map_or(Epoch(0), |row| row.epoch))
    }

    fn read(&mut self, after: Epoch, max: usize) -> Result<Vec<Binding>, BindingError> {
        let bound = locked(&self.bound);
        Ok(bound.rows.iter().filter(|row| row.epoch > after).take(max).cloned().collect())
    }

    fn generations(&mut self) -> Result<Vec<GenerationInfo>, BindingError> {
        Ok(locked(&self.bound).generations.clone())
    }
}

struct Delivered<I> {
    through: Epoch,
    items: Vec<Item<I>>,
    count: u64,
}

/// A sink that keeps (or only counts) what it is given.
pub struct MemorySink<I> {
    delivered: Arc<Mutex<Delivered<I>>>,
    keep: bool,
}

impl<I> Clone for MemorySink<I> {
    fn clone(&self) -> Self {
        MemorySink { delivered: Arc::clone(&self.delivered), keep: self.keep }
    }
}

impl<I: Clone> MemorySink<I> {
    /// An empty sink. One that doesn't `keep` only counts.
    pub fn new(keep: bool) -> Self {
        let delivered = Delivered { through: Epoch(0), items: Vec::new(), count: 0 };
        MemorySink { delivered: Arc::new(Mutex::new(delivered)), keep }
    }

    /// Everything delivered, in order.
    pub fn items(&self) -> Vec<Item<I>> {
        locked(&self.delivered).items.clone()
    }

    /// How many items were delivered.
    pub fn count(&self) -> u64 {
        locked(&self.delivered).count
    }
}

impl<I: Clone + Send> Sink<I> for MemorySink<I> {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn committed(&mut self) -> Result<Epoch, SinkError> {
        Ok(locked(&self.delivered).through)
    }

    fn commit(&mut self, run: &[EpochItems<I>]) -> Result<(), SinkError> {
        let mut delivered = locked(&self.delivered);
        for epoch in run {
            assert!(epoch.epoch > delivered.through, "epoch {} was delivered before", epoch.epoch);
            delivered.through = epoch.epoch;
            delivered.count += epoch.items.len() as u64;
            if self.keep {
                delivered.items.extend_from_slice(&epoch.items);
            }
        }
        Ok(())
    }
}
