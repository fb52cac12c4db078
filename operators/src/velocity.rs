//! Fraud velocity: how much of what a customer, card, device, address or partner did in the last while.
//!
//! ```text
//!   Probe (a valid order, a decline) ── by key ──> series of each metric in use ── rules ──> Verdict
//!   velocity_rules ── to every worker ──> rulebook: what is collected, how long, since when
//! ```
//!
//! An order is counted first and then judged, so a metric includes it: it fires when the metric over
//! (t − window, t] exceeds the threshold. What counts is every event that came before in the log's order
//! and whose event time lies in the window; a judgement is never revised by what comes later.
//!
//! Exact, that is equal to a plain count of everything, for orders that come at most the allowed lateness behind
//! their key's newest event time. One that comes later is told as late, and judged and counted by what is still
//! kept, and so is one that comes that much behind what was forgotten of its key, or of others of its slot that the same
//! rules keep: which of them it was nobody knows any more. Where a window reaches back further than what is known, because its rule is
//! new or the order that late, the verdict says since when nothing is missing.
//!
//! Invariants: a key's series depend on its own events and on rules, in the log's order, and on nothing
//! else, so neither epochs nor workers show; every order that was probed gets its verdict, fired or not. A
//! crash: series, rules and due times are state. An event that claims to be further ahead of its record time than
//! the lateness counts as that far ahead; none that is ahead makes those of its record time late.

pub mod messages;
mod rules;
mod saved;
mod series;
mod store;
mod window;

use crate::settings::Settings;
use messages::{Fired, Probe, ProbeEvent, VelocityIn, Verdict};
pub use rules::Rulebook;
use rules::{Collected, Rule};
use runtime::{At, Ctx, Envelope, KeyedState, Millis, Operator, Route, State, slot_of};
use schemas::Text;
use schemas::velocity::VelocityMetric;
use serde::{Deserialize, Serialize};
use series::{Event, Series};
use store::{SeriesKey, SeriesStore};

/// The operator. See the module.
pub struct Velocity {
    rules: Rulebook,
    series: SeriesStore,
    /// The newest event time of all series that were dropped.
    forgotten: KeyedState<Dropped, Millis>,
}

/// Whose series were dropped: of a slot, so that it moves with it, and of one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Dropped {
    slot: u8,
    owner: u64,
    metric: VelocityMetric,
}

impl Velocity {
    /// Has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        let forgotten = KeyedState::new("forgotten.v1", |dropped: &Dropped| dropped.slot);
        Velocity { rules: Rulebook::new(settings), series: SeriesStore::default(), forgotten }
    }

    /// Series held, for those who watch memory.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    fn declined(&mut self, now: Millis, probe: &Probe) {
        let collected = self.rules.tenant(&probe.tenant).of(probe.kind);
        let Some(declines) = collected.iter().find(|c| c.metric == VelocityMetric::Declines) else { return };
        let keep = self.rules.keep(probe, declines, now);
        self.series.add(key_of(probe, declines.metric, 0), Event { time: probe.time, value: 0 }, keep);
    }

    /// Counts an order and judges it by every rule of its kind of key.
    fn judge(&mut self, now: Millis, probe: &Probe, seen: Seen) -> Verdict {
        let mut verdict = Verdict { order: seen.order, kind: probe.kind, late_by_ms: 0, fired: Vec::new() };
        let time = probe.time;
        for collected in self.rules.tenant(&probe.tenant).of(probe.kind) {
            let metric = collected.metric;
            let value = seen.value(metric);
            let key = key_of(probe, metric, if metric == VelocityMetric::Amount { seen.currency } else { 0 });
            let counted = seen.counts(metric);
            let judged = Judged { time, value, counted, collected, now };
            let (series, mut newest_ms) = if counted {
                let keep = self.rules.keep(probe, collected, now);
                let (series, newest_ms) = self.series.add(key, Event { time, value }, keep);
                (Some(series), newest_ms)
            } else {
                let series = self.series.look(&key);
                let newest_ms = series.as_ref().map_or(time, |series| series.newest_ms);
                (series, newest_ms)
            };
            // What is forgotten is older than now: nothing that comes in time lies behind it.
            if now.saturating_sub(time) > self.rules.lateness_ms() {
                let owner = rules::owner(&probe.tenant, probe.kind);
                let dropped = Dropped { slot: slot_of(key.route), owner, metric };
                newest_ms = self.forgotten.get(&dropped).map_or(newest_ms, |ms| newest_ms.max(*ms));
            }
            if newest_ms - time > self.rules.lateness_ms() {
                verdict.late_by_ms = verdict.late_by_ms.max(newest_ms - time);
            }
            judged.by_rules(series, &mut verdict.fired);
        }
        verdict
    }
}

fn key_of(probe: &Probe, metric: VelocityMetric, currency: u32) -> SeriesKey {
    SeriesKey { route: probe.key.route, check: probe.key.check, metric, currency }
}

/// The currency by which a probe's events of a metric are told apart.
fn currency_of(probe: &Probe, metric: VelocityMetric) -> u32 {
    match probe.event {
        ProbeEvent::Order { currency, .. } if metric == VelocityMetric::Amount => currency,
        _ => 0,
    }
}

/// What a probe of an order says, besides its key.
#[derive(Clone, Copy)]
struct Seen {
    order: u64,
    amount_minor: i64,
    currency: u32,
    card: u64,
    customer: u64,
}

impl Seen {
    /// What the order is to a series of the metric.
    fn value(self, metric: VelocityMetric) -> u64 {
        match metric {
            VelocityMetric::Count | VelocityMetric::Declines => 0,
            VelocityMetric::Amount => u64::try_from(self.amount_minor).unwrap_or(0),
            VelocityMetric::DistinctCards => self.card,
            VelocityMetric::DistinctCustomers => self.customer,
        }
    }

    /// Whether the order itself is counted: it is no declined payment, and may have no card.
    fn counts(self, metric: VelocityMetric) -> bool {
        match metric {
            VelocityMetric::Count | VelocityMetric::Amount | VelocityMetric::DistinctCustomers => true,
            VelocityMetric::DistinctCards => self.card != 0,
            VelocityMetric::Declines => false,
        }
    }
}

/// An order before the rules of one metric.
struct Judged<'a> {
    time: Millis,
    value: u64,
    counted: bool,
    collected: &'a Collected,
    now: Millis,
}

impl Judged<'_> {
    fn by_rules(&self, mut series: Option<&mut Series>, fired: &mut Vec<Fired>) {
        let rules = &self.collected.rules;
        if let Some(series) = series.as_deref_mut() {
            series
                .keep_windows(rules.len(), |length_ms| rules.iter().any(|rule| rule.window_ms == length_ms));
        }
        for rule in rules {
            let value = self.measure(series.as_deref_mut(), rule.window_ms);
            if value > rule.threshold {
                fired.push(self.fired(rule, value, series.as_deref()));
            }
        }
    }

    /// The metric over the window that ends at the order. Where the order came too late to be kept, it is
    /// alone: nothing older is kept either.
    fn measure(&self, series: Option<&mut Series>, window_ms: Millis) -> i64 {
        match series {
            None => 0,
            Some(series) if self.time > series.floor_ms => series.measure(self.time, window_ms),
            Some(_) => match self.collected.metric {
                VelocityMetric::Amount => i64::try_from(self.value).unwrap_or(i64::MAX),
                _ => i64::from(self.counted),
            },
        }
    }

    fn fired(&self, rule: &Rule, value: i64, series: Option<&Series>) -> Fired {
        // Without a series nothing happened within the history, and what was before it may be forgotten.
        let forgotten = || self.now.saturating_sub(self.collected.history_ms);
        let kept_from = series.map_or_else(forgotten, |series| series.known_from_ms.max(series.floor_ms + 1));
        let known_from = kept_from.max(self.collected.known_from(self.now));
        let begin = (self.time - rule.window_ms + 1).max(0);
        Fired {
            rule_id: rule.rule_id.clone(),
            metric: self.collected.metric,
            value,
            threshold: rule.threshold,
            window_ms: rule.window_ms,
            action: rule.action,
            exact_since_ms: (known_from > begin).then_some(known_from),
        }
    }
}

impl Operator for Velocity {
    type In = VelocityIn;
    type Out = Verdict;
    const NAME: &'static str = "velocity";

    fn configure(&mut self, settings: &str) {
        self.rules.configure(&Settings::recorded_or_stop(settings));
    }

    fn route(input: &VelocityIn) -> Route {
        match input {
            VelocityIn::Probe(probe) => Route::Key(probe.key.route),
            VelocityIn::Rule(_) => Route::All,
        }
    }

    /// Every key is somewhere else, and reads that need nothing of each other wait together.
    fn foresee(&mut self, coming: &[Envelope<VelocityIn>]) {
        // Most are of the same tenant as the one before.
        let (mut known, mut glances): (Option<(&Text, &rules::Tenant)>, u64) = (None, 0);
        for message in coming {
            let VelocityIn::Probe(probe) = &message.body else { continue };
            let collected = match known {
                Some((tenant, collected)) if *tenant == probe.tenant => collected,
                _ => self.rules.tenant(&probe.tenant),
            };
            known = Some((&probe.tenant, collected));
            for metric in collected.of(probe.kind).iter().map(|c| c.metric) {
                glances ^= self.series.glance(&key_of(probe, metric, currency_of(probe, metric)));
            }
        }
        std::hint::black_box(glances);
    }

    fn on_record(&mut self, at: At, input: VelocityIn, ctx: &mut Ctx<Verdict>) {
        match input {
            VelocityIn::Rule(change) => self.rules.apply(*change, at.time()),
            VelocityIn::Probe(mut probe) => {
                probe.time = self.rules.taken_at(probe.time, at.time());
                match probe.event {
                    ProbeEvent::Declined => self.declined(at.time(), &probe),
                    ProbeEvent::Order { order, amount_minor, currency, card, customer } => {
                        let seen = Seen { order, amount_minor, currency, card, customer };
                        ctx.emit(at, self.judge(at.time(), &probe, seen));
                    }
                }
            }
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.series.next_timer()
    }

    fn on_timer(&mut self, due: Millis, _ctx: &mut Ctx<Verdict>) {
        let rules = &self.rules;
        let forgotten = &mut self.forgotten;
        let note = |key: SeriesKey, owner: u64, newest_ms: Millis| {
            let dropped = Dropped { slot: slot_of(key.route), owner, metric: key.metric };
            if forgotten.get(&dropped).is_none_or(|known| *known < newest_ms) {
                forgotten.insert(dropped, newest_ms);
            }
        };
        self.series.on_timer(due, |owner, metric| rules.history_of(owner, metric), note);
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        let mut states: Vec<&mut dyn State> = self.rules.states().into();
        states.push(&mut self.series);
        states.push(&mut self.forgotten);
        states
    }

    fn on_restored(&mut self) {
        self.rules.on_restored();
        self.series.on_restored();
    }
}
