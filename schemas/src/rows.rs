//! Serving rows: the same tables and columns in the embedded database and in Postgres.

use crate::Text;
use crate::draws::{DrawRow, PublicationRow, WinningTicketRow};
use crate::names::words;
use crate::reference::{OfferKind, PeriodStatus};
pub use crate::velocity::FraudAlertRow;
use serde::{Deserialize, Serialize};

/// A column value any serving store can bind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Value {
    Null,
    Int(i64),
    Text(Text),
    Bytes(Vec<u8>),
}

/// How a column is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Int,
    Text,
    Bytes,
}

/// One column of a serving table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub ty: ColumnType,
    pub nullable: bool,
}

/// A serving table. The first `key` columns are its primary key; the column `epoch` is not listed: the sink adds it last.
#[derive(Debug)]
pub struct TableSpec {
    pub name: &'static str,
    pub columns: &'static [Column],
    pub key: usize,
}

/// The new state of one serving row. The last one of an epoch for a key wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    Order(Box<OrderRow>),
    Stock(Box<StockRow>),
    Ticket(Box<TicketRow>),
    DeadLetter(Box<DeadLetterRow>),
    Commission(Box<CommissionRow>),
    FraudAlert(Box<FraudAlertRow>),
    Draw(Box<DrawRow>),
    WinningTicket(Box<WinningTicketRow>),
    Publication(Box<PublicationRow>),
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    Held,
    InReview,
    Confirmed,
    Refused,
    Cancelled,
    Expired,
    Refunded,
}

words!(OrderStatus {
    Held => "held",
    InReview => "in_review",
    Confirmed => "confirmed",
    Refused => "refused",
    Cancelled => "cancelled",
    Expired => "expired",
    Refunded => "refunded",
});

/// Table `orders`, keyed by (tenant, order_id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    pub tenant: Text,
    pub order_id: Text,
    pub command_id: Text,
    pub offer_id: Text,
    pub partner_id: Option<Text>,
    pub customer_id: Text,
    pub quantity: i32,
    pub amount_minor: i64,
    pub currency: Text,
    pub status: OrderStatus,
    /// Reasons joined by `,` in the order of the closed list.
    pub reasons: Text,
    pub placed_at_ms: i64,
}

/// Table `stock`, keyed by (tenant, offer_id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRow {
    pub tenant: Text,
    pub offer_id: Text,
    pub stock_total: i64,
    pub available: i64,
    pub held: i64,
    pub sold: i64,
    pub shrink_due: i64,
}

/// Table `tickets`, keyed by (tenant, ticket_id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRow {
    pub tenant: Text,
    pub ticket_id: Text,
    pub order_id: Text,
    pub offer_id: Text,
    pub payload: Text,
}

/// Table `dead_letters`, keyed by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterRow {
    pub id: Text,
    pub topic: Text,
    pub partition: i32,
    pub offset: i64,
    pub reason: String,
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    pub first_seen_ms: i64,
    pub attempts: i32,
    /// `open`: what was sent in again is named in the topic `dead-letters.retries`, and listings say `retried` of it.
    pub status: Text,
}

/// Table `commission_statements`, keyed by (tenant, partner_id, month, currency, offer_kind).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommissionRow {
    pub tenant: Text,
    pub partner_id: Text,
    /// `YYYY-MM`.
    pub month: Text,
    pub currency: Text,
    pub offer_kind: OfferKind,
    /// Confirmed sales of the month less their refunds.
    pub base_minor: i64,
    /// Commission of the month's own sales; a closed month keeps it.
    pub commission_minor: i64,
    /// Later differences of closed months, posted here.
    pub adjustment_minor: i64,
    pub status: PeriodStatus,
}
