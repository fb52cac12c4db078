//! The order book of a tenant: the life of its orders, what its customers may buy, and its stock.
//!
//! ```text
//!                     ┌─ limits ─┐   ┌─ stock (ledger) ─┐
//!   screened order ───┤ exceeded?├───┤ hold             ├──> held ──captured──> confirmed ──refund──> refunded
//!                     └────┬─────┘   └───┬──────────────┘     │ cancel, declined ─> cancelled
//!                       refused      refused (sold out)       │ timer ───────────> expired
//!   offer's row ──> restock, shrink          a month after the end: forgotten
//!
//!   a tenant that bills later: confirmed where others are held
//!   order to be reviewed ──> in review ──released──> limits and stock, as above
//!                                └─ refused, timer ──> refused ; cancel ──> cancelled
//! ```
//!
//! Everything of a tenant is one sequential state machine (records are routed by tenant), so that stock and
//! limits are exact: nothing is ever sold twice or promised beyond what there is.
//!
//! Invariants: after everything, available + held + sold = stock_total for every offer (see [`stock`]); an
//! order counts towards limits exactly while it is held or confirmed; a held order has one hold in the
//! ledger, no other order has any. All are asserted in release builds, and proven anew after a restore.
//!
//! After a crash, orders, offers, counts and the ledger come back from the snapshot, timers from the orders'
//! due times, and the replay does the rest. Rows of stock are told once per epoch; facts tell each movement.

mod accept;
mod directory;
mod limits;
mod order;
mod place;
mod review;
mod settle;
mod stock;
mod tell;
mod tickets;

pub use tickets::ticket_id;

use crate::keys::stage;
use crate::messages::{BookIn, CommandMsg, Output, TableChange};
use crate::settings::Settings;
use crate::ticket::Signer;
use directory::{Directory, Key, Tenant};
use limits::Limits;
use order::Order;
use runtime::{At, Ctx, Envelope, KeyedState, Millis, Operator, Position, Route, State, Timers};
use schemas::facts::Reason;
use schemas::rows::OrderStatus;
use schemas::{Reference, ReferenceKey, Text};
use stock::Stock;
use tell::Teller;

/// Orders kept beyond their retention, because a limit counts them, are looked at again at least this much later.
const RECHECK_MS_MIN: Millis = 24 * 60 * 60 * 1000;

/// Every tenant's book of one worker.
pub struct Book {
    settings: Settings,
    signer: Option<Signer>,
    numbers: Numbers,
    orders: Directory<Order>,
    stock: Stock,
    limits: Limits,
    timers: Timers<Key>,
}

impl Book {
    /// An empty book. Without a ticket key it can sell anything but tickets and seats.
    pub fn new(settings: Settings) -> Self {
        Book {
            signer: settings.ticket_key.secret().map(Signer::new),
            settings,
            numbers: Numbers::new(),
            orders: Directory::new("orders.v2"),
            stock: Stock::new(),
            limits: Limits::new(),
            timers: Timers::default(),
        }
    }

    fn change(&mut self, change: TableChange, tell: &mut Teller) {
        let tenant = Tenant::of(tenant_of(&change.key));
        match (change.row, &change.key) {
            (Some(Reference::Offer(row)), _) => {
                self.stock.upsert(&row, || self.numbers.draw(tenant.home, stock::ACCOUNTS), tell);
            }
            (Some(Reference::Customer(row)), _) => {
                self.limits.upsert(&row, || self.numbers.draw(tenant.home, 1));
            }
            (None, ReferenceKey::Offer { offer_id, .. }) => {
                if let Some(key) = self.stock.find_listed(tenant, offer_id) {
                    self.stock.delete(key, tell);
                }
            }
            (None, ReferenceKey::Customer { customer_id, .. }) => self.limits.delete(tenant, customer_id),
            // Partners, rates, rules: of no concern here.
            _ => (),
        }
    }

    /// An order's time has come: its review or its hold is over, or its retention ends.
    fn due(&mut self, due: Millis, key: Key, ctx: &mut Ctx<Output>) {
        let Some(order) = self.orders.map.get(&key).filter(|order| order.due_ms == due) else {
            return; // the order has moved on, and another timer is set
        };
        if !matches!(order.status, OrderStatus::Held | OrderStatus::InReview) {
            return self.forget(key);
        }
        let in_review = order.status == OrderStatus::InReview;
        let at = At { cause: Position::timer(due, stage::BOOK, key.hash), origin: order.placed };
        let command_id = Text::from(order.command_id());
        let mut tell = Teller::new(at, at, command_id, &self.settings, ctx);
        if in_review {
            self.end_review(key, OrderStatus::Refused, Reason::ReviewTimeout, &mut tell);
        } else {
            self.end_hold(key, OrderStatus::Expired, Reason::HoldExpired, &mut tell);
        }
    }

    /// Forgets an order, unless it is confirmed and its offer's limit goes on counting it.
    fn forget(&mut self, key: Key) {
        let order = self.orders.at(key);
        if order.counts() {
            let offer = self.stock.offers.at(self.stock.offer_of(key, order));
            if offer.listed && offer.max_per_customer.is_some() {
                return self.forget_later(key);
            }
            self.limits.discount(order.tenant_at(key), order, offer);
        }
        if let Some(moved) = self.orders.remove(key) {
            self.timers.set(self.orders.at(moved).due_ms, moved);
        }
    }

    fn forget_later(&mut self, key: Key) {
        let wait = self.settings.order_retention_ms.max(RECHECK_MS_MIN);
        let order = self.orders.at_mut(key);
        order.forgotten = true;
        order.due_ms = later(order.due_ms, wait);
        self.timers.set(order.due_ms, key);
    }

    /// Proves that orders, holds and accounts agree.
    fn audit(&self) {
        self.stock.audit();
        let held = self.orders.map.iter().filter(|(_, order)| order.status == OrderStatus::Held).count();
        assert_eq!(held, self.stock.ledger.pending_len(), "every held order has its hold, and no other has");
    }
}

impl Operator for Book {
    type In = BookIn;
    type Out = Output;

    const NAME: &'static str = "book";

    fn configure(&mut self, settings: &str) {
        let key = self.settings.ticket_key.clone();
        let recorded = Settings::recorded_or_stop(settings).with_ticket_key(key);
        self.settings = recorded.unwrap_or_else(|error| panic!("{error}"));
    }

    fn route(input: &BookIn) -> Route {
        let tenant = match input {
            BookIn::Order { order, .. } => &order.tenant,
            BookIn::Settle(command) => command.command.tenant(),
            BookIn::SettleEarly { command, .. } => command.command.tenant(),
            BookIn::Change(change) => tenant_of(&change.key),
        };
        Route::Key(Tenant::of(tenant).home)
    }

    /// A month's orders and all customers are far more than a cache holds, and every message is about others:
    /// reads that need nothing of each other wait together.
    fn foresee(&mut self, coming: &[Envelope<BookIn>]) {
        let settled = |CommandMsg { command, .. }: &CommandMsg| {
            self.orders.glance(Tenant::of(command.tenant()), command.subject_id())
        };
        let glance = |message: &Envelope<BookIn>| match &message.body {
            BookIn::Order { order, .. } => {
                let tenant = Tenant::of(&order.tenant);
                let of_customer = self.limits.glance(tenant, &order.customer_id);
                self.orders.glance(tenant, &order.order_id) ^ of_customer
            }
            BookIn::Settle(command) => settled(command),
            BookIn::SettleEarly { command, .. } => settled(command),
            BookIn::Change(_) => 0,
        };
        std::hint::black_box(coming.iter().map(glance).fold(0, std::ops::BitXor::bitxor));
    }

    fn on_record(&mut self, at: At, input: BookIn, ctx: &mut Ctx<Output>) {
        match input {
            BookIn::Order { order, reasons, screening } => {
                let mut tell = Teller::new(at, at, order.command_id.clone(), &self.settings, ctx);
                self.place(at, &order, &reasons, screening, &mut tell);
            }
            BookIn::Settle(command) => self.settle(at, at, command, ctx),
            BookIn::SettleEarly { command, origin } => {
                self.settle(at, At { origin, ..at }, *command, ctx);
            }
            BookIn::Change(change) => {
                let mut tell = Teller::new(at, at, Text::default(), &self.settings, ctx);
                self.change(*change, &mut tell);
            }
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.timers.next()
    }

    fn on_timer(&mut self, due: Millis, ctx: &mut Ctx<Output>) {
        for key in self.timers.take(due) {
            self.due(due, key, ctx);
        }
    }

    fn on_epoch_end(&mut self, ctx: &mut Ctx<Output>) {
        self.stock.tell_rows(ctx);
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        let mut states: Vec<&mut dyn State> = vec![&mut self.orders.map, &mut self.numbers.0];
        states.push(&mut self.stock.offers.map);
        states.extend(self.stock.ledger.states());
        states.extend(self.limits.states());
        states
    }

    fn on_restored(&mut self) {
        self.audit();
        for (key, order) in self.orders.map.iter() {
            self.timers.set(order.due_ms, *key);
        }
    }
}

/// Numbers for accounts, holds and customers, counted per home: two tenants that share a hash share the
/// count, so no number is ever drawn twice.
struct Numbers(KeyedState<u64, u64>);

impl Numbers {
    fn new() -> Self {
        Numbers(KeyedState::new("numbers.v1", |home| runtime::slot_of(*home)))
    }

    /// The first of `count` consecutive numbers, from 1.
    fn draw(&mut self, home: u64, count: u64) -> u64 {
        let next = self.0.get_or_insert_with(&home, || 1);
        let first = *next;
        *next += count;
        first
    }
}

fn tenant_of(key: &ReferenceKey) -> &Text {
    key.parts().0
}

/// A deadline: a time that can't be said never comes.
fn later(time: Millis, wait: Millis) -> Millis {
    time.saturating_add(wait)
}
