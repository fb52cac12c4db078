//! What the book's tests share: commands and rows from a few words, and outputs in a few words.
#![allow(dead_code, unreachable_patterns, clippy::unwrap_used)] // each test uses its part; a test may unwrap

pub mod script;

use operators::book::Book;
use operators::messages::{BookIn, CommandMsg, Output, TableChange};
use operators::settings::{Settings, TicketKey};
use runtime::{At, Class, Envelope, Offset, PartitionId, Position, TopicId};
use schemas::commands::{
    CancelOrder, PaymentCaptured, PaymentDeclined, PlaceOrder, RefundOrder, ReviewDecision, ReviewVerdict,
};
use schemas::facts::Reason;
use schemas::reference::{Customer, Offer, OfferKind, OfferStatus, Standing};
use schemas::velocity::FraudAction;
use schemas::{Command, Fact, Reference, ReferenceKey, Row, Text};

pub const HOLD_TTL_MS: i64 = 1_000;
pub const REVIEW_MS: i64 = 5_000;
pub const RETENTION_MS: i64 = 100_000;
pub const KEY: &[u8] = b"a key for tests";

pub fn settings() -> Settings {
    Settings {
        hold_ttl_ms: HOLD_TTL_MS,
        review_timeout_ms: REVIEW_MS,
        order_retention_ms: RETENTION_MS,
        topics: vec!["offers".into(), "orders".into()],
        ticket_key: TicketKey::new(KEY),
        ..Settings::default()
    }
}

pub fn book() -> Book {
    Book::new(settings())
}

/// A record at a time; `offset` tells records of one time apart. Changes come before commands.
pub fn envelope(time: i64, offset: u64, body: BookIn) -> Envelope<BookIn> {
    let (topic, class) = match body {
        BookIn::Change(_) => (TopicId(0), Class::Reference),
        _ => (TopicId(1), Class::Command),
    };
    let position = Position::record(time, class, PartitionId { topic, partition: 0 }, Offset(offset));
    Envelope { at: At::record(position), body }
}

pub fn offer(tenant: &str, id: &str, stock: i64) -> Offer {
    Offer {
        tenant: tenant.into(),
        offer_id: id.into(),
        kind: OfferKind::Voucher,
        price_minor: 100,
        currency: "EUR".into(),
        stock_total: stock,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 100,
        max_per_customer: None,
        draw_id: None,
        restock_on_refund: true,
        status: OfferStatus::Open,
    }
}

pub fn upsert_offer(offer: Offer) -> BookIn {
    let key = ReferenceKey::Offer { tenant: offer.tenant.clone(), offer_id: offer.offer_id.clone() };
    BookIn::Change(Box::new(TableChange { key, row: Some(Reference::Offer(Box::new(offer))) }))
}

pub fn delete_offer(tenant: &str, id: &str) -> BookIn {
    let key = ReferenceKey::Offer { tenant: tenant.into(), offer_id: id.into() };
    BookIn::Change(Box::new(TableChange { key, row: None }))
}

pub fn upsert_customer(tenant: &str, id: &str, limit: Option<i64>) -> BookIn {
    let row = Customer {
        tenant: tenant.into(),
        customer_id: id.into(),
        status: Standing::Active,
        daily_spend_limit_minor: limit,
    };
    let key = ReferenceKey::Customer { tenant: tenant.into(), customer_id: id.into() };
    BookIn::Change(Box::new(TableChange { key, row: Some(Reference::Customer(Box::new(row))) }))
}

pub fn delete_customer(tenant: &str, id: &str) -> BookIn {
    let key = ReferenceKey::Customer { tenant: tenant.into(), customer_id: id.into() };
    BookIn::Change(Box::new(TableChange { key, row: None }))
}

pub fn place(
    tenant: &str,
    order: &str,
    offer: &str,
    customer: &str,
    quantity: i32,
    at_ms: i64,
) -> PlaceOrder {
    PlaceOrder {
        command_id: format!("place-{order}").into(),
        tenant: tenant.into(),
        order_id: order.into(),
        customer_id: customer.into(),
        partner_id: None,
        offer_id: offer.into(),
        quantity,
        price_minor: 100,
        currency: "EUR".into(),
        placed_at_ms: at_ms,
        card: None,
        device: None,
        ip: None,
        numbers: vec![],
        seat: None,
    }
}

pub fn judged(order: PlaceOrder, reasons: &[Reason]) -> BookIn {
    screened(order, reasons, None)
}

pub fn screened(order: PlaceOrder, reasons: &[Reason], screening: Option<FraudAction>) -> BookIn {
    BookIn::Order { order: Box::new(order), reasons: reasons.to_vec(), screening }
}

/// A command about an order; its raw bytes are its own words.
pub fn message(command: Command) -> CommandMsg {
    let raw = format!("{} {}", command.record_name(), command.subject_id());
    CommandMsg { payload_hash: 0, raw: Some(raw.into_bytes().into()), retry_of: None, command }
}

fn ids(tenant: &str, order: &str, what: &str) -> (Text, Text, Text) {
    (format!("{what}-{order}").into(), tenant.into(), order.into())
}

pub fn capture(tenant: &str, order: &str, payment: &str, amount_minor: i64, currency: &str) -> CommandMsg {
    let (command_id, tenant, order_id) = ids(tenant, order, payment);
    message(Command::PaymentCaptured(Box::new(PaymentCaptured {
        command_id,
        tenant,
        order_id,
        payment_id: payment.into(),
        amount_minor,
        currency: currency.into(),
        captured_at_ms: 0,
    })))
}

pub fn decline(tenant: &str, order: &str) -> CommandMsg {
    let (command_id, tenant, order_id) = ids(tenant, order, "decline");
    message(Command::PaymentDeclined(Box::new(PaymentDeclined {
        command_id,
        tenant,
        order_id,
        payment_id: "p".into(),
        reason: None,
        declined_at_ms: 0,
    })))
}

pub fn cancel(tenant: &str, order: &str) -> CommandMsg {
    let (command_id, tenant, order_id) = ids(tenant, order, "cancel");
    message(Command::CancelOrder(Box::new(CancelOrder {
        command_id,
        tenant,
        order_id,
        reason: None,
        requested_at_ms: 0,
    })))
}

pub fn refund(tenant: &str, order: &str) -> CommandMsg {
    let (command_id, tenant, order_id) = ids(tenant, order, "refund");
    message(Command::RefundOrder(Box::new(RefundOrder {
        command_id,
        tenant,
        order_id,
        reason: None,
        requested_at_ms: 0,
    })))
}

pub fn review(tenant: &str, order: &str, decision: ReviewVerdict) -> CommandMsg {
    let (command_id, tenant, order_id) = ids(tenant, order, decision.as_str());
    message(Command::ReviewDecision(Box::new(ReviewDecision {
        command_id,
        tenant,
        order_id,
        decision,
        decided_by: "someone".into(),
        decided_at_ms: 0,
    })))
}

/// A fact in a few words; nothing for a row.
///
/// `held o1`, `refused o1 sold_out`, `refund_due o1 300EUR`, `available>held 3 left 7+3+0=10 due 0`,
/// `ticket o1-1`, `dead cannot_cancel`.
pub fn brief(output: &Output) -> Option<String> {
    match output {
        Output::Fact(Fact::Order(f)) => {
            let event = serde_json::to_string(&f.event).unwrap().replace('"', "");
            let sum = format!(" {}{}", f.amount_minor, f.currency);
            let sum = if event == "refund_due" { sum } else { String::new() };
            let reasons = Reason::join(&f.reasons);
            Some(format!("{event} {}{sum} {reasons}", f.order_id).trim_end().to_owned())
        }
        Output::Fact(Fact::Stock(f)) => Some(format!(
            "{}>{} {} left {}+{}+{}={} due {}",
            f.debit, f.credit, f.quantity, f.available, f.held, f.sold, f.stock_total, f.shrink_due
        )),
        Output::Fact(Fact::Ticket(f)) => Some(format!("ticket {}", f.ticket_id)),
        Output::Fact(Fact::DeadLetter(letter)) | Output::DeadLetter(letter) => {
            Some(format!("dead {}", letter.reason.split(':').next().unwrap()))
        }
        Output::Row(_) => None,
        other => panic!("the book never says {other:?}"),
    }
}

/// A row's key and what it says: `order t/o1` = `confirmed`, `stock t/x` = `7+3+0=10 due 0`.
pub fn brief_row(output: &Output) -> Option<(String, String)> {
    let Output::Row(row) = output else { return None };
    Some(match row {
        Row::Order(r) => {
            let said = format!("{} {}", r.status, r.reasons);
            (format!("order {}/{}", r.tenant, r.order_id), said.trim_end().to_owned())
        }
        Row::Stock(r) => (
            format!("stock {}/{}", r.tenant, r.offer_id),
            format!("{}+{}+{}={} due {}", r.available, r.held, r.sold, r.stock_total, r.shrink_due),
        ),
        Row::Ticket(r) => (format!("ticket {}/{}", r.tenant, r.ticket_id), r.payload.to_string()),
        other => panic!("the book never says {other:?}"),
    })
}
