//! The serving tables of draws.

use super::WinningStatus;
use crate::Text;
use crate::names::words;
use crate::rows::TableSpec;
use crate::tables::{Cell, int, optional, text, text_cell};
use serde::{Deserialize, Serialize};

/// Where every draw stands that anything was reported of.
pub static DRAWS: TableSpec = TableSpec {
    name: "draws",
    columns: &[
        text("tenant"),
        text("draw_id"),
        int("revision"),
        text("game"),
        text("numbers"),
        text("bonus"),
        text("prizes"),
        optional(int("jackpot_minor")),
        text("currency"),
        optional(int("drawn_at_ms")),
        text("status"),
        text("sources"),
        optional(int("tickets")),
        optional(int("winners")),
        optional(int("paid_minor")),
        int("at_ms"),
    ],
    key: 2,
};

/// Tickets that won, by the revision that gave the prize.
pub static WINNING_TICKETS: TableSpec = TableSpec {
    name: "winning_tickets",
    columns: &[
        text("tenant"),
        text("draw_id"),
        int("revision"),
        text("ticket_id"),
        text("tier"),
        text("order_id"),
        int("amount_minor"),
        text("currency"),
        text("status"),
    ],
    key: 5,
};

/// Posts of every revision.
pub static PUBLICATIONS: TableSpec = TableSpec {
    name: "publications",
    columns: &[
        text("tenant"),
        text("draw_id"),
        int("revision"),
        text("channel"),
        text("network"),
        text("template"),
        text("locale"),
        text("status"),
        int("round"),
        int("attempts"),
        optional(text("external_id")),
        text("image"),
        optional(text("reason")),
        int("at_ms"),
    ],
    key: 4,
};

/// Where a draw stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrawStatus {
    /// Too few sources have reported.
    Waiting,
    Disagreement,
    Published,
    Settled,
}

words!(DrawStatus {
    Waiting => "waiting",
    Disagreement => "disagreement",
    Published => "published",
    Settled => "settled",
});

/// Table `draws`, keyed by (tenant, draw_id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawRow {
    pub tenant: Text,
    pub draw_id: Text,
    /// From 1; 0 before the first result.
    pub revision: i32,
    pub game: Text,
    /// Joined by `,`.
    pub numbers: Text,
    pub bonus: Text,
    /// JSON, `[]` but in a game of digits.
    pub prizes: Text,
    pub jackpot_minor: Option<i64>,
    pub currency: Text,
    pub drawn_at_ms: Option<i64>,
    pub status: DrawStatus,
    /// Who agrees on it, joined by `,`; empty for an operator's word.
    pub sources: Text,
    /// Once settled: how many took part, how many won, and what they get.
    pub tickets: Option<i64>,
    pub winners: Option<i64>,
    pub paid_minor: Option<i64>,
    pub at_ms: i64,
}

/// Table `winning_tickets`, keyed by (tenant, draw_id, revision, ticket_id, tier).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WinningTicketRow {
    pub tenant: Text,
    pub draw_id: Text,
    pub revision: i32,
    pub ticket_id: Text,
    pub tier: Text,
    pub order_id: Text,
    pub amount_minor: i64,
    pub currency: Text,
    pub status: WinningStatus,
}

/// Where a post stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicationStatus {
    /// Its image is not there yet.
    Waiting,
    Requested,
    Posted,
    Failed,
    Skipped,
    Superseded,
}

words!(PublicationStatus {
    Waiting => "waiting",
    Requested => "requested",
    Posted => "posted",
    Failed => "failed",
    Skipped => "skipped",
    Superseded => "superseded",
});

/// Table `publications`, keyed by (tenant, draw_id, revision, channel).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationRow {
    pub tenant: Text,
    pub draw_id: Text,
    pub revision: i32,
    pub channel: Text,
    pub network: Text,
    pub template: Text,
    pub locale: Text,
    pub status: PublicationStatus,
    pub round: i32,
    pub attempts: i32,
    pub external_id: Option<Text>,
    pub image: Text,
    pub reason: Option<Text>,
    pub at_ms: i64,
}

pub(crate) fn draw_cells(row: &DrawRow) -> [Cell<'_>; 16] {
    let count = |figure: Option<i64>| figure.map_or(Cell::Null, Cell::Int);
    [
        text_cell(&row.tenant),
        text_cell(&row.draw_id),
        Cell::Int(row.revision.into()),
        text_cell(&row.game),
        text_cell(&row.numbers),
        text_cell(&row.bonus),
        text_cell(&row.prizes),
        count(row.jackpot_minor),
        text_cell(&row.currency),
        count(row.drawn_at_ms),
        Cell::Text(row.status.as_str()),
        text_cell(&row.sources),
        count(row.tickets),
        count(row.winners),
        count(row.paid_minor),
        Cell::Int(row.at_ms),
    ]
}

pub(crate) fn winning_cells(row: &WinningTicketRow) -> [Cell<'_>; 9] {
    [
        text_cell(&row.tenant),
        text_cell(&row.draw_id),
        Cell::Int(row.revision.into()),
        text_cell(&row.ticket_id),
        text_cell(&row.tier),
        text_cell(&row.order_id),
        Cell::Int(row.amount_minor),
        text_cell(&row.currency),
        Cell::Text(row.status.as_str()),
    ]
}

pub(crate) fn publication_cells(row: &PublicationRow) -> [Cell<'_>; 14] {
    [
        text_cell(&row.tenant),
        text_cell(&row.draw_id),
        Cell::Int(row.revision.into()),
        text_cell(&row.channel),
        text_cell(&row.network),
        text_cell(&row.template),
        text_cell(&row.locale),
        Cell::Text(row.status.as_str()),
        Cell::Int(row.round.into()),
        Cell::Int(row.attempts.into()),
        row.external_id.as_ref().map_or(Cell::Null, text_cell),
        text_cell(&row.image),
        row.reason.as_ref().map_or(Cell::Null, text_cell),
        Cell::Int(row.at_ms),
    ]
}
