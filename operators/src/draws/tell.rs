//! What is told of draws: facts and rows.

use super::Published;
use super::result::Drawn;
use crate::cause;
use crate::messages::Output;
use crate::settings::Settings;
use runtime::{At, Millis};
use schemas::draws::{DigitPrize, Draw, DrawEvent, DrawFact, DrawRow, DrawStatus, ReportResult, SourceSaid};
use schemas::facts::Cause;
use schemas::{Command, Fact, Row, Text};

/// Tells what follows from one command, or from a change of the draw's row.
pub struct Teller {
    pub at_ms: i64,
    pub tenant: Text,
    pub draw_id: Text,
    pub game: Text,
    pub currency: Text,
    pub closes_at_ms: i64,
    cause: Cause,
}

impl Teller {
    /// `command_id` is empty for a change of the row.
    pub fn new(at: At, at_ms: Millis, command_id: Text, draw: &Draw, settings: &Settings) -> Self {
        Teller {
            at_ms,
            tenant: draw.tenant.clone(),
            draw_id: draw.draw_id.clone(),
            game: draw.game.clone(),
            currency: draw.currency.clone(),
            closes_at_ms: draw.closes_at_ms,
            cause: cause::cause_at(at, command_id, settings),
        }
    }

    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    fn fact(&self, event: DrawEvent, revision: i32) -> DrawFact {
        DrawFact {
            tenant: self.tenant.clone(),
            draw_id: self.draw_id.clone(),
            revision,
            game: Some(self.game.clone()),
            currency: Some(self.currency.clone()),
            at_ms: self.at_ms,
            ..DrawFact::of(event, self.cause.clone())
        }
    }

    /// A source's word, and what it said before.
    pub fn reported(
        &self,
        revision: i32,
        report: &ReportResult,
        drawn: Drawn,
        before: Option<Drawn>,
    ) -> Output {
        fact(DrawFact {
            numbers: drawn.numbers,
            bonus: drawn.bonus,
            prizes: drawn.prizes,
            jackpot_minor: report.jackpot_minor,
            currency: report.currency.clone().or_else(|| Some(self.currency.clone())),
            drawn_at_ms: Some(report.drawn_at_ms),
            source: Some(report.source.clone()),
            reason: before.map(|before| Text::from(format!("it said {} before", said(&before)))),
            ..self.fact(DrawEvent::Reported, revision)
        })
    }

    pub fn disagreement(&self, revision: i32, said: Vec<SourceSaid>) -> Output {
        fact(DrawFact { said, ..self.fact(DrawEvent::Disagreement, revision) })
    }

    pub fn refused(&self, revision: i32, command: &Command, why: &str, source: Option<Text>) -> Output {
        let (numbers, bonus, prizes): (&[i32], &[i32], &[DigitPrize]) = match command {
            Command::ReportResult(c) => (&c.numbers, &c.bonus, &c.prizes),
            Command::CorrectResult(c) => (&c.numbers, &c.bonus, &c.prizes),
            _ => (&[], &[], &[]),
        };
        fact(DrawFact {
            numbers: numbers.to_vec(),
            bonus: bonus.to_vec(),
            prizes: prizes.to_vec(),
            source,
            reason: Some(why.into()),
            ..self.fact(DrawEvent::Refused, revision)
        })
    }

    pub fn published(&self, event: DrawEvent, published: &Published, reason: Option<&Text>) -> Output {
        let Published { revision, drawn, sources, jackpot_minor, currency, drawn_at_ms, .. } =
            published.clone();
        fact(DrawFact {
            supersedes: (revision > 1).then_some(revision - 1),
            numbers: drawn.numbers,
            bonus: drawn.bonus,
            prizes: drawn.prizes,
            jackpot_minor,
            currency: currency.or_else(|| Some(self.currency.clone())),
            drawn_at_ms,
            sources,
            reason: reason.cloned(),
            ..self.fact(event, revision)
        })
    }

    pub fn published_row(&self, published: &Published) -> DrawRow {
        let Published { revision, drawn, sources, jackpot_minor, drawn_at_ms, .. } = published;
        DrawRow {
            revision: *revision,
            numbers: joined(&drawn.numbers),
            bonus: joined(&drawn.bonus),
            prizes: serde_json::to_string(&drawn.prizes).expect("texts always encode").into(),
            jackpot_minor: *jackpot_minor,
            drawn_at_ms: *drawn_at_ms,
            status: DrawStatus::Published,
            sources: sources.join(",").into(),
            ..self.row()
        }
    }

    /// Of a draw without a result.
    pub fn waiting_row<'a>(&self, disagree: bool, sources: impl Iterator<Item = &'a Text>) -> Output {
        let sources: Vec<&str> = sources.map(Text::as_str).collect();
        let status = if disagree { DrawStatus::Disagreement } else { DrawStatus::Waiting };
        Output::Row(Row::Draw(Box::new(DrawRow { status, sources: sources.join(",").into(), ..self.row() })))
    }

    fn row(&self) -> DrawRow {
        DrawRow {
            tenant: self.tenant.clone(),
            draw_id: self.draw_id.clone(),
            revision: 0,
            game: self.game.clone(),
            numbers: Text::default(),
            bonus: Text::default(),
            prizes: Text::const_new("[]"),
            jackpot_minor: None,
            currency: self.currency.clone(),
            drawn_at_ms: None,
            status: DrawStatus::Waiting,
            sources: Text::default(),
            tickets: None,
            winners: None,
            paid_minor: None,
            at_ms: self.at_ms,
        }
    }
}

fn fact(fact: DrawFact) -> Output {
    Output::Fact(Fact::Draw(Box::new(fact)))
}

fn joined(numbers: &[i32]) -> Text {
    let texts: Vec<String> = numbers.iter().map(i32::to_string).collect();
    texts.join(",").into()
}

fn said(drawn: &Drawn) -> String {
    let prizes = drawn.prizes.iter().map(|prize| format!(" {}: {}", prize.tier, prize.numbers.join(" ")));
    let bonus = if drawn.bonus.is_empty() { String::new() } else { format!(" + {}", joined(&drawn.bonus)) };
    format!("{}{bonus}{}", joined(&drawn.numbers), prizes.collect::<String>())
}
