//! Draws: results as sources report them, what they pay, and how they get to the public.
//!
//! ```text
//!   commands.draws ── report_result, correct_result ──> a result ──> facts.draws, facts.winnings
//!                                                          │
//!   commands.publication_results <── publisher <── facts.publications
//! ```

mod checks;
mod facts;
mod game;
mod hash;
mod rows;

pub use facts::{
    DrawEvent, DrawFact, PublicationEvent, PublicationFact, PublicationKind, SourceSaid, TierSettled,
    WinningFact, WinningStatus,
};
pub use game::{
    Channel, ChannelStatus, Draw, FIXED_MINOR_MAX, MAIN_MAX, Network, Prize, PrizeTier, TierRule, prize_tiers,
};
pub use rows::{
    DRAWS, DrawRow, DrawStatus, PUBLICATIONS, PublicationRow, PublicationStatus, WINNING_TICKETS,
    WinningTicketRow,
};

pub(crate) use checks::{check_channel, check_command, check_draw};
pub(crate) use hash::say;
pub(crate) use rows::{draw_cells, publication_cells, winning_cells};

use crate::Text;
use crate::commands::Command;
use serde::{Deserialize, Serialize};

/// The numbers drawn for one prize of a game of digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DigitPrize {
    pub tier: Text,
    /// Each a text of digits.
    pub numbers: Vec<Text>,
}

/// What one source says a draw brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportResult {
    pub command_id: Text,
    pub tenant: Text,
    pub draw_id: Text,
    pub source: Text,
    pub numbers: Vec<i32>,
    #[serde(default)]
    pub bonus: Vec<i32>,
    #[serde(default)]
    pub prizes: Vec<DigitPrize>,
    pub jackpot_minor: Option<i64>,
    pub currency: Option<Text>,
    pub drawn_at_ms: i64,
    pub reported_at_ms: i64,
}

/// An operator's word on what a draw brought: it needs no source to agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrectResult {
    pub command_id: Text,
    pub tenant: Text,
    pub draw_id: Text,
    pub numbers: Vec<i32>,
    #[serde(default)]
    pub bonus: Vec<i32>,
    #[serde(default)]
    pub prizes: Vec<DigitPrize>,
    pub jackpot_minor: Option<i64>,
    pub currency: Option<Text>,
    pub reason: Text,
    pub requested_at_ms: i64,
}

/// Try the failed and skipped publications of a draw once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepublishDraw {
    pub command_id: Text,
    pub tenant: Text,
    pub draw_id: Text,
    /// Only this channel.
    pub channel: Option<Text>,
    pub requested_at_ms: i64,
}

/// An image was rendered and stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRendered {
    pub command_id: Text,
    pub tenant: Text,
    pub draw_id: Text,
    pub revision: i32,
    pub template: Text,
    pub locale: Text,
    /// That of the fact it answers.
    pub round: i32,
    pub path: Text,
    pub sha256: Text,
    pub bytes: i64,
    pub at_ms: i64,
}

/// An image could not be rendered or stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFailed {
    pub command_id: Text,
    pub tenant: Text,
    pub draw_id: Text,
    pub revision: i32,
    pub template: Text,
    pub locale: Text,
    /// That of the fact it answers.
    pub round: i32,
    pub reason: Text,
    pub attempts: i32,
    pub at_ms: i64,
}

/// A post is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostSucceeded {
    pub command_id: Text,
    pub tenant: Text,
    pub draw_id: Text,
    pub revision: i32,
    pub channel: Text,
    /// That of the fact it answers.
    pub round: i32,
    pub external_id: Text,
    pub attempts: i32,
    pub at_ms: i64,
}

/// A post did not get out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostFailed {
    pub command_id: Text,
    pub tenant: Text,
    pub draw_id: Text,
    pub revision: i32,
    pub channel: Text,
    /// That of the fact it answers.
    pub round: i32,
    pub reason: Text,
    pub attempts: i32,
    pub at_ms: i64,
}

impl Command {
    /// Whether it speaks of a draw, not of an order.
    pub fn is_of_draws(&self) -> bool {
        match self {
            Command::ReportResult(_)
            | Command::CorrectResult(_)
            | Command::RepublishDraw(_)
            | Command::ImageRendered(_)
            | Command::ImageFailed(_)
            | Command::PostSucceeded(_)
            | Command::PostFailed(_) => true,
            Command::PlaceOrder(_)
            | Command::CancelOrder(_)
            | Command::RefundOrder(_)
            | Command::PaymentCaptured(_)
            | Command::PaymentDeclined(_)
            | Command::ReviewDecision(_) => false,
        }
    }
}
