//! What commands about draws say, for their payload hash.
//!
//! Each takes its record apart by name, so that a field added to a command can't be forgotten here.

use super::{
    CorrectResult, DigitPrize, ImageFailed, ImageRendered, PostFailed, PostSucceeded, ReportResult,
    RepublishDraw,
};
use crate::Text;
use crate::checks::Said;
use crate::commands::Command;

pub(crate) fn say(command: &Command, said: &mut Said) {
    said.record(command.record(), command.command_id(), command.tenant(), command.subject_id());
    match command {
        Command::ReportResult(c) => say_report(c, said),
        Command::CorrectResult(c) => say_correct(c, said),
        Command::RepublishDraw(c) => say_republish(c, said),
        Command::ImageRendered(c) => say_rendered(c, said),
        Command::ImageFailed(c) => say_image_failed(c, said),
        Command::PostSucceeded(c) => say_posted(c, said),
        Command::PostFailed(c) => say_post_failed(c, said),
        Command::PlaceOrder(_)
        | Command::CancelOrder(_)
        | Command::RefundOrder(_)
        | Command::PaymentCaptured(_)
        | Command::PaymentDeclined(_)
        | Command::ReviewDecision(_) => unreachable!("speaks of an order"),
    }
}

/// The fields from 1 to 5.
fn say_result(
    numbers: &[i32],
    bonus: &[i32],
    prizes: &[DigitPrize],
    jackpot: Option<i64>,
    currency: Option<&Text>,
    said: &mut Said,
) {
    said.ints(1, numbers);
    said.ints(2, bonus);
    for prize in prizes {
        said.optional(3, Some(&prize.tier));
        said.int(prize.numbers.len() as i64);
        prize.numbers.iter().for_each(|number| said.text(number));
    }
    let jackpot = jackpot.map(|minor| compact_str::format_compact!("{minor}"));
    said.optional(4, jackpot.as_ref());
    said.optional(5, currency);
}

fn say_report(command: &ReportResult, said: &mut Said) {
    #[rustfmt::skip]
    let ReportResult {
        command_id: _, tenant: _, draw_id: _, source, numbers, bonus, prizes, jackpot_minor, currency, drawn_at_ms,
        reported_at_ms,
    } = command;
    said.text(source);
    said.int(*drawn_at_ms);
    said.int(*reported_at_ms);
    say_result(numbers, bonus, prizes, *jackpot_minor, currency.as_ref(), said);
}

fn say_correct(command: &CorrectResult, said: &mut Said) {
    #[rustfmt::skip]
    let CorrectResult {
        command_id: _, tenant: _, draw_id: _, numbers, bonus, prizes, jackpot_minor, currency, reason,
        requested_at_ms,
    } = command;
    said.text(reason);
    said.int(*requested_at_ms);
    say_result(numbers, bonus, prizes, *jackpot_minor, currency.as_ref(), said);
}

fn say_republish(command: &RepublishDraw, said: &mut Said) {
    let RepublishDraw { command_id: _, tenant: _, draw_id: _, channel, requested_at_ms } = command;
    said.int(*requested_at_ms);
    said.optional(1, channel.as_ref());
}

fn say_rendered(command: &ImageRendered, said: &mut Said) {
    #[rustfmt::skip]
    let ImageRendered {
        command_id: _, tenant: _, draw_id: _, revision, template, locale, round, path, sha256, bytes, at_ms,
    } = command;
    say_step(*revision, *round, *at_ms, said);
    [template, locale, path, sha256].into_iter().for_each(|text| said.text(text));
    said.int(*bytes);
}

fn say_image_failed(command: &ImageFailed, said: &mut Said) {
    #[rustfmt::skip]
    let ImageFailed {
        command_id: _, tenant: _, draw_id: _, revision, template, locale, round, reason, attempts, at_ms,
    } = command;
    say_step(*revision, *round, *at_ms, said);
    [template, locale, reason].into_iter().for_each(|text| said.text(text));
    said.int(i64::from(*attempts));
}

fn say_posted(command: &PostSucceeded, said: &mut Said) {
    #[rustfmt::skip]
    let PostSucceeded {
        command_id: _, tenant: _, draw_id: _, revision, channel, round, external_id, attempts, at_ms,
    } = command;
    say_step(*revision, *round, *at_ms, said);
    [channel, external_id].into_iter().for_each(|text| said.text(text));
    said.int(i64::from(*attempts));
}

fn say_post_failed(command: &PostFailed, said: &mut Said) {
    #[rustfmt::skip]
    let PostFailed {
        command_id: _, tenant: _, draw_id: _, revision, channel, round, reason, attempts, at_ms,
    } = command;
    say_step(*revision, *round, *at_ms, said);
    [channel, reason].into_iter().for_each(|text| said.text(text));
    said.int(i64::from(*attempts));
}

fn say_step(revision: i32, round: i32, at_ms: i64, said: &mut Said) {
    said.int(i64::from(revision));
    said.int(i64::from(round));
    said.int(at_ms);
}
