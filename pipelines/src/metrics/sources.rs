//! The health of polled sources: when each last went well, how often it has failed since, what it brought.

use super::Seconds;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Of one source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabels {
    pub source: String,
}

/// Every family. Clones count into the same numbers.
#[derive(Clone, Debug, Default)]
pub struct FeedMetrics {
    last_success: Family<SourceLabels, Seconds>,
    failures: Family<SourceLabels, Gauge>,
    results: Family<SourceLabels, Gauge>,
    sent: Family<SourceLabels, Counter>,
    rejected: Family<SourceLabels, Counter>,
}

/// Those of one source.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    pub last_success: Seconds,
    pub failures: Gauge,
    pub results: Gauge,
    pub sent: Counter,
    pub rejected: Counter,
}

impl FeedMetrics {
    /// Those of one source; with this they are there, though nothing was counted.
    pub fn of(&self, source: &str) -> SourceMetrics {
        let labels = SourceLabels { source: source.to_owned() };
        SourceMetrics {
            last_success: self.last_success.get_or_create(&labels).clone(),
            failures: self.failures.get_or_create(&labels).clone(),
            results: self.results.get_or_create(&labels).clone(),
            sent: self.sent.get_or_create(&labels).clone(),
            rejected: self.rejected.get_or_create(&labels).clone(),
        }
    }

    /// Under their names.
    pub fn register(&self, r: &mut Registry) {
        r.register_with_unit(
            "feed_last_success",
            "When a source was last polled without failure, as Unix time; 0 where it never was",
            Unit::Seconds,
            self.last_success.clone(),
        );
        r.register(
            "feed_consecutive_failures",
            "Polls of a source that failed since the last that didn't",
            self.failures.clone(),
        );
        r.register("feed_results", "Draw results in a source's last document", self.results.clone());
        r.register("feed_results_sent", "Results of a source that were new or changed", self.sent.clone());
        r.register("feed_rejected", "Rows of a source that didn't fit its mapping", self.rejected.clone());
    }
}
