//! What a payment, cancel or refund does to an order: a pure decision, then its effects.
//!
//! | order is | captured | declined | cancel | refund |
//! |---|---|---|---|---|
//! | held | confirmed; another sum: dead letter | cancelled | cancelled | dead letter |
//! | in review | money back | nothing | cancelled | dead letter |
//! | confirmed | the same payment: nothing; another: money back | nothing | dead letter: refund it | refunded |
//! | refunded | the same payment: nothing; another: money back | nothing | nothing | dead letter |
//! | refused, cancelled, expired | money back | nothing | nothing | dead letter |
//!
//! A decision on a review ends it (see [`super::review`]), and is a dead letter for an order that isn't in one.
//!
//! A payment of another sum or currency than the order's isn't its payment: the hold goes on, and a person
//! decides. A second payment of a confirmed order is money taken twice. What was told to be due back is remembered with the
//! order: captured again, by a gateway that repeats itself, it is neither told twice nor taken for the order's payment. A declined payment moved no
//! money, so where no hold waits for it there is nothing to do; nor where a cancel finds an order that has
//! ended: what it asks for is so.

use super::directory::{Key, Tenant};
use super::order::Order;
use super::tell::Teller;
use super::{Book, later};
use crate::cause::dead_letter;
use crate::messages::{CommandMsg, Output};
use runtime::{At, Ctx};
use schemas::Command;
use schemas::commands::{PaymentCaptured, ReviewVerdict};
use schemas::facts::{OrderEvent, Reason};
use schemas::rows::OrderStatus;

/// What becomes of a settled order.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its hold is paid: sell the units and issue tickets.
    Confirm,
    /// Its hold ends: release the units.
    Cancel(Reason),
    /// Its review is over and nothing speaks against it: limits and stock decide.
    Release,
    /// Its review is over, and so is the order: there is nothing to give back.
    EndReview(OrderStatus, Reason),
    /// It is taken back: return the units if the offer says so.
    Refund,
    /// Money came for an order that can't take it: say that it is due back, of the payment's own sum.
    ReturnMoney,
    /// The order is already as the command wants it, or doesn't care.
    Nothing,
    /// It makes no sense, and somebody has to know: a dead letter with this reason.
    Reject(String),
}

/// Decides from the order as it stands.
pub fn decide(order: &Order, command: &Command) -> Decision {
    use OrderStatus::{Confirmed, Held, InReview, Refunded};
    match (command, order.status) {
        // On its way back: it is neither told so once more nor pays for the order after all.
        (Command::PaymentCaptured(p), _) if is_returned(order, p) => Decision::Nothing,
        (Command::PaymentCaptured(p), Held) if pays(p, order) => Decision::Confirm,
        (Command::PaymentCaptured(p), Held) => Decision::Reject(other_sum(p, order)),
        (Command::PaymentCaptured(p), Confirmed | Refunded) if paid_by(order, p) => Decision::Nothing,
        (Command::PaymentCaptured(_), _) => Decision::ReturnMoney,
        (Command::PaymentDeclined(_), Held) => Decision::Cancel(Reason::PaymentDeclined),
        (Command::PaymentDeclined(_), _) => Decision::Nothing,
        (Command::CancelOrder(_), Held) => Decision::Cancel(Reason::CancelRequested),
        (Command::CancelOrder(_), InReview) => {
            Decision::EndReview(OrderStatus::Cancelled, Reason::CancelRequested)
        }
        (Command::CancelOrder(_), Confirmed) => Decision::Reject(
            "cannot_cancel: the order is confirmed; send refund_order to take it back".to_owned(),
        ),
        (Command::CancelOrder(_), _) => Decision::Nothing,
        (Command::RefundOrder(_), Confirmed) => Decision::Refund,
        (Command::RefundOrder(_), status) => Decision::Reject(format!(
            "cannot_refund: the order is {status}, and only a confirmed one can be refunded; \
             cancel a held order, and look at its facts for any other"
        )),
        (Command::ReviewDecision(review), InReview) => match review.decision {
            ReviewVerdict::Release => Decision::Release,
            ReviewVerdict::Refuse => Decision::EndReview(OrderStatus::Refused, Reason::ReviewRefused),
        },
        (Command::ReviewDecision(_), status) => Decision::Reject(format!(
            "not_in_review: the order is {status}, so there is no review to end; look at its facts"
        )),
        (Command::PlaceOrder(_), _) => {
            Decision::Reject("duplicate_order: the order is placed already".to_owned())
        }
        (other, _) => unreachable!("{} speaks of a draw: the job sends it elsewhere", other.record_name()),
    }
}

fn pays(payment: &PaymentCaptured, order: &Order) -> bool {
    payment.amount_minor == order.amount_minor && payment.currency == order.currency()
}

fn is_returned(order: &Order, payment: &PaymentCaptured) -> bool {
    order.returned.as_ref().is_some_and(|returned| returned.has(&payment.payment_id))
}

fn paid_by(order: &Order, payment: &PaymentCaptured) -> bool {
    order.payment_id.as_deref() == Some(payment.payment_id.as_str())
}

fn other_sum(payment: &PaymentCaptured, order: &Order) -> String {
    format!(
        "amount_mismatch: payment {} took {} {}, the order costs {} {}; return the payment, or send a capture \
         of the right sum before the hold ends",
        payment.payment_id,
        payment.amount_minor,
        payment.currency,
        order.amount_minor,
        order.currency()
    )
}

impl Book {
    /// Handles a command about an order that was seen. `source` names the command's own record.
    pub(super) fn settle(&mut self, at: At, source: At, command: CommandMsg, ctx: &mut Ctx<Output>) {
        let tell = &mut Teller::new(at, source, command.command.command_id().clone(), &self.settings, ctx);
        let tenant = Tenant::of(command.command.tenant());
        let found = self.orders.find(tenant, command.command.subject_id());
        let Some(key) = found.filter(|key| !self.orders.at(*key).forgotten) else {
            let reason = "unknown_order: the order is no longer remembered; settle it by hand".to_owned();
            return tell.say(dead_letter(source, command, reason, &self.settings));
        };
        match decide(self.orders.at(key), &command.command) {
            Decision::Confirm => self.confirm(key, &command.command, tell),
            Decision::Cancel(reason) => self.end_hold(key, OrderStatus::Cancelled, reason, tell),
            Decision::Release => self.release(key, tell),
            Decision::EndReview(status, reason) => self.end_review(key, status, reason, tell),
            Decision::Refund => self.refund(key, tell),
            Decision::ReturnMoney => self.return_money(key, &command.command, tell),
            Decision::Nothing => (),
            Decision::Reject(reason) => tell.say(dead_letter(source, command, reason, &self.settings)),
        }
    }

    fn confirm(&mut self, key: Key, command: &Command, tell: &mut Teller) {
        let Command::PaymentCaptured(payment) = command else { unreachable!("only a capture confirms") };
        self.end(key, OrderStatus::Confirmed, tell);
        let order = self.orders.at_mut(key);
        order.payment_id = Some(payment.payment_id.as_str().into());
        let order = self.orders.at(key);
        tell.order(OrderEvent::Confirmed, order);
        let offer = self.stock.offer_of(key, order);
        self.stock.sell(offer, order, tell);
        tell.order_row(order);
        self.issue_tickets(key, tell);
    }

    /// Ends a held order without a sale.
    pub(super) fn end_hold(&mut self, key: Key, status: OrderStatus, reason: Reason, tell: &mut Teller) {
        self.orders.at_mut(key).reasons.add(reason);
        self.end(key, status, tell);
        let order = self.orders.at(key);
        let offer = self.stock.offer_of(key, order);
        self.limits.discount(order.tenant_at(key), order, self.stock.offers.at(offer));
        let event = if status == OrderStatus::Expired { OrderEvent::Expired } else { OrderEvent::Cancelled };
        tell.order(event, order);
        self.stock.release(offer, order, tell);
        tell.order_row(order);
    }

    fn refund(&mut self, key: Key, tell: &mut Teller) {
        self.end(key, OrderStatus::Refunded, tell);
        let order = self.orders.at(key);
        let offer = self.stock.offer_of(key, order);
        self.limits.discount(order.tenant_at(key), order, self.stock.offers.at(offer));
        tell.order(OrderEvent::Refunded, order);
        self.stock.take_back(offer, order, tell);
        tell.order_row(order);
    }

    fn return_money(&mut self, key: Key, command: &Command, tell: &mut Teller) {
        let Command::PaymentCaptured(payment) = command else { unreachable!("only a capture brings money") };
        self.orders.at_mut(key).returned.get_or_insert_default().add(&payment.payment_id);
        let order = self.orders.at(key);
        tell.order_for(OrderEvent::RefundDue, order, payment.amount_minor, &payment.currency);
    }

    /// An order's end, from which its retention counts. A confirmation is one, too: a refund may follow
    /// within the retention.
    pub(super) fn end(&mut self, key: Key, status: OrderStatus, tell: &Teller) {
        // Not at once: what a timer of this very moment ended would have its next one due in the past.
        let due = later(tell.ctx.now(), self.settings.order_retention_ms.max(1));
        let order = self.orders.at_mut(key);
        order.status = status;
        order.due_ms = due;
        self.timers.set(due, key);
    }
}
