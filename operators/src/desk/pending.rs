//! What waits at the desk: orders for rows, and cancels, refunds and payments for their order.
//!
//! ```text
//!   order, rows missing ────────> waits under its key, indexed by each missing row, until its deadline
//!   settlement, order waits ────> queues behind it, without a deadline of its own
//!   settlement, order unknown ──> waits under the order's key until its own deadline
//! ```
//!
//! Only [`Pending`] is state; the index of missing rows and the timers follow from it.

use crate::keys::{Scoped, ScopedRef};
use crate::messages::CommandMsg;
use runtime::{KeyedState, Millis, Position, State, Timers};
use schemas::ReferenceKey;
use schemas::commands::PlaceOrder;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that waits under one order id: never empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pending {
    pub order: Option<WaitingOrder>,
    /// In order of arrival.
    pub followers: Vec<Follower>,
}

/// An order that waits for rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WaitingOrder {
    pub origin: Position,
    pub deadline_ms: Millis,
    pub order: Box<PlaceOrder>,
}

/// A cancel, refund or payment outcome that waits for its order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Follower {
    pub origin: Position,
    /// Counts only while there is no order.
    pub deadline_ms: Millis,
    pub command: CommandMsg,
}

/// Everything that waits on this worker.
pub struct WaitingRoom {
    pending: KeyedState<Scoped, Pending>,
    deadlines: Timers<Scoped>,
    /// Row → the orders that wait for it, in their original order.
    by_row: BTreeMap<ReferenceKey, BTreeSet<(Position, Scoped)>>,
}

impl Default for WaitingRoom {
    fn default() -> Self {
        WaitingRoom {
            pending: KeyedState::new("pending.v1", Scoped::slot),
            deadlines: Timers::default(),
            by_row: BTreeMap::new(),
        }
    }
}

impl WaitingRoom {
    /// Whether an order of this id waits.
    pub fn has_order(&self, key: ScopedRef<'_>) -> bool {
        self.find(key).is_some_and(|pending| pending.order.is_some())
    }

    /// Mostly nothing waits: then nothing is looked for.
    fn find(&self, key: ScopedRef<'_>) -> Option<&Pending> {
        if self.pending.is_empty() { None } else { self.pending.get(&key) }
    }

    /// An order begins to wait for `rows`.
    pub fn add_order(&mut self, waiting: WaitingOrder, rows: Vec<ReferenceKey>) {
        let key = key_of(&waiting.order);
        self.index(rows, waiting.origin, &key);
        self.deadlines.set(waiting.deadline_ms, key.clone());
        let pending = self.pending.get_or_insert_with(&key, Pending::default);
        assert!(pending.order.is_none(), "an order id is used once");
        pending.order = Some(waiting);
    }

    /// A command begins to wait for its order, or queues behind it.
    pub fn add_follower(&mut self, follower: Follower) {
        let command = &follower.command.command;
        let key = Scoped { tenant: command.tenant().clone(), id: command.subject_id().clone() };
        let pending = self.pending.get_or_insert_with(&key, Pending::default);
        if pending.order.is_none() {
            self.deadlines.set(follower.deadline_ms, key);
        }
        pending.followers.push(follower);
    }

    /// The order that waits under `key`.
    pub fn order(&self, key: &Scoped) -> Option<&WaitingOrder> {
        self.pending.get(key).and_then(|pending| pending.order.as_ref())
    }

    /// Takes the orders that wait for a row that has come, in their original order. They stay here; each
    /// is taken with [`WaitingRoom::take`], or put back under the rows still missing with [`WaitingRoom::index`].
    pub fn woken_by(&mut self, row: &ReferenceKey) -> BTreeSet<(Position, Scoped)> {
        self.by_row.remove(row).unwrap_or_default()
    }

    /// Notes that the order under `key` waits for `rows`.
    pub fn index(&mut self, rows: Vec<ReferenceKey>, origin: Position, key: &Scoped) {
        for row in rows {
            self.by_row.entry(row).or_default().insert((origin, key.clone()));
        }
    }

    /// Takes everything that waits under an order id, followers in their original order.
    pub fn take(&mut self, key: ScopedRef<'_>) -> Option<Pending> {
        self.find(key)?;
        let mut pending = self.pending.remove(&key.to_owned())?;
        if let Some(waiting) = &pending.order {
            self.unindex(waiting, &key.to_owned());
        }
        pending.followers.sort_by_key(|follower| follower.origin);
        Some(pending)
    }

    fn unindex(&mut self, waiting: &WaitingOrder, key: &Scoped) {
        for row in rows_named(&waiting.order) {
            if let Some(orders) = self.by_row.get_mut(&row) {
                orders.remove(&(waiting.origin, key.clone()));
                if orders.is_empty() {
                    self.by_row.remove(&row);
                }
            }
        }
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.deadlines.next()
    }

    /// The order ids with something whose deadline is `due` (or was, before its order came).
    pub fn due(&mut self, due: Millis) -> Vec<Scoped> {
        self.deadlines.take(due)
    }

    /// Takes the commands whose order never came by `due`.
    pub fn take_overdue(&mut self, key: &Scoped, due: Millis) -> Vec<Follower> {
        let late = |follower: &Follower| follower.deadline_ms <= due;
        let any = |p: &Pending| p.order.is_none() && p.followers.iter().any(late);
        if !self.pending.get(key).is_some_and(any) {
            return Vec::new();
        }
        let pending = self.pending.get_mut(key).expect("found above");
        let (overdue, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut pending.followers).into_iter().partition(late);
        pending.followers = left;
        if pending.followers.is_empty() {
            self.pending.remove(key);
        }
        overdue
    }

    /// Sets timers from what was loaded.
    pub fn on_restored(&mut self) {
        for (key, pending) in self.pending.iter() {
            let deadlines = match &pending.order {
                Some(order) => vec![order.deadline_ms],
                None => pending.followers.iter().map(|follower| follower.deadline_ms).collect(),
            };
            deadlines.into_iter().for_each(|deadline_ms| self.deadlines.set(deadline_ms, key.clone()));
        }
    }

    /// Notes anew which rows each order waits for; `missing` says what it lacks.
    pub fn index_all(&mut self, missing: impl Fn(&PlaceOrder) -> Vec<ReferenceKey>) {
        self.by_row.clear();
        for (key, pending) in self.pending.iter() {
            if let Some(waiting) = &pending.order {
                for row in missing(&waiting.order) {
                    self.by_row.entry(row).or_default().insert((waiting.origin, key.clone()));
                }
            }
        }
    }

    /// What snapshots hold of it.
    pub fn state(&mut self) -> &mut dyn State {
        &mut self.pending
    }
}

fn key_of(order: &PlaceOrder) -> Scoped {
    Scoped { tenant: order.tenant.clone(), id: order.order_id.clone() }
}

/// Every row an order can wait for.
fn rows_named(order: &PlaceOrder) -> impl Iterator<Item = ReferenceKey> {
    let tenant = || order.tenant.clone();
    let partner = |id: &schemas::Text| ReferenceKey::Partner { tenant: tenant(), partner_id: id.clone() };
    [
        Some(ReferenceKey::Offer { tenant: tenant(), offer_id: order.offer_id.clone() }),
        Some(ReferenceKey::Customer { tenant: tenant(), customer_id: order.customer_id.clone() }),
        order.partner_id.as_ref().map(partner),
    ]
    .into_iter()
    .flatten()
}
