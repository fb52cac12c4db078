//! A made-up day of sales as encoded records: four tenants, Zipf-like demand, late payers, some nonsense.
//!
//! Deterministic. 50 orders a second of record time; 85 % are paid half a minute later, the rest expire; 1 % of
//! the commands are said twice, 1 % have a wrong price, 0.5 % name an offer that isn't there.

use runtime::source::Claim;
use runtime::{Class, PartitionId, TopicId};
use schemas::commands::{PaymentCaptured, PlaceOrder};
use schemas::reference::{Change, Offer, OfferKind, OfferStatus, Partner, Standing};
use schemas::{Command, Reference, SchemaIds, Text, encode_command};
use std::collections::VecDeque;

pub const OFFERS: u64 = 1000;
pub const PARTNERS: u64 = 500;
pub const ORDERS: PartitionId = PartitionId { topic: TopicId(3), partition: 0 };
pub const PAYMENTS: PartitionId = PartitionId { topic: TopicId(4), partition: 0 };
pub const OFFER_ROWS: PartitionId = PartitionId { topic: TopicId(0), partition: 0 };
pub const PARTNER_ROWS: PartitionId = PartitionId { topic: TopicId(1), partition: 0 };
/// Record time of the first order.
pub const BEGIN_MS: i64 = 1_760_000_000_000;

/// A record of the log: encoded, as a real one holds it, or a row that is there from the beginning.
#[derive(Clone, Debug)]
pub enum Raw {
    Command(std::sync::Arc<[u8]>),
    Row(Change),
}

/// One record and its place.
pub type Entry = (PartitionId, Claim, Class, Raw);

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x ^ (x >> 33)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Small numbers often, large ones seldom: about Zipf's law with exponent 1.
    fn skewed(&mut self, n: u64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((n as f64).powf(unit) as u64).min(n) - 1
    }
}

fn tenant(offer: u64) -> Text {
    Text::from(["lotto", "rail", "boxes", "shop"][(offer % 4) as usize])
}

fn price(offer: u64) -> i64 {
    100 + (offer * 37 % 9000) as i64
}

/// The rows: offers and partners, as a snapshot read them.
pub fn rows() -> Vec<Entry> {
    let offers = (0..OFFERS).map(|n| {
        let offer = Offer {
            tenant: tenant(n),
            offer_id: Text::from(format!("offer-{n}")),
            kind: OfferKind::Voucher,
            price_minor: price(n),
            currency: "EUR".into(),
            stock_total: 200 + (400_000 / (n + 1)) as i64,
            sale_opens_at_ms: None,
            sale_closes_at_ms: None,
            max_per_order: 10,
            max_per_customer: None,
            draw_id: None,
            restock_on_refund: true,
            status: OfferStatus::Open,
        };
        (OFFER_ROWS, n + 1, Reference::Offer(Box::new(offer)))
    });
    let partners = (0..PARTNERS * 4).map(|n| {
        let partner = Partner {
            tenant: tenant(n),
            partner_id: Text::from(format!("partner-{}", n / 4)),
            status: Standing::Active,
            plan: "standard".into(),
        };
        (PARTNER_ROWS, n + 1, Reference::Partner(Box::new(partner)))
    });
    let entry = |(place, lsn, row)| {
        let change = Change::Upsert { lsn, row };
        (place, Claim::BeforeEverything, Class::Reference, Raw::Row(change))
    };
    offers.chain(partners).map(entry).collect()
}

/// The commands of `orders` orders, by record time.
pub fn commands(orders: u64) -> Vec<Entry> {
    let mut rng = Rng(42);
    let mut unpaid: VecDeque<(i64, Command)> = VecDeque::new();
    let mut entries = Vec::new();
    let mut recent: Option<Command> = None;
    for n in 0..orders {
        let now = BEGIN_MS + n as i64 * 20;
        while unpaid.front().is_some_and(|(due, _)| *due <= now) {
            let (due, payment) = unpaid.pop_front().expect("front was seen");
            entries.push(entry(PAYMENTS, due, &payment));
        }
        let command = match (&recent, rng.below(100)) {
            (Some(again), 0) => again.clone(),
            _ => order(n, orders, now, &mut rng),
        };
        entries.push(entry(ORDERS, now, &command));
        if rng.below(100) < 85 {
            unpaid.push_back((now + 30_000, payment(&command, now + 30_000)));
        }
        recent = Some(command);
    }
    entries
}

fn entry(place: PartitionId, time: i64, command: &Command) -> Entry {
    let mut bytes = Vec::with_capacity(160);
    let ids = SchemaIds::fresh();
    encode_command(command, |record| ids.of(record), &mut bytes);
    (place, Claim::At(time), Class::Command, Raw::Command(bytes.into()))
}

fn order(n: u64, orders: u64, now: i64, rng: &mut Rng) -> Command {
    let offer = rng.skewed(OFFERS);
    let wrong = i64::from(rng.below(100) == 0);
    // The last ones would still be waiting for their offer when the log ends.
    let known = rng.below(200) != 0 || n + 1000 > orders;
    Command::PlaceOrder(Box::new(PlaceOrder {
        command_id: Text::from(format!("command-{n}")),
        tenant: tenant(offer),
        order_id: Text::from(format!("order-{n}")),
        customer_id: Text::from(format!("customer-{}", rng.skewed(100_000))),
        partner_id: Some(Text::from(format!("partner-{}", rng.below(PARTNERS)))),
        offer_id: Text::from(format!("{}-{offer}", if known { "offer" } else { "nothing" })),
        quantity: 1 + rng.below(4) as i32,
        price_minor: price(offer) + wrong,
        currency: "EUR".into(),
        placed_at_ms: now,
        card: Some(Text::from(format!("card-{}", rng.below(200_000)))),
        device: None,
        ip: None,
        numbers: Vec::new(),
        seat: None,
    }))
}

fn payment(order: &Command, at: i64) -> Command {
    let Command::PlaceOrder(order) = order else { unreachable!("orders are paid") };
    Command::PaymentCaptured(Box::new(PaymentCaptured {
        command_id: Text::from(format!("pay-{}-{at}", order.order_id)),
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        payment_id: Text::from(format!("p-{at}")),
        amount_minor: i64::from(order.quantity) * order.price_minor,
        currency: order.currency.clone(),
        captured_at_ms: at,
    }))
}
