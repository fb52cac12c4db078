//! Results of draws: what sources say, until enough of them agree; then what has to be done about it.
//!
//! ```text
//!   report_result ── draw unknown ──> waits ── row ──> judged at the row's moment
//!                                       └ grace ──> dead letter
//!                 ── draw open, or doesn't fit its matrix ──> refused, dead letter
//!                 ── a source's newest word ──> enough agree ──> published ──> Settle, images, posts
//!                                               └ contradicted ──> disagreement, waits
//!   correct_result ── an operator's word ──> published, or a new revision
//!   the draw's row changes ── what sources said is counted anew ──> as after a report
//!   image_…, post_… ── outcome of an open step ──> the next one (see `steps`)
//! ```
//!
//! Rules. A source has one word, its newest. A report counts from the draw's closing on, or `grace_ms` before it:
//! clocks differ. A published result is corrected by an operator, or once it no longer has its quorum and another
//! result has. An operator's word stands until a quorum has spoken after it: what sources said before is forgotten
//! with it. Words are counted by the draw's row as it is (see `quorum`); a row that changes publishes, corrects and tells
//! as a report in its place would, and takes nothing back. A result is final `order_retention_ms` after its newest
//! revision: nothing is corrected after that.
//!
//! A crash loses nothing: draws and channels are state, timers follow from it.

mod ground;
mod quorum;
pub mod result;
mod steps;
mod tell;
#[cfg(test)]
mod tests;

use crate::cause;
use crate::keys::{Scoped, stage};
use crate::messages::{CommandMsg, Output, TableChange};
use crate::settings::Settings;
use crate::settlement::Settle;
use quorum::{Counted, Quorum, Standing};
use result::Drawn;
use runtime::{At, Ctx, KeyedState, Millis, Operator, Position, Route, State, Timers, stable_hash2};
use schemas::draws::{Channel, Draw, DrawEvent, ReportResult};
use schemas::{Command, Reference, ReferenceKey, Text};
use serde::{Deserialize, Serialize};
use steps::Steps;
use tell::Teller;

/// Into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrawsIn {
    Command(CommandMsg),
    Draw(TableChange),
    Channel(TableChange),
}

/// Out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrawsOut {
    Settle(Box<Settle>),
    Out(Output),
}

/// What is known of one draw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Known {
    row: Option<Draw>,
    waiting: Vec<Waiting>,
    quorum: Quorum,
    published: Option<Published>,
    steps: Steps,
}

/// A command that waits for its draw.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting {
    origin: Position,
    deadline_ms: Millis,
    command: CommandMsg,
}

/// The newest revision of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Published {
    revision: i32,
    drawn: Drawn,
    /// Who agreed, sorted; empty for an operator's word.
    sources: Vec<Text>,
    jackpot_minor: Option<i64>,
    /// Of the jackpot.
    currency: Option<Text>,
    drawn_at_ms: Option<i64>,
    at_ms: Millis,
}

impl Known {
    fn is_nothing(&self) -> bool {
        self.row.is_none() && self.waiting.is_empty() && self.quorum.is_empty() && self.published.is_none()
    }

    /// Who says what, by the row as it is; nothing where there is none.
    fn counted(&self, grace_ms: Millis) -> Option<Counted> {
        self.row.as_ref().map(|row| self.quorum.standing(row, grace_ms).counted())
    }
}

/// The operator. See the module.
pub struct Draws {
    settings: Settings,
    draws: KeyedState<Scoped, Known>,
    /// On every worker.
    channels: KeyedState<Scoped, Channel>,
    deadlines: Timers<Scoped>,
}

impl Draws {
    /// Knows no draws.
    pub fn new(settings: Settings) -> Self {
        Draws {
            settings,
            draws: KeyedState::new("draws.v2", Scoped::slot),
            channels: KeyedState::new_replicated("channels.v1", |_| 0),
            deadlines: Timers::default(),
        }
    }

    fn on_command(&mut self, at: At, message: CommandMsg, ctx: &mut Ctx<DrawsOut>) {
        let command = &message.command;
        let key = Scoped { tenant: command.tenant().clone(), id: command.subject_id().clone() };
        let known = self.draws.get_or_insert_with(&key, Known::default);
        if known.row.is_none() {
            let deadline_ms = ctx.now() + self.settings.grace_ms;
            known.waiting.push(Waiting { origin: at.origin, deadline_ms, command: message });
            return self.deadlines.set(deadline_ms, key);
        }
        let channels = channels_of(&self.channels, &key.tenant);
        Handling::new(known, channels, &self.settings, at, ctx).command(message);
    }

    /// What waited is judged behind the row, in its own order: so it is told.
    fn on_draw(&mut self, at: At, change: TableChange, ctx: &mut Ctx<DrawsOut>) {
        let ReferenceKey::Draw { tenant, draw_id } = change.key else { return };
        let key = Scoped { tenant, id: draw_id };
        let row = match change.row {
            Some(Reference::Draw(draw)) => Some(*draw),
            _ => None,
        };
        let known = self.draws.get_or_insert_with(&key, Known::default);
        let before = known.counted(self.settings.grace_ms);
        known.row = row;
        if known.is_nothing() {
            self.draws.remove(&key);
            return;
        }
        if known.row.is_none() {
            return;
        }
        let channels = channels_of(&self.channels, &key.tenant);
        let mut waiting = std::mem::take(&mut known.waiting);
        waiting.sort_by_key(|waiting| waiting.origin);
        Handling::new(known, channels.clone(), &self.settings, at, ctx).row_changed(before.as_ref());
        for Waiting { origin, command, .. } in waiting {
            let at = At { cause: at.cause, origin };
            Handling::new(known, channels.clone(), &self.settings, at, ctx).command(command);
        }
    }

    fn on_channel(&mut self, change: TableChange) {
        let ReferenceKey::Channel { tenant, channel_id } = change.key else { return };
        let key = Scoped { tenant, id: channel_id };
        match change.row {
            Some(Reference::Channel(channel)) => self.channels.insert(key, *channel),
            _ => drop(self.channels.remove(&key)),
        }
    }

    /// The grace of something that waits for this draw may be over at `due`.
    fn on_deadline(&mut self, due: Millis, key: &Scoped, ctx: &mut Ctx<DrawsOut>) {
        let grace_ms = self.settings.grace_ms;
        let Some(known) = self.draws.get_mut(key) else { return };
        let (over, waiting) =
            std::mem::take(&mut known.waiting).into_iter().partition(|w| w.deadline_ms <= due);
        known.waiting = waiting;
        if known.is_nothing() {
            self.draws.remove(key);
        }
        let cause = Position::timer(due, stage::DRAWS, key.route());
        for Waiting { origin, command, .. } in over {
            let at = At { cause, origin };
            let reason = format!(
                "unknown_draw: tenant {} has no draw {}, and none came within {grace_ms} ms; retry once it is there",
                key.tenant, key.id
            );
            ctx.emit(at, DrawsOut::Out(cause::dead_letter(at, command, reason, &self.settings)));
        }
    }
}

/// A tenant's channels, by id.
fn channels_of(channels: &KeyedState<Scoped, Channel>, tenant: &Text) -> Vec<Channel> {
    let own = channels.iter().filter(|(key, _)| key.tenant == *tenant);
    let mut own: Vec<Channel> = own.map(|(_, channel)| channel.clone()).collect();
    own.sort_unstable_by(|a, b| a.channel_id.cmp(&b.channel_id));
    own
}

/// One command about a draw whose row is known, or a change of that row.
struct Handling<'a, 'c> {
    known: &'a mut Known,
    channels: Vec<Channel>,
    settings: &'a Settings,
    at: At,
    /// When it happens: not before anything it rests on, though a row read from a snapshot is older than everything.
    now: Millis,
    ctx: &'a mut Ctx<'c, DrawsOut>,
}

impl<'a, 'c> Handling<'a, 'c> {
    fn new(
        known: &'a mut Known,
        channels: Vec<Channel>,
        settings: &'a Settings,
        at: At,
        ctx: &'a mut Ctx<'c, DrawsOut>,
    ) -> Self {
        let now = at.time().max(at.origin.time()).max(known.quorum.heard_ms().unwrap_or(Millis::MIN));
        Handling { known, channels, settings, at, now, ctx }
    }

    fn command(mut self, message: CommandMsg) {
        match &message.command {
            Command::ReportResult(report) => {
                if let Err(why) = self.report(report) {
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
    fn row_changed(mut self, before: Option<&Counted>) {
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
            return Err("result_final: it can no longer be corrected".to_owned());
        }
        Ok(drawn)
    }

    fn report(&mut self, report: &ReportResult) -> Result<(), String> {
        let drawn = self.fits(&report.numbers, &report.bonus, &report.prizes)?;
        let before = self.standing().says(&report.source).cloned();
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

    /// Nothing of it is corrected any more.
    fn is_final(&self, published: &Published) -> bool {
        self.now >= published.at_ms.saturating_add(self.settings.order_retention_ms)
    }

    fn correct(&mut self, drawn: Drawn, correct: &schemas::draws::CorrectResult) -> Result<(), String> {
        let last = self.known.published.as_ref();
        if last.is_some_and(|last| last.drawn == drawn) {
            return Err("nothing_to_correct: this is what is published".to_owned());
        }
        let published = Published {
            revision: 0,
            drawn,
            sources: Vec::new(),
            jackpot_minor: correct.jackpot_minor.or(last.and_then(|last| last.jackpot_minor)),
            currency: correct.currency.clone().or(last.and_then(|last| last.currency.clone())),
            drawn_at_ms: last.and_then(|last| last.drawn_at_ms),
            at_ms: 0,
        };
        self.known.quorum = Quorum::default();
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
        let game = self.row().game.clone();
        let channels: Vec<Channel> = self.channels.iter().filter(|c| c.takes(&game)).cloned().collect();
        let ground = ground::Ground { teller: &teller, published: &published, now: self.ctx.now() };
        let outcome = self.known.steps.take(&message, &channels, &ground, self.settings);
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

impl Operator for Draws {
    type In = DrawsIn;
    type Out = DrawsOut;
    const NAME: &'static str = "draws";

    fn configure(&mut self, settings: &str) {
        self.settings = Settings::recorded_or_stop(settings);
    }

    fn route(input: &DrawsIn) -> Route {
        match input {
            DrawsIn::Command(CommandMsg { command, .. }) => {
                Route::Key(stable_hash2(command.tenant().as_bytes(), command.subject_id().as_bytes()))
            }
            DrawsIn::Draw(change) => {
                let (tenant, draw_id) = change.key.parts();
                Route::Key(stable_hash2(tenant.as_bytes(), draw_id.as_bytes()))
            }
            DrawsIn::Channel(_) => Route::All,
        }
    }

    fn on_record(&mut self, at: At, input: DrawsIn, ctx: &mut Ctx<DrawsOut>) {
        match input {
            DrawsIn::Command(message) => self.on_command(at, message, ctx),
            DrawsIn::Draw(change) => self.on_draw(at, change, ctx),
            DrawsIn::Channel(change) => self.on_channel(change),
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.deadlines.next()
    }

    fn on_timer(&mut self, due: Millis, ctx: &mut Ctx<DrawsOut>) {
        for key in self.deadlines.take(due) {
            self.on_deadline(due, &key, ctx);
        }
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.draws, &mut self.channels]
    }

    fn on_restored(&mut self) {
        for (key, known) in self.draws.iter() {
            for waiting in &known.waiting {
                self.deadlines.set(waiting.deadline_ms, key.clone());
            }
        }
    }
}
