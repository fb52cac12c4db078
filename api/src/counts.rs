//! What the API counts of itself, as Prometheus knows it.

use crate::app::App;
use crate::problem::{Answer, kind_of};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Brings a counter to what is counted elsewhere, where it is less: two who do so at once add nothing twice.
pub fn raise(counter: &Counter, total: u64) {
    counter.inner().fetch_max(total, Ordering::Relaxed);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
    status: u16,
    /// Its kind, where the answer is one: what is not decided yet is nobody's failure, and has a status of failures.
    problem: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabels {
    topic: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OneRoute {
    route: &'static str,
}

/// Every family. Counting costs an atomic addition and a look-up.
pub struct Counts {
    registry: Registry,
    requests: Family<RouteLabels, Counter>,
    seconds: Family<OneRoute, Histogram>,
    appended: Family<TopicLabels, Counter>,
    in_flight: Gauge,
    waiting: Gauge,
    live: Gauge,
    spans_sent: Counter,
    spans_dropped: Counter,
    telling: Gauge,
    resident: Gauge,
    /// Facts read for those who listen.
    pub facts: Counter,
}

impl Default for Counts {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tombola_api");
        let requests = Family::<RouteLabels, Counter>::default();
        registry.register(
            "requests",
            "Requests answered, by route, status and kind of problem",
            requests.clone(),
        );
        let seconds: Family<OneRoute, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 14)));
        registry.register_with_unit("request", "Time of a request", Unit::Seconds, seconds.clone());
        let appended = Family::<TopicLabels, Counter>::default();
        registry.register("appended", "Records appended, by topic", appended.clone());
        let (spans_sent, spans_dropped) = (Counter::default(), Counter::default());
        let help = "Spans of traces that the collector has";
        registry.register("spans_sent", help, spans_sent.clone());
        let help = "Spans of traces that were dropped: the collector is away or too slow";
        registry.register("spans_dropped", help, spans_dropped.clone());
        let facts = Counter::default();
        registry.register("facts", "Facts read for those who listen or wait", facts.clone());
        let mut gauge = |name: &str, about: &str| {
            let gauge = Gauge::default();
            registry.register(name, about, gauge.clone());
            gauge
        };
        let in_flight = gauge("in_flight", "Requests in flight");
        let waiting = gauge("waiting", "Requests that wait for a decision");
        let live = gauge("live_clients", "Clients of Server-Sent Events");
        let telling = gauge("telling", "Whether facts are read: somebody listens or waits");
        let resident =
            gauge("resident_bytes", "Memory that this process holds; the pipeline's where it runs beside");
        Counts {
            registry,
            requests,
            seconds,
            appended,
            in_flight,
            waiting,
            live,
            telling,
            resident,
            facts,
            spans_sent,
            spans_dropped,
        }
    }
}

impl Counts {
    /// A request was answered.
    pub fn answered(&self, route: &'static str, answer: &Answer, took: Duration) {
        let (status, problem) = (answer.status().as_u16(), kind_of(answer));
        self.requests.get_or_create(&RouteLabels { route, status, problem }).inc();
        self.seconds.get_or_create(&OneRoute { route }).observe(took.as_secs_f64());
    }

    /// A record was appended.
    pub fn appended(&self, topic: &'static str) {
        self.appended.get_or_create(&TopicLabels { topic }).inc();
    }

    /// All of it as text.
    pub fn text(&self, app: &App) -> String {
        self.in_flight.set(app.limits.in_flight() as i64);
        self.waiting.set(app.waits.taken() as i64);
        self.live.set(app.seats.taken() as i64);
        let spans = app.tracer.as_ref().map(|tracer| tracer.figures()).unwrap_or_default();
        raise(&self.spans_sent, spans.sent);
        raise(&self.spans_dropped, spans.dropped);
        self.telling.set(app.decided.is_telling().into());
        self.resident.set(resident_bytes().unwrap_or_default());
        let mut text = String::new();
        // Writing into a string can't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// What the system says of this process; none where it doesn't.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
