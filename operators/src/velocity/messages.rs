//! What travels between probe, velocity and screen.
//!
//! ```text
//!   orders, settles ─> probe ─ Pass{verdicts: n} ───────────────────────────> screen ─> book
//!                        └── n × Probe ─> velocity (by key) ─ n × Verdict ──────┘
//! ```
//!
//! Keys and members travel as hashes, so that a probe costs no allocation; what facts show is taken from
//! the order, which waits in `screen` for its verdicts.

use crate::messages::{BookIn, Output, TableChange};
use runtime::{Millis, stable_hash2};
use schemas::Text;
use schemas::commands::PlaceOrder;
use schemas::velocity::{FraudAction, VelocityKey, VelocityMetric};
use serde::{Deserialize, Serialize};

/// A key's value within its tenant, as 128 bits: two that collide would be counted together, with a
/// probability of 2^-128 for each pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyHash {
    /// By which it is routed.
    pub route: u64,
    pub check: u64,
}

impl KeyHash {
    /// The hash of one customer, card, device, address or partner of a tenant.
    pub fn new(tenant: &str, kind: VelocityKey, value: &str) -> Self {
        // An odd multiple for each kind: `slot_of` looks at the top bits, tables at the low ones.
        let apart = (kind as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (tenant, value) = (tenant.as_bytes(), value.as_bytes());
        let route = stable_hash2(tenant, value).wrapping_add(apart);
        KeyHash { route, check: stable_hash2(value, tenant) ^ apart }
    }
}

impl KeyHash {
    /// The hash of an order's id within its tenant.
    pub fn of_order(tenant: &str, order_id: &str) -> Self {
        let check = stable_hash2(order_id.as_bytes(), tenant.as_bytes());
        KeyHash { route: Self::order_route(tenant, order_id), check }
    }

    /// The hash by which everything about an order is routed.
    pub fn order_route(tenant: &str, order_id: &str) -> u64 {
        stable_hash2(tenant.as_bytes(), order_id.as_bytes())
    }
}

/// Who an order's card or customer is, among those of one key: 64 bits, never 0.
pub fn member(value: &str) -> u64 {
    runtime::stable_hash(value.as_bytes()).max(1)
}

/// A currency as a number: its three letters.
pub fn currency_code(currency: &str) -> u32 {
    currency.bytes().take(3).fold(0, |code, letter| code << 8 | u32::from(letter))
}

/// What an order has of a kind of key, if it has one.
pub fn key_value(order: &PlaceOrder, kind: VelocityKey) -> Option<&Text> {
    match kind {
        VelocityKey::Customer => Some(&order.customer_id),
        VelocityKey::Card => order.card.as_ref(),
        VelocityKey::Device => order.device.as_ref(),
        VelocityKey::Ip => order.ip.as_ref(),
        VelocityKey::Partner => order.partner_id.as_ref(),
    }
}

/// Into `probe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeIn {
    /// What the desk has judged, on its way to the book.
    Judged(BookIn),
    Rule(Box<TableChange>),
}

/// Out of `probe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeOut {
    /// To `screen`; `verdicts` on it will follow, at its place in the order.
    Pass {
        message: BookIn,
        verdicts: u8,
    },
    Probe(Probe),
}

/// One event of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub tenant: Text,
    pub kind: VelocityKey,
    pub key: KeyHash,
    /// Event time.
    pub time: Millis,
    pub event: ProbeEvent,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeEvent {
    /// A valid order, to be counted and judged.
    Order {
        /// Hash of the order's id, to which the verdict is routed.
        order: u64,
        amount_minor: i64,
        currency: u32,
        /// 0 where it has none.
        card: u64,
        customer: u64,
    },
    /// A declined payment of a valid order.
    Declined,
}

/// Into `velocity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VelocityIn {
    Probe(Probe),
    Rule(Box<TableChange>),
}

/// What the rules of one kind of key say of one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub order: u64,
    pub kind: VelocityKey,
    /// How far the order lies behind the key's newest, or behind what was forgotten; 0 where that is allowed.
    pub late_by_ms: Millis,
    /// By rule id within a metric.
    pub fired: Vec<Fired>,
}

/// A rule that fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    pub rule_id: Text,
    pub metric: VelocityMetric,
    pub value: i64,
    pub threshold: i64,
    pub window_ms: Millis,
    pub action: FraudAction,
    /// Present where the window reaches back further: nothing is missing from here on.
    pub exact_since_ms: Option<Millis>,
}

/// Into `screen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScreenIn {
    Pass { message: BookIn, verdicts: u8 },
    Verdict(Verdict),
}

/// Out of `screen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScreenOut {
    ToBook(BookIn),
    Out(Output),
}
