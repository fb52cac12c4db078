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
//! result has. An operator's word stands until a quorum has spoken after it: what sources said before doesn't count any
//! more, nor does saying it again (see `past`). Words are counted by the draw's row as it is (see `quorum`); a row that changes publishes, corrects and tells
//! as a report in its place would, and takes nothing back. A result is final `order_retention_ms` after its newest
//! revision: nothing is corrected after that.
//!
//! A crash loses nothing: draws and channels are state, timers follow from it.

mod ground;
mod handling;
mod past;
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
use handling::Handling;
use past::{Past, PastOf};
use quorum::{Counted, Quorum};
use result::Drawn;
use runtime::{At, Ctx, KeyedState, Millis, Operator, Position, Route, State, Timers, stable_hash2};
use schemas::draws::{Channel, Draw};
use schemas::{Reference, ReferenceKey, Text};
use serde::{Deserialize, Serialize};
use steps::Steps;

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
    pasts: KeyedState<Scoped, Past>,
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
            pasts: KeyedState::new("draw_pasts.v1", Scoped::slot),
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
        let past = PastOf::new(&mut self.pasts, &key);
        Handling::new((known, past), channels, &self.settings, at, ctx).command(message);
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
        let past = PastOf::new(&mut self.pasts, &key);
        Handling::new((known, past), channels.clone(), &self.settings, at, ctx).row_changed(before.as_ref());
        for Waiting { origin, command, .. } in waiting {
            let at = At { cause: at.cause, origin };
            let past = PastOf::new(&mut self.pasts, &key);
            Handling::new((known, past), channels.clone(), &self.settings, at, ctx).command(command);
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
        vec![&mut self.draws, &mut self.pasts, &mut self.channels]
    }

    fn on_restored(&mut self) {
        for (key, known) in self.draws.iter() {
            for waiting in &known.waiting {
                self.deadlines.set(waiting.deadline_ms, key.clone());
            }
        }
    }
}
