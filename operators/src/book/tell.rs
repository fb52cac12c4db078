//! What the book says: facts and rows, each with the record it goes back to.

use super::directory::Named;
use super::order::Order;
use super::stock::{Balances, Offer};
use crate::cause::cause_at;
use crate::messages::Output;
use crate::settings::Settings;
use runtime::{At, Ctx};
use schemas::facts::{Cause, OrderEvent, OrderFact, Reason, StockAccount, StockFact};
use schemas::rows::{OrderRow, StockRow};
use schemas::{Fact, Row, Text};

/// One thing being handled: where it stands, what it goes back to, and where to say what follows.
pub struct Teller<'a, 'c> {
    pub at: At,
    cause: Cause,
    pub ctx: &'a mut Ctx<'c, Output>,
}

impl<'a, 'c> Teller<'a, 'c> {
    /// `source` names the record behind it where that isn't `at` itself (see `BookIn::SettleEarly`).
    pub fn new(
        at: At,
        source: At,
        command_id: Text,
        settings: &Settings,
        ctx: &'a mut Ctx<'c, Output>,
    ) -> Self {
        Teller { at, cause: cause_at(source, command_id, settings), ctx }
    }

    pub fn say(&mut self, output: Output) {
        self.ctx.emit(self.at, output);
    }

    pub fn cause(&self) -> Cause {
        self.cause.clone()
    }

    /// What happened to an order.
    pub fn order(&mut self, event: OrderEvent, order: &Order) {
        self.order_for(event, order, order.amount_minor, order.currency());
    }

    /// The same, of another sum than the order's: a payment that has to go back is told as it was made.
    pub fn order_for(&mut self, event: OrderEvent, order: &Order, amount_minor: i64, currency: &str) {
        let fact = OrderFact {
            event,
            tenant: order.tenant().into(),
            order_id: order.order_id().into(),
            command_id: order.command_id().into(),
            offer_id: order.offer_id().into(),
            offer_kind: order.kind,
            partner_id: order.partner_id(),
            customer_id: order.customer_id().into(),
            quantity: order.quantity,
            amount_minor,
            currency: currency.into(),
            reasons: order.reasons.to_vec(),
            placed_at_ms: order.placed_at_ms,
            at_ms: self.at.time(),
            cause: self.cause(),
        };
        self.say(Output::Fact(Fact::Order(Box::new(fact))));
    }

    /// Where an order stands now.
    pub fn order_row(&mut self, order: &Order) {
        let row = OrderRow {
            tenant: order.tenant().into(),
            order_id: order.order_id().into(),
            command_id: order.command_id().into(),
            offer_id: order.offer_id().into(),
            partner_id: order.partner_id(),
            customer_id: order.customer_id().into(),
            quantity: order.quantity,
            amount_minor: order.amount_minor,
            currency: order.currency().into(),
            status: order.status,
            reasons: Reason::join(&order.reasons.to_vec()),
            placed_at_ms: order.placed_at_ms,
        };
        self.say(Output::Row(Row::Order(Box::new(row))));
    }

    /// One movement of stock, and the balances after it.
    pub fn stock(&mut self, offer: &Offer, movement: Movement, balances: Balances) {
        let fact = StockFact {
            tenant: offer.tenant.clone(),
            offer_id: offer.offer_id.clone(),
            order_id: movement.order_id.map(Text::from),
            debit: movement.debit,
            credit: movement.credit,
            quantity: movement.quantity,
            stock_total: balances.total,
            available: balances.available,
            held: balances.held,
            sold: balances.sold,
            shrink_due: offer.shrink_due,
            at_ms: self.at.time(),
            cause: self.cause(),
        };
        self.say(Output::Fact(Fact::Stock(Box::new(fact))));
    }
}

/// A movement of stock as facts tell it.
pub struct Movement<'a> {
    pub debit: StockAccount,
    pub credit: StockAccount,
    pub quantity: i64,
    pub order_id: Option<&'a str>,
}

impl<'a> Movement<'a> {
    /// All units of an order.
    pub fn of(order: &'a Order, debit: StockAccount, credit: StockAccount) -> Self {
        Movement { debit, credit, quantity: i64::from(order.quantity), order_id: Some(order.order_id()) }
    }
}

/// Where an offer's stock stands.
pub fn stock_row(offer: &Offer, balances: Balances) -> Output {
    Output::Row(Row::Stock(Box::new(StockRow {
        tenant: offer.tenant.clone(),
        offer_id: offer.offer_id.clone(),
        stock_total: balances.total,
        available: balances.available,
        held: balances.held,
        sold: balances.sold,
        shrink_due: offer.shrink_due,
    })))
}
