//! A confirmed order of tickets or seats: one signed ticket per unit, `ORDER_ID-1`, `ORDER_ID-2`, ..

use super::Book;
use super::directory::{Key, Named};
use super::order::Order;
use super::tell::Teller;
use crate::messages::Output;
use crate::ticket::Content;
use schemas::facts::TicketFact;
use schemas::reference::OfferKind;
use schemas::rows::TicketRow;
use schemas::{Fact, Row, Text};

impl Book {
    pub(super) fn issue_tickets(&self, key: Key, tell: &mut Teller) {
        let order = self.orders.at(key);
        if !matches!(order.kind, Some(OfferKind::Ticket | OfferKind::Seat)) {
            return;
        }
        let signer =
            self.signer.as_ref().expect("a pipeline that sells tickets is started with a ticket key");
        for nth in 1..=order.quantity {
            let content = content_of(order, nth);
            let payload = signer.sign(&content);
            issue(order, content, payload, tell);
        }
    }
}

/// The name of the `nth` ticket of an order, from 1.
pub fn ticket_id(order_id: &str, nth: u32) -> Text {
    Text::from(format!("{order_id}-{nth}"))
}

fn content_of(order: &Order, nth: i32) -> Content {
    Content {
        tenant: order.tenant().into(),
        ticket_id: ticket_id(order.order_id(), nth.unsigned_abs()),
        offer_id: order.offer_id().into(),
        numbers: order.numbers.to_vec(),
        seat: order.seat(),
    }
}

fn issue(order: &Order, content: Content, payload: Text, tell: &mut Teller) {
    let row = TicketRow {
        tenant: content.tenant.clone(),
        ticket_id: content.ticket_id.clone(),
        order_id: order.order_id().into(),
        offer_id: content.offer_id.clone(),
        payload: payload.clone(),
    };
    let fact = TicketFact {
        tenant: content.tenant,
        ticket_id: content.ticket_id,
        order_id: order.order_id().into(),
        offer_id: content.offer_id,
        numbers: content.numbers,
        seat: content.seat,
        payload,
        at_ms: tell.at.time(),
        cause: tell.cause(),
    };
    tell.say(Output::Fact(Fact::Ticket(Box::new(fact))));
    tell.say(Output::Row(Row::Ticket(Box::new(row))));
}
