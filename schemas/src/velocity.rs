//! Fraud velocity: the rules of `velocity_rules` and the words facts and alerts use for them.
//!
//! A rule counts one metric of one key over a sliding window of event time, (t − window, t], and fires when
//! the metric, the order at t included, exceeds the threshold.

use crate::Text;
use crate::names::words;
use serde::{Deserialize, Serialize};

/// What a rule counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VelocityKey {
    Customer,
    Card,
    Device,
    Ip,
    Partner,
}

words!(VelocityKey {
    Customer => "customer",
    Card => "card",
    Device => "device",
    Ip => "ip",
    Partner => "partner",
});

/// What a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VelocityMetric {
    /// Valid orders.
    Count,
    /// What valid orders of the order's own currency cost, in its minor unit.
    Amount,
    /// Cards among valid orders.
    DistinctCards,
    /// Customers among valid orders.
    DistinctCustomers,
    /// Declined payments of valid orders. The order that is judged is never one of them.
    Declines,
}

words!(VelocityMetric {
    Count => "count",
    Amount => "amount",
    DistinctCards => "distinct_cards",
    DistinctCustomers => "distinct_customers",
    Declines => "declines",
});

/// What a rule that fires does to its order. The strongest of several decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FraudAction {
    /// It is told, and the order goes on.
    Flag,
    /// The order waits for a person's `review_decision`.
    Review,
    /// The order is refused.
    Block,
}

words!(FraudAction {
    Flag => "flag",
    Review => "review",
    Block => "block",
});

/// Whether a rule is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleStatus {
    Active,
    /// As if it weren't there.
    Disabled,
}

words!(RuleStatus {
    Active => "active",
    Disabled => "disabled",
});

/// One rule of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VelocityRule {
    pub tenant: Text,
    pub rule_id: Text,
    pub key: VelocityKey,
    pub metric: VelocityMetric,
    /// Length of the window in milliseconds of event time.
    pub window_ms: i64,
    /// The rule fires above it.
    pub threshold: i64,
    pub action: FraudAction,
    pub status: RuleStatus,
}

/// Longest window: a leap year.
pub const WINDOW_MS_MAX: i64 = 366 * 24 * 60 * 60 * 1000;

/// What a fact of `facts.fraud` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FraudEvent {
    RuleFired,
    /// The order came later than the allowed lateness: it was judged and counted by what was still known.
    LateOrder,
}

words!(FraudEvent {
    RuleFired => "rule_fired",
    LateOrder => "late_order",
});

/// Topic `facts.fraud`, keyed by tenant and order_id: a rule that fired, or an order that came late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FraudFact {
    pub event: FraudEvent,
    pub tenant: Text,
    pub order_id: Text,
    /// The command that placed the order.
    pub command_id: Text,
    /// Absent for a late order, as are the rule's other properties.
    pub rule_id: Option<Text>,
    pub key: VelocityKey,
    /// The customer, card, device, address or partner.
    pub key_value: Text,
    pub metric: Option<VelocityMetric>,
    /// The metric, this order included.
    pub value: Option<i64>,
    pub threshold: Option<i64>,
    pub window_ms: Option<i64>,
    pub action: Option<FraudAction>,
    /// Present where the window reaches further back than what is known of the key: from here on nothing is missing.
    pub exact_since_ms: Option<i64>,
    /// How far the order lies behind the newest event time of its key, where that is more than is allowed.
    pub late_by_ms: Option<i64>,
    pub placed_at_ms: i64,
    /// When it was judged, in the pipeline's order of time.
    pub at_ms: i64,
    pub cause: crate::facts::Cause,
}

/// Table `fraud_alerts`, keyed by (tenant, rule_id, command_id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FraudAlertRow {
    pub tenant: Text,
    pub rule_id: Text,
    pub command_id: Text,
    /// Kind and value, `customer:c42`.
    pub key: Text,
    pub order_id: Text,
    pub metric: VelocityMetric,
    pub value: i64,
    pub threshold: i64,
    pub window_ms: i64,
    pub action: FraudAction,
    pub exact_since_ms: Option<i64>,
    pub placed_at_ms: i64,
    pub at_ms: i64,
}
