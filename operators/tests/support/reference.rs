//! The book's rules as a plain sequential program: hash maps, no ledger, no timers, no counts kept.
//!
//! Written to be read against DOMAIN's rules, not to be fast: limits are counted by looking at every order.

use super::{HOLD_TTL_MS, RETENTION_MS, REVIEW_MS};
use operators::messages::{BookIn, TableChange};
use runtime::stable_hash;
use schemas::commands::{PlaceOrder, ReviewVerdict};
use schemas::facts::Reason;
use schemas::reference::Offer;
use schemas::rows::OrderStatus::{self, Cancelled, Confirmed, Expired, Held, InReview, Refunded, Refused};
use schemas::velocity::FraudAction;
use schemas::{Command, Reference, ReferenceKey};
use std::collections::HashMap;

const DAY_MS: i64 = 86_400_000;

type Id = (String, String);

#[derive(Default)]
pub struct Shelf {
    pub row: Option<Offer>,
    /// As it was when the row went: a refund still asks.
    restock: bool,
    pub available: i64,
    pub held: i64,
    pub sold: i64,
    pub due: i64,
}

impl Shelf {
    pub fn total(&self) -> i64 {
        self.available + self.held + self.sold
    }

    fn said(&self) -> String {
        format!("left {}+{}+{}={} due {}", self.available, self.held, self.sold, self.total(), self.due)
    }
}

pub struct Sale {
    order: PlaceOrder,
    pub status: OrderStatus,
    due_ms: i64,
    forgotten: bool,
    payment: String,
    /// Payments that were told to be due back.
    returned: Vec<String>,
}

impl Sale {
    fn units(&self) -> i64 {
        i64::from(self.order.quantity)
    }

    fn amount(&self) -> i64 {
        self.units() * self.order.price_minor
    }

    fn counts(&self) -> bool {
        matches!(self.status, Held | Confirmed)
    }
}

#[derive(Default)]
pub struct Program {
    pub shelves: HashMap<Id, Shelf>,
    pub sales: HashMap<Id, Sale>,
    limits: HashMap<Id, i64>,
    /// (tenant, what was said).
    pub said: Vec<(String, String)>,
}

fn id(tenant: &str, name: &str) -> Id {
    (tenant.to_owned(), name.to_owned())
}

impl Program {
    /// Everything that is due until `until`, in order of time, then of the orders' hashes.
    pub fn pass(&mut self, until: i64) {
        loop {
            let due = self.sales.iter().filter(|(_, sale)| sale.due_ms <= until);
            let next = due.min_by_key(|(id, sale)| (sale.due_ms, stable_hash(id.1.as_bytes())));
            let Some((key, _)) = next else { return };
            let key = key.clone();
            self.fire(&key);
        }
    }

    fn fire(&mut self, key: &Id) {
        let sale = &self.sales[key];
        if sale.status == Held {
            let now = sale.due_ms;
            return self.end_hold(key, Expired, Reason::HoldExpired, now);
        }
        if sale.status == InReview {
            let now = sale.due_ms;
            return self.end_review(key, Refused, Reason::ReviewTimeout, now);
        }
        let limited = self.shelf_of(key).row.as_ref().is_some_and(|row| row.max_per_customer.is_some());
        let sale = self.sales.get_mut(key).unwrap();
        if sale.status == Confirmed && limited {
            sale.forgotten = true;
            sale.due_ms += RETENTION_MS.max(DAY_MS);
        } else {
            self.sales.remove(key);
        }
    }

    pub fn handle(&mut self, time: i64, input: &BookIn) {
        self.pass(time);
        match input {
            BookIn::Order { order, reasons, screening } => self.place(order, reasons, *screening, time),
            BookIn::Settle(message) => self.settle(&message.command, time),
            BookIn::SettleEarly { command, .. } => self.settle(&command.command, time),
            BookIn::Change(change) => self.change(change),
        }
    }

    fn change(&mut self, change: &TableChange) {
        match (&change.key, &change.row) {
            (ReferenceKey::Offer { tenant, offer_id }, row) => {
                let key = id(tenant, offer_id);
                let shelf = self.shelves.entry(key.clone()).or_default();
                let Some(Reference::Offer(row)) = row else {
                    if shelf.row.take().is_some() {
                        self.aim(&key, 0);
                    }
                    return;
                };
                (shelf.row, shelf.restock) = (Some(Offer::clone(row)), row.restock_on_refund);
                self.aim(&key, row.stock_total);
            }
            (ReferenceKey::Customer { tenant, customer_id }, Some(Reference::Customer(row))) => {
                self.limits.remove(&id(tenant, customer_id));
                self.limits.extend(row.daily_spend_limit_minor.map(|limit| (id(tenant, customer_id), limit)));
            }
            (ReferenceKey::Customer { tenant, customer_id }, _) => {
                self.limits.remove(&id(tenant, customer_id));
            }
            _ => (),
        }
    }

    fn aim(&mut self, key: &Id, target: i64) {
        let shelf = self.shelves.get_mut(key).unwrap();
        let mut more = target - (shelf.total() - shelf.due);
        while more > 0 && shelf.due > 0 {
            shelf.due -= 1;
            more -= 1;
        }
        if more > 0 {
            shelf.available += more;
            let said = format!("{} issued>available {more} {}", key.1, shelf.said());
            self.say(key, said);
        } else if more < 0 {
            shelf.due -= more;
            self.pay_due(key);
        }
    }

    fn pay_due(&mut self, key: &Id) {
        let shelf = self.shelves.get_mut(key).unwrap();
        let taken = shelf.due.min(shelf.available);
        if taken > 0 {
            shelf.due -= taken;
            shelf.available -= taken;
            let said = format!("{} available>issued {taken} {}", key.1, shelf.said());
            self.say(key, said);
        }
    }

    fn place(&mut self, order: &PlaceOrder, found: &[Reason], screening: Option<FraudAction>, time: i64) {
        let key = id(&order.tenant, &order.order_id);
        let mut reasons = found.to_vec();
        if self.sales.contains_key(&key) {
            reasons.push(Reason::DuplicateOrder);
            return self.say(&key, format!("refused {} {}", key.1, Reason::join(&reasons)));
        }
        let listed = self.shelves.get(&id(&order.tenant, &order.offer_id)).and_then(|s| s.row.as_ref());
        if reasons.is_empty() && screening == Some(FraudAction::Block) {
            reasons.push(Reason::FraudBlocked);
        } else if reasons.is_empty() && listed.is_none() {
            reasons.push(Reason::UnknownOffer);
        } else if reasons.is_empty() && order.quantity < 1 {
            reasons.push(Reason::QuantityOutOfRange);
        }
        let review = reasons.is_empty() && screening == Some(FraudAction::Review);
        if !review && self.beyond_limits(order, listed) {
            reasons.push(Reason::CustomerLimitExceeded);
        }
        let mut sale = Sale {
            order: order.clone(),
            status: Held,
            due_ms: time + HOLD_TTL_MS,
            forgotten: false,
            payment: String::new(),
            returned: Vec::new(),
        };
        if review {
            (sale.status, sale.due_ms) = (InReview, time + REVIEW_MS);
            self.say(&key, format!("in_review {}", key.1));
            self.sales.insert(key, sale);
        } else {
            self.decide(&key, sale, reasons, time);
        }
    }

    /// Stock decides where nothing else does.
    fn decide(&mut self, key: &Id, mut sale: Sale, mut reasons: Vec<Reason>, time: i64) {
        let offer_id = sale.order.offer_id.clone();
        let shelf = self.shelves.entry(id(&key.0, &offer_id)).or_default();
        if reasons.is_empty() && shelf.available < sale.units() {
            reasons.push(Reason::SoldOut);
        }
        if reasons.is_empty() {
            shelf.available -= sale.units();
            shelf.held += sale.units();
            (sale.status, sale.due_ms) = (Held, time + HOLD_TTL_MS);
            let moved = format!("{offer_id} available>held {} {}", sale.units(), shelf.said());
            self.say(key, format!("held {}", key.1));
            self.say(key, moved);
        } else {
            (sale.status, sale.due_ms) = (Refused, time + RETENTION_MS);
            self.say(key, format!("refused {} {}", key.1, Reason::join(&reasons)));
        }
        self.sales.insert(key.clone(), sale);
    }

    fn release(&mut self, key: &Id, now: i64) {
        let sale = self.sales.remove(key).unwrap();
        let listed = self.shelves.get(&id(&key.0, &sale.order.offer_id)).and_then(|s| s.row.as_ref());
        let reasons = match listed {
            None => vec![Reason::UnknownOffer],
            Some(_) if self.beyond_limits(&sale.order, listed) => vec![Reason::CustomerLimitExceeded],
            Some(_) => vec![],
        };
        self.decide(key, sale, reasons, now);
    }

    fn end_review(&mut self, key: &Id, status: OrderStatus, reason: Reason, now: i64) {
        self.say(key, format!("{status} {} {reason}", key.1));
        self.end(key, status, now);
    }

    fn beyond_limits(&self, order: &PlaceOrder, offer: Option<&Offer>) -> bool {
        let theirs = |sale: &&Sale| {
            sale.counts() && sale.order.tenant == order.tenant && sale.order.customer_id == order.customer_id
        };
        let day = |order: &PlaceOrder| order.placed_at_ms / DAY_MS;
        let units = self.sales.values().filter(theirs).filter(|sale| sale.order.offer_id == order.offer_id);
        let spent = self
            .sales
            .values()
            .filter(theirs)
            .filter(|sale| day(&sale.order) == day(order) && sale.order.currency == order.currency);
        let units = units.map(Sale::units).sum::<i64>() + i64::from(order.quantity);
        let spent = spent.map(Sale::amount).sum::<i64>() + i64::from(order.quantity) * order.price_minor;
        offer.and_then(|o| o.max_per_customer).is_some_and(|max| units > i64::from(max))
            || self.limits.get(&id(&order.tenant, &order.customer_id)).is_some_and(|limit| spent > *limit)
    }

    fn settle(&mut self, command: &Command, now: i64) {
        let key = id(command.tenant(), command.subject_id());
        let dead = |why: &str| format!("dead {why} {}", key.1);
        let Some(sale) = self.sales.get_mut(&key).filter(|sale| !sale.forgotten) else {
            return self.say(&key, dead("unknown_order"));
        };
        match (command, sale.status) {
            (Command::PaymentCaptured(p), _) if sale.returned.iter().any(|id| *id == *p.payment_id) => (),
            (Command::PaymentCaptured(p), Held) if p.amount_minor != sale.amount() => {
                self.say(&key, dead("amount_mismatch"));
            }
            (Command::PaymentCaptured(p), Held) => self.confirm(&key, &p.payment_id, now),
            (Command::PaymentCaptured(p), _) if sale.payment == p.payment_id => (),
            (Command::PaymentCaptured(p), _) => {
                sale.returned.push(p.payment_id.to_string());
                self.say(&key, format!("refund_due {} {}", key.1, p.amount_minor));
            }
            (Command::PaymentDeclined(_), Held) => {
                self.end_hold(&key, Cancelled, Reason::PaymentDeclined, now);
            }
            (Command::CancelOrder(_), Held) => self.end_hold(&key, Cancelled, Reason::CancelRequested, now),
            (Command::CancelOrder(_), InReview) => {
                self.end_review(&key, Cancelled, Reason::CancelRequested, now);
            }
            (Command::ReviewDecision(review), InReview) => match review.decision {
                ReviewVerdict::Release => self.release(&key, now),
                ReviewVerdict::Refuse => self.end_review(&key, Refused, Reason::ReviewRefused, now),
            },
            (Command::ReviewDecision(_), _) => self.say(&key, dead("not_in_review")),
            (Command::CancelOrder(_), Confirmed) => self.say(&key, dead("cannot_cancel")),
            (Command::RefundOrder(_), Confirmed) => self.refund(&key, now),
            (Command::RefundOrder(_), _) => self.say(&key, dead("cannot_refund")),
            _ => (),
        }
    }

    fn confirm(&mut self, key: &Id, payment: &str, now: i64) {
        self.say(key, format!("confirmed {}", key.1));
        let units = self.end(key, Confirmed, now);
        self.sales.get_mut(key).unwrap().payment = payment.to_owned();
        let (offer, shelf) = self.shelf_of_mut(key);
        shelf.held -= units;
        shelf.sold += units;
        let said = format!("{offer} held>sold {units} {}", shelf.said());
        self.say(key, said);
    }

    fn end_hold(&mut self, key: &Id, status: OrderStatus, reason: Reason, now: i64) {
        self.say(key, format!("{status} {} {reason}", key.1));
        let units = self.end(key, status, now);
        let (offer, shelf) = self.shelf_of_mut(key);
        shelf.held -= units;
        shelf.available += units;
        let said = format!("{offer} held>available {units} {}", shelf.said());
        self.say(key, said);
        self.pay_due(&(key.0.clone(), offer));
    }

    fn refund(&mut self, key: &Id, now: i64) {
        self.say(key, format!("refunded {}", key.1));
        let units = self.end(key, Refunded, now);
        let (offer, shelf) = self.shelf_of_mut(key);
        if shelf.restock {
            shelf.sold -= units;
            shelf.available += units;
            let said = format!("{offer} sold>available {units} {}", shelf.said());
            self.say(key, said);
            self.pay_due(&(key.0.clone(), offer));
        }
    }

    fn end(&mut self, key: &Id, status: OrderStatus, now: i64) -> i64 {
        let sale = self.sales.get_mut(key).unwrap();
        (sale.status, sale.due_ms) = (status, now + RETENTION_MS);
        sale.units()
    }

    fn shelf_of(&self, key: &Id) -> &Shelf {
        &self.shelves[&id(&key.0, &self.sales[key].order.offer_id)]
    }

    fn shelf_of_mut(&mut self, key: &Id) -> (String, &mut Shelf) {
        let offer = self.sales[key].order.offer_id.to_string();
        let shelf = self.shelves.get_mut(&id(&key.0, &offer)).unwrap();
        (offer, shelf)
    }

    fn say(&mut self, key: &Id, said: String) {
        self.said.push((key.0.clone(), said));
    }
}
