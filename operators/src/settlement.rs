//! Settlement: who won what, once a result is published.
//!
//! ```text
//!   book ── orders, tickets, refunds ──> tickets (by order) ── counts by tier ──> pool (by draw) ── amounts ──┐
//!   draws ── Settle ──> to every worker ─────────↑   │                              ↑                         ↓
//!                    └───────────────────────────────┼──────────────────────────────┘          pay (by slot, everywhere)
//!                                                    └── winners of a slot ────────────────────> └─> facts.winnings, winning_tickets
//! ```
//!
//! Nothing flows back: winners are found where tickets lie, and wait one operator further on for what their tiers
//! pay. All of it carries the place of the result, so it meets in the same epoch.
//!
//! Rules. The first tier whose rule a ticket meets is its prize; in a game of digits it wins every tier it meets. A
//! share of the pool is divided equally among the tier's tickets, rounded down to the minor unit; what is left over
//! stays in the pool, as does the share of a tier nobody won. A ticket is in the draw its offer was for when its order
//! was accepted. An order that was accepted once that was closed, by the draw's row as it is when its tickets are issued and
//! again when it is settled, takes no part in it, nor does one that is confirmed after the settlement: both are told as
//! `too_late`. One that is refunded after the settlement keeps its place.

mod chunks;
mod orders;
pub mod pay;
pub mod pool;
#[cfg(test)]
mod tests;
pub mod tickets;
pub mod tiers;

use crate::draws::result::Drawn;
use runtime::{At, Millis, Position};
use schemas::Text;
use schemas::draws::{Draw, DrawRow};
use schemas::facts::Cause;
use serde::{Deserialize, Serialize};

/// A result whose prizes are to be settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    pub draw: Draw,
    pub drawn: Drawn,
    pub revision: i32,
    /// The row of the draw, to which settlement adds its figures.
    pub row: DrawRow,
    pub cause: Cause,
}

/// What a slot's worker counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub tenant: Text,
    pub draw_id: Text,
    /// Winning tickets, by tier.
    pub winners: Vec<i64>,
    pub tickets: i64,
}

/// Tickets of one order that won one tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Winner {
    pub order_id: Text,
    pub tickets: u32,
    /// Number of the tier.
    pub tier: u16,
}

/// The winners of one slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotWinners {
    pub slot: u8,
    pub tenant: Text,
    pub draw_id: Text,
    pub winners: Vec<Winner>,
}

/// What each tier pays a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    pub tenant: Text,
    pub draw_id: Text,
    pub revision: i32,
    pub currency: Text,
    /// Name and prize, by tier.
    pub tiers: Vec<(Text, i64)>,
    /// When the result was published. Its place may tell an older time: a draw's row read from a snapshot is as of 0.
    pub at_ms: Millis,
    pub cause: Cause,
}

/// Where what one slot has to tell stands: behind the result, in one order whoever holds the slot.
fn of_slot(at: At, operator: u16, slot: u8) -> At {
    At { cause: at.cause, origin: Position::timer(at.time(), operator, u64::from(slot)) }
}
