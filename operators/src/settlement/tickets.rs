//! The tickets of draws: kept while a draw may still be settled, looked through when a result is published.
//!
//! ```text
//!   order accepted, its offer is for a draw ──> noted, until its tickets come or it ends (see `orders`)
//!   ticket ──> the draw of its order, in the order's slot (see `chunks`); too late once that is closed or settled
//!   refund ──> gone, unless the draw was settled
//!   Settle (to every worker) ──> each slot: too late by the draw's row as it is ──> out
//!                                           counts by tier ──> pool ; winners ──> pay
//! ```
//!
//! `order_retention_ms` after a draw's last settlement its tickets are dropped; no result is taken after that (see
//! `draws`). That it was settled is kept.

use super::chunks::Chunks;
use super::orders::{Orders, Placed, in_time};
use super::tiers::Tiers;
use super::{Counted, Settle, SlotWinners, of_slot};
use crate::cause::cause_at;
use crate::keys::{Scoped, ScopedRef, stage};
use crate::messages::{Output, TableChange};
use crate::settings::Settings;
use runtime::{At, Ctx, KeyedState, Millis, Operator, Route, State, Timers, slot_of, stable_hash2};
use schemas::draws::{DrawEvent, DrawFact};
use schemas::facts::Cause;
use schemas::{Fact, Text};
use serde::{Deserialize, Serialize};

/// Into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketsIn {
    /// An order was accepted, to be held, reviewed or sold at once.
    Placed {
        tenant: Text,
        order_id: Text,
        offer_id: Text,
    },
    /// It ended without tickets.
    Ended {
        tenant: Text,
        order_id: Text,
    },
    /// One more ticket of an order; an order's tickets come one behind the other.
    Ticket {
        tenant: Text,
        order_id: Text,
        offer_id: Text,
        numbers: Vec<i32>,
        command_id: Text,
    },
    Refund {
        tenant: Text,
        order_id: Text,
    },
    /// A change of an offer: which draw it is for.
    Offer(TableChange),
    /// A change of a draw: when it closes.
    Draw(TableChange),
    Settle(Box<Settle>),
}

/// Out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketsOut {
    Counted(Box<Counted>),
    Winners(Box<SlotWinners>),
    Out(Output),
}

/// The operator. See the module.
pub struct Tickets {
    settings: Settings,
    orders: Orders,
    /// When a draw was last settled, on every worker.
    settled: KeyedState<Scoped, Millis>,
    chunks: Chunks,
    drops: Timers<Scoped>,
}

impl Tickets {
    /// No tickets yet.
    pub fn new(settings: Settings) -> Self {
        Tickets {
            settings,
            orders: Orders::new(),
            settled: KeyedState::new_replicated("settled_draws.v1", |_| 0),
            chunks: Chunks::new(),
            drops: Timers::default(),
        }
    }

    fn on_ticket(&mut self, at: At, ticket: TicketsIn, ctx: &mut Ctx<TicketsOut>) {
        let TicketsIn::Ticket { tenant, order_id, offer_id, numbers, command_id } = ticket else {
            unreachable!("called with tickets")
        };
        let order = ScopedRef { tenant: &tenant, id: &order_id };
        let Some(placed) = self.orders.of_ticket(order, &offer_id, ctx.now()) else { return };
        let Placed { draw_id, accepted_ms } = placed;
        let draw = Scoped { tenant, id: draw_id };
        let closed_ms = self.orders.closes_at_ms(&draw).filter(|closes| !in_time(accepted_ms, *closes));
        let why = match closed_ms {
            Some(closed_ms) => accepted_late(&order_id, accepted_ms, closed_ms),
            None if self.settled.contains(&draw) => {
                format!("order {order_id} was confirmed after the draw was settled; refund it")
            }
            None => {
                let slot = slot_of(stable_hash2(draw.tenant.as_bytes(), order_id.as_bytes()));
                return self.chunks.add(draw, slot, (order_id, accepted_ms), &numbers);
            }
        };
        let cause = cause_at(at, command_id, &self.settings);
        ctx.emit(at, too_late(&draw, (1, why), at.time(), cause));
    }

    /// An order's tickets lie in its own slot, in a draw of its tenant that isn't settled, if in any.
    fn refund(&mut self, tenant: &Text, order_id: &Text) {
        let slot = slot_of(stable_hash2(tenant.as_bytes(), order_id.as_bytes()));
        self.chunks.refund(tenant, order_id, slot, |draw| !self.settled.contains(draw));
    }

    fn settle(&mut self, at: At, settle: &Settle, ctx: &mut Ctx<TicketsOut>) {
        let Settle { draw, drawn, .. } = settle;
        let key = Scoped { tenant: draw.tenant.clone(), id: draw.draw_id.clone() };
        let tiers = Tiers::new(draw, drawn);
        let mut counted = vec![0i64; tiers.tiers().len()];
        let mut tickets = 0;
        for slot in self.chunks.slots(&key) {
            self.leave_late((at, slot), &key, settle, ctx);
            let mut winners = Vec::new();
            tickets += self.chunks.look(&key, slot, &tiers, &mut winners);
            winners.iter().for_each(|winner| counted[usize::from(winner.tier)] += i64::from(winner.tickets));
            if !winners.is_empty() {
                let (tenant, draw_id) = (key.tenant.clone(), key.id.clone());
                ctx.emit(at, TicketsOut::Winners(Box::new(SlotWinners { slot, tenant, draw_id, winners })));
            }
        }
        let (tenant, draw_id) = (key.tenant.clone(), key.id.clone());
        ctx.emit(at, TicketsOut::Counted(Box::new(Counted { tenant, draw_id, winners: counted, tickets })));
        // As the result is kept: see `draws`.
        self.drops.set(self.drop_at(settle.row.at_ms), key.clone());
        self.settled.insert(key, settle.row.at_ms);
    }

    /// The draw's row may say another closing than when the tickets came, or have come after them.
    fn leave_late(&mut self, (at, slot): (At, u8), key: &Scoped, settle: &Settle, ctx: &mut Ctx<TicketsOut>) {
        let closes_at_ms = settle.draw.closes_at_ms;
        for late in self.chunks.take_late(key, slot, closes_at_ms) {
            let why = accepted_late(&late.order_id, late.accepted_ms, closes_at_ms);
            let cause = settle.cause.clone();
            let told = too_late(key, (i64::from(late.tickets), why), settle.row.at_ms, cause);
            ctx.emit(of_slot(at, stage::TICKETS, slot), told);
        }
    }

    fn drop_at(&self, settled: Millis) -> Millis {
        settled.saturating_add(self.settings.order_retention_ms)
    }
}

fn accepted_late(order_id: &Text, accepted_ms: Millis, closed_ms: Millis) -> String {
    format!(
        "order {order_id} was accepted at {accepted_ms} ms, and the draw was closed from {closed_ms} ms on; refund it"
    )
}

/// So many tickets of an order are in no draw, and why.
fn too_late(draw: &Scoped, (tickets, why): (i64, String), at_ms: Millis, cause: Cause) -> TicketsOut {
    let fact = DrawFact {
        tenant: draw.tenant.clone(),
        draw_id: draw.id.clone(),
        tickets: Some(tickets),
        reason: Some(Text::from(why)),
        at_ms,
        ..DrawFact::of(DrawEvent::TooLate, cause)
    };
    TicketsOut::Out(Output::Fact(Fact::Draw(Box::new(fact))))
}

impl Operator for Tickets {
    type In = TicketsIn;
    type Out = TicketsOut;
    const NAME: &'static str = "draw_tickets";

    fn configure(&mut self, settings: &str) {
        self.settings = Settings::recorded_or_stop(settings);
    }

    fn route(input: &TicketsIn) -> Route {
        match input {
            TicketsIn::Placed { tenant, order_id, .. }
            | TicketsIn::Ended { tenant, order_id }
            | TicketsIn::Ticket { tenant, order_id, .. }
            | TicketsIn::Refund { tenant, order_id } => {
                Route::Key(stable_hash2(tenant.as_bytes(), order_id.as_bytes()))
            }
            TicketsIn::Offer(_) | TicketsIn::Draw(_) | TicketsIn::Settle(_) => Route::All,
        }
    }

    fn on_record(&mut self, at: At, input: TicketsIn, ctx: &mut Ctx<TicketsOut>) {
        match input {
            TicketsIn::Placed { tenant, order_id, offer_id } => {
                self.orders.place(tenant, order_id, &offer_id, ctx.now());
            }
            TicketsIn::Ended { tenant, order_id } => self.orders.end(tenant, order_id),
            TicketsIn::Refund { tenant, order_id } => self.refund(&tenant, &order_id),
            TicketsIn::Offer(change) => self.orders.on_offer(change),
            TicketsIn::Draw(change) => self.orders.on_draw(change),
            TicketsIn::Settle(settle) => self.settle(at, &settle, ctx),
            ticket @ TicketsIn::Ticket { .. } => self.on_ticket(at, ticket, ctx),
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.drops.next()
    }

    fn on_timer(&mut self, due: Millis, _ctx: &mut Ctx<TicketsOut>) {
        for draw in self.drops.take(due) {
            if self.settled.get(&draw).is_none_or(|settled| self.drop_at(*settled) <= due) {
                self.chunks.forget(&draw);
            }
        }
    }

    fn on_epoch_end(&mut self, _ctx: &mut Ctx<TicketsOut>) {
        self.orders.on_epoch_end();
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        let mut states: Vec<&mut dyn State> = vec![&mut self.settled];
        states.extend(self.orders.states());
        states.extend(self.chunks.states());
        states
    }

    fn on_restored(&mut self) {
        self.chunks.on_restored();
        for draw in self.chunks.draws() {
            if let Some(settled) = self.settled.get(draw) {
                self.drops.set(self.drop_at(*settled), draw.clone());
            }
        }
    }
}
