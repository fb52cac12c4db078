//! An accepted order's beginning: held until it is paid, or, where its tenant bills afterwards, sold at once.
//!
//! ```text
//!   accepted ─┬─ most tenants ──────────────> held, with a hold in the ledger and a time to be paid in
//!             └─ tenants_billing_later ─────> confirmed, its units sold; its retention begins
//! ```

use super::directory::{Key, Tenant};
use super::order::Order;
use super::stock::SoldOut;
use super::tell::Teller;
use super::{Book, later};
use runtime::Millis;
use schemas::facts::OrderEvent;
use schemas::rows::OrderStatus;

/// How an accepted order begins.
#[derive(Clone, Copy)]
pub struct Accepted {
    status: OrderStatus,
    /// Of its hold; 0 where it has none.
    number: u64,
    due_ms: Millis,
}

impl Accepted {
    pub fn mark(self, order: &mut Order) {
        (order.status, order.number, order.due_ms) = (self.status, self.number, self.due_ms);
    }
}

impl Book {
    /// Takes an order's units off the shelf, and says how it begins.
    pub(super) fn take(
        &mut self,
        tenant: Tenant,
        offer: Key,
        units: u64,
        now: Millis,
    ) -> Result<Accepted, SoldOut> {
        let tenants = &self.settings.tenants_billing_later;
        if !tenants.is_empty() && tenants.contains(tenant.name) {
            let due_ms = later(now, self.settings.order_retention_ms);
            return self.stock.buy(offer, units).map(|()| Accepted {
                status: OrderStatus::Confirmed,
                number: 0,
                due_ms,
            });
        }
        let number = self.numbers.draw(tenant.home, 1);
        let due_ms = later(now, self.settings.hold_ttl_ms);
        self.stock.hold(offer, number, units).map(|()| Accepted { status: OrderStatus::Held, number, due_ms })
    }

    /// Tells of an accepted order, whose limits are counted.
    pub(super) fn tell_accepted(&mut self, key: Key, offer: Key, tell: &mut Teller) {
        let order = self.orders.at(key);
        let sold = order.status == OrderStatus::Confirmed;
        tell.order(if sold { OrderEvent::Confirmed } else { OrderEvent::Held }, order);
        self.stock.tell_taken(offer, order, tell);
        tell.order_row(order);
        if sold {
            self.issue_tickets(key, tell);
        }
    }
}
