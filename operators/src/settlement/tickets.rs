//! The tickets of draws: kept while a draw may still be settled, looked through when a result is published.
//!
//! ```text
//!   ticket of an offer with a draw ──> its order's slot ── chunk of the draw, 256 orders at most
//!   refund ──> gone, unless the draw was settled
//!   Settle (to every worker) ──> each slot: counts by tier ──> pool ; winners ──> pay
//! ```
//!
//! A draw of a million tickets is some thousand entries of a snapshot: only chunks that changed are written, and a
//! chunk that is full changes by refunds alone. `order_retention_ms` after a draw's last settlement its tickets are
//! dropped; no result is taken after that (see `draws`). That it was settled is kept.

use super::tiers::Tiers;
use super::{Counted, Settle, SlotWinners, Winner};
use crate::cause::cause_at;
use crate::keys::{Scoped, ScopedRef};
use crate::messages::{Output, TableChange};
use crate::settings::Settings;
use runtime::{At, Ctx, KeyedState, Millis, Operator, Route, State, Timers, slot_of, stable_hash2};
use schemas::draws::{DrawEvent, DrawFact};
use schemas::{Fact, Reference, ReferenceKey, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Orders of one chunk.
const CHUNK: usize = 256;

/// Into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketsIn {
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
    Settle(Box<Settle>),
}

/// Out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketsOut {
    Counted(Box<Counted>),
    Winners(Box<SlotWinners>),
    Out(Output),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct ChunkKey {
    draw: Scoped,
    slot: u8,
    number: u32,
}

/// Some orders of a slot and draw, in the order in which they came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Chunk {
    orders: Vec<Bought>,
    /// Of all of them, one behind the other.
    numbers: Vec<u8>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Bought {
    order_id: Text,
    /// 0: refunded.
    tickets: u32,
    /// Numbers of each of its tickets.
    numbers: u8,
}

/// The operator. See the module.
pub struct Tickets {
    settings: Settings,
    /// Offers that are for a draw, on every worker.
    offers: KeyedState<Scoped, Text>,
    /// When a draw was last settled, on every worker.
    settled: KeyedState<Scoped, Millis>,
    chunks: KeyedState<ChunkKey, Chunk>,
    /// How many chunks each draw has, by slot.
    draws: BTreeMap<Scoped, BTreeMap<u8, u32>>,
    drops: Timers<Scoped>,
}

impl Tickets {
    /// No tickets yet.
    pub fn new(settings: Settings) -> Self {
        Tickets {
            settings,
            offers: KeyedState::new_replicated("draw_offers.v1", |_| 0),
            settled: KeyedState::new_replicated("settled_draws.v1", |_| 0),
            chunks: KeyedState::new("draw_tickets.v1", |key: &ChunkKey| key.slot),
            draws: BTreeMap::new(),
            drops: Timers::default(),
        }
    }

    fn on_ticket(&mut self, at: At, ticket: TicketsIn, ctx: &mut Ctx<TicketsOut>) {
        let TicketsIn::Ticket { tenant, order_id, offer_id, numbers, command_id } = ticket else {
            unreachable!("called with tickets")
        };
        let offer = ScopedRef { tenant: &tenant, id: &offer_id };
        let Some(draw_id) = self.offers.get(&offer) else { return };
        let draw = Scoped { tenant: tenant.clone(), id: draw_id.clone() };
        if self.settled.contains(&draw) {
            return self.too_late(at, draw, &order_id, command_id, ctx);
        }
        self.add(draw, slot_of(stable_hash2(tenant.as_bytes(), order_id.as_bytes())), order_id, &numbers);
    }

    fn add(&mut self, draw: Scoped, slot: u8, order_id: Text, numbers: &[i32]) {
        if !self.draws.contains_key(&draw) {
            self.draws.insert(draw.clone(), BTreeMap::new());
        }
        let chunks = self.draws.get_mut(&draw).expect("inserted above").entry(slot).or_insert(0);
        let key = ChunkKey { draw, slot, number: chunks.saturating_sub(1) };
        if *chunks > 0 {
            let chunk = self.chunks.get_mut(&key).expect("every chunk that is counted is there");
            if chunk.add(&order_id, numbers) {
                return;
            }
        }
        let mut chunk = Chunk::default();
        assert!(chunk.add(&order_id, numbers), "an empty chunk has room");
        self.chunks.insert(ChunkKey { number: *chunks, ..key }, chunk);
        *chunks += 1;
    }

    /// Told once for each of its tickets.
    fn too_late(&self, at: At, draw: Scoped, order_id: &Text, command_id: Text, ctx: &mut Ctx<TicketsOut>) {
        let reason = format!("order {order_id} was confirmed after the draw was settled; refund it");
        let fact = DrawFact {
            tenant: draw.tenant,
            draw_id: draw.id,
            tickets: Some(1),
            reason: Some(Text::from(reason)),
            at_ms: at.time(),
            ..DrawFact::of(DrawEvent::TooLate, cause_at(at, command_id, &self.settings))
        };
        ctx.emit(at, TicketsOut::Out(Output::Fact(Fact::Draw(Box::new(fact)))));
    }

    /// An order's tickets lie in its own slot, in a draw of its tenant that isn't settled, if in any.
    fn refund(&mut self, tenant: &Text, order_id: &Text) {
        let slot = slot_of(stable_hash2(tenant.as_bytes(), order_id.as_bytes()));
        let from = Scoped { tenant: tenant.clone(), id: Text::default() };
        let own = self.draws.range(from..).take_while(|(draw, _)| draw.tenant == *tenant);
        for (draw, slots) in own.filter(|(draw, _)| !self.settled.contains(*draw)) {
            for number in 0..slots.get(&slot).copied().unwrap_or(0) {
                let key = ChunkKey { draw: draw.clone(), slot, number };
                let found = self.chunks.get(&key).and_then(|chunk| chunk.find(order_id));
                if let Some(found) = found {
                    self.chunks.get_mut(&key).expect("found above").orders[found].tickets = 0;
                    return;
                }
            }
        }
    }

    fn settle(&mut self, at: At, settle: &Settle, ctx: &mut Ctx<TicketsOut>) {
        let Settle { draw, drawn, .. } = settle;
        let key = Scoped { tenant: draw.tenant.clone(), id: draw.draw_id.clone() };
        let tiers = Tiers::new(draw, drawn);
        let mut counted = vec![0i64; tiers.tiers().len()];
        let mut tickets = 0;
        for (&slot, &chunks) in self.draws.get(&key).into_iter().flatten() {
            let mut winners = Vec::new();
            for number in 0..chunks {
                let chunk = self.chunks.get(&ChunkKey { draw: key.clone(), slot, number });
                tickets += chunk.expect("every chunk that is counted is there").look(&tiers, &mut winners);
            }
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

    fn drop_at(&self, settled: Millis) -> Millis {
        settled.saturating_add(self.settings.order_retention_ms)
    }

    fn on_offer(&mut self, change: TableChange) {
        let ReferenceKey::Offer { tenant, offer_id } = change.key else { return };
        let key = Scoped { tenant, id: offer_id };
        match change.row {
            Some(Reference::Offer(offer)) if offer.draw_id.is_some() => {
                self.offers.insert(key, offer.draw_id.expect("seen above"));
            }
            Some(_) => drop(self.offers.remove(&key)),
            // Nobody buys it any more, but what was bought may still be paid.
            None => {}
        }
    }
}

impl Chunk {
    /// Adds a ticket of the order that came last, or of a new one; false where that needs another chunk.
    fn add(&mut self, order_id: &Text, numbers: &[i32]) -> bool {
        if let Some(last) = self.orders.last_mut().filter(|last| last.order_id == *order_id) {
            last.tickets += 1;
            return true;
        }
        if self.orders.len() == CHUNK {
            return false;
        }
        // What no game draws fits no matrix: it stays out, and the ticket wins nothing by its numbers.
        let bytes: Option<Vec<u8>> = numbers.iter().map(|&number| u8::try_from(number).ok()).collect();
        let bytes = bytes.filter(|bytes| bytes.len() < 256).unwrap_or_default();
        self.orders.push(Bought { order_id: order_id.clone(), tickets: 1, numbers: bytes.len() as u8 });
        self.numbers.extend(bytes);
        true
    }

    fn find(&self, order_id: &Text) -> Option<usize> {
        self.orders.iter().position(|order| order.tickets > 0 && order.order_id == *order_id)
    }

    /// Notes every winner; how many tickets take part.
    fn look(&self, tiers: &Tiers, winners: &mut Vec<Winner>) -> i64 {
        let (mut from, mut count) = (0, 0);
        for Bought { order_id, tickets, numbers } in &self.orders {
            let to = from + usize::from(*numbers);
            if *tickets > 0 {
                count += i64::from(*tickets);
                tiers.each(&self.numbers[from..to], |tier| {
                    winners.push(Winner { order_id: order_id.clone(), tickets: *tickets, tier });
                });
            }
            from = to;
        }
        count
    }
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
            TicketsIn::Ticket { tenant, order_id, .. } | TicketsIn::Refund { tenant, order_id } => {
                Route::Key(stable_hash2(tenant.as_bytes(), order_id.as_bytes()))
            }
            TicketsIn::Offer(_) | TicketsIn::Settle(_) => Route::All,
        }
    }

    fn on_record(&mut self, at: At, input: TicketsIn, ctx: &mut Ctx<TicketsOut>) {
        match input {
            TicketsIn::Refund { tenant, order_id } => self.refund(&tenant, &order_id),
            TicketsIn::Offer(change) => self.on_offer(change),
            TicketsIn::Settle(settle) => self.settle(at, &settle, ctx),
            ticket @ TicketsIn::Ticket { .. } => self.on_ticket(at, ticket, ctx),
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.drops.next()
    }

    fn on_timer(&mut self, due: Millis, _ctx: &mut Ctx<TicketsOut>) {
        for draw in self.drops.take(due) {
            if self.settled.get(&draw).is_some_and(|settled| self.drop_at(*settled) > due) {
                continue;
            }
            for (slot, chunks) in self.draws.remove(&draw).unwrap_or_default() {
                for number in 0..chunks {
                    self.chunks.remove(&ChunkKey { draw: draw.clone(), slot, number });
                }
            }
        }
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.offers, &mut self.settled, &mut self.chunks]
    }

    fn on_restored(&mut self) {
        for (key, _) in self.chunks.iter() {
            let chunks = self.draws.entry(key.draw.clone()).or_default().entry(key.slot).or_insert(0);
            *chunks = (*chunks).max(key.number + 1);
        }
        for draw in self.draws.keys() {
            if let Some(settled) = self.settled.get(draw) {
                self.drops.set(settled.saturating_add(self.settings.order_retention_ms), draw.clone());
            }
        }
    }
}
