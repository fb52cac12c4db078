//! What a running pipeline counts, as Prometheus knows it.
//!
//! ```text
//!   committed facts, Shared ─ counts ─> Metrics ─ once a second ─> DATA_DIR/metrics.prom ─> tombola status --metrics
//! ```
//!
//! The file is replaced whole, so a reader never sees half of it; a crash leaves the last one. Counters
//! begin at zero with each process, as Prometheus expects.

mod feed;
mod publisher;
mod sources;

pub use feed::{Counted, Reporter, Watched};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use publisher::PublisherMetrics;
pub use sources::{FeedMetrics, SourceLabels, SourceMetrics};
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// Where a pipeline writes them, within its data directory.
pub const FILE: &str = "metrics.prom";

/// Of one job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobLabels {
    pub job: String,
}

/// Of one job's topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TopicLabels {
    pub job: String,
    pub topic: &'static str,
}

/// Of one partition of an input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabels {
    pub job: String,
    pub topic: String,
    pub partition: u32,
}

/// Of one reason of a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    pub job: String,
    pub reason: &'static str,
}

/// Of one action of velocity rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActionLabels {
    pub action: &'static str,
}

/// A gauge of seconds.
pub type Seconds = Gauge<f64, AtomicU64>;

/// Every family. Clones count into the same numbers; counting costs one atomic addition.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// The pipeline they are of: the label `job`.
    job: String,
    pub records_in: Family<JobLabels, Counter>,
    pub records_out: Family<TopicLabels, Counter>,
    pub refusals: Family<ReasonLabels, Counter>,
    pub dead_letters: Counter,
    pub fraud_alerts: Family<ActionLabels, Counter>,
    pub late_orders: Counter,
    pub epoch_minted: Gauge,
    pub epoch_bound: Gauge,
    pub epoch_committed: Gauge,
    pub epoch_published: Gauge,
    pub consumer_lag: Family<PartitionLabels, Gauge>,
    pub published_rows: Counter,
    pub publish_retries: Counter,
    pub publish_stopped: Gauge,
    pub publisher: PublisherMetrics,
    pub mirrored_rows: Counter,
    pub mirror_retries: Counter,
    pub mirror_rejected: Counter,
    pub mirror_clamped: Counter,
    pub mirror_lag: Gauge,
    pub mirror_stopped: Gauge,
    pub mirror_behind: Seconds,
    pub frontier_age: Seconds,
    pub snapshot_size: Gauge,
    pub snapshot_duration: Seconds,
    pub feeds: FeedMetrics,
}

impl Metrics {
    /// Of one pipeline.
    pub fn of(job: String) -> Self {
        Metrics { job, ..Metrics::default() }
    }

    /// All families under their names.
    pub fn registry(&self) -> Registry {
        let mut r = Registry::with_prefix("tombola");
        r.register("records_in", "Records read, by job", self.records_in.clone());
        r.register("records_out", "Facts written, by job and topic", self.records_out.clone());
        r.register(
            "refusals",
            "Orders refused, by reason (an order counts under each)",
            self.refusals.clone(),
        );
        r.register("dead_letters", "Records nothing could be done with", self.dead_letters.clone());
        r.register("fraud_alerts", "Velocity rules that fired, by their action", self.fraud_alerts.clone());
        r.register(
            "late_orders",
            "Orders that came later than velocity allows: judged by what was still kept",
            self.late_orders.clone(),
        );
        r.register("epoch_minted", "Last epoch minted", self.epoch_minted.clone());
        r.register("epoch_bound", "Last epoch whose binding is durable", self.epoch_bound.clone());
        r.register(
            "epoch_committed",
            "Last epoch decided: facts and tables committed",
            self.epoch_committed.clone(),
        );
        r.register(
            "epoch_published",
            "Last epoch that every analytical store has",
            self.epoch_published.clone(),
        );
        r.register(
            "consumer_lag",
            "Records of an input partition that are in Kafka and not read yet",
            self.consumer_lag.clone(),
        );
        r.register("published_rows", "Facts that the analytical store has", self.published_rows.clone());
        r.register(
            "publish_retries",
            "Tries to reach the analytical store that failed",
            self.publish_retries.clone(),
        );
        r.register(
            "publish_stopped",
            "1 where feeding the analytical store has stopped and an operator is needed; sales go on",
            self.publish_stopped.clone(),
        );
        self.publisher.register(&mut r);
        self.register_mirror(&mut r);
        r.register_with_unit(
            "frontier_age",
            "How far the decided frontier's now is behind the clock",
            Unit::Seconds,
            self.frontier_age.clone(),
        );
        r.register_with_unit(
            "snapshot_size",
            "Size of the last snapshot",
            Unit::Bytes,
            self.snapshot_size.clone(),
        );
        r.register_with_unit(
            "snapshot_duration",
            "Time from the start of the last snapshot to its manifest",
            Unit::Seconds,
            self.snapshot_duration.clone(),
        );
        self.feeds.register(&mut r);
        r
    }

    fn register_mirror(&self, r: &mut Registry) {
        r.register(
            "mirrored_rows",
            "Rows of captured tables that ClickHouse has",
            self.mirrored_rows.clone(),
        );
        r.register("mirror_retries", "Tries to mirror that failed", self.mirror_retries.clone());
        r.register(
            "mirror_rejected",
            "Records of captured tables that can't be read: they lie in mirror_rejected",
            self.mirror_rejected.clone(),
        );
        r.register(
            "mirror_clamped",
            "Times beyond what ClickHouse holds, mirrored as the nearest it does",
            self.mirror_clamped.clone(),
        );
        r.register(
            "mirror_lag",
            "Records of captured tables that are not mirrored yet",
            self.mirror_lag.clone(),
        );
        r.register(
            "mirror_stopped",
            "1 where mirroring has stopped and an operator is needed; sales go on",
            self.mirror_stopped.clone(),
        );
        r.register_with_unit(
            "mirror_behind",
            "How long after the source made it the last row was mirrored",
            Unit::Seconds,
            self.mirror_behind.clone(),
        );
    }

    /// Prometheus' text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry()).expect("writing into a string can't fail");
        text
    }

    /// Replaces the file in `dir`.
    ///
    /// # Errors
    /// Where it can't be written: say so and go on, no decision depends on it.
    pub fn write(&self, dir: &Path) -> std::io::Result<()> {
        replace(dir, &self.text())
    }

    /// Replaces the file in `dir` by one of feeds alone, where nothing else runs.
    ///
    /// # Errors
    /// As [`Metrics::write`].
    pub fn write_feeds(feeds: &FeedMetrics, dir: &Path) -> std::io::Result<()> {
        let (mut registry, mut text) = (Registry::with_prefix("tombola"), String::new());
        feeds.register(&mut registry);
        encode(&mut text, &registry).expect("writing into a string can't fail");
        replace(dir, &text)
    }
}

fn replace(dir: &Path, text: &str) -> std::io::Result<()> {
    let staged = dir.join(format!("{FILE}.new"));
    std::fs::write(&staged, text)?;
    std::fs::rename(staged, dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_can_be_read_as_prometheus_text() {
        let metrics = Metrics::default();
        metrics.refusals.get_or_create(&ReasonLabels { job: "sales".into(), reason: "sold_out" }).inc_by(3);
        metrics.frontier_age.set(0.25);
        let text = metrics.text();
        for line in [
            "tombola_refusals_total{job=\"sales\",reason=\"sold_out\"} 3",
            "tombola_frontier_age_seconds 0.25",
            "tombola_epoch_published 0",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
