//! What a running pipeline counts, as Prometheus knows it.
//!
//! ```text
//!   committed facts, Shared ─ counts ─> Metrics ─ once a second ─> DATA_DIR/metrics.prom ─> tombola status --metrics
//! ```
//!
//! The file is replaced whole, so a reader never sees half of it; a crash leaves the last one. Counters
//! begin at zero with each process, as Prometheus expects.

mod draws;
mod feed;
mod publisher;
mod sources;

use api::raise;
pub use draws::{DrawLabels, DrawMetrics, DrawsWatch, StandingLabels, StepLabels};
pub use feed::{Counted, Reporter, Watched};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
pub use publisher::{ChannelLabels, PublisherMetrics};
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

/// Of one thing that happens to orders.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventLabels {
    pub job: String,
    pub event: &'static str,
}

/// Of one action of velocity rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActionLabels {
    pub action: &'static str,
}

/// A gauge of seconds.
pub type Seconds = Gauge<f64, AtomicU64>;

/// Upper ends of the delay's buckets: as fine as the aims are, coarse where it only says "too late".
const DELAY_BUCKETS_S: [f64; 14] =
    [0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0, 300.0];

/// How long epochs take.
#[derive(Clone, Debug)]
pub struct Delay(pub Histogram);

impl Default for Delay {
    fn default() -> Self {
        Delay(Histogram::new(DELAY_BUCKETS_S))
    }
}

/// Every family. Clones count into the same numbers; counting costs one atomic addition.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// The pipeline they are of: the label `job`.
    job: String,
    pub records_in: Family<JobLabels, Counter>,
    pub records_out: Family<TopicLabels, Counter>,
    pub orders: Family<EventLabels, Counter>,
    pub refusals: Family<ReasonLabels, Counter>,
    pub dead_letters: Counter,
    pub fraud_alerts: Family<ActionLabels, Counter>,
    pub late_orders: Counter,
    pub epoch_minted: Gauge,
    pub epoch_bound: Gauge,
    pub epoch_committed: Gauge,
    pub epoch_published: Gauge,
    pub epochs_in_flight_max: Gauge,
    pub decision_delay: Delay,
    pub consumer_lag: Family<PartitionLabels, Gauge>,
    pub published_rows: Counter,
    pub publish_retries: Counter,
    pub publish_stopped: Gauge,
    pub draws: DrawMetrics,
    pub publisher: PublisherMetrics,
    pub mirrored_rows: Counter,
    pub mirror_retries: Counter,
    pub mirror_rejected: Counter,
    pub mirror_clamped: Counter,
    pub mirror_lag: Gauge,
    pub mirror_parked: Gauge,
    pub mirror_stopped: Gauge,
    pub mirror_behind: Seconds,
    pub frontier_age: Seconds,
    pub time_behind: Seconds,
    pub snapshot_epoch: Gauge,
    pub snapshot_size: Gauge,
    pub snapshot_duration: Seconds,
    pub snapshot_retries: Counter,
    pub feeds: FeedMetrics,
    pub records_clamped: Counter,
    pub spans_sent: Counter,
    pub spans_dropped: Counter,
    pub reported_at: Seconds,
}

impl Metrics {
    /// Of one pipeline.
    pub fn of(job: String) -> Self {
        Metrics { job, ..Metrics::default() }
    }

    /// All families under their names.
    pub fn registry(&self) -> Registry {
        let mut r = Registry::with_prefix("tombola");
        self.register_counts(&mut r);
        self.register_epochs(&mut r);
        self.register_publishing(&mut r);
        self.register_snapshots(&mut r);
        self.draws.register(&mut r);
        self.publisher.register(&mut r);
        self.register_mirror(&mut r);
        self.feeds.register(&mut r);
        r.register("spans_sent", "Spans of traces that the collector has", self.spans_sent.clone());
        let help = "Spans of traces that were dropped: the collector is away or too slow";
        r.register("spans_dropped", help, self.spans_dropped.clone());
        let help = "Clock when these figures were written: they stand still where nothing runs";
        r.register_with_unit("reported_at", help, Unit::Seconds, self.reported_at.clone());
        r
    }

    fn register_counts(&self, r: &mut Registry) {
        r.register("records_in", "Records read, by job", self.records_in.clone());
        r.register("records_out", "Facts written, by job and topic", self.records_out.clone());
        r.register("orders", "What happened to orders, by event", self.orders.clone());
        let help = "Orders refused, by reason (an order counts under each)";
        r.register("refusals", help, self.refusals.clone());
        r.register("dead_letters", "Records nothing could be done with", self.dead_letters.clone());
        r.register("fraud_alerts", "Velocity rules that fired, by their action", self.fraud_alerts.clone());
        let help = "Orders that came later than velocity allows: judged by what was still kept";
        r.register("late_orders", help, self.late_orders.clone());
        let help = "Records that claimed to be further ahead of the clock than allowed, and were cut back";
        r.register("records_clamped", help, self.records_clamped.clone());
        let help = "Records of an input partition that are in Kafka and not read yet";
        r.register("consumer_lag", help, self.consumer_lag.clone());
    }

    fn register_epochs(&self, r: &mut Registry) {
        r.register("epoch_minted", "Last epoch minted", self.epoch_minted.clone());
        r.register("epoch_bound", "Last epoch whose binding is durable", self.epoch_bound.clone());
        let help = "Last epoch decided: facts and tables committed";
        r.register("epoch_committed", help, self.epoch_committed.clone());
        let help = "Epochs that may be minted and not decided: at this many, back-pressure holds the inputs";
        r.register("epochs_in_flight_max", help, self.epochs_in_flight_max.clone());
        let help = "How long the decided frontier has stood still while epochs were in flight";
        r.register_with_unit("frontier_age", help, Unit::Seconds, self.frontier_age.clone());
        let help = "How far the pipeline's time is behind the clock: holds run out by it, and it goes no further than the log was read";
        r.register_with_unit("time_behind", help, Unit::Seconds, self.time_behind.clone());
        let help =
            "From an epoch's now to its commit, of epochs with results; with a backlog, how old that is";
        r.register_with_unit("decision_delay", help, Unit::Seconds, self.decision_delay.0.clone());
    }

    fn register_publishing(&self, r: &mut Registry) {
        let help = "Last epoch that every analytical store has";
        r.register("epoch_published", help, self.epoch_published.clone());
        r.register("published_rows", "Facts that the analytical store has", self.published_rows.clone());
        let help = "Tries to reach the analytical store that failed";
        r.register("publish_retries", help, self.publish_retries.clone());
        let help = "1 where feeding the analytical store has stopped and an operator is needed; sales go on";
        r.register("publish_stopped", help, self.publish_stopped.clone());
    }

    fn register_snapshots(&self, r: &mut Registry) {
        let help = "Last epoch that a snapshot holds: what comes after is replayed";
        r.register("snapshot_epoch", help, self.snapshot_epoch.clone());
        let help = "Size of the last snapshot";
        r.register_with_unit("snapshot_size", help, Unit::Bytes, self.snapshot_size.clone());
        let help = "Writes of snapshots that their store refused, full or away; sales go on";
        r.register("snapshot_retries", help, self.snapshot_retries.clone());
        let help = "Time from the start of the last snapshot to its manifest";
        r.register_with_unit("snapshot_duration", help, Unit::Seconds, self.snapshot_duration.clone());
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
            "Records of captured tables that can't be read or written: they lie in mirror_rejected",
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
        let help =
            "Captured tables of which nothing more is mirrored until they are mended; the others go on";
        r.register("mirror_parked", help, self.mirror_parked.clone());
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
