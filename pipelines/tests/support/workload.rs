//! A log full of trouble, from a seed: little stock, holds that expire, payments that come late or early,
//! orders before their offers, duplicates, conflicts, restocks, shrinks, refunds, rates that change in
//! hindsight, a month that is closed, and bytes that mean nothing.
//!
//! Several records often share a millisecond, several partitions a topic, so that ties and alignment matter.
//! The stream ends in the middle of things: with holds, graces and timers pending.

use connectors::embedded::{Log, NewRecord};
use pipelines::demo::random::Dice;
use pipelines::demo::record::Body;
use schemas::commands::{CancelOrder, PaymentCaptured, PaymentDeclined, PlaceOrder, RefundOrder};
use schemas::debezium::Op;
use schemas::reference::{
    CommissionPeriod, CommissionRate, Customer, Offer, OfferKind, OfferStatus, Partner, PeriodStatus,
    Standing,
};
use schemas::{Command, Reference, SchemaIds, Text};
use std::collections::BTreeMap;
use std::path::Path;

/// The moment the first record speaks of.
pub const START_MS: i64 = 1_700_000_000_000;
/// What [`super::RULES`] say: short enough to run out within the log.
pub const HOLD_TTL_MS: i64 = 6_000;
pub const GRACE_MS: i64 = 1_500;
const TENANTS: usize = 3;
const OFFERS: usize = 6;
const CUSTOMERS: u64 = 120;
const PARTITIONS: u32 = 3;

/// A record and its place in time.
#[derive(Clone, Debug)]
pub struct Timed {
    pub at_ms: i64,
    pub body: Body,
}

struct Plan {
    dice: Dice,
    lsn: u64,
    offers: Vec<Offer>,
    records: Vec<Timed>,
}

/// The records of a seed, in the order of their time; `orders` are placed, two to three records each.
pub fn records(seed: u64, orders: u64) -> Vec<Timed> {
    let mut plan = Plan { dice: Dice::new(seed), lsn: 0, offers: Vec::new(), records: Vec::new() };
    plan.reference_rows();
    let mut at_ms = START_MS + 1;
    for number in 0..orders {
        plan.order(number, at_ms);
        plan.interlude(number, at_ms);
        plan.customer(number, at_ms);
        // Half of all orders share their millisecond with the one before.
        at_ms += [0, 0, 0, 7, 20, 60][plan.dice.index(6)];
    }
    let mut records = plan.records;
    records.sort_by_key(|record| record.at_ms);
    records
}

impl Plan {
    fn say(&mut self, at_ms: i64, body: Body) {
        self.records.push(Timed { at_ms, body });
    }

    fn change(&mut self, at_ms: i64, op: Op, before: Option<&Offer>, after: Reference) {
        self.lsn += 8;
        let before = before.map(|offer| Box::new(Reference::Offer(Box::new(offer.clone()))));
        self.say(at_ms, Body::Change { op, before, after: Box::new(after), lsn: self.lsn });
    }

    fn reference_rows(&mut self) {
        for tenant in 0..TENANTS {
            for rank in 0..OFFERS {
                let offer = offer(tenant, &format!("offer-{rank}"), 3 + rank as i64 * 7);
                self.change(START_MS, Op::Read, None, Reference::Offer(Box::new(offer.clone())));
                self.offers.push(offer);
            }
            let partner = |id: &str, status| Partner {
                tenant: tenant_id(tenant),
                partner_id: id.into(),
                status,
                plan: "standard".into(),
            };
            for floor in [0, 20_000] {
                self.change(START_MS, Op::Read, None, rate(tenant, floor, 500));
            }
            for partner in [partner("good", Standing::Active), partner("bad", Standing::Suspended)] {
                self.change(START_MS, Op::Read, None, Reference::Partner(Box::new(partner)));
            }
        }
    }

    /// Customers of the first tenant register one by one: those of early orders come late.
    fn customer(&mut self, number: u64, at_ms: i64) {
        if number < CUSTOMERS {
            let customer = Customer {
                tenant: tenant_id(0),
                customer_id: format!("customer-{number}").into(),
                status: Standing::Active,
                daily_spend_limit_minor: None,
            };
            self.change(at_ms, Op::Create, None, Reference::Customer(Box::new(customer)));
        }
    }

    fn order(&mut self, number: u64, at_ms: i64) {
        let offer = self.offers[self.dice.index(self.offers.len())].clone();
        let partner = [None, Some("good"), Some("good"), Some("bad"), Some("nobody")][self.dice.index(5)];
        let mut order = PlaceOrder {
            command_id: format!("place-{number}").into(),
            tenant: offer.tenant.clone(),
            order_id: format!("order-{number}").into(),
            customer_id: format!("customer-{}", self.dice.below(CUSTOMERS)).into(),
            partner_id: partner.map(Text::from),
            offer_id: offer.offer_id.clone(),
            quantity: 1 + self.dice.below(3) as i32,
            price_minor: offer.price_minor,
            currency: offer.currency.clone(),
            placed_at_ms: at_ms,
            card: None,
            device: None,
            ip: None,
            numbers: Vec::new(),
            seat: None,
        };
        match self.dice.below(20) {
            0 => order.price_minor += 1,
            1 => order.quantity = 50,
            2 => order.offer_id = format!("nowhere-{}", self.dice.below(9)).into(),
            3 | 4 => self.offer_comes_late(number, &mut order),
            _ => {}
        }
        self.say(at_ms, Body::Command(Command::PlaceOrder(Box::new(order.clone()))));
        self.again(&order);
        self.settle(&order);
    }

    /// The offer's row comes within the grace, or after it.
    fn offer_comes_late(&mut self, number: u64, order: &mut PlaceOrder) {
        let late = offer(tenant_number(&order.tenant), &format!("late-{number}"), 4);
        order.offer_id = late.offer_id.clone();
        order.price_minor = late.price_minor;
        let at_ms = order.placed_at_ms + 1 + self.dice.below(2 * GRACE_MS as u64) as i64;
        self.change(at_ms, Op::Create, None, Reference::Offer(Box::new(late)));
    }

    /// What careless producers send once more.
    fn again(&mut self, order: &PlaceOrder) {
        let mut again = order.clone();
        match self.dice.below(12) {
            0 => {}
            1 => again.quantity += 1,
            2 => again.command_id = format!("{}-other", order.command_id).into(),
            _ => return,
        }
        let at_ms = order.placed_at_ms + self.dice.below(3_000) as i64;
        self.say(at_ms, Body::Command(Command::PlaceOrder(Box::new(again))));
    }

    fn settle(&mut self, order: &PlaceOrder) {
        let soon_ms = order.placed_at_ms + self.dice.below(2_000) as i64;
        match self.dice.below(16) {
            0..=5 => self.say(soon_ms, captured(order, soon_ms)),
            6 => self.say(soon_ms, declined(order, soon_ms)),
            7 => self.say(soon_ms, cancel(order, soon_ms)),
            // Paid after its hold ran out.
            8 => {
                let late_ms = order.placed_at_ms + HOLD_TTL_MS + self.dice.below(500) as i64;
                self.say(late_ms, captured(order, late_ms));
            }
            9 | 10 => {
                let refund_ms = soon_ms + self.dice.below(4_000) as i64;
                self.say(soon_ms, captured(order, soon_ms));
                self.say(refund_ms, refund(order, refund_ms));
            }
            // The payment or the cancel overtakes its order, some by more than the grace.
            11 | 12 => {
                let early_ms =
                    (order.placed_at_ms - 1 - self.dice.below(2 * GRACE_MS as u64) as i64).max(START_MS + 1);
                let body =
                    if self.dice.below(2) == 0 { captured(order, early_ms) } else { cancel(order, early_ms) };
                self.say(early_ms, body);
            }
            _ => {}
        }
    }

    /// Now and then: a restock, a shrink, bytes that mean nothing.
    fn interlude(&mut self, number: u64, at_ms: i64) {
        if number.is_multiple_of(11) {
            let picked = self.dice.index(self.offers.len());
            let before = self.offers[picked].clone();
            let after = &mut self.offers[picked];
            after.stock_total = match self.dice.below(3) {
                0 => after.stock_total / 2,
                _ => after.stock_total + self.dice.below(12) as i64,
            };
            let after = Reference::Offer(Box::new(after.clone()));
            self.change(at_ms, Op::Update, Some(&before), after);
        }
        if number.is_multiple_of(37) {
            let rate_bps = 100 + self.dice.below(900) as i32;
            let (tenant, floor) = (self.dice.index(TENANTS), [0, 20_000][self.dice.index(2)]);
            self.change(at_ms, Op::Update, None, rate(tenant, floor, rate_bps));
        }
        if number == 150 {
            let (tenant, month, status) = (tenant_id(1), "2023-11".into(), PeriodStatus::Closed);
            let closed = CommissionPeriod { tenant, month, status };
            self.change(at_ms, Op::Create, None, Reference::CommissionPeriod(Box::new(closed)));
        }
        if number.is_multiple_of(29) {
            self.say(at_ms, Body::Garbage(format!("no record at all, number {number}").into_bytes()));
        }
    }
}

fn tenant_id(tenant: usize) -> Text {
    format!("tenant-{tenant}").into()
}

/// A tier of the one plan, for the month the workload lies in.
fn rate(tenant: usize, tier_floor_minor: i64, rate_bps: i32) -> Reference {
    Reference::CommissionRate(Box::new(CommissionRate {
        tenant: tenant_id(tenant),
        plan: "standard".into(),
        offer_kind: kind(tenant),
        currency: "EUR".into(),
        tier_floor_minor,
        rate_bps,
        valid_from: "2023-11-01".into(),
    }))
}

fn kind(tenant: usize) -> OfferKind {
    if tenant == 0 { OfferKind::Ticket } else { OfferKind::Voucher }
}

fn tenant_number(tenant: &str) -> usize {
    tenant.trim_start_matches("tenant-").parse().expect("tenants are numbered")
}

fn offer(tenant: usize, id: &str, stock_total: i64) -> Offer {
    Offer {
        tenant: tenant_id(tenant),
        offer_id: id.into(),
        kind: kind(tenant),
        price_minor: 500 + stock_total,
        currency: "EUR".into(),
        stock_total,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 4,
        max_per_customer: (tenant == 1).then_some(6),
        draw_id: None,
        restock_on_refund: tenant != 2,
        status: OfferStatus::Open,
    }
}

fn id(order: &PlaceOrder, what: &str) -> Text {
    format!("{}-{what}", order.order_id).into()
}

fn captured(order: &PlaceOrder, at_ms: i64) -> Body {
    Body::Command(Command::PaymentCaptured(Box::new(PaymentCaptured {
        command_id: id(order, "captured"),
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        payment_id: id(order, "payment"),
        amount_minor: order.price_minor * i64::from(order.quantity),
        currency: order.currency.clone(),
        captured_at_ms: at_ms,
    })))
}

fn declined(order: &PlaceOrder, at_ms: i64) -> Body {
    Body::Command(Command::PaymentDeclined(Box::new(PaymentDeclined {
        command_id: id(order, "declined"),
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        payment_id: id(order, "payment"),
        reason: None,
        declined_at_ms: at_ms,
    })))
}

fn cancel(order: &PlaceOrder, at_ms: i64) -> Body {
    Body::Command(Command::CancelOrder(Box::new(CancelOrder {
        command_id: id(order, "cancel"),
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        reason: None,
        requested_at_ms: at_ms,
    })))
}

fn refund(order: &PlaceOrder, at_ms: i64) -> Body {
    Body::Command(Command::RefundOrder(Box::new(RefundOrder {
        command_id: id(order, "refund"),
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        reason: None,
        requested_at_ms: at_ms,
    })))
}

/// Makes the topics in `dir`, with several partitions each.
pub fn prepare(dir: &Path) -> SchemaIds {
    pipelines::intake::prepare(dir, PARTITIONS).expect("a fresh directory can be prepared")
}

/// Appends records, each at the time it speaks of moved by `shift_ms`, topic by topic in batches.
pub fn append(dir: &Path, ids: &SchemaIds, records: &[Timed], shift_ms: i64) {
    let mut appender = Log::appender(dir).expect("the log can be opened");
    let mut topics: BTreeMap<&str, Vec<NewRecord>> = BTreeMap::new();
    for record in records {
        let encoded = record.body.encode(ids, record.at_ms + shift_ms);
        topics.entry(record.body.topic()).or_default().push(encoded);
    }
    for (topic, records) in topics {
        for batch in records.chunks(97) {
            appender.append(topic, batch).expect("the log can be appended to");
        }
    }
}

/// The commands of a topic as `tombola produce` takes them, in the order of their time.
pub fn ndjson(records: &[Timed], topic: &str) -> String {
    let line = |record: &Timed| match &record.body {
        Body::Command(command) if record.body.topic() == topic => Some(schemas::to_line(command) + "\n"),
        _ => None,
    };
    records.iter().filter_map(line).collect()
}
