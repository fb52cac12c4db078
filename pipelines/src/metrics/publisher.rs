//! What a publisher counts, as Prometheus knows it.

use super::Seconds;
use crate::publishing::PublisherStatus;
use api::raise;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Of one outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    pub kind: &'static str,
    pub outcome: &'static str,
}

/// Of one channel, as `TENANT/CHANNEL`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChannelLabels {
    pub channel: String,
}

/// The families of a publisher.
#[derive(Clone, Debug, Default)]
pub struct PublisherMetrics {
    pub publications: Family<OutcomeLabels, Counter>,
    pub retries: Counter,
    pub waiting: Gauge,
    pub channel_waiting: Family<ChannelLabels, Gauge>,
    pub channel_oldest: Family<ChannelLabels, Seconds>,
    pub channel_open: Family<ChannelLabels, Gauge>,
    pub stopped: Gauge,
}

impl PublisherMetrics {
    pub fn register(&self, r: &mut Registry) {
        r.register("publications", "Images and posts, by how they ended", self.publications.clone());
        r.register("publication_retries", "Calls to networks that are made again", self.retries.clone());
        r.register("publications_waiting", "Images and posts that wait for their end", self.waiting.clone());
        let help = "Posts of a channel that wait for their end";
        r.register("channel_waiting", help, self.channel_waiting.clone());
        let help = "How long ago the post was asked for that a channel is at; 0 where it waits for none";
        r.register_with_unit("channel_oldest", help, Unit::Seconds, self.channel_oldest.clone());
        r.register(
            "channel_open",
            "1 where a channel failed again and again and is left alone for a while (its circuit breaker is open)",
            self.channel_open.clone(),
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
            raise(&self.publications.get_or_create(&OutcomeLabels { kind, outcome }), count);
        }
        raise(&self.retries, figures.retries);
        self.waiting.set(figures.waiting as i64);
        let now_ms = crate::clock_ms();
        for (channel, figures) in &figures.channels {
            let labels = ChannelLabels { channel: channel.clone() };
            self.channel_waiting.get_or_create(&labels).set(figures.asked_ms.len() as i64);
            let age_ms = figures.asked_ms.front().map_or(0, |asked_ms| (now_ms - asked_ms).max(0));
            self.channel_oldest.get_or_create(&labels).set(age_ms as f64 / 1_000.0);
            self.channel_open.get_or_create(&labels).set(i64::from(figures.open));
        }
        self.stopped.set(i64::from(figures.stopped.is_some()));
    }
}
