//! Orders on their way to a draw: which one each was accepted for, and when.
//!
//! ```text
//!   offer's row ──> the draw it is for     draw's row ──> when it closes     (both on every worker)
//!        └── order accepted ──> (draw, when) ── tickets, or the order's end ──> gone
//! ```
//!
//! An order belongs to the draw its offer was for when it was accepted, however long it was in review or unpaid. It
//! takes part if that was before the draw's closing. When it was accepted is the pipeline's now, which a producer
//! that claims an earlier time doesn't turn back. A row that goes takes nothing along: nobody buys any more, but what was bought
//! may still be paid. Only orders of offers that are for a draw are kept.

use crate::keys::{Scoped, ScopedRef};
use crate::messages::TableChange;
use runtime::{KeyedState, Millis, State};
use schemas::{Reference, ReferenceKey, Text};
use serde::{Deserialize, Serialize};

/// What an order was accepted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    pub draw_id: Text,
    pub accepted_ms: Millis,
}

/// See the module.
pub struct Orders {
    /// Offers that are for a draw, on every worker.
    offers: KeyedState<Scoped, Text>,
    /// The same as a version left them that kept no orders: what it had accepted is for these.
    older_offers: KeyedState<Scoped, Text>,
    /// When draws close, on every worker.
    closings: KeyedState<Scoped, Millis>,
    open: KeyedState<Scoped, Placed>,
    /// Orders whose tickets came in this epoch: it brings all of an order's tickets.
    issued: Vec<Scoped>,
}

impl Orders {
    /// No orders yet.
    pub fn new() -> Self {
        Orders {
            offers: KeyedState::new_replicated("draw_offers.v2", |_| 0),
            older_offers: KeyedState::new_replicated("draw_offers.v1", |_| 0),
            closings: KeyedState::new_replicated("draw_closings.v1", |_| 0),
            open: KeyedState::new("draw_orders.v1", Scoped::slot),
            issued: Vec::new(),
        }
    }

    /// Takes an offer's row.
    pub fn on_offer(&mut self, change: TableChange) {
        let ReferenceKey::Offer { tenant, offer_id } = change.key else { return };
        let key = Scoped { tenant, id: offer_id };
        let Some(Reference::Offer(offer)) = change.row else { return };
        match offer.draw_id {
            Some(draw_id) => self.offers.insert(key, draw_id),
            None => {
                self.offers.remove(&key);
                self.older_offers.remove(&key);
            }
        }
    }

    /// Takes a draw's row.
    pub fn on_draw(&mut self, change: TableChange) {
        let ReferenceKey::Draw { tenant, draw_id } = change.key else { return };
        let Some(Reference::Draw(draw)) = change.row else { return };
        self.closings.insert(Scoped { tenant, id: draw_id }, draw.closes_at_ms);
    }

    /// An order is accepted now. One that was in review was accepted when that began.
    pub fn place(&mut self, tenant: Text, order_id: Text, offer_id: &Text, now: Millis) {
        let offer = ScopedRef { tenant: &tenant, id: offer_id };
        let draw = self.offers.get(&offer).or_else(|| self.older_offers.get(&offer));
        let Some(draw_id) = draw.cloned() else { return };
        let placed = Placed { draw_id, accepted_ms: now };
        self.open.get_or_insert_with(&Scoped { tenant, id: order_id }, || placed);
    }

    /// It ended without tickets.
    pub fn end(&mut self, tenant: Text, order_id: Text) {
        if self.open.contains(&ScopedRef { tenant: &tenant, id: &order_id }) {
            self.open.remove(&Scoped { tenant, id: order_id });
        }
    }

    /// What the order of a ticket was accepted for, if for a draw.
    pub fn of_ticket(&mut self, order: ScopedRef<'_>, offer_id: &Text, now: Millis) -> Option<Placed> {
        if let Some(placed) = self.open.get(&order) {
            if self.issued.last().is_none_or(|last| last.borrowed() != order) {
                self.issued.push(order.to_owned());
            }
            return Some(placed.clone());
        }
        // Accepted by an older version, or for no draw. Nobody knows when: not later than now.
        let draw_id = self.older_offers.get(&ScopedRef { tenant: order.tenant, id: offer_id })?;
        Some(Placed { draw_id: draw_id.clone(), accepted_ms: now })
    }

    /// When a draw closes, by the newest row there was.
    pub fn closes_at_ms(&self, draw: &Scoped) -> Option<Millis> {
        self.closings.get(draw).copied()
    }

    /// Tickets of an order come one behind the other, at one place: with the epoch they are all there.
    pub fn on_epoch_end(&mut self) {
        for order in self.issued.drain(..) {
            self.open.remove(&order);
        }
    }

    pub fn states(&mut self) -> [&mut dyn State; 4] {
        [&mut self.offers, &mut self.older_offers, &mut self.closings, &mut self.open]
    }
}

/// Whether an order that was accepted then was in time: as sales have it, [opens, closes).
pub fn in_time(accepted_ms: Millis, closes_at_ms: Millis) -> bool {
    accepted_ms < closes_at_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{TENANT, offer, upsert};
    use runtime::Entries;

    fn moved(draw_id: Option<&str>) -> TableChange {
        let draw_id = draw_id.map(Text::from);
        upsert(Reference::Offer(Box::new(schemas::reference::Offer { draw_id, ..offer(TENANT, "of") })))
    }

    fn draw_of(orders: &mut Orders, order: &str) -> Option<String> {
        let order = ScopedRef { tenant: TENANT, id: order };
        let placed = orders.of_ticket(order, &"of".into(), 9)?;
        Some(format!("{} {}", placed.draw_id, placed.accepted_ms))
    }

    #[test]
    fn what_an_older_version_accepted_is_in_the_draw_that_it_knew_and_as_late_as_its_ticket() {
        let mut left: KeyedState<Scoped, Text> = KeyedState::new_replicated("draw_offers.v1", |_| 0);
        left.insert(Scoped { tenant: TENANT.into(), id: "of".into() }, "d".into());
        left.freeze();
        let mut entries = Entries::default();
        assert!(left.write_slice(9, &mut entries));
        let mut orders = Orders::new();
        for entry in entries.unpack().unwrap() {
            let states = orders.states();
            states.into_iter().find(|state| state.name() == left.name()).unwrap().load(&entry).unwrap();
        }
        orders.place(TENANT.into(), "new".into(), &"of".into(), 5);
        orders.on_offer(moved(Some("e")));
        orders.place(TENANT.into(), "newer".into(), &"of".into(), 6);
        assert_eq!(draw_of(&mut orders, "old").unwrap(), "d 9");
        assert_eq!(draw_of(&mut orders, "new").unwrap(), "d 5");
        assert_eq!(draw_of(&mut orders, "newer").unwrap(), "e 6");
        orders.on_offer(moved(None));
        assert_eq!(draw_of(&mut orders, "newest"), None);
    }

    #[test]
    fn an_order_is_kept_until_its_tickets_have_come_or_it_ends() {
        let mut orders = Orders::new();
        orders.place(TENANT.into(), "none".into(), &"of".into(), 1);
        orders.on_offer(moved(Some("d")));
        assert_eq!(draw_of(&mut orders, "none"), None, "it was for no draw when it was accepted");
        for order in ["a", "b"] {
            orders.place(TENANT.into(), order.into(), &"of".into(), 2);
            orders.place(TENANT.into(), order.into(), &"of".into(), 3);
        }
        assert_eq!(draw_of(&mut orders, "a").unwrap(), "d 2");
        assert_eq!(draw_of(&mut orders, "a").unwrap(), "d 2");
        orders.on_epoch_end();
        orders.end(TENANT.into(), "b".into());
        assert!(orders.open.is_empty() && orders.issued.is_empty());
    }
}
