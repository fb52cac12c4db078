//! The reference rows an order is judged by: every worker holds all of them, fed by every effective change.

use super::judge::Observed;
use crate::keys::{Scoped, ScopedRef};
use crate::messages::TableChange;
use runtime::{KeyedState, State};
use schemas::commands::PlaceOrder;
use schemas::reference::{Customer, Offer, Partner};
use schemas::{Reference, ReferenceKey, Text};
use std::collections::BTreeSet;

/// Offers, partners and customers, replicated.
pub struct Tables {
    offers: KeyedState<Scoped, Offer>,
    partners: KeyedState<Scoped, Partner>,
    customers: KeyedState<Scoped, Customer>,
}

impl Default for Tables {
    fn default() -> Self {
        Tables {
            offers: KeyedState::new_replicated("offers.v1", Scoped::slot),
            partners: KeyedState::new_replicated("partners.v1", Scoped::slot),
            customers: KeyedState::new_replicated("customers.v1", Scoped::slot),
        }
    }
}

impl Tables {
    /// Takes an effective change; the key of the row that is there now, if one is.
    pub fn apply(&mut self, change: TableChange) -> Option<ReferenceKey> {
        match change {
            TableChange { key, row: Some(row) } => {
                self.put(row);
                Some(key)
            }
            TableChange { key, row: None } => {
                self.remove(key);
                None
            }
        }
    }

    fn put(&mut self, row: Reference) {
        let scoped = |tenant: &Text, id: &Text| Scoped { tenant: tenant.clone(), id: id.clone() };
        match row {
            Reference::Offer(row) => self.offers.insert(scoped(&row.tenant, &row.offer_id), *row),
            Reference::Partner(row) => self.partners.insert(scoped(&row.tenant, &row.partner_id), *row),
            Reference::Customer(row) => self.customers.insert(scoped(&row.tenant, &row.customer_id), *row),
            _ => unreachable!("no other table is sent to the desk"),
        }
    }

    fn remove(&mut self, key: ReferenceKey) {
        match key {
            ReferenceKey::Offer { tenant, offer_id: id } => drop(self.offers.remove(&Scoped { tenant, id })),
            ReferenceKey::Partner { tenant, partner_id: id } => {
                drop(self.partners.remove(&Scoped { tenant, id }));
            }
            ReferenceKey::Customer { tenant, customer_id: id } => {
                drop(self.customers.remove(&Scoped { tenant, id }));
            }
            _ => unreachable!("no other table is sent to the desk"),
        }
    }

    /// The rows an order names. `requiring` lists the tenants whose orders need a registered customer.
    pub fn observe(&self, order: &PlaceOrder, requiring: &BTreeSet<Text>) -> Observed<'_> {
        let tenant = order.tenant.as_str();
        let at = |id| ScopedRef { tenant, id };
        Observed {
            offer: self.offers.get(&at(&order.offer_id)),
            partner: order.partner_id.as_ref().and_then(|id| self.partners.get(&at(id))),
            // Many tenants register none.
            customer: if self.customers.is_empty() {
                None
            } else {
                self.customers.get(&at(&order.customer_id))
            },
            customer_required: requiring.contains(&order.tenant),
        }
    }

    /// All three states, in a fixed order.
    pub fn states(&mut self) -> [&mut dyn State; 3] {
        [&mut self.offers, &mut self.partners, &mut self.customers]
    }
}

/// The rows an order can't be judged without that aren't there.
pub fn missing(order: &PlaceOrder, seen: Observed<'_>) -> Vec<ReferenceKey> {
    let no_customer = seen.customer_required && seen.customer.is_none();
    let no_partner = order.partner_id.is_some() && seen.partner.is_none();
    if seen.offer.is_some() && !no_partner && !no_customer {
        return Vec::new();
    }
    let tenant = || order.tenant.clone();
    let offer = || ReferenceKey::Offer { tenant: tenant(), offer_id: order.offer_id.clone() };
    let customer = || ReferenceKey::Customer { tenant: tenant(), customer_id: order.customer_id.clone() };
    let partner = order.partner_id.as_ref().filter(|_| no_partner);
    let partner = partner.map(|id| ReferenceKey::Partner { tenant: tenant(), partner_id: id.clone() });
    let found = [seen.offer.is_none().then(offer), partner, no_customer.then(customer)];
    found.into_iter().flatten().collect()
}
