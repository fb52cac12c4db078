//! What travels between the operators of the sales jobs.
//!
//! ```text
//!   commands ─> dedup ─ Fresh ─> desk ─ Judged, Settle ─> book
//!   changes  ─> table ─ TableChange ──┴──────────────────┘
//!   every operator ─ Output ─> sinks
//! ```

use runtime::Position;
use schemas::facts::{DeadLetter, Reason};
use schemas::velocity::FraudAction;
use schemas::{Command, Fact, Reference, ReferenceKey, Row, Text};
use serde::{Deserialize, Serialize};

/// A decoded command on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandMsg {
    pub command: Command,
    /// Stable hash of everything the command says; two commands of one `command_id` must agree on it.
    pub payload_hash: u64,
    /// The record's original value bytes, for a command that may end as a dead letter (all but `place_order`).
    pub raw: Option<Box<[u8]>>,
    /// The dead letter this is sent in again for: it was seen before, and still is not a duplicate. Rare, so that what
    /// it takes up in every message is a word.
    pub retry_of: Option<Box<Text>>,
}

/// One effective change of a reference row: newer by source position than what was known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableChange {
    pub key: ReferenceKey,
    /// Absent: the row was deleted.
    pub row: Option<Reference>,
}

/// What an operator tells the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    Fact(Fact),
    Row(Row),
    /// Becomes a record of `dead-letters` and a row of `dead_letters`.
    DeadLetter(Box<DeadLetter>),
}

impl Output {
    /// What it is about, of outputs that several workers have at one place: a rate's change concerns many partners, a
    /// draw's result many tickets. Their order follows from this. Most outputs are no such ones.
    pub fn about(&self) -> Option<[&str; 3]> {
        Some(match self {
            Output::Fact(Fact::Commission(fact)) => [&fact.tenant, &fact.partner_id, ""],
            Output::Row(Row::Commission(row)) => [&row.tenant, &row.partner_id, ""],
            Output::Fact(Fact::Winning(fact)) => [&fact.tenant, &fact.draw_id, &fact.ticket_id],
            Output::Row(Row::WinningTicket(row)) => [&row.tenant, &row.draw_id, &row.ticket_id],
            _ => return None,
        })
    }
}

/// Out of dedup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DedupOut {
    /// First of its `command_id` within the horizon.
    Fresh(CommandMsg),
    Out(Output),
}

/// Into the desk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeskIn {
    Command(CommandMsg),
    Change(Box<TableChange>),
}

/// Out of the desk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeskOut {
    ToBook(BookIn),
    Out(Output),
}

/// Into the book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BookIn {
    /// A judged order: valid so far if `reasons` is empty (sorted, each once). An order refused as
    /// `duplicate_order` never gets here: the desk says so itself.
    /// `screening` is the strongest action of the velocity rules that fired.
    Order { order: Box<schemas::commands::PlaceOrder>, reasons: Vec<Reason>, screening: Option<FraudAction> },
    /// A cancel, refund or payment outcome whose order has been seen.
    Settle(CommandMsg),
    /// The same for one that came before its order and waited for it: it travels at the order's place,
    /// directly behind it, so `origin` says which record it is (facts name that one as their cause).
    SettleEarly { command: Box<CommandMsg>, origin: Position },
    /// An effective change of an offer or a customer.
    Change(Box<TableChange>),
}
