//! The demo's own counter: a lottery whose tickets are bought by hand, one request each.
//!
//! It is a tenant of its own, so that whoever buys there doesn't meddle with the invented traffic.

use super::record::Body;
use crate::stores::{StoreError, Stores};
use api::Shop;
use schemas::Reference;
use schemas::debezium::Op;
use schemas::reference::{Offer, OfferKind, OfferStatus};

const TENANT: &str = "corner-shop";
const OFFER: &str = "ticket-6-of-49";
const PRICE_MINOR: i64 = 250;
const CURRENCY: &str = "EUR";

/// What is sold there.
pub fn shop() -> Shop {
    Shop {
        tenant: TENANT.to_owned(),
        offer_id: OFFER.to_owned(),
        customer_id: "walk-in".to_owned(),
        price_minor: PRICE_MINOR,
        currency: CURRENCY.to_owned(),
        numbers: 6,
        number_max: 49,
    }
}

/// Puts its one offer into the log.
///
/// # Errors
/// Where the log can't be written.
pub fn open(stores: &Stores) -> Result<(), StoreError> {
    let offer = Offer {
        tenant: TENANT.into(),
        offer_id: OFFER.into(),
        kind: OfferKind::Ticket,
        price_minor: PRICE_MINOR,
        currency: CURRENCY.into(),
        stock_total: 1_000_000,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 10,
        max_per_customer: None,
        draw_id: None,
        restock_on_refund: false,
        status: OfferStatus::Open,
    };
    let row = Box::new(Reference::Offer(Box::new(offer)));
    let change = Body::Change { op: Op::Read, before: None, after: row, lsn: 1 };
    let record = change.encode(&stores.prepare()?, crate::clock_ms());
    stores.appender()?.append_many(&[(change.topic(), &[record])])?;
    Ok(())
}
