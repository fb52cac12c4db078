//! The demo's draws: one of each lottery's four closes every so often, its offers go on to the next one, and two
//! sources report what was drawn. Now and then one of them errs first, or an operator corrects the result later.
//!
//! A demo shows a handful of draws however short it is, and no more than some dozens however long: each is an image
//! to draw, and sales are what a long demo is about.

use super::random::Dice;
use super::world::Business;
use compact_str::{CompactString as Text, format_compact};
use schemas::Command;
use schemas::draws::{CorrectResult, Draw, ReportResult};
use schemas::reference::OfferKind;

/// Closings of a demo whose orders are counted: so many where it is short, and so many where it is long.
const CLOSINGS_SHORT: u64 = 5;
const CLOSINGS_LONG: u64 = 16;
/// Orders between two closings, in between.
const CLOSE_EVERY: u64 = 10_000;
/// Shorter than this a draw sells too few tickets for a prize.
const CLOSE_EVERY_MIN: u64 = 1_000;
/// Seconds of the stream between two closings of a demo without end, at least.
const CLOSE_EVERY_S: u64 = 10;
/// Draws a lottery sells tickets of at a time.
pub const AT_A_TIME: u64 = 4;
/// A result comes when the last payments for its tickets have.
const REPORT_AFTER_MS: i64 = 9_000;
/// In every so many-th draw a source errs, and every so many-th result is corrected: the third and the second first.
const ERRS_EVERY: u64 = 3;
const CORRECTED_EVERY: u64 = 5;

const TIERS: &str = r#"[{"tier":"6 of 49","main":6,"pool_bps":5000},{"tier":"5","main":5,"pool_bps":2000},{"tier":"4","main":4,"pool_bps":1000},{"tier":"3","main":3,"fixed_minor":1000}]"#;

/// Orders between two closings. With 50,000 orders 10,000, with a million 62,500: two lotteries then publish 10 and 32
/// results, and correct 2 and 6. Without end, 10,000 orders and 10 seconds of the stream at least.
pub fn close_every(orders: Option<u64>, orders_per_s: u64) -> u64 {
    match orders {
        Some(orders) => {
            CLOSE_EVERY.min(orders / CLOSINGS_SHORT).max(orders / CLOSINGS_LONG).max(CLOSE_EVERY_MIN)
        }
        None => CLOSE_EVERY.max(CLOSE_EVERY_S * orders_per_s),
    }
}

/// The id of a lottery's `number`-th draw.
pub fn draw_id(number: u64) -> Text {
    format_compact!("draw-{number:02}")
}

/// The first draws of a business, where it is a lottery; they close at `closes_at_ms` of their number.
pub fn first(business: &Business, closes_at_ms: impl Fn(u64) -> i64) -> Vec<Draw> {
    if !matches!(business.kind, OfferKind::Ticket) {
        return Vec::new();
    }
    (0..AT_A_TIME).map(|number| draw(business, number, closes_at_ms(number))).collect()
}

/// One draw: 6 of 49.
pub fn draw(business: &Business, number: u64, closes_at_ms: i64) -> Draw {
    Draw {
        tenant: business.tenant.clone(),
        draw_id: draw_id(number),
        game: "6of49".into(),
        main_count: 6,
        main_min: 1,
        main_max: 49,
        bonus_count: 0,
        bonus_max: 0,
        bonus_in_main: false,
        repeats: false,
        closes_at_ms,
        sources_required: 2,
        currency: business.currency.clone(),
        pool_minor: Some(10_000_000),
        prize_tiers: TIERS.into(),
    }
}

/// What is said of a draw that closed, and when.
pub fn results(draw: &Draw, number: u64, dice: &mut Dice) -> Vec<(i64, Command)> {
    let at_ms = draw.closes_at_ms + REPORT_AFTER_MS;
    let (drawn, other) = (six_of_49(dice), six_of_49(dice));
    let mut said = vec![(at_ms, report(draw, "gazette", &drawn, at_ms))];
    if number % ERRS_EVERY == 2 {
        said.push((at_ms + 200, report(draw, "broadcast", &other, at_ms + 200)));
    }
    said.push((at_ms + 500, report(draw, "broadcast", &drawn, at_ms + 500)));
    if number % CORRECTED_EVERY == 1 {
        said.push((at_ms + 1_500, correct(draw, &other, at_ms + 1_500)));
    }
    said
}

fn report(draw: &Draw, source: &str, numbers: &[i32], at_ms: i64) -> Command {
    Command::ReportResult(Box::new(ReportResult {
        command_id: format_compact!("{}-{}-{source}-{at_ms}", draw.tenant, draw.draw_id),
        tenant: draw.tenant.clone(),
        draw_id: draw.draw_id.clone(),
        source: source.into(),
        numbers: numbers.to_vec(),
        bonus: Vec::new(),
        prizes: Vec::new(),
        jackpot_minor: None,
        currency: None,
        drawn_at_ms: draw.closes_at_ms,
        reported_at_ms: at_ms,
    }))
}

fn correct(draw: &Draw, numbers: &[i32], at_ms: i64) -> Command {
    Command::CorrectResult(Box::new(CorrectResult {
        command_id: format_compact!("{}-{}-correction", draw.tenant, draw.draw_id),
        tenant: draw.tenant.clone(),
        draw_id: draw.draw_id.clone(),
        numbers: numbers.to_vec(),
        bonus: Vec::new(),
        prizes: Vec::new(),
        jackpot_minor: None,
        currency: None,
        reason: "the official minutes say so".into(),
        requested_at_ms: at_ms,
    }))
}

/// Six different numbers of 1 to 49, ascending.
pub fn six_of_49(dice: &mut Dice) -> Vec<i32> {
    let mut chosen = 0u64;
    while chosen.count_ones() < 6 {
        chosen |= 1 << (1 + dice.below(49));
    }
    (1..=49).filter(|number| chosen & (1 << number) != 0).collect()
}
