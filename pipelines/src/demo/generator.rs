//! The demo's traffic as a pure iterator of timed records: the same options give the same bytes.
//!
//! ```text
//!   reference rows (snapshot reads) ─> orders, evenly paced ─┬─> follow-ups by time (payments, cancels, …)
//!                                                            └─> now and then a restock, a shrink, a price, a draw, garbage
//! ```
//!
//! The generator keeps a rough count of each offer's stock, so that its customers don't pay for what is
//! sold out, as real ones wouldn't. It reads no clock and knows nothing of the pipeline's answers.

use super::draws;
use super::fate::Fate;
use super::random::{Dice, Zipf};
use super::record::{Body, Timed};
use super::reference::Changes;
use super::world::{self, Business};
use compact_str::{CompactString as Text, format_compact};
use schemas::Command;
use schemas::commands::{CancelOrder, PaymentCaptured, PaymentDeclined, PlaceOrder, RefundOrder};
use schemas::reference::OfferKind;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Orders between two changes of an offer while the stream runs.
const CHANGE_EVERY: u64 = 5_000;
/// Orders between two records of garbage.
const GARBAGE_EVERY: u64 = 20_000;
/// Orders the stock is made for where the stream has no end.
const ENDLESS_STOCKED_FOR: u64 = 100_000;

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub seed: u64,
    /// The moment the first record speaks of, UTC milliseconds.
    pub start_ms: i64,
    /// How many orders; without end where absent.
    pub orders: Option<u64>,
    /// Orders per second of the stream's own time.
    pub orders_per_s: u64,
    /// Whether draws close and results are reported: only where the job runs that reads them.
    pub draws: bool,
}

impl Options {
    /// Orders between two closings of a lottery's draws.
    fn close_every(&self) -> u64 {
        draws::close_every(self.orders, self.orders_per_s)
    }
}

/// The stream. See the module's picture.
pub struct Generator {
    options: Options,
    dice: Dice,
    /// What is drawn depends on the seed alone.
    drum: Dice,
    demand: Zipf,
    businesses: Vec<Business>,
    /// Units left of each business's offers, roughly.
    left: Vec<Vec<i64>>,
    changes: Changes,
    reference_rows: VecDeque<Timed>,
    /// Follow-ups by time, then in the order in which they were planned.
    pending: BinaryHeap<Reverse<Pending>>,
    planned: u64,
    placed: u64,
}

struct Pending {
    at_ms: i64,
    number: u64,
    body: Body,
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pending {}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.number).cmp(&(other.at_ms, other.number))
    }
}

impl Generator {
    /// A generator at the beginning of its stream.
    pub fn new(options: Options) -> Self {
        let businesses = world::businesses(options.orders.unwrap_or(ENDLESS_STOCKED_FOR));
        let mut changes = Changes::default();
        let closes_at_ms = |number| announced_ms(&options, number);
        let lotteries = businesses.iter().filter(|_| options.draws);
        let first = lotteries.flat_map(|business| draws::first(business, closes_at_ms)).collect();
        Generator {
            dice: Dice::new(options.seed),
            drum: Dice::new(!options.seed),
            demand: Zipf::new(world::OFFERS),
            left: businesses.iter().map(|b| b.offers.iter().map(|o| o.stock_total).collect()).collect(),
            reference_rows: changes.snapshot(&businesses, first, options.start_ms).into(),
            changes,
            businesses,
            pending: BinaryHeap::new(),
            planned: 0,
            placed: 0,
            options,
        }
    }

    fn next_order_ms(&self) -> Option<i64> {
        let at_ms = 1 + self.placed * 1_000 / self.options.orders_per_s;
        let over = self.options.orders.is_some_and(|orders| self.placed >= orders);
        (!over).then_some(self.options.start_ms + at_ms as i64)
    }

    /// An order, its follow-ups planned.
    fn place(&mut self, at_ms: i64) -> Timed {
        let number = self.placed;
        self.placed += 1;
        self.interludes(number, at_ms);
        let business = self.dice.index(self.businesses.len());
        let fate = Fate::draw(&mut self.dice);
        let rank = match fate {
            Fate::Hoarder => 0,
            Fate::ClosedOffer => world::OFFERS,
            _ => self.demand.draw(&mut self.dice),
        };
        let mut order = self.order(number, business, rank, at_ms);
        self.spoil(&mut order, fate, business);
        if !fate.is_refusal() && self.take(business, rank, order.quantity) {
            self.follow(&order, fate);
        }
        self.repeat(&order, fate);
        Timed { at_ms, body: Body::Command(Command::PlaceOrder(Box::new(order))) }
    }

    /// A good order.
    fn order(&mut self, number: u64, business: usize, rank: usize, at_ms: i64) -> PlaceOrder {
        let dice = &mut self.dice;
        let Business { tenant, prefix, kind, currency, customers_required, offers } =
            &self.businesses[business];
        let customer = loop {
            let number = dice.index(if *customers_required { world::CUSTOMERS } else { 200_000 });
            if !(*customers_required && world::is_blocked(number)) {
                break number;
            }
        };
        let partner = (dice.below(3) == 0).then(|| world::partner_id(dice.index(world::PARTNERS - 1)));
        PlaceOrder {
            command_id: format_compact!("{prefix}{number}-place"),
            tenant: tenant.clone(),
            order_id: format_compact!("{prefix}{number}"),
            customer_id: world::customer_id(customer),
            partner_id: partner,
            offer_id: offers[rank].offer_id.clone(),
            quantity: [1, 1, 1, 1, 2, 2, 2, 3][dice.index(8)],
            price_minor: offers[rank].price_minor,
            currency: currency.clone(),
            placed_at_ms: at_ms,
            card: Some(format_compact!("card-{customer}")),
            device: None,
            ip: None,
            numbers: if *kind == OfferKind::Ticket { draws::six_of_49(dice) } else { Vec::new() },
            seat: None,
        }
    }

    /// Makes the order what its fate says.
    fn spoil(&mut self, order: &mut PlaceOrder, fate: Fate, business: usize) {
        match fate {
            Fate::WrongPrice => order.price_minor -= 1 + self.dice.below(100) as i64,
            Fate::UnknownOffer => order.offer_id = format_compact!("gone-{}", self.dice.below(100)),
            Fate::UnknownPartner => order.partner_id = Some("partner-nobody-knows".into()),
            Fate::UnknownCustomer => {
                order.customer_id = format_compact!("stranger{}", self.dice.below(1_000))
            }
            Fate::BlockedCustomer if self.businesses[business].customers_required => {
                let nth = self.dice.index(world::CUSTOMERS / world::BLOCKED_EVERY) + 1;
                order.customer_id = world::customer_id(nth * world::BLOCKED_EVERY - 1);
            }
            Fate::SuspendedPartner => order.partner_id = Some(world::partner_id(world::PARTNERS - 1)),
            Fate::TooMany => order.quantity = 5 + self.dice.below(20) as i32,
            Fate::OtherCurrency => order.currency = "XAU".into(),
            Fate::Hoarder if !self.businesses[business].customers_required => {
                order.customer_id = format_compact!("hoarder{}", self.dice.below(3));
            }
            _ => {}
        }
    }

    /// Takes units from the rough count; whether there were enough.
    fn take(&mut self, business: usize, rank: usize, quantity: i32) -> bool {
        let left = &mut self.left[business][rank];
        let enough = *left >= i64::from(quantity);
        if enough {
            *left -= i64::from(quantity);
        }
        enough
    }

    /// Plans what the customer and the gateway do after a held order.
    fn follow(&mut self, order: &PlaceOrder, fate: Fate) {
        let at_ms = order.placed_at_ms + 200 + self.dice.below(1_300) as i64;
        match fate {
            Fate::NeverPaid => {}
            Fate::Declined => self.plan(at_ms, declined(order, at_ms)),
            Fate::Cancelled => self.plan(at_ms, cancel(order, at_ms)),
            Fate::PaidLate => self.plan(at_ms + 6_000, captured(order, at_ms + 6_000)),
            Fate::Refunded => {
                self.plan(at_ms, captured(order, at_ms));
                let refund_ms = at_ms + 3_000 + self.dice.below(2_000) as i64;
                self.plan(refund_ms, refund(order, refund_ms));
            }
            _ => self.plan(at_ms, captured(order, at_ms)),
        }
    }

    /// Plans what a careless producer sends again.
    fn repeat(&mut self, order: &PlaceOrder, fate: Fate) {
        let mut again = order.clone();
        match fate {
            Fate::SentTwice => {}
            Fate::Conflict => again.quantity = order.quantity % 4 + 1,
            Fate::OrderIdTwice => again.command_id = format_compact!("{}-again", order.command_id),
            _ => return,
        }
        let at_ms = order.placed_at_ms + 20 + self.dice.below(2_000) as i64;
        self.plan(at_ms, Command::PlaceOrder(Box::new(again)));
    }

    /// Now and then: a change of an offer, a record of garbage.
    fn interludes(&mut self, number: u64, at_ms: i64) {
        if number % CHANGE_EVERY == CHANGE_EVERY - 1 {
            let (business, rank) =
                (self.dice.index(self.businesses.len()), self.dice.index(world::OFFERS / 4));
            let offer = &mut self.businesses[business].offers[rank];
            let before = offer.clone();
            match self.dice.below(3) {
                0 => offer.stock_total += 200,
                1 => offer.stock_total -= offer.stock_total.min(50),
                _ => offer.price_minor += 10,
            }
            self.left[business][rank] += offer.stock_total - before.stock_total;
            let body = self.changes.update(&before, offer);
            self.plan_body(at_ms, body);
        }
        let every = self.options.close_every();
        if self.options.draws && number % every == every - 1 {
            self.close_draws(number / every, at_ms);
        }
        if number % GARBAGE_EVERY == GARBAGE_EVERY - 1 {
            let bytes = format!("not a record at all, said producer {number}").into_bytes();
            self.plan_body(at_ms, Body::Garbage(bytes));
        }
    }

    /// A draw of each lottery closes: its offers are for another one from now on, its result is planned.
    fn close_draws(&mut self, number: u64, at_ms: i64) {
        let next = number + draws::AT_A_TIME;
        for lottery in 0..self.businesses.len() {
            let business = &mut self.businesses[lottery];
            if business.kind != OfferKind::Ticket {
                continue;
            }
            let announced = draws::draw(business, next, announced_ms(&self.options, next));
            let mut bodies = vec![self.changes.announce(announced)];
            let closed = Some(draws::draw_id(number));
            for offer in business.offers.iter_mut().filter(|offer| offer.draw_id == closed) {
                let before = offer.clone();
                offer.draw_id = Some(draws::draw_id(next));
                bodies.push(self.changes.update(&before, offer));
            }
            let open = draws::draw(business, number, announced_ms(&self.options, number));
            bodies.push(self.changes.close(open));
            let closed = draws::draw(business, number, closes_at_ms(&self.options, number));
            bodies.into_iter().for_each(|body| self.plan_body(at_ms, body));
            for (at_ms, command) in draws::results(&closed, number, &mut self.drum) {
                self.plan(at_ms, command);
            }
        }
    }

    fn plan(&mut self, at_ms: i64, command: Command) {
        self.plan_body(at_ms, Body::Command(command));
    }

    fn plan_body(&mut self, at_ms: i64, body: Body) {
        self.planned += 1;
        self.pending.push(Reverse(Pending { at_ms, number: self.planned, body }));
    }
}

impl Iterator for Generator {
    type Item = Timed;

    fn next(&mut self) -> Option<Timed> {
        if let Some(row) = self.reference_rows.pop_front() {
            return Some(row);
        }
        let order_ms = self.next_order_ms();
        let due = self.pending.peek().is_some_and(|Reverse(p)| order_ms.is_none_or(|ms| p.at_ms <= ms));
        if due {
            return self.pending.pop().map(|Reverse(p)| Timed { at_ms: p.at_ms, body: p.body });
        }
        order_ms.map(|ms| self.place(ms))
    }
}

/// When a lottery's `number`-th draw closes.
fn closes_at_ms(options: &Options, number: u64) -> i64 {
    options.start_ms + ((number + 1) * options.close_every() * 1_000 / options.orders_per_s) as i64
}

/// When it is announced to close: not before the clock gets there, which the stream's time may be ahead of or behind.
fn announced_ms(options: &Options, number: u64) -> i64 {
    closes_at_ms(options, number) + 86_400_000
}

fn id(order: &PlaceOrder, what: &str) -> Text {
    format_compact!("{}-{what}", order.order_id)
}

fn captured(order: &PlaceOrder, at_ms: i64) -> Command {
    Command::PaymentCaptured(Box::new(PaymentCaptured {
        command_id: id(order, "captured"),
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        payment_id: id(order, "payment"),
        amount_minor: order.price_minor * i64::from(order.quantity),
        currency: order.currency.clone(),
        captured_at_ms: at_ms,
    }))
}

fn declined(order: &PlaceOrder, at_ms: i64) -> Command {
    Command::PaymentDeclined(Box::new(PaymentDeclined {
        command_id: id(order, "declined"),
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        payment_id: id(order, "payment"),
        reason: Some("insufficient funds".into()),
        declined_at_ms: at_ms,
    }))
}

fn cancel(order: &PlaceOrder, at_ms: i64) -> Command {
    Command::CancelOrder(Box::new(CancelOrder {
        command_id: id(order, "cancel"),
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        reason: Some("changed my mind".into()),
        requested_at_ms: at_ms,
    }))
}

fn refund(order: &PlaceOrder, at_ms: i64) -> Command {
    Command::RefundOrder(Box::new(RefundOrder {
        command_id: id(order, "refund"),
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        reason: None,
        requested_at_ms: at_ms,
    }))
}
