//! Lets each command through once: what a producer says twice happens once.
//!
//! ```text
//!   command ── command_id not seen within the horizon ──> Fresh
//!           ── seen, the same payload ─────────────────> fact `duplicate`
//!           ── seen, another payload ──────────────────> fact `idempotency_conflict`
//! ```
//!
//! The horizon runs from the first command's record time, exact to the millisecond and inclusive; a
//! repetition doesn't extend it, and what comes later is a new command, remembered anew. Neither fact
//! writes a row: the original's decision stands. A crash loses nothing: what was seen is state.

pub mod chunks;
pub mod entry;
pub mod store;
pub mod table;
#[cfg(test)]
mod tests;

use crate::cause;
use crate::messages::{CommandMsg, DedupOut, Output};
use crate::settings::Settings;
use entry::KeyHash;
use runtime::{At, Ctx, Envelope, Operator, Route, State, slot_of, stable_hash2};
use schemas::draws::{DrawEvent, DrawFact};
use schemas::facts::{OrderEvent, OrderFact};
use schemas::{Command, Fact, Text};
use std::collections::VecDeque;
use store::{Seen, Store};
use xxhash_rust::xxh3::xxh3_128;

/// The operator. See the module.
pub struct Dedup {
    settings: Settings,
    store: Store,
    /// Reused from command to command.
    key: Vec<u8>,
    /// Where the commands about to be handled belong.
    coming: VecDeque<(u8, KeyHash)>,
}

impl Dedup {
    /// One that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        let store = Store::new(settings.idempotency_horizon_ms);
        Dedup { settings, store, key: Vec::new(), coming: VecDeque::new() }
    }

    fn place(&mut self, input: &CommandMsg) -> (u8, KeyHash) {
        (slot_of(route(&input.command)), self.key_hash(&input.command, input.retry_of.as_deref()))
    }

    /// A command sent in again for a dead letter is another one than the original: it may be decided once more,
    /// and once only.
    fn key_hash(&mut self, command: &Command, retry_of: Option<&Text>) -> KeyHash {
        self.key.clear();
        self.key.extend_from_slice(command.tenant().as_bytes());
        self.key.push(0);
        self.key.extend_from_slice(command.command_id().as_bytes());
        if let Some(retry_of) = retry_of {
            self.key.push(0);
            self.key.extend_from_slice(retry_of.as_bytes());
        }
        KeyHash::new(xxh3_128(&self.key))
    }

    fn refused(&self, event: OrderEvent, at: At, command: &Command) -> DedupOut {
        if command.is_of_draws() {
            return DedupOut::Out(draw_fact(event, at, command, &self.settings));
        }
        let Command::PlaceOrder(order) = command else {
            return DedupOut::Out(settlement_fact(event, at, command, &self.settings));
        };
        DedupOut::Out(cause::order_fact(event, order, None, Vec::new(), at, &self.settings))
    }
}

fn route(command: &Command) -> u64 {
    stable_hash2(command.tenant().as_bytes(), command.command_id().as_bytes())
}

/// About a command that isn't an order: which order it speaks of, and what it says of money.
fn settlement_fact(event: OrderEvent, at: At, command: &Command, settings: &Settings) -> Output {
    let (amount_minor, currency) = match command {
        Command::PaymentCaptured(payment) => (payment.amount_minor, payment.currency.clone()),
        _ => (0, Text::default()),
    };
    Output::Fact(Fact::Order(Box::new(OrderFact {
        event,
        tenant: command.tenant().clone(),
        order_id: command.subject_id().clone(),
        command_id: Text::default(),
        offer_id: Text::default(),
        offer_kind: None,
        partner_id: None,
        customer_id: Text::default(),
        quantity: 0,
        amount_minor,
        currency,
        reasons: Vec::new(),
        placed_at_ms: command.event_time_ms(),
        at_ms: at.time(),
        cause: cause::cause_of(at, command, settings),
    })))
}

/// About a command that speaks of a draw.
fn draw_fact(event: OrderEvent, at: At, command: &Command, settings: &Settings) -> Output {
    let event = match event {
        OrderEvent::Duplicate => DrawEvent::Duplicate,
        _ => DrawEvent::IdempotencyConflict,
    };
    let fact = DrawFact {
        tenant: command.tenant().clone(),
        draw_id: command.subject_id().clone(),
        at_ms: at.time(),
        ..DrawFact::of(event, cause::cause_of(at, command, settings))
    };
    Output::Fact(Fact::Draw(Box::new(fact)))
}

impl Operator for Dedup {
    type In = CommandMsg;
    type Out = DedupOut;
    const NAME: &'static str = "dedup";

    fn configure(&mut self, settings: &str) {
        self.settings = Settings::recorded_or_stop(settings);
        self.store.set_horizon(self.settings.idempotency_horizon_ms);
    }

    fn route(input: &CommandMsg) -> Route {
        Route::Key(route(&input.command))
    }

    /// Most of a look-up is waiting for memory: the tables are large, and every command is somewhere else. Reads
    /// that need nothing of each other wait together, so commands are read first, then hashed, then glanced at.
    fn foresee(&mut self, coming: &[Envelope<CommandMsg>]) {
        debug_assert!(self.coming.is_empty(), "what was foreseen was handled");
        let commands = coming.iter().map(|message| &message.body);
        std::hint::black_box(commands.clone().map(|input| input.command.command_id().len()).sum::<usize>());
        for input in commands {
            let place = self.place(input);
            self.coming.push_back(place);
        }
        let glances = self.coming.iter().map(|(slot, key)| self.store.glance(*slot, *key));
        std::hint::black_box(glances.fold(0, std::ops::BitXor::bitxor));
    }

    fn on_record(&mut self, at: At, input: CommandMsg, ctx: &mut Ctx<DedupOut>) {
        let (slot, key) = self.coming.pop_front().unwrap_or_else(|| self.place(&input));
        let out = match self.store.see(slot, key, input.payload_hash, at.time()) {
            Seen::Fresh => DedupOut::Fresh(input),
            Seen::Duplicate => self.refused(OrderEvent::Duplicate, at, &input.command),
            Seen::Conflict => self.refused(OrderEvent::IdempotencyConflict, at, &input.command),
        };
        ctx.emit(at, out);
    }

    fn on_epoch_end(&mut self, _ctx: &mut Ctx<DedupOut>) {
        self.store.tidy();
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.store]
    }

    fn on_restored(&mut self) {
        self.store.on_restored();
    }
}
