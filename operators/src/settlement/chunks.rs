//! Tickets of draws, in chunks of a slot's orders.
//!
//! A draw of a million tickets is some thousand entries of a snapshot: only chunks that changed are written, and a
//! chunk that is full changes by refunds alone, or where its draw turns out to have closed before its orders came.

use super::Winner;
use super::orders::in_time;
use super::tiers::Tiers;
use crate::keys::Scoped;
use runtime::{KeyedState, Millis, State};
use schemas::Text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Orders of one chunk.
const CHUNK: usize = 256;

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
    /// 0: refunded, or too late.
    tickets: u32,
    /// Numbers of each of its tickets.
    numbers: u8,
}

/// An order's tickets that are in no draw after all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    pub order_id: Text,
    pub tickets: u32,
    pub accepted_ms: Millis,
}

/// Tickets by draw and slot.
pub struct Chunks {
    chunks: KeyedState<ChunkKey, Chunk>,
    /// When each of a chunk's orders was accepted. Those of an older version are absent at its beginning, or at all.
    accepted: KeyedState<ChunkKey, Vec<Millis>>,
    /// How many chunks each draw has, by slot.
    draws: BTreeMap<Scoped, BTreeMap<u8, u32>>,
}

impl Chunks {
    /// No tickets yet.
    pub fn new() -> Self {
        Chunks {
            chunks: KeyedState::new("draw_tickets.v1", |key: &ChunkKey| key.slot),
            accepted: KeyedState::new("draw_tickets_accepted.v1", |key: &ChunkKey| key.slot),
            draws: BTreeMap::new(),
        }
    }

    /// One more ticket, of the slot's last order or of a new one.
    pub fn add(&mut self, draw: Scoped, slot: u8, (order_id, accepted_ms): (Text, Millis), numbers: &[i32]) {
        if !self.draws.contains_key(&draw) {
            self.draws.insert(draw.clone(), BTreeMap::new());
        }
        let chunks = self.draws.get_mut(&draw).expect("inserted above").entry(slot).or_insert(0);
        let mut key = ChunkKey { draw, slot, number: chunks.saturating_sub(1) };
        if *chunks > 0 {
            let chunk = self.chunks.get_mut(&key).expect("every chunk that is counted is there");
            if chunk.add_to_last(&order_id) {
                return;
            }
            if chunk.orders.len() < CHUNK {
                let place = chunk.orders.len();
                chunk.add(order_id, numbers);
                return self.accept(key, place, accepted_ms);
            }
        }
        let mut chunk = Chunk::default();
        chunk.add(order_id, numbers);
        key.number = *chunks;
        *chunks += 1;
        self.chunks.insert(key.clone(), chunk);
        self.accept(key, 0, accepted_ms);
    }

    fn accept(&mut self, key: ChunkKey, place: usize, accepted_ms: Millis) {
        let accepted = self.accepted.get_or_insert_with(&key, Vec::new);
        accepted.resize(place, Millis::MIN);
        accepted.push(accepted_ms);
    }

    /// Takes an order out of the draw it is in, of those of its tenant that `may_leave`.
    pub fn refund(&mut self, tenant: &Text, order_id: &Text, slot: u8, may_leave: impl Fn(&Scoped) -> bool) {
        let from = Scoped { tenant: tenant.clone(), id: Text::default() };
        let own = self.draws.range(from..).take_while(|(draw, _)| draw.tenant == *tenant);
        for (draw, slots) in own.filter(|(draw, _)| may_leave(draw)) {
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

    /// Slots in which a draw has tickets.
    pub fn slots(&self, draw: &Scoped) -> Vec<u8> {
        self.draws.get(draw).into_iter().flat_map(BTreeMap::keys).copied().collect()
    }

    fn keys(&self, draw: &Scoped, slot: u8) -> impl Iterator<Item = ChunkKey> + use<> {
        let chunks = self.draws.get(draw).and_then(|slots| slots.get(&slot)).copied().unwrap_or(0);
        let draw = draw.clone();
        (0..chunks).map(move |number| ChunkKey { draw: draw.clone(), slot, number })
    }

    /// Takes every order out of a draw that was accepted when it was closed.
    pub fn take_late(&mut self, draw: &Scoped, slot: u8, closes_at_ms: Millis) -> Vec<Late> {
        let mut late = Vec::new();
        for key in self.keys(draw, slot) {
            let accepted = self.accepted.get(&key).map(Vec::as_slice).unwrap_or_default();
            let too_late = |&(_, accepted_ms): &(usize, &Millis)| !in_time(*accepted_ms, closes_at_ms);
            let places: Vec<(usize, Millis)> =
                accepted.iter().enumerate().filter(too_late).map(|(place, at)| (place, *at)).collect();
            if places.is_empty() {
                continue;
            }
            let chunk = self.chunks.get_mut(&key).expect("every chunk that is counted is there");
            for (place, accepted_ms) in places {
                let order = &mut chunk.orders[place];
                let tickets = std::mem::take(&mut order.tickets);
                if tickets > 0 {
                    late.push(Late { order_id: order.order_id.clone(), tickets, accepted_ms });
                }
            }
        }
        late
    }

    /// Notes every winner of a slot; how many tickets take part.
    pub fn look(&self, draw: &Scoped, slot: u8, tiers: &Tiers, winners: &mut Vec<Winner>) -> i64 {
        let chunk = |key| self.chunks.get(&key).expect("every chunk that is counted is there");
        self.keys(draw, slot).map(|key| chunk(key).look(tiers, winners)).sum()
    }

    /// Forgets a draw's tickets.
    pub fn forget(&mut self, draw: &Scoped) {
        for slot in self.slots(draw) {
            for key in self.keys(draw, slot) {
                self.chunks.remove(&key);
                self.accepted.remove(&key);
            }
        }
        self.draws.remove(draw);
    }

    /// Draws with tickets.
    pub fn draws(&self) -> impl Iterator<Item = &Scoped> {
        self.draws.keys()
    }

    pub fn states(&mut self) -> [&mut dyn State; 2] {
        [&mut self.chunks, &mut self.accepted]
    }

    pub fn on_restored(&mut self) {
        for (key, _) in self.chunks.iter() {
            let chunks = self.draws.entry(key.draw.clone()).or_default().entry(key.slot).or_insert(0);
            *chunks = (*chunks).max(key.number + 1);
        }
    }
}

impl Chunk {
    /// One more ticket of the order that came last; false where it was another.
    fn add_to_last(&mut self, order_id: &Text) -> bool {
        let last = self.orders.last_mut().filter(|last| last.order_id == *order_id);
        last.map(|last| last.tickets += 1).is_some()
    }

    fn add(&mut self, order_id: Text, numbers: &[i32]) {
        // What no game draws fits no matrix: it stays out, and the ticket wins nothing by its numbers.
        let bytes: Option<Vec<u8>> = numbers.iter().map(|&number| u8::try_from(number).ok()).collect();
        let bytes = bytes.filter(|bytes| bytes.len() < 256).unwrap_or_default();
        self.orders.push(Bought { order_id, tickets: 1, numbers: bytes.len() as u8 });
        self.numbers.extend(bytes);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_an_older_version_stay_and_late_ones_behind_them_leave() {
        let draw = Scoped { tenant: "t".into(), id: "d".into() };
        let mut chunks = Chunks::new();
        let add =
            |chunks: &mut Chunks, order: &str, at| chunks.add(draw.clone(), 3, (order.into(), at), &[1]);
        add(&mut chunks, "older", 90);
        let key = ChunkKey { draw: draw.clone(), slot: 3, number: 0 };
        chunks.accepted.remove(&key);
        for (order, at) in [("before", 99), ("late", 100), ("late", 100)] {
            add(&mut chunks, order, at);
        }
        let late = Late { order_id: "late".into(), tickets: 2, accepted_ms: 100 };
        assert_eq!(chunks.take_late(&draw, 3, 100), [late]);
        assert_eq!(chunks.take_late(&draw, 3, 100), []);
        assert_eq!(chunks.chunks.get(&key).unwrap().orders.iter().map(|o| o.tickets).sum::<u32>(), 2);
        chunks.forget(&draw);
        assert!(chunks.chunks.is_empty() && chunks.accepted.is_empty() && chunks.slots(&draw).is_empty());
    }
}
