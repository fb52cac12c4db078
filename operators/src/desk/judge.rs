//! The judgement itself: a pure function of an order, the rows it names, and the moment.

use runtime::Millis;
use schemas::commands::PlaceOrder;
use schemas::facts::Reason;
use schemas::reference::{Customer, Offer, OfferStatus, Partner, Standing};

/// The reference rows an order names, as of the moment of its judgement.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    pub offer: Option<&'a Offer>,
    /// Absent too where the order names no partner.
    pub partner: Option<&'a Partner>,
    pub customer: Option<&'a Customer>,
    pub customer_required: bool,
}

/// Every reason to refuse `order` at `time` that the rows give, in the order of the closed list.
pub fn judge(order: &PlaceOrder, seen: Observed<'_>, time: Millis) -> Vec<Reason> {
    let offer = |wrong: &dyn Fn(&Offer) -> bool| seen.offer.is_some_and(wrong);
    let found = [
        (seen.offer.is_none(), Reason::UnknownOffer),
        (seen.customer_required && seen.customer.is_none(), Reason::UnknownCustomer),
        (order.partner_id.is_some() && seen.partner.is_none(), Reason::UnknownPartner),
        (offer(&|o| !on_sale(o, time)), Reason::OfferClosed),
        (offer(&|o| o.price_minor != order.price_minor), Reason::PriceMismatch),
        (offer(&|o| o.currency != order.currency), Reason::CurrencyMismatch),
        (quantity_out_of_range(order.quantity, seen.offer), Reason::QuantityOutOfRange),
        (seen.customer.is_some_and(|c| c.status != Standing::Active), Reason::CustomerBlocked),
        (seen.partner.is_some_and(|p| p.status != Standing::Active), Reason::PartnerSuspended),
    ];
    // Most orders are good.
    if !found.iter().any(|(applies, _)| *applies) {
        return Vec::new();
    }
    let reasons: Vec<Reason> =
        found.into_iter().filter_map(|(applies, reason)| applies.then_some(reason)).collect();
    debug_assert!(reasons.is_sorted(), "the list above is in the order of Reason");
    reasons
}

/// Whether an offer can be bought at `time`: open, and within its window [opens, closes).
fn on_sale(offer: &Offer, time: Millis) -> bool {
    offer.status == OfferStatus::Open
        && offer.sale_opens_at_ms.is_none_or(|opens| opens <= time)
        && offer.sale_closes_at_ms.is_none_or(|closes| time < closes)
}

/// Without an offer there is no upper bound to compare with.
fn quantity_out_of_range(quantity: i32, offer: Option<&Offer>) -> bool {
    quantity < 1 || offer.is_some_and(|offer| quantity > offer.max_per_order)
}
