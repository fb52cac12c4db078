//! How many offsets reading is behind each partition's end, for metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared between a reader and whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct Lags {
    by_partition: Arc<Mutex<BTreeMap<(String, u32), u64>>>,
}

impl Lags {
    pub(crate) fn set(&self, topic: &str, partition: u32, behind: u64) {
        let mut all = self.by_partition.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((topic.to_owned(), partition), behind);
    }

    /// Topic, partition, and the offsets between what was read and the end as last asked for.
    pub fn get(&self) -> Vec<(String, u32, u64)> {
        let all = self.by_partition.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|((topic, partition), behind)| (topic.clone(), *partition, *behind)).collect()
    }
}
