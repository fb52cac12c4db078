//! Which order ids are used: every judged order, as 16 bytes of hash and the moment it is forgotten.
//!
//! Exact however seldom it is swept: a look-up compares that moment with now, so removal may come up to a
//! minute late, for whole minutes of orders at a time. Two ids of one tenant collide with probability
//! 2^-128 each; the later order would be refused as `duplicate_order`, and no stock or money would move.

use runtime::{KeyedState, Millis, State, Timers, slot_of, stable_hash2};
use serde::{Deserialize, Serialize};

/// Forgotten ids are removed once a minute.
const SWEEP_MS: Millis = 60_000;

/// An order id within its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderHash {
    /// By which it is routed.
    route: u64,
    check: u64,
}

impl OrderHash {
    /// The hash of an order id within its tenant.
    pub fn new(tenant: &str, order_id: &str) -> Self {
        let (tenant, order_id) = (tenant.as_bytes(), order_id.as_bytes());
        OrderHash { route: stable_hash2(tenant, order_id), check: stable_hash2(order_id, tenant) }
    }

    fn slot(&self) -> u8 {
        slot_of(self.route)
    }
}

/// Judged orders, by id.
pub struct Registry {
    forget_at: KeyedState<OrderHash, Millis>,
    sweeps: Timers<OrderHash>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry { forget_at: KeyedState::new("judged.v1", OrderHash::slot), sweeps: Timers::default() }
    }
}

impl Registry {
    /// Whether the order has been judged, and not forgotten by `now`.
    pub fn knows(&self, order: OrderHash, now: Millis) -> bool {
        self.forget_at.get(&order).is_some_and(|forget_at| now < *forget_at)
    }

    /// Reads where an order belongs, so that it is near when it is asked for. What it says means nothing.
    pub fn glance(&self, order: OrderHash) -> u64 {
        self.forget_at.glance(&order)
    }

    /// Remembers a judged order until `forget_at`.
    pub fn remember(&mut self, order: OrderHash, forget_at: Millis) {
        self.forget_at.insert(order, forget_at);
        self.sweeps.set(sweep_at(forget_at), order);
    }

    /// When there is something to remove.
    pub fn next_sweep(&self) -> Option<Millis> {
        self.sweeps.next()
    }

    /// Removes what is forgotten by `due` (one that was used anew since is not).
    pub fn sweep(&mut self, due: Millis) {
        for order in self.sweeps.take_unsorted(due) {
            self.forget_at.remove_if(&order, |forget_at| *forget_at <= due);
        }
    }

    /// Sets the sweeps of everything loaded.
    pub fn on_restored(&mut self) {
        for (order, forget_at) in self.forget_at.iter() {
            self.sweeps.set(sweep_at(*forget_at), *order);
        }
    }

    /// What snapshots hold of it.
    pub fn state(&mut self) -> &mut dyn State {
        &mut self.forget_at
    }
}

fn sweep_at(forget_at: Millis) -> Millis {
    forget_at.div_euclid(SWEEP_MS).saturating_add(1).saturating_mul(SWEEP_MS)
}
