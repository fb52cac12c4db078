//! What a publisher counts, as Prometheus knows it.

use crate::publishing::PublisherStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Of one outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    pub kind: &'static str,
    pub outcome: &'static str,
}

/// The families of a publisher.
#[derive(Clone, Debug, Default)]
pub struct PublisherMetrics {
    pub publications: Family<OutcomeLabels, Counter>,
    pub retries: Counter,
    pub waiting: Gauge,
    pub channels_open: Gauge,
    pub stopped: Gauge,
}

impl PublisherMetrics {
    pub fn register(&self, r: &mut Registry) {
        r.register("publications", "Images and posts, by how they ended", self.publications.clone());
        r.register("publication_retries", "Calls to networks that are made again", self.retries.clone());
        r.register("publications_waiting", "Images and posts that wait for their end", self.waiting.clone());
        r.register(
            "channels_open",
            "Channels that failed again and again and are left alone for a while",
            self.channels_open.clone(),
        );
        r.register(
            "publisher_stopped",
            "1 where publishing has stopped and an operator is needed; decisions go on",
            self.stopped.clone(),
        );
    }

    /// Takes over what the publisher says of itself.
    pub fn observe(&self, status: &PublisherStatus) {
        let figures = status.get();
        for (kind, outcome, count) in [
            ("image", "rendered", figures.images_rendered),
            ("image", "failed", figures.images_failed),
            ("post", "succeeded", figures.posts_succeeded),
            ("post", "failed", figures.posts_failed),
        ] {
            let counter = self.publications.get_or_create(&OutcomeLabels { kind, outcome });
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        self.retries.inc_by(figures.retries.saturating_sub(self.retries.get()));
        self.waiting.set(figures.waiting as i64);
        self.channels_open.set(figures.channels_open as i64);
        self.stopped.set(i64::from(figures.stopped.is_some()));
    }
}
