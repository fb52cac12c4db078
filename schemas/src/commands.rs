//! What producers ask for. Every command carries `command_id`, its producer's idempotency key, and `tenant`.

use crate::Text;
use crate::names::words;
use serde::{Deserialize, Serialize};

/// One record of a `commands.*` topic. Large variants are boxed so that moving a command moves a pointer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    PlaceOrder(Box<PlaceOrder>),
    CancelOrder(Box<CancelOrder>),
    RefundOrder(Box<RefundOrder>),
    PaymentCaptured(Box<PaymentCaptured>),
    PaymentDeclined(Box<PaymentDeclined>),
    ReviewDecision(Box<ReviewDecision>),
}

/// Ask for `quantity` units of an offer at the price the customer was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceOrder {
    pub command_id: Text,
    pub tenant: Text,
    pub order_id: Text,
    pub customer_id: Text,
    pub partner_id: Option<Text>,
    pub offer_id: Text,
    /// Units asked for. The offer's `max_per_order` bounds it.
    pub quantity: i32,
    /// Price of one unit in the currency's minor unit, as shown to the customer.
    pub price_minor: i64,
    /// ISO 4217.
    pub currency: Text,
    /// Event time: when the customer pressed the button, UTC milliseconds.
    pub placed_at_ms: i64,
    /// Token or fingerprint, never a card number.
    pub card: Option<Text>,
    pub device: Option<Text>,
    pub ip: Option<Text>,
    /// Numbers chosen for a lottery ticket.
    #[serde(default)]
    pub numbers: Vec<i32>,
    pub seat: Option<Text>,
}

/// Give a held order's stock back. A confirmed order is refunded instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelOrder {
    pub command_id: Text,
    pub tenant: Text,
    pub order_id: Text,
    pub reason: Option<Text>,
    pub requested_at_ms: i64,
}

/// Take a confirmed order back; its stock returns if the offer says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundOrder {
    pub command_id: Text,
    pub tenant: Text,
    pub order_id: Text,
    pub reason: Option<Text>,
    pub requested_at_ms: i64,
}

/// The gateway took the money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCaptured {
    pub command_id: Text,
    pub tenant: Text,
    pub order_id: Text,
    pub payment_id: Text,
    pub amount_minor: i64,
    pub currency: Text,
    pub captured_at_ms: i64,
}

/// The gateway refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentDeclined {
    pub command_id: Text,
    pub tenant: Text,
    pub order_id: Text,
    pub payment_id: Text,
    pub reason: Option<Text>,
    pub declined_at_ms: i64,
}

/// What a person decided of an order in review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewVerdict {
    /// It goes on, to limits and stock as they are now.
    Release,
    Refuse,
}

words!(ReviewVerdict {
    Release => "release",
    Refuse => "refuse",
});

/// End the review of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewDecision {
    pub command_id: Text,
    pub tenant: Text,
    pub order_id: Text,
    pub decision: ReviewVerdict,
    /// Who decided: a person's or a program's name.
    pub decided_by: Text,
    pub decided_at_ms: i64,
}

macro_rules! each_command {
    ($command:expr, $c:ident => $body:expr) => {
        match $command {
            Command::PlaceOrder($c) => $body,
            Command::CancelOrder($c) => $body,
            Command::RefundOrder($c) => $body,
            Command::PaymentCaptured($c) => $body,
            Command::PaymentDeclined($c) => $body,
            Command::ReviewDecision($c) => $body,
        }
    };
}

impl Command {
    /// The producer's idempotency key.
    pub fn command_id(&self) -> &Text {
        each_command!(self, c => &c.command_id)
    }

    /// The tenant on whose behalf the command is given.
    pub fn tenant(&self) -> &Text {
        each_command!(self, c => &c.tenant)
    }

    /// The order the command speaks of.
    pub fn order_id(&self) -> &Text {
        each_command!(self, c => &c.order_id)
    }

    /// The record's name as NDJSON's `type` gives it.
    pub fn record_name(&self) -> &'static str {
        match self {
            Command::PlaceOrder(_) => "place_order",
            Command::CancelOrder(_) => "cancel_order",
            Command::RefundOrder(_) => "refund_order",
            Command::PaymentCaptured(_) => "payment_captured",
            Command::PaymentDeclined(_) => "payment_declined",
            Command::ReviewDecision(_) => "review_decision",
        }
    }

    /// Event time: the moment the command speaks of.
    pub fn event_time_ms(&self) -> i64 {
        match self {
            Command::PlaceOrder(c) => c.placed_at_ms,
            Command::CancelOrder(c) => c.requested_at_ms,
            Command::RefundOrder(c) => c.requested_at_ms,
            Command::PaymentCaptured(c) => c.captured_at_ms,
            Command::PaymentDeclined(c) => c.declined_at_ms,
            Command::ReviewDecision(c) => c.decided_at_ms,
        }
    }
}
