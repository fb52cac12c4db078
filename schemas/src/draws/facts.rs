//! What was decided of draws, of the way of results to the public, and of prizes.

use super::DigitPrize;
use super::game::Network;
use crate::Text;
use crate::facts::Cause;
use crate::names::words;
use serde::{Deserialize, Serialize};

/// What happened to a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrawEvent {
    /// A source's word, or its newest, where it said something else before.
    Reported,
    /// Sources contradict each other: the draw waits.
    Disagreement,
    /// A report or correction that can't be: it doesn't count.
    Refused,
    Published,
    /// A new revision takes the place of an earlier one.
    Corrected,
    /// Prizes of a revision are settled.
    Settled,
    /// An order that was accepted once its draw was closed, or confirmed once it was settled, takes no part in it.
    TooLate,
    /// The same command again within the idempotency horizon: nothing happened twice.
    Duplicate,
    /// The same `command_id` with another payload: nothing happened.
    IdempotencyConflict,
}

words!(DrawEvent {
    Reported => "reported",
    Disagreement => "disagreement",
    Refused => "refused",
    Published => "published",
    Corrected => "corrected",
    Settled => "settled",
    TooLate => "too_late",
    Duplicate => "duplicate",
    IdempotencyConflict => "idempotency_conflict",
});

/// The newest word of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSaid {
    pub source: Text,
    pub numbers: Vec<i32>,
    pub bonus: Vec<i32>,
    pub prizes: Vec<DigitPrize>,
}

/// What one prize tier came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierSettled {
    pub tier: Text,
    pub winners: i64,
    /// What each of them gets.
    pub prize_minor: i64,
    /// What all of them get.
    pub paid_minor: i64,
    /// The tier's share of the pool, where the prize is one. What can't be shared equally stays in the pool.
    pub share_minor: Option<i64>,
}

/// Topic `facts.draws`, keyed by tenant and draw_id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawFact {
    pub event: DrawEvent,
    pub tenant: Text,
    pub draw_id: Text,
    /// From 1; 0 before the first.
    pub revision: i32,
    pub supersedes: Option<i32>,
    pub game: Option<Text>,
    /// Sorted, but in a game of digits.
    pub numbers: Vec<i32>,
    pub bonus: Vec<i32>,
    pub prizes: Vec<DigitPrize>,
    pub jackpot_minor: Option<i64>,
    pub currency: Option<Text>,
    pub drawn_at_ms: Option<i64>,
    /// Who reported it.
    pub source: Option<Text>,
    /// Who agrees on what was published, sorted; empty for an operator's word.
    pub sources: Vec<Text>,
    /// In a disagreement, the newest word of every source, by source.
    pub said: Vec<SourceSaid>,
    /// Once settled, what each tier came to.
    pub tiers: Vec<TierSettled>,
    /// Once settled, how many tickets took part.
    pub tickets: Option<i64>,
    pub reason: Option<Text>,
    pub at_ms: i64,
    pub cause: Cause,
}

impl DrawFact {
    /// Says no more than what happened, and what caused it.
    pub fn of(event: DrawEvent, cause: Cause) -> Self {
        DrawFact {
            event,
            tenant: Text::default(),
            draw_id: Text::default(),
            revision: 0,
            supersedes: None,
            game: None,
            numbers: Vec::new(),
            bonus: Vec::new(),
            prizes: Vec::new(),
            jackpot_minor: None,
            currency: None,
            drawn_at_ms: None,
            source: None,
            sources: Vec::new(),
            said: Vec::new(),
            tiers: Vec::new(),
            tickets: None,
            reason: None,
            at_ms: cause.record_time_ms,
            cause,
        }
    }
}

/// What is made public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicationKind {
    Image,
    Post,
}

words!(PublicationKind {
    Image => "image",
    Post => "post",
});

/// What happened to a step on the way to the public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicationEvent {
    /// A publisher is to do it.
    Requested,
    /// The image is stored.
    Ready,
    Posted,
    /// Given up: a dead letter tells why, and it can be sent in again.
    Failed,
    /// The result is too old to post.
    Skipped,
    /// A newer revision takes its place: nothing of it is begun any more. What had begun may still turn out to be posted.
    Superseded,
}

words!(PublicationEvent {
    Requested => "requested",
    Ready => "ready",
    Posted => "posted",
    Failed => "failed",
    Skipped => "skipped",
    Superseded => "superseded",
});

/// Topic `facts.publications`, keyed by tenant and draw_id. It says all a publisher needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationFact {
    pub tenant: Text,
    pub draw_id: Text,
    pub revision: i32,
    pub kind: PublicationKind,
    pub template: Text,
    pub locale: Text,
    /// Absent for an image.
    pub channel: Option<Text>,
    pub event: PublicationEvent,
    /// Which request of the step it is, from 1; an outcome names it.
    pub round: i32,
    /// How often it was tried in this round; 0 before its outcome.
    pub attempts: i32,
    pub game: Text,
    pub numbers: Vec<i32>,
    pub bonus: Vec<i32>,
    pub prizes: Vec<DigitPrize>,
    pub drawn_at_ms: Option<i64>,
    pub jackpot_minor: Option<i64>,
    pub currency: Option<Text>,
    /// Where the image lies, or is to lie, in the object store.
    pub image: Text,
    pub sha256: Option<Text>,
    pub bytes: Option<i64>,
    /// Absent for an image, as are the next two.
    pub network: Option<Network>,
    pub endpoint: Option<Text>,
    pub target: Option<Text>,
    pub supersedes: Option<i32>,
    pub external_id: Option<Text>,
    pub reason: Option<Text>,
    pub at_ms: i64,
    pub cause: Cause,
}

/// Whether a prize stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WinningStatus {
    Won,
    /// A later revision took it back.
    Superseded,
}

words!(WinningStatus {
    Won => "won",
    Superseded => "superseded",
});

/// Topic `facts.winnings`, keyed by tenant and ticket_id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WinningFact {
    pub status: WinningStatus,
    pub tenant: Text,
    pub draw_id: Text,
    /// The one that gave the prize.
    pub revision: i32,
    pub ticket_id: Text,
    pub tier: Text,
    pub order_id: Text,
    pub amount_minor: i64,
    pub currency: Text,
    pub at_ms: i64,
    pub cause: Cause,
}
