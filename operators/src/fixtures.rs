//! Commands, rows and records in a few words, for the tests of this crate.

use crate::messages::{CommandMsg, TableChange};
use crate::settings::Settings;
use runtime::{At, Class, Envelope, Millis, Offset, PartitionId, Position, TopicId};
use schemas::commands::{CancelOrder, PaymentCaptured, PaymentDeclined, PlaceOrder};
use schemas::reference::{Customer, Offer, OfferKind, OfferStatus, Partner, Standing};
use schemas::{Command, Reference, ReferenceKey, Text};

pub const TENANT: &str = "acme";

/// Short waits, so that tests can count in milliseconds; `clubs` wants registered customers.
pub fn settings() -> Settings {
    Settings {
        review_timeout_ms: 0,
        grace_ms: 50,
        hold_ttl_ms: 100,
        order_retention_ms: 1_000,
        tenants_requiring_customers: ["clubs".into()].into(),
        topics: vec!["changes".into(), "commands".into()],
        ..Settings::default()
    }
}

/// A record of a command or reference topic.
pub fn record<B>(time: Millis, class: Class, offset: u64, body: B) -> Envelope<B> {
    let topic = TopicId(u16::from(class == Class::Command));
    let partition = PartitionId { topic, partition: 0 };
    Envelope { at: At::record(Position::record(time, class, partition, Offset(offset))), body }
}

/// An order of one unit at 100 EUR cents.
pub fn order(tenant: &str, order_id: &str, offer_id: &str) -> PlaceOrder {
    PlaceOrder {
        command_id: format!("place-{order_id}").into(),
        tenant: tenant.into(),
        order_id: order_id.into(),
        customer_id: "eve".into(),
        partner_id: None,
        offer_id: offer_id.into(),
        quantity: 1,
        price_minor: 100,
        currency: "EUR".into(),
        placed_at_ms: 1,
        card: None,
        device: None,
        ip: None,
        numbers: vec![],
        seat: None,
    }
}

pub fn place(order: PlaceOrder) -> CommandMsg {
    CommandMsg {
        payload_hash: order.quantity as u64,
        command: Command::PlaceOrder(Box::new(order)),
        raw: None,
        retry_of: None,
    }
}

pub fn cancel(tenant: &str, order_id: &str) -> CommandMsg {
    settlement(Command::CancelOrder(Box::new(CancelOrder {
        command_id: format!("cancel-{order_id}").into(),
        tenant: tenant.into(),
        order_id: order_id.into(),
        reason: None,
        requested_at_ms: 1,
    })))
}

pub fn pay(tenant: &str, order_id: &str) -> CommandMsg {
    settlement(Command::PaymentCaptured(Box::new(PaymentCaptured {
        command_id: format!("pay-{order_id}").into(),
        tenant: tenant.into(),
        order_id: order_id.into(),
        payment_id: "p".into(),
        amount_minor: 100,
        currency: "EUR".into(),
        captured_at_ms: 1,
    })))
}

pub fn decline(tenant: &str, order_id: &str) -> CommandMsg {
    settlement(Command::PaymentDeclined(Box::new(PaymentDeclined {
        command_id: format!("decline-{order_id}").into(),
        tenant: tenant.into(),
        order_id: order_id.into(),
        payment_id: "p".into(),
        reason: None,
        declined_at_ms: 1,
    })))
}

fn settlement(command: Command) -> CommandMsg {
    let raw = format!("{} {}", command.record_name(), command.subject_id());
    CommandMsg { payload_hash: 0, raw: Some(raw.into_bytes().into()), command, retry_of: None }
}

/// A draw of 2 of 9, closed since 100, on the word of two sources, that pays nothing.
pub fn draw(draw_id: &str) -> schemas::draws::Draw {
    schemas::draws::Draw {
        tenant: TENANT.into(),
        draw_id: draw_id.into(),
        game: "lotto".into(),
        main_count: 2,
        main_min: 1,
        main_max: 9,
        bonus_count: 0,
        bonus_max: 0,
        bonus_in_main: false,
        repeats: false,
        closes_at_ms: 100,
        sources_required: 2,
        currency: "EUR".into(),
        pool_minor: Some(1_000),
        prize_tiers: "[]".into(),
    }
}

/// An open offer at 100 EUR cents, at most 4 a time.
pub fn offer(tenant: &str, offer_id: &str) -> Offer {
    Offer {
        tenant: tenant.into(),
        offer_id: offer_id.into(),
        kind: OfferKind::Ticket,
        price_minor: 100,
        currency: "EUR".into(),
        stock_total: 10,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 4,
        max_per_customer: None,
        draw_id: None,
        restock_on_refund: true,
        status: OfferStatus::Open,
    }
}

pub fn partner(tenant: &str, partner_id: &str, status: Standing) -> Reference {
    Reference::Partner(Box::new(Partner {
        tenant: tenant.into(),
        partner_id: partner_id.into(),
        status,
        plan: Text::default(),
    }))
}

pub fn customer(tenant: &str, customer_id: &str, status: Standing) -> Reference {
    Reference::Customer(Box::new(Customer {
        tenant: tenant.into(),
        customer_id: customer_id.into(),
        status,
        daily_spend_limit_minor: None,
    }))
}

pub fn upsert(row: Reference) -> TableChange {
    TableChange { key: row.key(), row: Some(row) }
}

pub fn delete(key: ReferenceKey) -> TableChange {
    TableChange { key, row: None }
}
