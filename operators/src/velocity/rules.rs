//! The rules in force, on every worker: what is collected, for how long, and since when.
//!
//! ```text
//!   velocity_rules ── change at R ──> rules (state) ──> by tenant and key: metric ─ rules, history, since
//! ```
//!
//! A metric of a key is collected as soon as a rule asks for it, and kept for `history_ms`: the longest
//! window of its rules and the allowed lateness, and no less than `fraud_history_ms_min`.
//!
//! Invariant: what has an event time from `since_ms` on has been counted, and what was before it need not
//! have been. A rule added at R to what was kept for H makes it max(since, R + lateness − H), so that a first
//! rule knows all that can claim to be later than what came before R. The first that counts declines has to wait
//! for `fraud_decline_horizon_ms` more: until then payments are declined of orders that came before it.
//!
//! Everything here follows from the changes in their order, so every worker has the same; after a crash the
//! index is rebuilt from the two states. One thing it can't know: settings that have become longer take
//! effect at a restart, and only what came since fills them.

use super::messages::Probe;
use super::store::Keep;
use crate::keys::{Scoped, ScopedRef};
use crate::messages::TableChange;
use crate::settings::Settings;
use runtime::types::BEFORE_EVERYTHING;
use runtime::{KeyedState, Millis, State, stable_hash};
use rustc_hash::FxHashMap;
use schemas::velocity::{FraudAction, RuleStatus, VelocityKey, VelocityMetric, VelocityRule};
use schemas::{Reference, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is collected of one metric of one kind of key.
#[derive(Clone, Debug)]
pub struct Collected {
    pub metric: VelocityMetric,
    pub history_ms: Millis,
    /// The history that was kept when `since_ms` was said.
    known_ms: Millis,
    since_ms: Millis,
    /// By id.
    pub rules: Vec<Rule>,
}

/// A rule as it is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub rule_id: Text,
    pub window_ms: Millis,
    pub threshold: i64,
    pub action: FraudAction,
}

impl Collected {
    /// From when on nothing is missing that came by record time `now`.
    pub fn known_from(&self, now: Millis) -> Millis {
        if self.history_ms <= self.known_ms {
            return self.since_ms;
        }
        self.since_ms.max(now.saturating_sub(self.known_ms))
    }
}

/// What a tenant collects, by kind of key.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    rules: BTreeMap<Text, VelocityRule>,
    by_key: [Vec<Collected>; VelocityKey::ALL.len()],
}

impl Tenant {
    /// What is collected of a kind of key; nothing for most.
    pub fn of(&self, kind: VelocityKey) -> &[Collected] {
        &self.by_key[kind as usize]
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Subject {
    tenant: Text,
    kind: VelocityKey,
    metric: VelocityMetric,
}

/// Since when something is collected, and for how long it was kept when that was said.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Since {
    since_ms: Millis,
    history_ms: Millis,
}

/// Every tenant's rules.
pub struct Rulebook {
    lateness_ms: Millis,
    history_ms_min: Millis,
    decline_horizon_ms: Millis,
    rules: KeyedState<Scoped, VelocityRule>,
    since: KeyedState<Subject, Since>,
    tenants: FxHashMap<Text, Tenant>,
    /// By owner and metric. Owners that share a hash share the longer one.
    histories: FxHashMap<(u64, VelocityMetric), Millis>,
    /// What a tenant without rules collects.
    ruleless: Tenant,
}

impl Rulebook {
    /// No rules.
    pub fn new(settings: &Settings) -> Self {
        let mut book = Rulebook {
            lateness_ms: 0,
            history_ms_min: 0,
            decline_horizon_ms: 0,
            rules: KeyedState::new_replicated("rules.v1", Scoped::slot),
            since: KeyedState::new_replicated("since.v1", |subject| {
                ScopedRef { tenant: &subject.tenant, id: subject.kind.as_str() }.to_owned().slot()
            }),
            tenants: FxHashMap::default(),
            histories: FxHashMap::default(),
            ruleless: Tenant::default(),
        };
        book.configure(settings);
        book
    }

    /// Takes settings.
    pub fn configure(&mut self, settings: &Settings) {
        self.lateness_ms = settings.fraud_lateness_ms;
        self.history_ms_min = settings.fraud_history_ms_min;
        self.decline_horizon_ms = settings.fraud_decline_horizon_ms;
        self.on_restored();
    }

    /// Indexes what was loaded.
    pub fn on_restored(&mut self) {
        let mut rules: BTreeMap<Text, BTreeMap<Text, VelocityRule>> = BTreeMap::new();
        for (key, rule) in self.rules.iter() {
            rules.entry(key.tenant.clone()).or_default().insert(key.id.clone(), rule.clone());
        }
        self.ruleless = self.gather(None, BTreeMap::new());
        let gathered =
            rules.into_iter().map(|(tenant, rules)| (tenant.clone(), self.gather(Some(&tenant), rules)));
        self.tenants = gathered.collect();
        self.index_histories();
    }

    /// What a tenant collects.
    pub fn tenant(&self, tenant: &Text) -> &Tenant {
        self.tenants.get(tenant).unwrap_or(&self.ruleless)
    }

    /// How long an owner's series of a metric is kept.
    pub fn history_of(&self, owner: u64, metric: VelocityMetric) -> Millis {
        self.histories.get(&(owner, metric)).copied().unwrap_or(self.history_ms_min)
    }

    /// How an event is kept that a probe brings at record time `now`.
    pub fn keep(&self, probe: &Probe, collected: &Collected, now: Millis) -> Keep {
        Keep { now, history_ms: collected.history_ms, owner: owner(&probe.tenant, probe.kind) }
    }

    /// The event time by which an event counts that claims to be of `time`: none is further ahead than it may be late.
    pub fn taken_at(&self, time: Millis, now: Millis) -> Millis {
        time.min(now.saturating_add(self.lateness_ms))
    }

    /// How late an order may come.
    pub fn lateness_ms(&self) -> Millis {
        self.lateness_ms
    }

    /// Takes a change of `velocity_rules` that has record time `now`; of another table, nothing.
    pub fn apply(&mut self, change: TableChange, now: Millis) {
        let (key, row) = match change {
            TableChange { row: Some(Reference::VelocityRule(row)), .. } => {
                (Scoped { tenant: row.tenant.clone(), id: row.rule_id.clone() }, Some(*row))
            }
            TableChange { key: schemas::ReferenceKey::VelocityRule { tenant, rule_id }, row: None } => {
                (Scoped { tenant, id: rule_id }, None)
            }
            _ => return,
        };
        let mut rules = self.tenant(&key.tenant).rules.clone();
        if let Some(row) = row {
            rules.insert(key.id.clone(), row.clone());
            self.rules.insert(key.clone(), row);
        } else {
            rules.remove(&key.id);
            self.rules.remove(&key);
        }
        self.reindex(&key.tenant, rules, now);
    }

    /// Notes since when what a tenant now collects is complete.
    fn reindex(&mut self, tenant: &Text, rules: BTreeMap<Text, VelocityRule>, now: Millis) {
        let before = self.tenant(tenant).clone();
        let mut gathered = self.gather(Some(tenant), rules);
        for kind in VelocityKey::ALL.iter().copied() {
            for collected in &mut gathered.by_key[kind as usize] {
                let subject = Subject { tenant: tenant.clone(), kind, metric: collected.metric };
                let old = before.of(kind).iter().find(|old| old.metric == collected.metric);
                let kept_ms = old.map_or(0, |old| old.history_ms.min(old.known_ms));
                let known_from = old.map_or(0, |old| old.known_from(now));
                let grown = collected.history_ms > kept_ms;
                let begun =
                    self.begun(now, kept_ms, old.is_none() && subject.metric == VelocityMetric::Declines);
                let since_ms = if grown { known_from.max(begun) } else { known_from };
                let since = Since { since_ms, history_ms: collected.history_ms };
                self.since.insert(subject, since);
                (collected.since_ms, collected.known_ms) = (since.since_ms, since.history_ms);
            }
            for old in before.of(kind) {
                if !gathered.of(kind).iter().any(|collected| collected.metric == old.metric) {
                    self.since.remove(&Subject { tenant: tenant.clone(), kind, metric: old.metric });
                }
            }
        }
        self.tenants.insert(tenant.clone(), gathered);
        self.index_histories();
    }

    /// Since when something is complete that from record time `now` on is kept for longer than `kept_ms`: an
    /// order that came before may claim to be ahead, and of orders whose keys nobody remembered the payments
    /// may still be declined. Before everything there were no orders.
    fn begun(&self, now: Millis, kept_ms: Millis, first_declines: bool) -> Millis {
        if now == BEFORE_EVERYTHING {
            return 0;
        }
        let unremembered_ms = if first_declines { self.decline_horizon_ms } else { 0 };
        (now - kept_ms).saturating_add(self.lateness_ms).saturating_add(unremembered_ms).max(0)
    }

    fn index_histories(&mut self) {
        self.histories.clear();
        for (tenant, collected) in &self.tenants {
            for kind in VelocityKey::ALL.iter().copied() {
                for Collected { metric, history_ms, .. } in collected.of(kind) {
                    let known = self.histories.entry((owner(tenant, kind), *metric)).or_insert(0);
                    *known = *history_ms.max(known);
                }
            }
        }
    }

    /// What a tenant's rules ask for.
    fn gather(&self, tenant: Option<&Text>, rules: BTreeMap<Text, VelocityRule>) -> Tenant {
        let mut gathered = Tenant::default();
        let active: Vec<&VelocityRule> = rules.values().filter(|r| r.status == RuleStatus::Active).collect();
        for kind in VelocityKey::ALL.iter().copied() {
            for metric in VelocityMetric::ALL.iter().copied() {
                let mine = active.iter().filter(|rule| rule.key == kind && rule.metric == metric);
                let mine: Vec<Rule> = mine.map(|rule| Rule::of(rule)).collect();
                let longest = mine.iter().map(|rule| rule.window_ms.saturating_add(self.lateness_ms)).max();
                let history_ms = longest.unwrap_or(0).max(self.history_ms_min);
                if history_ms > 0 {
                    gathered.by_key[kind as usize]
                        .push(self.collected(tenant, kind, metric, history_ms, mine));
                }
            }
        }
        gathered.rules = rules;
        gathered
    }

    fn collected(
        &self,
        tenant: Option<&Text>,
        kind: VelocityKey,
        metric: VelocityMetric,
        history_ms: Millis,
        rules: Vec<Rule>,
    ) -> Collected {
        let subject = tenant.map(|tenant| Subject { tenant: tenant.clone(), kind, metric });
        let known = subject.and_then(|subject| self.since.get(&subject).copied());
        // Without rules there is nothing to know but the settings.
        let Since { since_ms, history_ms: known_ms } = known.unwrap_or(Since { since_ms: 0, history_ms });
        Collected { metric, history_ms, known_ms, since_ms, rules }
    }

    /// What snapshots hold of it.
    pub fn states(&mut self) -> [&mut dyn State; 2] {
        [&mut self.rules, &mut self.since]
    }
}

/// Whose rules a series is kept by: a tenant's for one kind of key.
pub fn owner(tenant: &str, kind: VelocityKey) -> u64 {
    stable_hash(tenant.as_bytes()).wrapping_add(kind as u64)
}

impl Rule {
    fn of(rule: &VelocityRule) -> Self {
        Rule {
            rule_id: rule.rule_id.clone(),
            window_ms: rule.window_ms,
            threshold: rule.threshold,
            action: rule.action,
        }
    }
}
