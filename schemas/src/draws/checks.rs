//! What commands about draws, draws and channels must satisfy.

use super::DigitPrize;
use super::game::{Channel, Draw, MAIN_MAX, TierRule, prize_tiers};
use crate::Text;
use crate::checks::{NUMBERS_MAX, REASON_BYTES_MAX, currency, id, time};
use crate::commands::Command;

/// Most digits of one number of a digit prize.
const DIGITS_MAX: usize = 32;

pub(crate) fn check_command(command: &Command) -> Result<(), String> {
    match command {
        Command::ReportResult(c) => {
            id("source", &c.source)?;
            result(&c.numbers, &c.bonus, &c.prizes, c.currency.as_ref())?;
            time("drawn_at_ms", c.drawn_at_ms)?;
            time("reported_at_ms", c.reported_at_ms)
        }
        Command::CorrectResult(c) => {
            result(&c.numbers, &c.bonus, &c.prizes, c.currency.as_ref())?;
            reason(&c.reason)?;
            time("requested_at_ms", c.requested_at_ms)
        }
        Command::RepublishDraw(c) => {
            c.channel.as_ref().map_or(Ok(()), |channel| id("channel", channel))?;
            time("requested_at_ms", c.requested_at_ms)
        }
        Command::ImageRendered(c) => {
            step(&[("template", &c.template), ("locale", &c.locale)], c.revision, c.round, c.at_ms)
        }
        Command::ImageFailed(c) => {
            reason(&c.reason)?;
            step(&[("template", &c.template), ("locale", &c.locale)], c.revision, c.round, c.at_ms)
        }
        Command::PostSucceeded(c) => step(&[("channel", &c.channel)], c.revision, c.round, c.at_ms),
        Command::PostFailed(c) => {
            reason(&c.reason)?;
            step(&[("channel", &c.channel)], c.revision, c.round, c.at_ms)
        }
        Command::PlaceOrder(_)
        | Command::CancelOrder(_)
        | Command::RefundOrder(_)
        | Command::PaymentCaptured(_)
        | Command::PaymentDeclined(_)
        | Command::ReviewDecision(_) => unreachable!("speaks of an order"),
    }
}

fn result(numbers: &[i32], bonus: &[i32], prizes: &[DigitPrize], of: Option<&Text>) -> Result<(), String> {
    let texts: usize = prizes.iter().map(|prize| prize.numbers.len()).sum();
    for (field, count) in [("numbers", numbers.len()), ("bonus", bonus.len()), ("prizes", texts)] {
        if count > NUMBERS_MAX {
            return Err(format!("`{field}` has {count} entries; send at most {NUMBERS_MAX}"));
        }
    }
    for prize in prizes {
        id("tier", &prize.tier)?;
        let digits = |text: &Text| text.len() <= DIGITS_MAX && text.bytes().all(|b| b.is_ascii_digit());
        if let Some(other) = prize.numbers.iter().find(|text| text.is_empty() || !digits(text)) {
            let shown: String = other.chars().take(12).collect();
            return Err(format!("`prizes` has {shown:?}; send 1 to {DIGITS_MAX} digits"));
        }
    }
    of.map_or(Ok(()), |code| currency(code))
}

fn reason(reason: &str) -> Result<(), String> {
    match reason.len() {
        0..=REASON_BYTES_MAX => Ok(()),
        bytes => Err(format!("`reason` has {bytes} bytes; send at most {REASON_BYTES_MAX}")),
    }
}

fn step(ids: &[(&str, &Text)], revision: i32, round: i32, at_ms: i64) -> Result<(), String> {
    ids.iter().try_for_each(|(field, value)| id(field, value))?;
    for (field, value) in [("revision", revision), ("round", round)] {
        if value < 1 {
            return Err(format!("`{field}` is {value}; send that of the fact it answers, 1 or more"));
        }
    }
    time("at_ms", at_ms)
}

pub(crate) fn check_draw(draw: &Draw) -> Result<(), String> {
    id("game", &draw.game)?;
    currency(&draw.currency)?;
    time("closes_at_ms", draw.closes_at_ms)?;
    let Draw { main_count, main_min, main_max, bonus_count, bonus_max, .. } = *draw;
    within("main_count", main_count, 0, 64)?;
    within("main_min", main_min, 0, MAIN_MAX)?;
    within("main_max", main_max, main_min, MAIN_MAX)?;
    within("bonus_count", bonus_count, 0, 64)?;
    within("bonus_max", bonus_max, 0, MAIN_MAX)?;
    within("sources_required", draw.sources_required, 1, 64)?;
    if draw.pool_minor.is_some_and(|pool| pool < 0) {
        return Err("`pool_minor` can't be negative".to_owned());
    }
    let tiers = prize_tiers(&draw.prize_tiers)?;
    let share: i64 = tiers
        .iter()
        .map(|tier| match tier.prize {
            super::Prize::Pool { bps } => i64::from(bps),
            super::Prize::Fixed { .. } => 0,
        })
        .sum();
    if share > 10_000 {
        return Err(format!(
            "`prize_tiers` share out {share} basis points of the pool; at most 10000 are there"
        ));
    }
    if share > 0 && draw.pool_minor.is_none() {
        return Err("`prize_tiers` share a pool, but `pool_minor` is null".to_owned());
    }
    let digits = tiers.iter().filter(|tier| matches!(tier.rule, TierRule::Digits { .. })).count();
    if digits != 0 && digits != tiers.len() {
        return Err("`prize_tiers` are either all of digits or none".to_owned());
    }
    Ok(())
}

fn within(column: &str, value: i32, min: i32, max: i32) -> Result<(), String> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(format!("`{column}` is {value}; it must be {min} to {max}"))
}

pub(crate) fn check_channel(channel: &Channel) -> Result<(), String> {
    id("template", &channel.template)?;
    id("locale", &channel.locale)?;
    if channel.endpoint.is_empty() {
        return Err("`endpoint` is empty; say where the channel's network is".to_owned());
    }
    Ok(())
}
