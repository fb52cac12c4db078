//! A screened order meets limits and stock: held, or refused with every reason that applies; or it is reviewed first.
//!
//! Limits are looked at for an order that is refused anyway, so that its customer hears everything at once;
//! stock only for one that nothing else speaks against.

use super::directory::{Key, Tenant};
use super::order::{Order, Reasons};
use super::tell::Teller;
use super::{Book, later};
use crate::cause::amount_minor;
use runtime::At;
use schemas::commands::PlaceOrder;
use schemas::facts::{OrderEvent, Reason};
use schemas::rows::OrderStatus;
use schemas::velocity::FraudAction;

impl Book {
    /// Handles a judged order.
    pub(super) fn place(
        &mut self,
        at: At,
        command: &PlaceOrder,
        reasons: &[Reason],
        screening: Option<FraudAction>,
        tell: &mut Teller,
    ) {
        let tenant = Tenant::of(&command.tenant);
        let offer = self.stock.find_listed(tenant, &command.offer_id);
        let kind = offer.map(|key| self.stock.offers.at(key).kind);
        let mut order = Order::new(command, at.origin, amount_minor(command), kind);
        order.reasons = Reasons::from(reasons);
        if self.orders.find(tenant, &command.order_id).is_some() {
            return refuse_again(order, tell);
        }
        if order.reasons.is_empty() && screening == Some(FraudAction::Block) {
            order.reasons.add(Reason::FraudBlocked);
        }
        if screening == Some(FraudAction::Review) && self.may_be_reviewed(command, offer, &order) {
            return self.review(tenant, order, tell);
        }
        self.judge(tenant, command, offer, &mut order);
        match offer {
            Some(offer) if order.reasons.is_empty() => self.sell(tenant, offer, order, tell),
            _ => self.refuse(tenant, order, tell),
        }
    }

    /// Adds what only the book knows: limits, and what no judged order should get here with.
    fn judge(&self, tenant: Tenant, command: &PlaceOrder, offer: Option<Key>, order: &mut Order) {
        if order.reasons.is_empty() {
            impossible(command, offer).into_iter().for_each(|reason| order.reasons.add(reason));
        }
        let offer = offer.map(|key| self.stock.offers.at(key));
        if self.limits.exceeded(tenant, order, offer) {
            order.reasons.add(Reason::CustomerLimitExceeded);
        }
    }

    fn sell(&mut self, tenant: Tenant, offer: Key, mut order: Order, tell: &mut Teller) {
        let Ok(accepted) = self.take(tenant, offer, order.units(), tell.ctx.now()) else {
            order.reasons.add(Reason::SoldOut);
            return self.refuse(tenant, order, tell);
        };
        accepted.mark(&mut order);
        let draw = || self.numbers.draw(tenant.home, 1);
        self.limits.count(tenant, &order, self.stock.offers.at(offer), draw);
        let key = self.keep(tenant, order);
        self.tell_accepted(key, offer, tell);
    }

    fn refuse(&mut self, tenant: Tenant, mut order: Order, tell: &mut Teller) {
        order.status = OrderStatus::Refused;
        order.due_ms = later(tell.ctx.now(), self.settings.order_retention_ms);
        tell.order(OrderEvent::Refused, &order);
        tell.order_row(&order);
        self.keep(tenant, order);
    }

    pub(super) fn keep(&mut self, tenant: Tenant, order: Order) -> Key {
        let due = order.due_ms;
        let key = self.orders.insert(tenant, order);
        self.timers.set(due, key);
        key
    }
}

/// Another command has this order's id, and the book remembers it longer than the desk: only a fact
/// says so, the row and the state are the other order's.
fn refuse_again(mut order: Order, tell: &mut Teller) {
    order.reasons.add(Reason::DuplicateOrder);
    tell.order(OrderEvent::Refused, &order);
}

/// What the desk should have refused. Refusing it here, too, keeps a bug there from selling nonsense.
pub(super) fn impossible(command: &PlaceOrder, offer: Option<Key>) -> Option<Reason> {
    let amount = i64::from(command.quantity).checked_mul(command.price_minor);
    match (offer, amount) {
        (None, _) => Some(Reason::UnknownOffer),
        _ if command.quantity < 1 => Some(Reason::QuantityOutOfRange),
        (_, None | Some(..0)) => Some(Reason::PriceMismatch),
        _ => None,
    }
}
