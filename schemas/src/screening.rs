//! What fraud screening counts, told for a job that runs apart from sales: topic `facts.screening`.
//!
//! Sales tells it where it doesn't screen orders itself. A fact says when and in which turn it happened, so
//! that whoever reads the topic handles everything in the order in which sales did.

use crate::Text;
use crate::facts::Cause;
use crate::names::words;
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScreeningEvent {
    /// Nothing its offer, partner or customer says speaks against an order: velocity counts and judges it.
    OrderValid,
    /// A payment for an order was declined, whatever that did to the order.
    PaymentDeclined,
}

words!(ScreeningEvent {
    OrderValid => "order_valid",
    PaymentDeclined => "payment_declined",
});

/// One place in the order of everything. Without a topic it is a timer's: `partition` is its operator,
/// `offset` the hash of its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub time_ms: i64,
    pub topic: Text,
    pub partition: i32,
    pub offset: i64,
}

/// Where something stands: what made it happen then, and the record it goes back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    pub cause: Place,
    pub origin: Place,
}

/// Topic `facts.screening`, keyed by tenant and order_id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreeningFact {
    pub event: ScreeningEvent,
    pub tenant: Text,
    pub order_id: Text,
    /// The order's, as are the next six; absent for a declined payment.
    pub customer_id: Option<Text>,
    pub partner_id: Option<Text>,
    pub card: Option<Text>,
    pub device: Option<Text>,
    pub ip: Option<Text>,
    pub amount_minor: Option<i64>,
    pub currency: Option<Text>,
    /// Event time: when the order was placed, or the payment declined.
    pub event_at_ms: i64,
    /// When it happened in the pipeline's order of time.
    pub at_ms: i64,
    /// Absent where it happened in its cause's own turn, as it does but for what waited.
    pub turn: Option<Turn>,
    /// The record that placed the order, or that says the payment was declined.
    pub cause: Cause,
}
