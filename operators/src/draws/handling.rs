//! What one command or a change of the row does to a draw that is known.

use super::ground::Ground;
use super::past::PastOf;
use super::quorum::{Counted, Standing};
use super::result::{self, Drawn};
use super::tell::Teller;
use super::{DrawsOut, Known, Published, steps};
use crate::cause;
use crate::messages::{CommandMsg, Output};
use crate::settings::Settings;
use crate::settlement::Settle;
use runtime::{At, Ctx, Millis};
use schemas::draws::{Channel, Draw, DrawEvent, ReportResult};
use schemas::{Command, Text};

const RESULT_FINAL: &str = "result_final: it can no longer be corrected";

/// One command about a draw whose row is known, or a change of that row.
pub(super) struct Handling<'a, 'c> {
    known: &'a mut Known,
    past: PastOf<'a>,
    channels: Vec<Channel>,
    settings: &'a Settings,
    at: At,
    /// When it happens: not before anything it rests on, though a row read from a snapshot is older than everything.
    now: Millis,
    ctx: &'a mut Ctx<'c, DrawsOut>,
}

impl<'a, 'c> Handling<'a, 'c> {
    pub(super) fn new(
        (known, past): (&'a mut Known, PastOf<'a>),
        channels: Vec<Channel>,
        settings: &'a Settings,
        at: At,
        ctx: &'a mut Ctx<'c, DrawsOut>,
    ) -> Self {
        let now = at.time().max(at.origin.time()).max(known.quorum.heard_ms().unwrap_or(Millis::MIN));
        Handling { known, past, channels, settings, at, now, ctx }
    }

    pub(super) fn command(mut self, message: CommandMsg) {
        match &message.command {
            Command::ReportResult(report) => {
                if let Err(why) = self.report(report, message.retry_of.is_some()) {
                    let source = report.source.clone();
                    self.refuse(message, why, Some(source));
                }
            }
            Command::CorrectResult(correct) => {
                let said = self.fits(&correct.numbers, &correct.bonus, &correct.prizes);
                match said.and_then(|drawn| self.correct(drawn, correct)) {
                    Ok(()) => {}
                    Err(why) => self.refuse(message, why, None),
                }
            }
            _ => self.step(message),
        }
    }

    /// `before`: who said what by the row as it was, if there was one.
    pub(super) fn row_changed(mut self, before: Option<&Counted>) {
        if self.known.quorum.is_empty() {
            return;
        }
        let teller = self.teller(&Text::default());
        let published = self.agree(&teller);
        if published || self.known.counted(self.settings.grace_ms).as_ref() != before {
            self.tell_standing(&teller);
        }
    }

    fn row(&self) -> &Draw {
        self.known.row.as_ref().expect("commands wait for their draw's row")
    }

    fn teller(&self, command_id: &Text) -> Teller {
        Teller::new(self.at, self.now, command_id.clone(), self.row(), self.settings)
    }

    fn tell(&mut self, output: Output) {
        self.ctx.emit(self.at, DrawsOut::Out(output));
    }

    /// A result that can be: it fits, the draw is closed, and what was published may still change.
    fn fits(
        &self,
        numbers: &[i32],
        bonus: &[i32],
        prizes: &[schemas::draws::DigitPrize],
    ) -> Result<Drawn, String> {
        let (row, now) = (self.row(), self.now);
        if !result::closed(row, now, self.settings.grace_ms) {
            return Err(format!(
                "draw_open: it closes at {} ms; report its result after that",
                row.closes_at_ms
            ));
        }
        let drawn =
            result::drawn(row, numbers, bonus, prizes).map_err(|why| format!("does_not_fit: {why}"))?;
        let last = self.known.published.as_ref();
        if last.is_some_and(|last| self.is_final(last) && last.drawn != drawn) {
            return Err(RESULT_FINAL.to_owned());
        }
        Ok(drawn)
    }

    fn report(&mut self, report: &ReportResult, retried: bool) -> Result<(), String> {
        let drawn = self.fits(&report.numbers, &report.bonus, &report.prizes)?;
        if self.past.repeats(self.row(), &report.source, &drawn) {
            return Ok(());
        }
        let before = self.standing().says(&report.source).cloned();
        if retried && before.as_ref() == Some(&drawn) {
            // It is what its source says, and no younger for having been sent in again.
            return Ok(());
        }
        if let Some(who) = self.has_spoken_since(report, &drawn).filter(|_| retried) {
            let why = "correct the result by `tombola draws correct`, if this is what was drawn";
            return Err(format!("superseded_word: {who} has said something else since; {why}"));
        }
        self.past.forget(&report.source);
        self.known.quorum.hear(report, self.now);
        if before.as_ref() == Some(&drawn) {
            return Ok(());
        }
        let teller = self.teller(&report.command_id);
        let fact = teller.reported(self.revision(), report, drawn, before);
        self.tell(fact);
        self.agree(&teller);
        self.tell_standing(&teller);
        Ok(())
    }

    /// Who has said something else since a report was read from its source: that one itself, or an operator. A dead letter
    /// that is sent in again is no news, however late it comes. In doubt it is taken for the older one: clocks differ.
    fn has_spoken_since(&self, report: &ReportResult, drawn: &Drawn) -> Option<String> {
        let since = |heard_ms: &Millis| *heard_ms >= report.reported_at_ms;
        let (source, quorum) = (&report.source, &self.known.quorum);
        let operator = self.known.published.as_ref().filter(|last| last.sources.is_empty());
        if operator.map(|last| last.at_ms).as_ref().is_some_and(since) {
            return Some("an operator".to_owned());
        }
        let current =
            quorum.heard_of(source).filter(|_| quorum.said(self.row(), source).as_ref() != Some(drawn));
        let spoken =
            current.as_ref().is_some_and(since) || self.past.heard_of(source).as_ref().is_some_and(since);
        spoken.then(|| format!("source {source}"))
    }

    fn standing(&self) -> Standing<'_> {
        self.known.quorum.standing(self.row(), self.settings.grace_ms)
    }

    /// 0 before anything is published.
    fn revision(&self) -> i32 {
        self.known.published.as_ref().map_or(0, |published| published.revision)
    }

    /// Publishes what a quorum agrees on, if it is news: whether it is.
    fn agree(&mut self, teller: &Teller) -> bool {
        let current = self.known.published.as_ref();
        let over = current.is_some_and(|last| self.is_final(last));
        let required = self.row().sources_required as usize;
        let agreed = self.standing().agreed(required, current.map(|published| &published.drawn));
        let Some(agreed) = agreed.filter(|_| !over) else { return false };
        self.publish(agreed, None, teller);
        true
    }

    /// Where sources contradict each other, or are too few.
    fn tell_standing(&mut self, teller: &Teller) {
        let current = self.known.published.as_ref().map(|published| &published.drawn);
        let standing = self.standing();
        let mut told = Vec::new();
        if standing.contradicts(current) {
            told.push(teller.disagreement(self.revision(), standing.said()));
        }
        if current.is_none() {
            told.push(teller.waiting_row(standing.contradicts(None), standing.sources()));
        }
        told.into_iter().for_each(|output| self.tell(output));
    }

    /// Nothing of it is corrected any more. By the moment at which this is handled, as its tickets are dropped by that: a
    /// record may claim to be older.
    fn is_final(&self, published: &Published) -> bool {
        self.ctx.now() >= published.at_ms.saturating_add(self.settings.order_retention_ms)
    }

    /// The same result with the same jackpot, which is in the draw's currency where none is named.
    fn says_the_same(&self, last: &Published, other: &Published) -> bool {
        let jackpot = |published: &Published| {
            let currency = published.currency.clone().unwrap_or_else(|| self.row().currency.clone());
            published.jackpot_minor.map(|minor| (minor, currency))
        };
        last.drawn == other.drawn && jackpot(last) == jackpot(other)
    }

    fn correct(&mut self, drawn: Drawn, correct: &schemas::draws::CorrectResult) -> Result<(), String> {
        let last = self.known.published.as_ref();
        let published = Published {
            revision: 0,
            drawn,
            sources: Vec::new(),
            jackpot_minor: correct.jackpot_minor.or(last.and_then(|last| last.jackpot_minor)),
            currency: correct.currency.clone().or(last.and_then(|last| last.currency.clone())),
            drawn_at_ms: last.and_then(|last| last.drawn_at_ms),
            at_ms: 0,
        };
        if let Some(last) = last {
            if self.says_the_same(last, &published) {
                return Err("nothing_to_correct: this is what is published".to_owned());
            }
            // The same numbers with another jackpot: it would be settled anew, too, and its tickets are gone.
            if self.is_final(last) {
                return Err(RESULT_FINAL.to_owned());
            }
        }
        self.past.overrule(std::mem::take(&mut self.known.quorum));
        let teller = self.teller(&correct.command_id);
        self.publish(published, Some(&correct.reason), &teller);
        Ok(())
    }

    /// A new revision: it is told, settled and made public.
    fn publish(&mut self, published: Published, reason: Option<&Text>, teller: &Teller) {
        let published = Published { revision: self.revision() + 1, at_ms: self.now, ..published };
        let revision = published.revision;
        let event = if revision == 1 { DrawEvent::Published } else { DrawEvent::Corrected };
        self.tell(teller.published(event, &published, reason));
        let row = teller.published_row(&published);
        self.tell(Output::Row(schemas::Row::Draw(Box::new(row.clone()))));
        let settle = Settle {
            draw: self.row().clone(),
            drawn: published.drawn.clone(),
            revision,
            row,
            cause: teller.cause().clone(),
        };
        self.ctx.emit(self.at, DrawsOut::Settle(Box::new(settle)));
        let channels = self.channels.iter().filter(|channel| channel.takes(&self.row().game));
        let channels: Vec<Channel> = channels.cloned().collect();
        let last = self.known.published.as_ref();
        if let Some(last) = last {
            self.past.supersede(last, self.known.steps.asked());
        }
        let told = self.known.steps.begin(&channels, self.settings, teller, (last, &published));
        told.into_iter().for_each(|output| self.tell(output));
        self.known.published = Some(published);
    }

    /// An outcome of a publisher, or a wish to publish once more.
    fn step(&mut self, message: CommandMsg) {
        let Some(published) = self.known.published.clone() else {
            let why =
                "unpublished: the draw has no result that could be made public; retry once it has".to_owned();
            return self.refuse(message, why, None);
        };
        let teller = self.teller(message.command.command_id());
        if steps::revision_of(&message.command).is_some_and(|revision| revision < published.revision) {
            let told = self.past.outcome(&message, &teller);
            return told.into_iter().for_each(|output| self.tell(output));
        }
        let ground = Ground { teller: &teller, published: &published, now: self.ctx.now() };
        let outcome = self.known.steps.take(&message, &self.channels, &ground, self.settings);
        match outcome {
            Ok(told) => told.into_iter().for_each(|output| self.tell(output)),
            Err(steps::Trouble::Refused(why)) => self.refuse(message, why, None),
            Err(steps::Trouble::Failed { told, reason }) => {
                told.into_iter().for_each(|output| self.tell(output));
                let letter = cause::dead_letter(self.at, message, reason, self.settings);
                self.tell(letter);
            }
        }
    }

    /// Tells why a command changes nothing, and keeps it as a dead letter.
    fn refuse(&mut self, message: CommandMsg, why: String, source: Option<Text>) {
        let teller = self.teller(message.command.command_id());
        let fact = teller.refused(self.revision(), &message.command, &why, source);
        self.tell(fact);
        let letter = cause::dead_letter(self.at, message, why, self.settings);
        self.tell(letter);
    }
}
