//! What the book remembers of an order: enough to tell any later fact about it, and no more.
//!
//! Card, device and address are gone once an order is judged. The names are kept in one allocation,
//! because there are a month's orders to keep.

use super::directory::{Key, Named, Tenant};
use crate::ledger::PendingId;
use runtime::{Millis, Position};
use schemas::Text;
use schemas::commands::PlaceOrder;
use schemas::facts::Reason;
use schemas::reference::OfferKind;
use schemas::rows::OrderStatus;
use serde::{Deserialize, Serialize};

/// An order, from its judgement until it is forgotten.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    names: Names,
    pub numbers: Box<[i32]>,
    /// The record that placed it.
    pub placed: Position,
    pub placed_at_ms: Millis,
    pub amount_minor: i64,
    pub quantity: i32,
    pub kind: Option<OfferKind>,
    pub status: OrderStatus,
    pub reasons: Reasons,
    /// Set once it has outlived its retention and is kept only because a limit still counts it: commands
    /// find it no more.
    pub forgotten: bool,
    /// Its hold in the ledger; 0 where it never had one.
    pub number: u64,
    /// When its timer is due: the hold's end while it is held, then the end of its retention.
    pub due_ms: Millis,
    /// The payment that confirmed it.
    pub payment_id: Option<Box<str>>,
    /// Payments that were told to be due back; hardly any order has one.
    pub returned: Option<Box<Returned>>,
}

/// Ids of payments.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned(Vec<Box<str>>);

impl Returned {
    /// Whether a payment is one of them.
    pub fn has(&self, payment_id: &str) -> bool {
        self.0.iter().any(|id| **id == *payment_id)
    }

    /// One more.
    pub fn add(&mut self, payment_id: &str) {
        self.0.push(payment_id.into());
    }
}

impl Order {
    /// An order as it is placed, before it is judged.
    pub fn new(order: &PlaceOrder, placed: Position, amount_minor: i64, kind: Option<OfferKind>) -> Self {
        Order {
            names: Names::of(order),
            numbers: order.numbers.as_slice().into(),
            placed,
            placed_at_ms: order.placed_at_ms,
            amount_minor,
            quantity: order.quantity,
            kind,
            status: OrderStatus::Held,
            reasons: Reasons::default(),
            forgotten: false,
            number: 0,
            due_ms: 0,
            payment_id: None,
            returned: None,
        }
    }

    pub fn order_id(&self) -> &str {
        self.names.get(1)
    }

    pub fn command_id(&self) -> &str {
        self.names.get(2)
    }

    pub fn offer_id(&self) -> &str {
        self.names.get(3)
    }

    pub fn customer_id(&self) -> &str {
        self.names.get(4)
    }

    pub fn currency(&self) -> &str {
        self.names.get(5)
    }

    pub fn partner_id(&self) -> Option<Text> {
        self.names.optional(6)
    }

    pub fn seat(&self) -> Option<Text> {
        self.names.optional(7)
    }

    /// Units, of an order that was accepted.
    pub fn units(&self) -> u64 {
        u64::try_from(self.quantity).expect("an accepted order asks for at least one unit")
    }

    /// Its tenant, where the order is kept under `key`.
    pub fn tenant_at(&self, key: Key) -> Tenant<'_> {
        Tenant { home: key.home, name: self.tenant() }
    }

    /// Its hold.
    pub fn hold_id(&self, home: u64) -> PendingId {
        PendingId { home, number: self.number }
    }

    /// Whether limits count it.
    pub fn counts(&self) -> bool {
        matches!(self.status, OrderStatus::Held | OrderStatus::Confirmed)
    }
}

impl Named for Order {
    fn tenant(&self) -> &str {
        self.names.get(0)
    }

    fn name(&self) -> &str {
        self.order_id()
    }
}

/// Eight names, one after the other. Names have 1 to 128 bytes, so an empty one is an absent one.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Names {
    text: Box<str>,
    ends: [u16; 8],
}

impl Names {
    fn of(o: &PlaceOrder) -> Self {
        let [partner, seat] = [&o.partner_id, &o.seat].map(|name| name.as_deref().unwrap_or_default());
        let must = [&o.tenant, &o.order_id, &o.command_id, &o.offer_id, &o.customer_id, &o.currency];
        let [tenant, order_id, command_id, offer_id, customer_id, currency] = must.map(|name| name.as_str());
        let names = [tenant, order_id, command_id, offer_id, customer_id, currency, partner, seat];
        let mut text = String::with_capacity(names.iter().map(|name| name.len()).sum());
        let ends = names.map(|name| {
            text.push_str(name);
            u16::try_from(text.len()).expect("names have at most 128 bytes")
        });
        Names { text: text.into_boxed_str(), ends }
    }

    fn get(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[usize::from(start)..usize::from(self.ends[index])]
    }

    fn optional(&self, index: usize) -> Option<Text> {
        let name = self.get(index);
        (!name.is_empty()).then(|| Text::from(name))
    }
}

/// A set of reasons, one bit each in the order of the closed list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasons(u32);

impl Reasons {
    pub fn add(&mut self, reason: Reason) {
        self.0 |= 1 << reason as u32;
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Sorted, each once.
    pub fn to_vec(self) -> Vec<Reason> {
        if self.is_empty() {
            return Vec::new();
        }
        Reason::ALL.iter().copied().filter(|reason| self.0 & 1 << *reason as u32 != 0).collect()
    }
}

impl From<&[Reason]> for Reasons {
    fn from(reasons: &[Reason]) -> Self {
        let mut set = Reasons::default();
        reasons.iter().for_each(|reason| set.add(*reason));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_back_sorted_and_once() {
        let set = Reasons::from(&[Reason::SoldOut, Reason::UnknownOffer, Reason::SoldOut][..]);
        assert_eq!(set.to_vec(), [Reason::UnknownOffer, Reason::SoldOut]);
        assert_eq!(Reasons::from(Reason::ALL).to_vec(), Reason::ALL);
        assert!(Reasons::default().to_vec().is_empty());
    }

    #[test]
    fn an_order_is_at_most_200_bytes_without_its_names() {
        assert!(size_of::<Order>() <= 200, "{}", size_of::<Order>());
    }
}
