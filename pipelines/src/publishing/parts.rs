//! What a publisher is made of, and what its tasks share.

use super::keeper::Asks;
use super::settings::PublishingSettings;
use super::status::PublisherStatus;
use super::tell::Tells;
use crate::stores::Append;
use crate::stores::clickhouse::FactsReader;
use runtime::shared::Shared;
use schemas::SchemaIds;
use sinks::images::{ImageStore, Templates};
use sinks::publishing::Ledger;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The stores and settings of a publisher.
pub struct PublisherParts {
    pub ledger: Box<dyn Ledger>,
    /// Reads `facts.publications`.
    pub reader: FactsReader,
    pub append: Box<dyn Append>,
    pub ids: SchemaIds,
    pub images: ImageStore,
    pub templates: Templates,
    pub settings: PublishingSettings,
    /// Tells the decided frontier.
    pub decided: Arc<Shared>,
}

/// Shared by the tasks of a publisher.
#[derive(Clone)]
pub struct Context {
    pub asks: Asks,
    pub tells: Tells,
    pub images: ImageStore,
    pub templates: Templates,
    pub settings: Arc<PublishingSettings>,
    pub status: Arc<PublisherStatus>,
    pub stop: Arc<AtomicBool>,
    pub busy: Arc<AtomicUsize>,
}

/// Held while a call is under way: an orderly end waits for it.
pub struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Context {
    /// Leave to begin something; none any more once the publisher stops.
    pub fn busy(&self) -> Option<Busy> {
        // Counted before it looks: whoever stops it looks at the count afterwards.
        self.busy.fetch_add(1, Ordering::SeqCst);
        let busy = Busy(Arc::clone(&self.busy));
        (!self.stop.load(Ordering::SeqCst)).then_some(busy)
    }
}

/// A number in 0..1 that nobody foresees, so that those who failed together don't come back together.
pub fn luck() -> f64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let hash = std::collections::hash_map::RandomState::new().build_hasher().finish();
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}
