//! Puts an order together with the verdicts on it, and tells what fired.
//!
//! ```text
//!   Pass{order, n} ─┐
//!   n × Verdict ────┴─ same place in the order, same epoch ─> order with the strongest action ─> book
//!                                                           └> facts.fraud, fraud_alerts
//! ```
//!
//! An order and its verdicts have one [`At`], so they come one after the other, in whatever order: nothing
//! is kept from one place to the next, and so nothing is in a snapshot. What stands at the order's place
//! behind it (a settlement that came before it) waits with it.
//!
//! Invariant: an epoch ends with nothing gathered. Verdicts of one epoch are all made in it.

use crate::cause;
use crate::messages::{BookIn, Output};
use crate::probe::route_of;
use crate::settings::Settings;
use crate::velocity::messages::{Fired, ScreenIn, ScreenOut, Verdict, key_value};
use runtime::{At, Ctx, Operator, Route, State};
use schemas::commands::PlaceOrder;
use schemas::velocity::{FraudAlertRow, FraudEvent, FraudFact, VelocityKey};
use schemas::{Fact, Row, Text};

/// The operator. See the module.
pub struct Screen {
    settings: Settings,
    at: Option<At>,
    /// What passes, and how many verdicts go with it: the order first.
    held: Vec<(BookIn, u8)>,
    verdicts: Vec<Verdict>,
}

impl Screen {
    /// Has gathered nothing.
    pub fn new(settings: Settings) -> Self {
        Screen { settings, at: None, held: Vec::new(), verdicts: Vec::new() }
    }

    /// Lets go of what is held, once the order among it has all its verdicts.
    fn release(&mut self, at: At, ctx: &mut Ctx<ScreenOut>) {
        let Some((_, awaited)) = self.held.first() else { return };
        if self.verdicts.len() < usize::from(*awaited) {
            return;
        }
        self.verdicts.sort_unstable_by_key(|verdict| verdict.kind);
        let verdicts = std::mem::take(&mut self.verdicts);
        for (mut message, awaited) in self.held.drain(..) {
            if let (BookIn::Order { order, screening, .. }, 1..) = (&mut message, awaited) {
                assert_eq!(verdicts.len(), usize::from(awaited), "a place has one order, and its verdicts");
                *screening = verdicts.iter().flat_map(|v| &v.fired).map(|fired| fired.action).max();
                tell(at, order, &verdicts, &self.settings, ctx);
            }
            ctx.emit(at, ScreenOut::ToBook(message));
        }
    }
}

/// Tells every rule that fired, and that the order came late.
fn tell(at: At, order: &PlaceOrder, verdicts: &[Verdict], settings: &Settings, ctx: &mut Ctx<ScreenOut>) {
    for verdict in verdicts {
        let value = key_value(order, verdict.kind).expect("a key was asked about because the order has it");
        for fired in &verdict.fired {
            let fact = fired_fact(at, order, verdict.kind, value, fired, settings);
            ctx.emit(at, ScreenOut::Out(Output::Fact(Fact::Fraud(Box::new(fact)))));
            let row = alert(at, order, verdict.kind, value, fired);
            ctx.emit(at, ScreenOut::Out(Output::Row(Row::FraudAlert(Box::new(row)))));
        }
    }
    // The first of the latest: an order is late once, whatever its keys.
    let latest = verdicts.iter().rev().max_by_key(|verdict| verdict.late_by_ms);
    if let Some(Verdict { kind, late_by_ms: late_by_ms @ 1.., .. }) = latest {
        let value = key_value(order, *kind).expect("a key was asked about because the order has it");
        let mut fact = fact(FraudEvent::LateOrder, at, order, *kind, value, settings);
        fact.late_by_ms = Some(*late_by_ms);
        ctx.emit(at, ScreenOut::Out(Output::Fact(Fact::Fraud(Box::new(fact)))));
    }
}

fn fired_fact(
    at: At,
    order: &PlaceOrder,
    kind: VelocityKey,
    value: &Text,
    fired: &Fired,
    settings: &Settings,
) -> FraudFact {
    FraudFact {
        rule_id: Some(fired.rule_id.clone()),
        metric: Some(fired.metric),
        value: Some(fired.value),
        threshold: Some(fired.threshold),
        window_ms: Some(fired.window_ms),
        action: Some(fired.action),
        exact_since_ms: fired.exact_since_ms,
        ..fact(FraudEvent::RuleFired, at, order, kind, value, settings)
    }
}

fn fact(
    event: FraudEvent,
    at: At,
    order: &PlaceOrder,
    kind: VelocityKey,
    value: &Text,
    settings: &Settings,
) -> FraudFact {
    FraudFact {
        event,
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        command_id: order.command_id.clone(),
        rule_id: None,
        key: kind,
        key_value: value.clone(),
        metric: None,
        value: None,
        threshold: None,
        window_ms: None,
        action: None,
        exact_since_ms: None,
        late_by_ms: None,
        placed_at_ms: order.placed_at_ms,
        at_ms: at.time(),
        cause: cause::cause_at(at, order.command_id.clone(), settings),
    }
}

fn alert(at: At, order: &PlaceOrder, kind: VelocityKey, value: &Text, fired: &Fired) -> FraudAlertRow {
    FraudAlertRow {
        tenant: order.tenant.clone(),
        rule_id: fired.rule_id.clone(),
        command_id: order.command_id.clone(),
        key: Text::from(format!("{kind}:{value}")),
        order_id: order.order_id.clone(),
        metric: fired.metric,
        value: fired.value,
        threshold: fired.threshold,
        window_ms: fired.window_ms,
        action: fired.action,
        exact_since_ms: fired.exact_since_ms,
        placed_at_ms: order.placed_at_ms,
        at_ms: at.time(),
    }
}

impl Operator for Screen {
    type In = ScreenIn;
    type Out = ScreenOut;
    const NAME: &'static str = "screen";

    fn configure(&mut self, settings: &str) {
        self.settings = Settings::recorded_or_stop(settings);
    }

    fn route(input: &ScreenIn) -> Route {
        match input {
            ScreenIn::Pass { message, .. } => Route::Key(route_of(message)),
            ScreenIn::Verdict(verdict) => Route::Key(verdict.order),
        }
    }

    fn on_record(&mut self, at: At, input: ScreenIn, ctx: &mut Ctx<ScreenOut>) {
        if self.at != Some(at) {
            assert!(
                self.held.is_empty() && self.verdicts.is_empty(),
                "an order's verdicts stand at its place"
            );
            self.at = Some(at);
        }
        match input {
            ScreenIn::Pass { message, verdicts: 0 } if self.held.is_empty() => {
                return ctx.emit(at, ScreenOut::ToBook(message));
            }
            ScreenIn::Pass { message, verdicts } => self.held.push((message, verdicts)),
            ScreenIn::Verdict(verdict) => self.verdicts.push(verdict),
        }
        self.release(at, ctx);
    }

    fn on_epoch_end(&mut self, _ctx: &mut Ctx<ScreenOut>) {
        assert!(
            self.held.is_empty() && self.verdicts.is_empty(),
            "an order has its verdicts within its epoch"
        );
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        Vec::new()
    }
}
