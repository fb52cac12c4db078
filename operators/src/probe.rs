//! Asks velocity about every valid order, and tells it of every declined payment.
//!
//! ```text
//!   desk ── valid order ──> Pass{n verdicts follow} + n × Probe, one for each of its keys that is collected
//!        ── order with reasons ──> Pass: neither counted nor judged
//!        ── payment declined ──> Probe for each key of its order ; Pass
//!        ── anything else ──> Pass
//!   velocity_rules ── to every worker ──> which keys are collected
//! ```
//!
//! A declined payment names its order only, so an order's keys are remembered where declines are counted by
//! them, as hashes, for `fraud_decline_horizon_ms` of record time; a decline later than that isn't counted.
//!
//! Invariants: everything the desk sends passes, once, at its own place; as many probes of an order leave as
//! its Pass says. A crash loses nothing: rules and remembered keys are state, timers follow from it.

use crate::messages::{BookIn, CommandMsg};
use crate::settings::Settings;
use crate::velocity::Rulebook;
use crate::velocity::messages::{
    KeyHash, Probe as Question, ProbeEvent, ProbeIn, ProbeOut, currency_code, key_value, member,
};
use runtime::{At, Ctx, KeyedState, Millis, Operator, Route, State, Timers, slot_of};
use schemas::commands::PlaceOrder;
use schemas::velocity::{VelocityKey, VelocityMetric};
use schemas::{Command, Text};
use serde::{Deserialize, Serialize};

/// What is over is forgotten once a minute.
const SWEEP_MS: Millis = 60_000;

/// The keys of a valid order by which declines are counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Remembered {
    forget_at: Millis,
    keys: Box<[(VelocityKey, KeyHash)]>,
}

/// The operator. See the module.
pub struct Probe {
    decline_horizon_ms: Millis,
    rules: Rulebook,
    orders: KeyedState<KeyHash, Remembered>,
    sweeps: Timers<KeyHash>,
}

impl Probe {
    /// Knows no rules.
    pub fn new(settings: &Settings) -> Self {
        Probe {
            decline_horizon_ms: settings.fraud_decline_horizon_ms,
            rules: Rulebook::new(settings),
            orders: KeyedState::new("declinable.v1", |order: &KeyHash| slot_of(order.route)),
            sweeps: Timers::default(),
        }
    }

    fn judged(&mut self, at: At, message: BookIn, ctx: &mut Ctx<ProbeOut>) {
        let mut verdicts = 0;
        match &message {
            BookIn::Order { order, reasons, .. } if reasons.is_empty() => {
                verdicts = self.ask(at, order, ctx);
                self.remember(at.time(), order);
            }
            BookIn::Settle(command) => self.settled(at, command, ctx),
            BookIn::SettleEarly { command, .. } => self.settled(at, command, ctx),
            BookIn::Order { .. } | BookIn::Change(_) => (),
        }
        ctx.emit(at, ProbeOut::Pass { message, verdicts });
    }

    /// Sends a probe for each key of a valid order that is collected; how many.
    fn ask(&self, at: At, order: &PlaceOrder, ctx: &mut Ctx<ProbeOut>) -> u8 {
        let tenant = self.rules.tenant(&order.tenant);
        let (mut asked, mut event_of) = (0, None);
        for kind in VelocityKey::ALL.iter().copied().filter(|kind| !tenant.of(*kind).is_empty()) {
            if let Some(value) = key_value(order, kind) {
                let key = KeyHash::new(&order.tenant, kind, value);
                let event = *event_of.get_or_insert_with(|| event(order));
                ctx.emit(at, question(&order.tenant, kind, key, order.placed_at_ms, event));
                asked += 1;
            }
        }
        asked
    }

    fn remember(&mut self, now: Millis, order: &PlaceOrder) {
        let tenant = self.rules.tenant(&order.tenant);
        let counted = |kind: &VelocityKey| {
            tenant.of(*kind).iter().any(|collected| collected.metric == VelocityMetric::Declines)
        };
        let key = |kind| key_value(order, kind).map(|value| (kind, KeyHash::new(&order.tenant, kind, value)));
        let keys: Vec<_> = VelocityKey::ALL.iter().copied().filter(counted).filter_map(key).collect();
        if !keys.is_empty() {
            let forget_at = now.saturating_add(self.decline_horizon_ms);
            let order = KeyHash::of_order(&order.tenant, &order.order_id);
            self.orders.insert(order, Remembered { forget_at, keys: keys.into() });
            self.sweeps.set(sweep_at(forget_at), order);
        }
    }

    fn settled(&self, at: At, message: &CommandMsg, ctx: &mut Ctx<ProbeOut>) {
        let Command::PaymentDeclined(declined) = &message.command else { return };
        let order = KeyHash::of_order(&declined.tenant, &declined.order_id);
        let remembered = self.orders.get(&order).filter(|order| at.time() < order.forget_at);
        for (kind, key) in remembered.iter().flat_map(|order| order.keys.iter().copied()) {
            let event = ProbeEvent::Declined;
            ctx.emit(at, question(&declined.tenant, kind, key, declined.declined_at_ms, event));
        }
    }
}

fn question(tenant: &Text, kind: VelocityKey, key: KeyHash, time: Millis, event: ProbeEvent) -> ProbeOut {
    ProbeOut::Probe(Question { tenant: tenant.clone(), kind, key, time, event })
}

fn event(order: &PlaceOrder) -> ProbeEvent {
    ProbeEvent::Order {
        order: KeyHash::order_route(&order.tenant, &order.order_id),
        amount_minor: crate::cause::amount_minor(order),
        currency: currency_code(&order.currency),
        card: order.card.as_deref().map_or(0, member),
        customer: member(&order.customer_id),
    }
}

fn sweep_at(forget_at: Millis) -> Millis {
    forget_at.div_euclid(SWEEP_MS).saturating_add(1).saturating_mul(SWEEP_MS)
}

/// The hash by which what the desk sends is routed: by its order, as at the desk.
pub fn route_of(message: &BookIn) -> u64 {
    let of =
        |command: &CommandMsg| KeyHash::order_route(command.command.tenant(), command.command.subject_id());
    match message {
        BookIn::Order { order, .. } => KeyHash::order_route(&order.tenant, &order.order_id),
        BookIn::Settle(command) => of(command),
        BookIn::SettleEarly { command, .. } => of(command),
        BookIn::Change(_) => unreachable!("changes of rows go to the book directly"),
    }
}

impl Operator for Probe {
    type In = ProbeIn;
    type Out = ProbeOut;
    const NAME: &'static str = "probe";

    fn configure(&mut self, settings: &str) {
        let settings = Settings::recorded_or_stop(settings);
        self.decline_horizon_ms = settings.fraud_decline_horizon_ms;
        self.rules.configure(&settings);
    }

    fn route(input: &ProbeIn) -> Route {
        match input {
            ProbeIn::Judged(message) => Route::Key(route_of(message)),
            ProbeIn::Rule(_) => Route::All,
        }
    }

    fn on_record(&mut self, at: At, input: ProbeIn, ctx: &mut Ctx<ProbeOut>) {
        match input {
            ProbeIn::Judged(message) => self.judged(at, message, ctx),
            ProbeIn::Rule(change) => self.rules.apply(*change, at.time()),
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.sweeps.next()
    }

    fn on_timer(&mut self, due: Millis, _ctx: &mut Ctx<ProbeOut>) {
        for order in self.sweeps.take_unsorted(due) {
            self.orders.remove_if(&order, |known| known.forget_at <= due);
        }
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        let mut states: Vec<&mut dyn State> = self.rules.states().into();
        states.push(&mut self.orders);
        states
    }

    fn on_restored(&mut self) {
        self.rules.on_restored();
        for (order, known) in self.orders.iter() {
            self.sweeps.set(sweep_at(known.forget_at), *order);
        }
    }
}
