//! What becomes of draws: counted from committed facts, and what waits, asked of the tables now and then.

use super::Seconds;
use crate::publishing::standing::{Undecided, undecided};
use crate::stores::{StoreError, Stores, Tables};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use schemas::Fact;
use schemas::draws::{DrawEvent, WinningStatus};
use std::time::{Duration, Instant};

/// Waiting is a matter of minutes: tables needn't be asked more often.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Of one thing that happens to draws.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DrawLabels {
    pub event: &'static str,
}

/// Of draws that wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StandingLabels {
    pub status: &'static str,
}

/// Of a step of a publication, as it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabels {
    pub kind: &'static str,
    pub event: &'static str,
}

/// The families of the job draws.
#[derive(Clone, Debug, Default)]
pub struct DrawMetrics {
    pub events: Family<DrawLabels, Counter>,
    pub winning_tickets: Counter,
    pub steps: Family<StepLabels, Counter>,
    pub waiting: Family<StandingLabels, Gauge>,
    pub waiting_since: Family<StandingLabels, Seconds>,
}

/// Of one commit.
#[derive(Default)]
pub struct DrawCounts {
    events: Vec<&'static str>,
    steps: Vec<(&'static str, &'static str)>,
    winning_tickets: u64,
}

impl DrawCounts {
    /// Draws are few, so that each fact may be noted.
    pub fn add(&mut self, fact: &Fact) {
        match fact {
            Fact::Draw(fact) => self.events.push(fact.event.as_str()),
            Fact::Publication(fact) => self.steps.push((fact.kind.as_str(), fact.event.as_str())),
            Fact::Winning(fact) => self.winning_tickets += u64::from(fact.status == WinningStatus::Won),
            _ => {}
        }
    }

    pub fn tell(self, metrics: &DrawMetrics) {
        for event in self.events {
            metrics.events.get_or_create(&DrawLabels { event }).inc();
        }
        for (kind, event) in self.steps {
            metrics.steps.get_or_create(&StepLabels { kind, event }).inc();
        }
        metrics.winning_tickets.inc_by(self.winning_tickets);
    }
}

impl DrawMetrics {
    pub fn register(&self, r: &mut Registry) {
        // Money is to be given back: the first of them is to be seen as an increase, so it counts from 0.
        self.events.get_or_create(&DrawLabels { event: DrawEvent::TooLate.as_str() }).inc_by(0);
        r.register("draws", "What happened to draws, by event", self.events.clone());
        r.register(
            "winning_tickets",
            "Prizes that tickets won, corrections included",
            self.winning_tickets.clone(),
        );
        r.register("publication_steps", "Images and posts as decided, by event", self.steps.clone());
        r.register(
            "draws_waiting",
            "Draws with reports and without a result: too few sources, or sources that contradict each other",
            self.waiting.clone(),
        );
        r.register_with_unit(
            "draws_waiting_since",
            "When anything was last said of the draw that has waited longest, as Unix time; 0 where none waits",
            Unit::Seconds,
            self.waiting_since.clone(),
        );
    }

    fn observe(&self, undecided: &Undecided) {
        for (status, waiting) in [("waiting", &undecided.waiting), ("disagreement", &undecided.disagreement)]
        {
            let labels = StandingLabels { status };
            self.waiting.get_or_create(&labels).set(waiting.draws as i64);
            let since_s = waiting.oldest_ms.unwrap_or(0) as f64 / 1_000.0;
            self.waiting_since.get_or_create(&labels).set(since_s);
        }
    }
}

/// Asks the tables of a pipeline that decides on draws.
pub struct DrawsWatch {
    stores: Stores,
    tables: Option<Box<dyn Tables>>,
    asked: Option<Instant>,
}

impl DrawsWatch {
    pub fn new(stores: Stores) -> Self {
        DrawsWatch { stores, tables: None, asked: None }
    }

    /// Asks, where it is time. Tables that are away are asked again; until then the figures stay.
    pub fn observe(&mut self, metrics: &DrawMetrics) {
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
            return;
        }
        match self.ask() {
            Ok(undecided) => {
                self.asked = Some(Instant::now());
                metrics.observe(&undecided);
            }
            Err(problem) => {
                self.tables = None;
                tracing::debug!(%problem, "how many draws wait isn't known just now");
            }
        }
    }

    fn ask(&mut self) -> Result<Undecided, StoreError> {
        if self.tables.is_none() {
            self.tables = Some(self.stores.tables()?);
        }
        undecided(self.tables.as_mut().expect("opened above").as_mut())
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;

    /// Prometheus sees no increase in a series whose first value is what it increased to.
    #[test]
    fn tickets_that_came_too_late_are_counted_from_0() {
        let text = Metrics::of("sales".to_owned()).text();
        let told = text.lines().find(|line| line.contains("event=\"too_late\""));
        assert!(
            told.is_some_and(|line| line.starts_with("tombola_draws_total{") && line.ends_with(" 0")),
            "{text}"
        );
    }
}
