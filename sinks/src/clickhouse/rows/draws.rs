//! `facts.draws`, `facts.publications`, `facts.winnings` → `facts_draws`, `facts_publications`, `facts_winnings`.

use super::Provenance;
use clickhouse::Row;
use schemas::Text;
use schemas::draws::{DigitPrize, DrawFact, PublicationFact, SourceSaid, TierSettled, WinningFact};
use serde::Serialize;

/// Tier and numbers.
type DigitTuple<'a> = (&'a str, Vec<&'a str>);
/// Source, numbers, bonus, prizes.
type SaidTuple<'a> = (&'a str, &'a [i32], &'a [i32], Vec<DigitTuple<'a>>);
/// Tier, winners, prize, paid, share.
type TierTuple<'a> = (&'a str, i64, i64, i64, Option<i64>);

fn digits(prizes: &[DigitPrize]) -> Vec<DigitTuple<'_>> {
    prizes.iter().map(|p| (p.tier.as_str(), p.numbers.iter().map(Text::as_str).collect())).collect()
}

fn said(said: &SourceSaid) -> SaidTuple<'_> {
    (&said.source, &said.numbers, &said.bonus, digits(&said.prizes))
}

fn tier(tier: &TierSettled) -> TierTuple<'_> {
    (&tier.tier, tier.winners, tier.prize_minor, tier.paid_minor, tier.share_minor)
}

#[derive(Row, Serialize)]
pub(in super::super) struct DrawRow<'a> {
    event: &'a str,
    tenant: &'a str,
    draw_id: &'a str,
    revision: i32,
    supersedes: Option<i32>,
    game: Option<&'a str>,
    numbers: &'a [i32],
    bonus: &'a [i32],
    prizes: Vec<DigitTuple<'a>>,
    jackpot_minor: Option<i64>,
    currency: Option<&'a str>,
    drawn_at: Option<i64>,
    source: Option<&'a str>,
    sources: Vec<&'a str>,
    said: Vec<SaidTuple<'a>>,
    tiers: Vec<TierTuple<'a>>,
    tickets: Option<i64>,
    reason: Option<&'a str>,
    at: i64,
    recorded_at: i64,
    cause_command_id: &'a str,
    cause_topic: &'a str,
    cause_partition: i32,
    cause_offset: i64,
    epoch: u64,
    batch_epoch: u64,
    topic_partition: &'a str,
    offset: u64,
}

impl<'a> DrawRow<'a> {
    pub fn of(fact: &'a DrawFact, recorded_at: i64, from: Provenance<'a>) -> Self {
        DrawRow {
            event: fact.event.as_str(),
            tenant: &fact.tenant,
            draw_id: &fact.draw_id,
            revision: fact.revision,
            supersedes: fact.supersedes,
            game: fact.game.as_deref(),
            numbers: &fact.numbers,
            bonus: &fact.bonus,
            prizes: digits(&fact.prizes),
            jackpot_minor: fact.jackpot_minor,
            currency: fact.currency.as_deref(),
            drawn_at: fact.drawn_at_ms,
            source: fact.source.as_deref(),
            sources: fact.sources.iter().map(Text::as_str).collect(),
            said: fact.said.iter().map(said).collect(),
            tiers: fact.tiers.iter().map(tier).collect(),
            tickets: fact.tickets,
            reason: fact.reason.as_deref(),
            at: fact.at_ms,
            recorded_at,
            cause_command_id: &fact.cause.command_id,
            cause_topic: &fact.cause.topic,
            cause_partition: fact.cause.partition,
            cause_offset: fact.cause.offset,
            epoch: from.epoch,
            batch_epoch: from.batch_epoch,
            topic_partition: from.topic_partition,
            offset: from.offset,
        }
    }
}

#[derive(Row, Serialize)]
pub(in super::super) struct PublicationRow<'a> {
    event: &'a str,
    tenant: &'a str,
    draw_id: &'a str,
    revision: i32,
    kind: &'a str,
    template: &'a str,
    locale: &'a str,
    channel: Option<&'a str>,
    round: i32,
    attempts: i32,
    game: &'a str,
    image: &'a str,
    sha256: Option<&'a str>,
    bytes: Option<i64>,
    network: Option<&'a str>,
    target: Option<&'a str>,
    supersedes: Option<i32>,
    external_id: Option<&'a str>,
    reason: Option<&'a str>,
    at: i64,
    recorded_at: i64,
    cause_command_id: &'a str,
    cause_topic: &'a str,
    cause_partition: i32,
    cause_offset: i64,
    epoch: u64,
    batch_epoch: u64,
    topic_partition: &'a str,
    offset: u64,
}

impl<'a> PublicationRow<'a> {
    pub fn of(fact: &'a PublicationFact, recorded_at: i64, from: Provenance<'a>) -> Self {
        PublicationRow {
            event: fact.event.as_str(),
            tenant: &fact.tenant,
            draw_id: &fact.draw_id,
            revision: fact.revision,
            kind: fact.kind.as_str(),
            template: &fact.template,
            locale: &fact.locale,
            channel: fact.channel.as_deref(),
            round: fact.round,
            attempts: fact.attempts,
            game: &fact.game,
            image: &fact.image,
            sha256: fact.sha256.as_deref(),
            bytes: fact.bytes,
            network: fact.network.map(|network| network.as_str()),
            target: fact.target.as_deref(),
            supersedes: fact.supersedes,
            external_id: fact.external_id.as_deref(),
            reason: fact.reason.as_deref(),
            at: fact.at_ms,
            recorded_at,
            cause_command_id: &fact.cause.command_id,
            cause_topic: &fact.cause.topic,
            cause_partition: fact.cause.partition,
            cause_offset: fact.cause.offset,
            epoch: from.epoch,
            batch_epoch: from.batch_epoch,
            topic_partition: from.topic_partition,
            offset: from.offset,
        }
    }
}

#[derive(Row, Serialize)]
pub(in super::super) struct WinningRow<'a> {
    status: &'a str,
    tenant: &'a str,
    draw_id: &'a str,
    revision: i32,
    ticket_id: &'a str,
    tier: &'a str,
    order_id: &'a str,
    amount_minor: i64,
    currency: &'a str,
    at: i64,
    recorded_at: i64,
    cause_command_id: &'a str,
    cause_topic: &'a str,
    cause_partition: i32,
    cause_offset: i64,
    epoch: u64,
    batch_epoch: u64,
    topic_partition: &'a str,
    offset: u64,
}

impl<'a> WinningRow<'a> {
    pub fn of(fact: &'a WinningFact, recorded_at: i64, from: Provenance<'a>) -> Self {
        WinningRow {
            status: fact.status.as_str(),
            tenant: &fact.tenant,
            draw_id: &fact.draw_id,
            revision: fact.revision,
            ticket_id: &fact.ticket_id,
            tier: &fact.tier,
            order_id: &fact.order_id,
            amount_minor: fact.amount_minor,
            currency: &fact.currency,
            at: fact.at_ms,
            recorded_at,
            cause_command_id: &fact.cause.command_id,
            cause_topic: &fact.cause.topic,
            cause_partition: fact.cause.partition,
            cause_offset: fact.cause.offset,
            epoch: from.epoch,
            batch_epoch: from.batch_epoch,
            topic_partition: from.topic_partition,
            offset: from.offset,
        }
    }
}
