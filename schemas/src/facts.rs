//! What Tombola decided. Every fact carries the command that caused it and that command's record time.

use crate::Text;
use crate::draws::{DrawFact, PublicationFact, WinningFact};
use crate::names::words;
use crate::reference::{OfferKind, PeriodStatus};
use crate::screening::ScreeningFact;
pub use crate::velocity::FraudFact;
use serde::{Deserialize, Serialize};

/// The one record in the log that a fact follows from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Empty where the cause is a reference change.
    pub command_id: Text,
    pub topic: Text,
    pub partition: i32,
    pub offset: i64,
    /// Effective record time of the cause, UTC milliseconds.
    pub record_time_ms: i64,
}

/// One record of a `facts.*` topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    Order(Box<OrderFact>),
    Stock(Box<StockFact>),
    Ticket(Box<TicketFact>),
    /// Topic `dead-letters`.
    DeadLetter(Box<DeadLetter>),
    Commission(Box<CommissionFact>),
    Fraud(Box<FraudFact>),
    Screening(Box<ScreeningFact>),
    Draw(Box<DrawFact>),
    Publication(Box<PublicationFact>),
    Winning(Box<WinningFact>),
}

/// A fact as a consumer of its topic gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactRecord {
    /// The epoch that decided it, from the record's header.
    pub epoch: u64,
    pub fact: Fact,
}

/// What happened to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderEvent {
    /// Accepted: its stock is held until paid, cancelled or expired.
    Held,
    InReview,
    Refused,
    Confirmed,
    Cancelled,
    Expired,
    Refunded,
    /// The same command again within the idempotency horizon: nothing happened twice.
    Duplicate,
    /// The same `command_id` with another payload: nothing happened.
    IdempotencyConflict,
    /// Money arrived for an order that no longer holds stock: it has to go back.
    RefundDue,
}

words!(OrderEvent {
    Held => "held",
    InReview => "in_review",
    Refused => "refused",
    Confirmed => "confirmed",
    Cancelled => "cancelled",
    Expired => "expired",
    Refunded => "refunded",
    Duplicate => "duplicate",
    IdempotencyConflict => "idempotency_conflict",
    RefundDue => "refund_due",
});

/// Why an order was refused or ended; the closed list of DOMAIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    UnknownOffer,
    UnknownCustomer,
    UnknownPartner,
    OfferClosed,
    PriceMismatch,
    CurrencyMismatch,
    QuantityOutOfRange,
    CustomerBlocked,
    CustomerLimitExceeded,
    PartnerSuspended,
    DuplicateOrder,
    FraudBlocked,
    ReviewTimeout,
    ReviewRefused,
    SoldOut,
    SeatTaken,
    HoldExpired,
    PaymentDeclined,
    PaymentTimeout,
    InsufficientFunds,
    /// The order ended because its customer or seller asked for it.
    CancelRequested,
}

words!(Reason {
    UnknownOffer => "unknown_offer",
    UnknownCustomer => "unknown_customer",
    UnknownPartner => "unknown_partner",
    OfferClosed => "offer_closed",
    PriceMismatch => "price_mismatch",
    CurrencyMismatch => "currency_mismatch",
    QuantityOutOfRange => "quantity_out_of_range",
    CustomerBlocked => "customer_blocked",
    CustomerLimitExceeded => "customer_limit_exceeded",
    PartnerSuspended => "partner_suspended",
    DuplicateOrder => "duplicate_order",
    FraudBlocked => "fraud_blocked",
    ReviewTimeout => "review_timeout",
    ReviewRefused => "review_refused",
    SoldOut => "sold_out",
    SeatTaken => "seat_taken",
    HoldExpired => "hold_expired",
    PaymentDeclined => "payment_declined",
    PaymentTimeout => "payment_timeout",
    InsufficientFunds => "insufficient_funds",
    CancelRequested => "cancel_requested",
});

/// Topic `facts.orders`, keyed by tenant and order_id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFact {
    pub event: OrderEvent,
    pub tenant: Text,
    pub order_id: Text,
    /// The command that placed the order (the cause may be a later one).
    pub command_id: Text,
    pub offer_id: Text,
    pub offer_kind: Option<OfferKind>,
    pub partner_id: Option<Text>,
    pub customer_id: Text,
    pub quantity: i32,
    pub amount_minor: i64,
    pub currency: Text,
    pub reasons: Vec<Reason>,
    pub placed_at_ms: i64,
    /// When it happened in the pipeline's order of time (a timer's due time, else the cause's record time).
    pub at_ms: i64,
    pub cause: Cause,
}

/// An account of the stock ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StockAccount {
    /// Counterparty of everything that enters or leaves: its balance is −stock_total.
    Issued,
    Available,
    Held,
    Sold,
}

words!(StockAccount {
    Issued => "issued",
    Available => "available",
    Held => "held",
    Sold => "sold",
});

/// Topic `facts.stock`, keyed by tenant and offer_id: one transfer between two accounts, and the balances after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockFact {
    pub tenant: Text,
    pub offer_id: Text,
    /// The order it was for; absent for restock and shrink.
    pub order_id: Option<Text>,
    pub debit: StockAccount,
    pub credit: StockAccount,
    pub quantity: i64,
    pub stock_total: i64,
    pub available: i64,
    pub held: i64,
    pub sold: i64,
    pub shrink_due: i64,
    pub at_ms: i64,
    pub cause: Cause,
}

/// Topic `facts.tickets`, keyed by tenant and ticket_id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketFact {
    pub tenant: Text,
    pub ticket_id: Text,
    pub order_id: Text,
    pub offer_id: Text,
    pub numbers: Vec<i32>,
    pub seat: Option<Text>,
    /// Signed, fit for a QR code.
    pub payload: Text,
    pub at_ms: i64,
    pub cause: Cause,
}

/// What changed a commission statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    Sales,
    Refunds,
    RateChange,
    PlanMove,
    MonthClosed,
    MonthReopened,
}

words!(CauseKind {
    Sales => "sales",
    Refunds => "refunds",
    RateChange => "rate_change",
    PlanMove => "plan_move",
    MonthClosed => "month_closed",
    MonthReopened => "month_reopened",
});

/// One thing that changed a statement, and by how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommissionCause {
    pub kind: CauseKind,
    /// Whose figure it changed, `YYYY-MM`; another month than the statement's where that one is closed.
    pub month: Text,
    /// How many sales or refunds; 1 for a change.
    pub count: i64,
    /// Their value; 0 for a change.
    pub amount_minor: i64,
    /// What it changed of this statement's commission and adjustment together.
    pub effect_minor: i64,
    /// The record behind it; the last one of sales and refunds.
    pub topic: Text,
    pub partition: i32,
    pub offset: i64,
    pub record_time_ms: i64,
}

/// One slice of a base and its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tier {
    pub floor_minor: i64,
    pub rate_bps: i32,
}

/// Topic `facts.commissions`, keyed by tenant and partner_id: what one epoch changed of one statement, and
/// the statement after it. The deltas of a statement add up to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommissionFact {
    pub tenant: Text,
    pub partner_id: Text,
    /// `YYYY-MM`.
    pub month: Text,
    pub currency: Text,
    pub offer_kind: OfferKind,
    pub base_delta_minor: i64,
    pub commission_delta_minor: i64,
    pub adjustment_delta_minor: i64,
    pub base_minor: i64,
    pub commission_minor: i64,
    pub adjustment_minor: i64,
    /// By present sales and rules; of an open month it is `commission_minor`.
    pub computed_minor: i64,
    pub status: PeriodStatus,
    /// The base and rules `commission_minor` follows from, where there are any; of a closed month, as of its close.
    pub commission_base_minor: i64,
    pub plan: Option<Text>,
    pub valid_from: Option<Text>,
    #[serde(default)]
    pub tiers: Vec<Tier>,
    #[serde(default)]
    pub causes: Vec<CommissionCause>,
    pub at_ms: i64,
    /// The last of its causes.
    pub cause: Cause,
}

/// Topic `dead-letters`: a record nothing could be done with, kept whole but for what no topic takes ([`DeadLetter::cut_to_fit`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// `topic/partition/offset` of the record.
    pub id: Text,
    pub topic: Text,
    pub partition: i32,
    pub offset: i64,
    /// What is wrong and what to do about it.
    pub reason: String,
    /// The original value bytes.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// The original key bytes.
    #[serde(with = "serde_bytes")]
    pub key: Option<Vec<u8>>,
    pub record_time_ms: i64,
}

impl Reason {
    /// Reasons joined by `,` in the order of the closed list: the column `orders.reasons`.
    pub fn join(reasons: &[Reason]) -> Text {
        let mut sorted = reasons.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut joined = Text::default();
        for reason in sorted {
            if !joined.is_empty() {
                joined.push(',');
            }
            joined.push_str(reason.as_str());
        }
        joined
    }
}

impl Fact {
    /// The topics facts go to, in the order of the variants.
    pub const TOPICS: [&'static str; 10] = [
        "facts.orders",
        "facts.stock",
        "facts.tickets",
        "dead-letters",
        "facts.commissions",
        "facts.fraud",
        "facts.screening",
        "facts.draws",
        "facts.publications",
        "facts.winnings",
    ];

    /// The topic it belongs to.
    pub fn topic(&self) -> &'static str {
        match self {
            Fact::Order(_) => Fact::TOPICS[0],
            Fact::Stock(_) => Fact::TOPICS[1],
            Fact::Ticket(_) => Fact::TOPICS[2],
            Fact::DeadLetter(_) => Fact::TOPICS[3],
            Fact::Commission(_) => Fact::TOPICS[4],
            Fact::Fraud(_) => Fact::TOPICS[5],
            Fact::Screening(_) => Fact::TOPICS[6],
            Fact::Draw(_) => Fact::TOPICS[7],
            Fact::Publication(_) => Fact::TOPICS[8],
            Fact::Winning(_) => Fact::TOPICS[9],
        }
    }

    /// The record's name, as the registry lists it.
    pub fn record_name(&self) -> &'static str {
        match self {
            Fact::Order(_) => "order_fact",
            Fact::Stock(_) => "stock_fact",
            Fact::Ticket(_) => "ticket_fact",
            Fact::DeadLetter(_) => "dead_letter",
            Fact::Commission(_) => "commission_fact",
            Fact::Fraud(_) => "fraud_fact",
            Fact::Screening(_) => "screening_fact",
            Fact::Draw(_) => "draw_fact",
            Fact::Publication(_) => "publication_fact",
            Fact::Winning(_) => "winning_fact",
        }
    }

    /// The record key: `tenant/id`, or a dead letter's id.
    pub fn key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        self.put_key(&mut key);
        key
    }

    /// Appends the key to `out`.
    pub fn put_key(&self, out: &mut Vec<u8>) {
        match self {
            Fact::Order(fact) => put_tenant_and_id(out, &fact.tenant, &fact.order_id),
            Fact::Stock(fact) => put_tenant_and_id(out, &fact.tenant, &fact.offer_id),
            Fact::Ticket(fact) => put_tenant_and_id(out, &fact.tenant, &fact.ticket_id),
            Fact::DeadLetter(letter) => out.extend_from_slice(letter.id.as_bytes()),
            Fact::Commission(fact) => put_tenant_and_id(out, &fact.tenant, &fact.partner_id),
            Fact::Fraud(fact) => put_tenant_and_id(out, &fact.tenant, &fact.order_id),
            Fact::Screening(fact) => put_tenant_and_id(out, &fact.tenant, &fact.order_id),
            Fact::Draw(fact) => put_tenant_and_id(out, &fact.tenant, &fact.draw_id),
            Fact::Publication(fact) => put_tenant_and_id(out, &fact.tenant, &fact.draw_id),
            Fact::Winning(fact) => put_tenant_and_id(out, &fact.tenant, &fact.ticket_id),
        }
    }

    /// Effective record time of what it follows from.
    pub fn record_time_ms(&self) -> i64 {
        match self {
            Fact::Order(fact) => fact.cause.record_time_ms,
            Fact::Stock(fact) => fact.cause.record_time_ms,
            Fact::Ticket(fact) => fact.cause.record_time_ms,
            Fact::DeadLetter(letter) => letter.record_time_ms,
            Fact::Commission(fact) => fact.cause.record_time_ms,
            Fact::Fraud(fact) => fact.cause.record_time_ms,
            Fact::Screening(fact) => fact.cause.record_time_ms,
            Fact::Draw(fact) => fact.cause.record_time_ms,
            Fact::Publication(fact) => fact.cause.record_time_ms,
            Fact::Winning(fact) => fact.cause.record_time_ms,
        }
    }

    /// The place of the record it follows from: topic, partition, offset.
    pub fn caused_by(&self) -> (&str, u32, u64) {
        let cause = match self {
            Fact::DeadLetter(letter) => {
                return (&letter.topic, letter.partition as u32, letter.offset as u64);
            }
            Fact::Order(fact) => &fact.cause,
            Fact::Stock(fact) => &fact.cause,
            Fact::Ticket(fact) => &fact.cause,
            Fact::Commission(fact) => &fact.cause,
            Fact::Fraud(fact) => &fact.cause,
            Fact::Screening(fact) => &fact.cause,
            Fact::Draw(fact) => &fact.cause,
            Fact::Publication(fact) => &fact.cause,
            Fact::Winning(fact) => &fact.cause,
        };
        (&cause.topic, cause.partition as u32, cause.offset as u64)
    }
}

fn put_tenant_and_id(out: &mut Vec<u8>, tenant: &str, id: &str) {
    out.reserve(tenant.len() + 1 + id.len());
    out.extend_from_slice(tenant.as_bytes());
    out.push(b'/');
    out.extend_from_slice(id.as_bytes());
}

impl DeadLetter {
    /// Most bytes of a record's value that a dead letter carries.
    pub const PAYLOAD_BYTES_MAX: usize = 15 << 20;
    /// Most bytes of its key.
    pub const KEY_BYTES_MAX: usize = 256 << 10;
    /// Most bytes of its reason, but for what is said of the rest.
    pub const REASON_BYTES_MAX: usize = 16 << 10;

    /// Leaves of value, key and reason their beginnings where they are larger than a log takes in one record with all
    /// of it; the reason then says what is missing and where it lies. It follows from the record alone, so a replay
    /// gives the same bytes.
    pub fn cut_to_fit(&mut self) {
        if self.reason.len() > Self::REASON_BYTES_MAX {
            self.reason.truncate(self.reason.floor_char_boundary(Self::REASON_BYTES_MAX));
            self.reason.push('…');
        }
        let key = self.key.as_mut().map(|key| ("key", key, Self::KEY_BYTES_MAX));
        for (what, bytes, max) in
            [("value", &mut self.payload, Self::PAYLOAD_BYTES_MAX)].into_iter().chain(key)
        {
            let whole = bytes.len();
            if whole > max {
                bytes.truncate(max);
                self.reason.push_str(&format!(
                    "; of its {what}'s {whole} bytes these are the first {max}: the record in its topic, at {}, has all of \
                     them until retention takes it",
                    self.id
                ));
            }
        }
    }

    /// The id of the record at one place of the log.
    pub fn id_of(topic: &str, partition: i32, offset: i64) -> Text {
        compact_str::format_compact!("{topic}/{partition}/{offset}")
    }
}
