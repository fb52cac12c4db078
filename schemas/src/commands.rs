//! What producers ask for. Every command carries `command_id`, its producer's idempotency key, and `tenant`.

use crate::Text;
use crate::draws::{
    CorrectResult, ImageFailed, ImageRendered, PostFailed, PostSucceeded, ReportResult, RepublishDraw,
};
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
    ReportResult(Box<ReportResult>),
    CorrectResult(Box<CorrectResult>),
    RepublishDraw(Box<RepublishDraw>),
    ImageRendered(Box<ImageRendered>),
    ImageFailed(Box<ImageFailed>),
    PostSucceeded(Box<PostSucceeded>),
    PostFailed(Box<PostFailed>),
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
            Command::ReportResult($c) => $body,
            Command::CorrectResult($c) => $body,
            Command::RepublishDraw($c) => $body,
            Command::ImageRendered($c) => $body,
            Command::ImageFailed($c) => $body,
            Command::PostSucceeded($c) => $body,
            Command::PostFailed($c) => $body,
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

    /// The order, or the draw, the command speaks of.
    pub fn subject_id(&self) -> &Text {
        match self {
            Command::PlaceOrder(c) => &c.order_id,
            Command::CancelOrder(c) => &c.order_id,
            Command::RefundOrder(c) => &c.order_id,
            Command::PaymentCaptured(c) => &c.order_id,
            Command::PaymentDeclined(c) => &c.order_id,
            Command::ReviewDecision(c) => &c.order_id,
            Command::ReportResult(c) => &c.draw_id,
            Command::CorrectResult(c) => &c.draw_id,
            Command::RepublishDraw(c) => &c.draw_id,
            Command::ImageRendered(c) => &c.draw_id,
            Command::ImageFailed(c) => &c.draw_id,
            Command::PostSucceeded(c) => &c.draw_id,
            Command::PostFailed(c) => &c.draw_id,
        }
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
            Command::ReportResult(_) => "report_result",
            Command::CorrectResult(_) => "correct_result",
            Command::RepublishDraw(_) => "republish_draw",
            Command::ImageRendered(_) => "image_rendered",
            Command::ImageFailed(_) => "image_failed",
            Command::PostSucceeded(_) => "post_succeeded",
            Command::PostFailed(_) => "post_failed",
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
            Command::ReportResult(c) => c.reported_at_ms,
            Command::CorrectResult(c) => c.requested_at_ms,
            Command::RepublishDraw(c) => c.requested_at_ms,
            Command::ImageRendered(c) => c.at_ms,
            Command::ImageFailed(c) => c.at_ms,
            Command::PostSucceeded(c) => c.at_ms,
            Command::PostFailed(c) => c.at_ms,
        }
    }
}
