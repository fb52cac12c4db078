//! Where the counts come from: committed facts, and what the run's threads share.
//!
//! Facts are counted when they are committed, so a replay after a crash doesn't count them twice; what was
//! committed by an earlier process is not counted by this one.

use super::draws::{DrawCounts, DrawsWatch};
use super::{
    ActionLabels, EventLabels, JobLabels, Metrics, PartitionLabels, ReasonLabels, TopicLabels, raise,
};
use crate::publishing::PublisherStatus;
use crate::traces::Exporter;
use connectors::kafka::Lags;
use operators::messages::Output;
use runtime::Epoch;
use runtime::shared::Shared;
use runtime::sink::{EpochItems, Sink, SinkError};
use runtime::trace::Tracer as _;
use schemas::Fact;
use schemas::facts::OrderEvent;
use sinks::clickhouse::mirror::MirrorStatus;
use sinks::clickhouse::{LoaderState, LoaderStatus};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const REPORT_EVERY: Duration = Duration::from_secs(1);

/// A sink that counts what it has committed.
pub struct Counted {
    inner: Box<dyn Sink<Output>>,
    metrics: Metrics,
}

impl Counted {
    /// Counts what `inner` commits.
    pub fn new(inner: Box<dyn Sink<Output>>, metrics: Metrics) -> Self {
        Counted { inner, metrics }
    }
}

impl Sink<Output> for Counted {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn committed(&mut self) -> Result<Epoch, SinkError> {
        self.inner.committed()
    }

    fn commit_interval(&self) -> Duration {
        self.inner.commit_interval()
    }

    fn commit(&mut self, run: &[EpochItems<Output>]) -> Result<(), SinkError> {
        self.inner.commit(run)?;
        let mut counts = Counts::default();
        run.iter().flat_map(|epoch| &epoch.items).for_each(|item| counts.add(&item.body));
        counts.tell(&self.metrics);
        let clock = crate::clock_ms();
        for epoch in run.iter().filter(|epoch| !epoch.items.is_empty()) {
            self.metrics.decision_delay.0.observe((clock - epoch.now).max(0) as f64 / 1_000.0);
        }
        Ok(())
    }
}

/// Counts by name: a handful, looked through by where the name stands, because every fact is counted.
#[derive(Default)]
struct ByName(Vec<(&'static str, u64)>);

impl ByName {
    fn add(&mut self, name: &'static str) {
        match self.0.iter_mut().find(|(known, _)| std::ptr::eq(*known, name)) {
            Some((_, count)) => *count += 1,
            None => self.0.push((name, 1)),
        }
    }
}

/// Counts of one commit, so that the shared counters are touched once each.
#[derive(Default)]
struct Counts {
    topics: ByName,
    orders: ByName,
    reasons: ByName,
    dead_letters: u64,
    alerts: ByName,
    late_orders: u64,
    draws: DrawCounts,
}

impl Counts {
    fn add(&mut self, output: &Output) {
        let Output::Fact(fact) = output else { return };
        self.topics.add(fact.topic());
        match fact {
            Fact::Order(order) => {
                self.orders.add(order.event.as_str());
                if order.event == OrderEvent::Refused {
                    order.reasons.iter().for_each(|reason| self.reasons.add(reason.as_str()));
                }
            }
            Fact::DeadLetter(_) => self.dead_letters += 1,
            Fact::Fraud(fraud) => match fraud.action {
                Some(action) => self.alerts.add(action.as_str()),
                None => self.late_orders += 1,
            },
            other => self.draws.add(other),
        }
    }

    fn tell(self, metrics: &Metrics) {
        for (topic, count) in self.topics.0 {
            let labels = TopicLabels { job: metrics.job.clone(), topic };
            metrics.records_out.get_or_create(&labels).inc_by(count);
        }
        for (event, count) in self.orders.0 {
            let labels = EventLabels { job: metrics.job.clone(), event };
            metrics.orders.get_or_create(&labels).inc_by(count);
        }
        for (reason, count) in self.reasons.0 {
            let labels = ReasonLabels { job: metrics.job.clone(), reason };
            metrics.refusals.get_or_create(&labels).inc_by(count);
        }
        metrics.dead_letters.inc_by(self.dead_letters);
        for (action, count) in self.alerts.0 {
            metrics.fraud_alerts.get_or_create(&ActionLabels { action }).inc_by(count);
        }
        metrics.late_orders.inc_by(self.late_orders);
        self.draws.tell(&metrics.draws);
    }
}

impl Metrics {
    /// Takes over what the run's threads share.
    pub fn observe(&self, watched: &mut Watched) {
        let shared = &*watched.shared;
        let load = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::SeqCst);
        let records_in = self.records_in.get_or_create(&JobLabels { job: self.job.clone() });
        raise(&records_in, load(&shared.records_in));
        let decided = load(&shared.decided) as i64;
        self.epoch_minted.set(load(&shared.minted) as i64);
        self.epoch_bound.set(load(&shared.bound) as i64);
        self.epoch_committed.set(decided);
        // Where no analytical store is attached, nothing is published later than it is decided.
        self.epoch_published
            .set(watched.loader.as_ref().map_or(decided, |loader| self.observe_loader(loader)));
        if let Some(draws) = &mut watched.draws {
            draws.observe(&self.draws);
        }
        if let Some(publisher) = &watched.publisher {
            self.publisher.observe(publisher);
        }
        if let Some(mirror) = &watched.mirror {
            self.observe_mirror(mirror);
        }
        if let Some(traces) = &watched.traces {
            let figures = traces.figures();
            raise(&self.spans_sent, figures.sent);
            raise(&self.spans_dropped, figures.dropped);
        }
        for (topic, partition, lag) in watched.lags.iter().flat_map(Lags::get) {
            let labels = PartitionLabels { job: self.job.clone(), topic, partition };
            self.consumer_lag.get_or_create(&labels).set(lag as i64);
        }
        self.frontier_age.set(shared.frontier_age_ms() as f64 / 1_000.0);
        self.time_behind.set(shared.time_behind_ms() as f64 / 1_000.0);
        raise(&self.records_clamped, load(&shared.clamped));
        self.reported_at.set(shared.clock() as f64 / 1_000.0);
        self.snapshot_epoch.set(load(&shared.snapshot) as i64);
        self.snapshot_size.set(load(&shared.snapshot_bytes) as i64);
        self.snapshot_duration.set(load(&shared.snapshot_ms) as f64 / 1_000.0);
        raise(&self.snapshot_retries, load(&shared.snapshot_retries));
    }
}

impl Metrics {
    /// Takes over what the loader says of itself; the published frontier.
    fn observe_loader(&self, loader: &LoaderStatus) -> i64 {
        let figures = loader.get();
        raise(&self.published_rows, figures.rows);
        raise(&self.publish_retries, figures.retries);
        self.publish_stopped.set(i64::from(figures.state == LoaderState::Stopped));
        figures.published.0 as i64
    }
}

impl Metrics {
    /// Takes over what the mirror says of itself.
    fn observe_mirror(&self, mirror: &MirrorStatus) {
        let figures = mirror.get();
        let counters = [
            (&self.mirrored_rows, figures.rows),
            (&self.mirror_retries, figures.retries),
            (&self.mirror_rejected, figures.rejected),
            (&self.mirror_clamped, figures.clamped),
        ];
        for (counter, count) in counters {
            raise(counter, count);
        }
        self.mirror_lag.set(figures.lag as i64);
        self.mirror_behind.set(figures.behind_ms as f64 / 1_000.0);
        self.mirror_parked.set(figures.parked as i64);
        self.mirror_stopped.set(i64::from(figures.state == LoaderState::Stopped));
    }
}

/// What metrics are taken from.
pub struct Watched {
    pub shared: Arc<Shared>,
    pub lags: Vec<Lags>,
    pub loader: Option<Arc<LoaderStatus>>,
    /// Where the pipeline decides on draws.
    pub draws: Option<DrawsWatch>,
    pub publisher: Option<Arc<PublisherStatus>>,
    pub mirror: Option<Arc<MirrorStatus>>,
    pub traces: Option<Arc<Exporter>>,
}

/// Writes the metrics of a run once a second, and once more when it is dropped.
pub struct Reporter {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Begins. A file that can't be written is logged: no decision depends on it.
    ///
    /// # Errors
    /// Where the system refuses a thread.
    pub fn start(metrics: Metrics, mut watched: Watched, dir: PathBuf) -> std::io::Result<Reporter> {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let work = move || {
            loop {
                let last = seen.load(Ordering::SeqCst);
                metrics.observe(&mut watched);
                if let Err(problem) = metrics.write(&dir) {
                    tracing::warn!(%problem, "metrics can't be written");
                }
                if last {
                    return;
                }
                std::thread::park_timeout(REPORT_EVERY);
            }
        };
        let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(work)?;
        Ok(Reporter { ended, thread: Some(thread) })
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::warn!("the metrics thread panicked; its message stands above");
            }
        }
    }
}
