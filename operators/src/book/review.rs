//! An order that velocity rules want a person to look at.
//!
//! ```text
//!   in review ── release ──> limits and stock as they are now ──> held, or refused with what they say
//!             ── refuse ───> refused (review_refused)
//!             ── timer ────> refused (review_timeout)
//!             ── cancel ───> cancelled
//! ```
//!
//! In review an order has no hold and no limit counts it, so nothing has to be given back when it ends. Money
//! that comes for it goes back: its review may yet refuse it. A crash leaves the order as it was; its timer
//! follows from `due_ms`.

use super::directory::{Key, Tenant};
use super::order::Order;
use super::place::impossible;
use super::tell::Teller;
use super::{Book, later};
use runtime::Millis;
use schemas::Text;
use schemas::commands::PlaceOrder;
use schemas::facts::{OrderEvent, Reason};
use schemas::rows::OrderStatus;

impl Book {
    /// Whether there is something to review: an order that is refused anyway is refused at once.
    pub(super) fn may_be_reviewed(&self, command: &PlaceOrder, offer: Option<Key>, order: &Order) -> bool {
        order.reasons.is_empty() && impossible(command, offer).is_none()
    }

    /// Puts an order aside until it is released, refused or out of time.
    pub(super) fn review(&mut self, tenant: Tenant, mut order: Order, tell: &mut Teller) {
        order.status = OrderStatus::InReview;
        order.due_ms = later(tell.ctx.now(), self.settings.review_timeout_ms);
        tell.order(OrderEvent::InReview, &order);
        tell.order_row(&order);
        self.keep(tenant, order);
    }

    /// A released order is judged as if it came now, by what only the book knows.
    pub(super) fn release(&mut self, key: Key, tell: &mut Teller) {
        let offer = match self.reserve(key, tell.ctx.now()) {
            Ok(offer) => offer,
            Err(reason) => return self.end_review(key, OrderStatus::Refused, reason, tell),
        };
        let order = self.orders.at(key);
        self.timers.set(order.due_ms, key);
        let draw = || self.numbers.draw(key.home, 1);
        self.limits.count(order.tenant_at(key), order, self.stock.offers.at(offer), draw);
        self.tell_accepted(key, offer, tell);
    }

    /// Takes a released order's units, unless a limit or the stock speaks against it.
    fn reserve(&mut self, key: Key, now: Millis) -> Result<Key, Reason> {
        let order = self.orders.at(key);
        let tenant = order.tenant_at(key);
        let offer = self.stock.find_listed(tenant, order.offer_id()).ok_or(Reason::UnknownOffer)?;
        if self.limits.exceeded(tenant, order, Some(self.stock.offers.at(offer))) {
            return Err(Reason::CustomerLimitExceeded);
        }
        let (units, name) = (order.units(), Text::from(tenant.name));
        let tenant = Tenant { home: key.home, name: &name };
        let accepted = self.take(tenant, offer, units, now).map_err(|_| Reason::SoldOut)?;
        accepted.mark(self.orders.at_mut(key));
        Ok(offer)
    }

    /// Ends a review without a sale: nothing is held.
    pub(super) fn end_review(&mut self, key: Key, status: OrderStatus, reason: Reason, tell: &mut Teller) {
        self.orders.at_mut(key).reasons.add(reason);
        self.end(key, status, tell);
        let order = self.orders.at(key);
        let event =
            if status == OrderStatus::Cancelled { OrderEvent::Cancelled } else { OrderEvent::Refused };
        tell.order(event, order);
        tell.order_row(order);
    }
}
