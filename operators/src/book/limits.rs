//! What limits count: units per customer and offer, money per customer, UTC day and currency.
//!
//! Counted is what is held or confirmed; what is refused, cancelled, expired or refunded isn't. Counts are
//! kept whether or not there is a limit now, because one may be set later. A count of nothing is dropped,
//! and so is a customer without a limit of whom nothing is counted: memory is bounded by the orders
//! remembered. So a day's spend forgets an order when the book does, a month after its end.

use super::directory::{Directory, Key, Named, Tenant};
use super::order::Order;
use super::stock::Offer;
use runtime::{KeyedState, Millis, State};
use schemas::{Text, reference};
use serde::{Deserialize, Serialize};

const DAY_MS: Millis = 24 * 60 * 60 * 1000;

/// A customer with a limit, or of whom something is counted.
#[derive(Debug, Serialize, Deserialize)]
struct Customer {
    tenant: Text,
    customer_id: Text,
    number: u64,
    daily_spend_limit_minor: Option<i64>,
    /// Orders counted.
    orders: u64,
}

impl Named for Customer {
    fn tenant(&self) -> &str {
        &self.tenant
    }

    fn name(&self) -> &str {
        &self.customer_id
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct UnitsKey {
    home: u64,
    customer: u64,
    offer: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct SpendKey {
    home: u64,
    customer: u64,
    /// Days since 1970, UTC, of `placed_at`.
    day: i64,
    currency: Text,
}

/// Every customer of this worker's tenants, and what limits count of them.
pub struct Limits {
    customers: Directory<Customer>,
    units: KeyedState<UnitsKey, i128>,
    spend: KeyedState<SpendKey, i128>,
}

impl Limits {
    pub fn new() -> Self {
        Limits {
            customers: Directory::new("customers.v1"),
            units: KeyedState::new("units.v1", |key| runtime::slot_of(key.home)),
            spend: KeyedState::new("spend.v1", |key| runtime::slot_of(key.home)),
        }
    }

    pub fn states(&mut self) -> [&mut dyn State; 3] {
        [&mut self.customers.map, &mut self.units, &mut self.spend]
    }

    /// Reads where a customer is; see [`Directory::glance`].
    pub fn glance(&self, tenant: Tenant, customer_id: &str) -> u64 {
        self.customers.glance(tenant, customer_id)
    }

    /// Takes a customer's row. `draw` gives a fresh number.
    pub fn upsert(&mut self, row: &reference::Customer, draw: impl FnOnce() -> u64) {
        let tenant = Tenant::of(&row.tenant);
        match self.customers.find(tenant, &row.customer_id) {
            Some(key) => self.set_limit(key, row.daily_spend_limit_minor),
            None if row.daily_spend_limit_minor.is_some() => {
                let key = self.open(tenant, &row.customer_id, draw());
                self.set_limit(key, row.daily_spend_limit_minor);
            }
            None => (),
        }
    }

    /// The customer's row is gone, and the limit with it.
    pub fn delete(&mut self, tenant: Tenant, customer_id: &str) {
        if let Some(key) = self.customers.find(tenant, customer_id) {
            self.set_limit(key, None);
        }
    }

    fn set_limit(&mut self, key: Key, limit: Option<i64>) {
        self.customers.at_mut(key).daily_spend_limit_minor = limit;
        self.forget_if_idle(key);
    }

    fn forget_if_idle(&mut self, key: Key) {
        let customer = self.customers.at(key);
        if customer.daily_spend_limit_minor.is_none() && customer.orders == 0 {
            self.customers.remove(key);
        }
    }

    fn open(&mut self, tenant: Tenant, customer_id: &str, number: u64) -> Key {
        let customer = Customer {
            tenant: tenant.name.into(),
            customer_id: customer_id.into(),
            number,
            daily_spend_limit_minor: None,
            orders: 0,
        };
        self.customers.insert(tenant, customer)
    }

    /// Whether an order, on top of what is counted, goes beyond its customer's or its offer's limit.
    pub fn exceeded(&self, tenant: Tenant, order: &Order, offer: Option<&Offer>) -> bool {
        let found = self.customers.find(tenant, order.customer_id());
        let customer = found.map(|key| self.customers.at(key));
        let number = customer.map_or(0, |customer| customer.number);
        self.units_exceeded(tenant, number, order, offer)
            || customer.and_then(|c| c.daily_spend_limit_minor).is_some_and(|limit| {
                let spent = self.spend.get(&spend_key(tenant, number, order)).copied().unwrap_or(0);
                spent + i128::from(order.amount_minor) > i128::from(limit)
            })
    }

    fn units_exceeded(&self, tenant: Tenant, customer: u64, order: &Order, offer: Option<&Offer>) -> bool {
        let Some((offer, max)) = offer.and_then(|offer| Some((offer, offer.max_per_customer?))) else {
            return false;
        };
        let counted = self.units.get(&units_key(tenant, customer, offer)).copied().unwrap_or(0);
        counted + i128::from(order.quantity) > i128::from(max)
    }

    /// Counts an accepted order. `draw` gives a fresh number.
    pub fn count(&mut self, tenant: Tenant, order: &Order, offer: &Offer, draw: impl FnOnce() -> u64) {
        let key = match self.customers.find(tenant, order.customer_id()) {
            Some(key) => key,
            None => self.open(tenant, order.customer_id(), draw()),
        };
        let customer = self.customers.at_mut(key);
        customer.orders += 1;
        let number = customer.number;
        add(&mut self.units, units_key(tenant, number, offer), i128::from(order.quantity));
        add(&mut self.spend, spend_key(tenant, number, order), i128::from(order.amount_minor));
    }

    /// No longer counts an order that was counted.
    pub fn discount(&mut self, tenant: Tenant, order: &Order, offer: &Offer) {
        let key =
            self.customers.find(tenant, order.customer_id()).expect("a counted order's customer is kept");
        let customer = self.customers.at_mut(key);
        customer.orders = customer.orders.checked_sub(1).expect("an order is discounted once");
        let number = customer.number;
        add(&mut self.units, units_key(tenant, number, offer), -i128::from(order.quantity));
        add(&mut self.spend, spend_key(tenant, number, order), -i128::from(order.amount_minor));
        self.forget_if_idle(key);
    }
}

fn units_key(tenant: Tenant, customer: u64, offer: &Offer) -> UnitsKey {
    UnitsKey { home: tenant.home, customer, offer: offer.number }
}

fn spend_key(tenant: Tenant, customer: u64, order: &Order) -> SpendKey {
    let day = order.placed_at_ms.div_euclid(DAY_MS);
    SpendKey { home: tenant.home, customer, day, currency: order.currency().into() }
}

/// Adds to a count and drops it at zero. 128 bits, so that no number of the largest orders overflows it.
fn add<K>(counts: &mut KeyedState<K, i128>, key: K, change: i128)
where
    K: std::hash::Hash + Eq + Clone + Serialize + serde::de::DeserializeOwned,
{
    let Some(count) = counts.get_mut(&key) else {
        assert!(change >= 0, "nothing is discounted that wasn't counted");
        if change > 0 {
            counts.insert(key, change);
        }
        return;
    };
    *count += change;
    assert!(*count >= 0, "nothing is discounted that wasn't counted");
    if *count == 0 {
        counts.remove(&key);
    }
}
