//! Prizes ticket by ticket: winners of a slot and what their tiers pay in, facts and rows out.
//!
//! Winners and amounts of a result have one place, and come within one epoch, in whatever order: they are handled at
//! its end, in the order of their places. What a revision paid is kept for as long as it can be corrected
//! (`order_retention_ms` after its publication, whatever time its place tells), by slot: a correction takes all of it
//! back, then pays anew.

use super::{Amounts, SlotWinners, Winner, of_slot};
use crate::book::ticket_id;
use crate::keys::{Scoped, stage};
use crate::messages::Output;
use crate::settings::Settings;
use runtime::{At, Ctx, KeyedState, Millis, Operator, Route, State, Timers};
use schemas::draws::{WinningFact, WinningStatus, WinningTicketRow};
use schemas::facts::Cause;
use schemas::{Fact, Row, Text};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayIn {
    Winners(Box<SlotWinners>),
    Amounts(Box<Amounts>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct SlotKey {
    draw: Scoped,
    slot: u8,
}

/// What a revision paid to the orders of one slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Paid {
    revision: i32,
    currency: Text,
    /// When the result was published: it is kept from then on, as the draw's result is.
    at_ms: Millis,
    /// Name and prize, by tier.
    tiers: Vec<(Text, i64)>,
    winners: Vec<Winner>,
}

/// The operator. See the module.
pub struct Pay {
    settings: Settings,
    paid: KeyedState<SlotKey, Paid>,
    slots: BTreeMap<Scoped, BTreeSet<u8>>,
    drops: Timers<Scoped>,
    epoch: BTreeMap<At, Work>,
}

#[derive(Default)]
struct Work {
    amounts: Option<Box<Amounts>>,
    winners: BTreeMap<u8, Vec<Winner>>,
}

impl Pay {
    /// Nothing paid yet.
    pub fn new(settings: Settings) -> Self {
        Pay {
            settings,
            paid: KeyedState::new("paid.v1", |key: &SlotKey| key.slot),
            slots: BTreeMap::new(),
            drops: Timers::default(),
            epoch: BTreeMap::new(),
        }
    }

    fn pay(&mut self, at: At, work: Work, ctx: &mut Ctx<Output>) {
        let amounts =
            *work.amounts.expect("winners stand at the place of their amounts, which go to every worker");
        let draw = Scoped { tenant: amounts.tenant.clone(), id: amounts.draw_id.clone() };
        let mut winners = work.winners;
        let mut slots = self.slots.remove(&draw).unwrap_or_default();
        slots.extend(winners.keys());
        for slot in slots {
            let key = SlotKey { draw: draw.clone(), slot };
            let told = of_slot(at, stage::PAY, slot);
            if let Some(old) = self.paid.remove(&key) {
                let mut teller = Teller { at: told, draw: &draw, amounts: &amounts, ctx };
                teller.tell(&old, WinningStatus::Superseded);
            }
            let Some(winners) = winners.remove(&slot) else { continue };
            let paid = Paid {
                revision: amounts.revision,
                currency: amounts.currency.clone(),
                at_ms: amounts.at_ms,
                tiers: amounts.tiers.clone(),
                winners,
            };
            let mut teller = Teller { at: told, draw: &draw, amounts: &amounts, ctx };
            teller.tell(&paid, WinningStatus::Won);
            self.keep(key, paid);
        }
    }

    fn pay_before(&mut self, end: Millis, ctx: &mut Ctx<Output>) {
        while let Some((at, work)) = self.epoch.pop_first() {
            if at.time() >= end {
                self.epoch.insert(at, work);
                return;
            }
            self.pay(at, work, ctx);
        }
    }

    fn keep(&mut self, key: SlotKey, paid: Paid) {
        let drop_at = paid.at_ms.saturating_add(self.settings.order_retention_ms);
        self.drops.set(drop_at, key.draw.clone());
        self.slots.entry(key.draw.clone()).or_default().insert(key.slot);
        self.paid.insert(key, paid);
    }
}

/// Says what became of the tickets of one slot.
struct Teller<'a, 'c> {
    at: At,
    draw: &'a Scoped,
    /// Of the revision that pays or takes back.
    amounts: &'a Amounts,
    ctx: &'a mut Ctx<'c, Output>,
}

impl Teller<'_, '_> {
    fn tell(&mut self, paid: &Paid, status: WinningStatus) {
        for winner in &paid.winners {
            let (tier, amount_minor) = &paid.tiers[usize::from(winner.tier)];
            for nth in 1..=winner.tickets {
                let row = WinningTicketRow {
                    tenant: self.draw.tenant.clone(),
                    draw_id: self.draw.id.clone(),
                    revision: paid.revision,
                    ticket_id: ticket_id(&winner.order_id, nth),
                    tier: tier.clone(),
                    order_id: winner.order_id.clone(),
                    amount_minor: *amount_minor,
                    currency: paid.currency.clone(),
                    status,
                };
                let fact = fact(&row, self.amounts.at_ms, &self.amounts.cause);
                self.ctx.emit(self.at, Output::Fact(Fact::Winning(Box::new(fact))));
                self.ctx.emit(self.at, Output::Row(Row::WinningTicket(Box::new(row))));
            }
        }
    }
}

fn fact(row: &WinningTicketRow, at_ms: Millis, cause: &Cause) -> WinningFact {
    WinningFact {
        status: row.status,
        tenant: row.tenant.clone(),
        draw_id: row.draw_id.clone(),
        revision: row.revision,
        ticket_id: row.ticket_id.clone(),
        tier: row.tier.clone(),
        order_id: row.order_id.clone(),
        amount_minor: row.amount_minor,
        currency: row.currency.clone(),
        at_ms,
        cause: cause.clone(),
    }
}

impl Operator for Pay {
    type In = PayIn;
    type Out = Output;
    const NAME: &'static str = "draw_pay";

    fn configure(&mut self, settings: &str) {
        self.settings = Settings::recorded_or_stop(settings);
    }

    fn route(input: &PayIn) -> Route {
        match input {
            PayIn::Winners(winners) => Route::Key(u64::from(winners.slot) << 56),
            PayIn::Amounts(_) => Route::All,
        }
    }

    fn on_record(&mut self, at: At, input: PayIn, _ctx: &mut Ctx<Output>) {
        let work = self.epoch.entry(at).or_default();
        match input {
            PayIn::Winners(slot) => drop(work.winners.insert(slot.slot, slot.winners)),
            PayIn::Amounts(amounts) => work.amounts = Some(amounts),
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.drops.next()
    }

    fn on_timer(&mut self, due: Millis, ctx: &mut Ctx<Output>) {
        // What came before has come whole, and may still need what is dropped now.
        self.pay_before(due, ctx);
        for draw in self.drops.take(due) {
            let retention_ms = self.settings.order_retention_ms;
            let Some(slots) = self.slots.get_mut(&draw) else { continue };
            slots.retain(|&slot| {
                let key = SlotKey { draw: draw.clone(), slot };
                let kept =
                    self.paid.get(&key).is_some_and(|paid| paid.at_ms.saturating_add(retention_ms) > due);
                if !kept {
                    self.paid.remove(&key);
                }
                kept
            });
            if slots.is_empty() {
                self.slots.remove(&draw);
            }
        }
    }

    fn on_epoch_end(&mut self, ctx: &mut Ctx<Output>) {
        self.pay_before(Millis::MAX, ctx);
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.paid]
    }

    fn on_restored(&mut self) {
        for (key, paid) in self.paid.iter() {
            self.slots.entry(key.draw.clone()).or_default().insert(key.slot);
            let drop_at = paid.at_ms.saturating_add(self.settings.order_retention_ms);
            self.drops.set(drop_at, key.draw.clone());
        }
    }
}
