//! A straight loop over the same records, making the same decisions: what the engine is measured against.
//!
//! One thread, hash maps, no ledger, no facts, no recovery, no order but the input's: the least that must be done.

use crate::day::{Entry, Raw};
use runtime::source::Claim;
use rustc_hash::FxHashMap;
use schemas::commands::{PaymentCaptured, PlaceOrder};
use schemas::reference::{Change, Offer};
use schemas::{Command, Decoder, Reference, SchemaIds, Text};
use std::collections::{BTreeMap, VecDeque};

/// Decisions by kind.
pub type Tally = BTreeMap<&'static str, u64>;

type Key = (Text, Text);

#[derive(Default)]
struct Loop {
    offers: FxHashMap<Key, (Offer, i64)>,
    partners: FxHashMap<Key, bool>,
    seen: FxHashMap<Key, u64>,
    orders: FxHashMap<Key, (Key, i64, bool)>,
    expiries: VecDeque<(i64, Key)>,
    tally: Tally,
}

/// Decides on all entries, which come by record time; decisions by kind.
pub fn decide(entries: &[Entry], hold_ttl_ms: i64) -> Tally {
    let ids = SchemaIds::fresh();
    let decoder = Decoder::with_own(|record| ids.of(record));
    let mut state = Loop::default();
    for (_, claim, _, raw) in entries {
        match raw {
            Raw::Row(change) => state.row(change),
            Raw::Command(bytes) => {
                let Claim::At(time) = claim else { unreachable!("commands have a time") };
                state.expire(*time);
                let command = decoder.decode_command(bytes).expect("it was encoded by us");
                state.command(command, *time, hold_ttl_ms);
            }
        }
    }
    state.tally
}

impl Loop {
    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn row(&mut self, change: &Change) {
        match change {
            Change::Upsert { row: Reference::Offer(offer), .. } => {
                let key = (offer.tenant.clone(), offer.offer_id.clone());
                self.offers.insert(key, ((**offer).clone(), offer.stock_total));
            }
            Change::Upsert { row: Reference::Partner(partner), .. } => {
                self.partners.insert((partner.tenant.clone(), partner.partner_id.clone()), true);
            }
            _ => {}
        }
    }

    fn expire(&mut self, now: i64) {
        while self.expiries.front().is_some_and(|(due, _)| *due <= now) {
            let (_, key) = self.expiries.pop_front().expect("front was seen");
            let Some((offer, quantity, held)) = self.orders.get_mut(&key).filter(|o| o.2) else { continue };
            *held = false;
            self.offers.get_mut(offer).expect("it was held").1 += *quantity;
            self.count("expired");
        }
    }

    fn command(&mut self, command: Command, now: i64, hold_ttl_ms: i64) {
        let key = (command.tenant().clone(), command.command_id().clone());
        let hash = command.payload_hash();
        if let Some(known) = self.seen.get(&key) {
            assert_eq!(*known, hash, "this day has no conflicts");
            return self.count("duplicate");
        }
        self.seen.insert(key, hash);
        match command {
            Command::PlaceOrder(order) => self.order(&order, now, hold_ttl_ms),
            Command::PaymentCaptured(payment) => self.captured(&payment),
            _ => unreachable!("this day has orders and captures"),
        }
    }

    fn order(&mut self, order: &PlaceOrder, now: i64, hold_ttl_ms: i64) {
        let offer_key = (order.tenant.clone(), order.offer_id.clone());
        let partner = order.partner_id.clone().map(|partner| (order.tenant.clone(), partner));
        let key = (order.tenant.clone(), order.order_id.clone());
        let quantity = i64::from(order.quantity);
        let offer = self.offers.get_mut(&offer_key);
        let valid = partner.is_none_or(|partner| self.partners.contains_key(&partner))
            && !self.orders.contains_key(&key)
            && offer.as_ref().is_some_and(|(offer, _)| {
                offer.price_minor == order.price_minor
                    && offer.currency == order.currency
                    && (1..=offer.max_per_order).contains(&order.quantity)
            });
        let held = valid
            && offer.is_some_and(|(_, available)| {
                let enough = *available >= quantity;
                *available -= if enough { quantity } else { 0 };
                enough
            });
        self.orders.insert(key.clone(), (offer_key, quantity, held));
        if held {
            self.expiries.push_back((now + hold_ttl_ms, key));
        }
        self.count(if held { "held" } else { "refused" });
    }

    fn captured(&mut self, payment: &PaymentCaptured) {
        let key = (payment.tenant.clone(), payment.order_id.clone());
        match self.orders.get_mut(&key) {
            Some((_, _, held)) if *held => {
                *held = false;
                self.count("confirmed");
            }
            _ => self.count("refund_due"),
        }
    }
}
