//! How fast the ledger and the book are, alone: `cargo run --release -p tombola-operators --example book_speed [ORDERS]`.
//!
//! CPU time, so that a busy machine doesn't matter (Linux only). Nanoseconds per transfer; per order placed and captured, with its facts and rows; per order of a restore.

use operators::book::Book;
use operators::ledger::{AccountId, Ledger, Overdraft, PendingId, Transfer, Unit};
use operators::messages::{BookIn, CommandMsg, Output, TableChange};
use operators::settings::Settings;
use runtime::{At, Class, Ctx, Entries, Envelope, Epoch, Offset, Operator, PartitionId, Position, TopicId};
use schemas::commands::{PaymentCaptured, PlaceOrder};
use schemas::reference::{Offer, OfferKind, OfferStatus};
use schemas::{Command, Reference};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc; // as the pipeline has it

const OFFERS: usize = 1_000;
const TENANTS: usize = 4;

fn main() {
    let orders = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    ledger(orders);
    book(orders);
}

/// Nanoseconds this process has been on a CPU; zero where the system doesn't tell.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn report(what: &str, started: u64, count: usize) {
    let ns = (cpu_ns() - started) / count as u64;
    println!("{what:<40} {ns:>6} ns");
}

/// A hold and its post, over accounts of many offers.
fn ledger(transfers: usize) {
    let mut ledger = Ledger::new();
    let id = |number: usize| AccountId { home: 1, number: number as u64 };
    for number in 0..OFFERS * 2 {
        let unit = Unit::Stock(number as u64 / 2);
        ledger.open(id(number), unit, Overdraft::Allowed).expect("numbers are new");
    }
    let hold_id = |n: usize| PendingId { home: 1, number: n as u64 };
    let started = cpu_ns();
    for n in 0..transfers {
        let offer = n * 7919 % OFFERS * 2;
        let hold = Transfer::Hold { id: hold_id(n), debit: id(offer), credit: id(offer + 1), amount: 2 };
        ledger.apply(&hold).expect("enough");
        if let Some(before) = n.checked_sub(1000) {
            ledger.apply(&Transfer::Post { id: hold_id(before), amount: 2 }).expect("held");
        }
    }
    report("ledger: a transfer", started, transfers * 2);
}

fn at(n: usize) -> At {
    let partition = PartitionId { topic: TopicId(0), partition: 0 };
    At::record(Position::record(1 + n as i64 / 100, Class::Command, partition, Offset(n as u64)))
}

/// Handles inputs as the runtime would, a thousand to an epoch; what they led to is dropped.
fn handle(book: &mut Book, inputs: Vec<BookIn>) -> usize {
    let mut out: Vec<Envelope<Output>> = Vec::with_capacity(10_000);
    let mut said = 0;
    for (n, input) in inputs.into_iter().enumerate() {
        let at = at(n);
        let mut ctx = Ctx::new(Epoch(1), at.time(), &mut out);
        book.on_record(at, input, &mut ctx);
        if n % 1000 == 999 {
            book.on_epoch_end(&mut ctx);
            said += out.len();
            out.clear();
        }
    }
    said + out.len()
}

fn book(orders: usize) {
    let settings = || Settings { topics: vec!["commands.orders".to_owned()], ..Settings::default() };
    let mut book = Book::new(settings());
    handle(&mut book, (0..OFFERS * TENANTS).map(offer).collect());
    let inputs: Vec<BookIn> = (0..orders).map(order).collect();
    let started = cpu_ns();
    let mut said = handle(&mut book, inputs);
    report("book: an order", started, orders);
    let inputs: Vec<BookIn> = (0..orders).map(capture).collect();
    let started = cpu_ns();
    said += handle(&mut book, inputs);
    report("book: a capture", started, orders);
    println!("{:<40} {:>6.1}", "facts and rows per order", said as f64 / orders as f64);
    restore(&mut book, settings(), orders);
}

fn restore(book: &mut Book, settings: Settings, orders: usize) {
    let started = cpu_ns();
    let dumped: Vec<Vec<_>> = book
        .states()
        .into_iter()
        .map(|state| {
            let mut entries = Entries::default();
            state.freeze();
            while !state.write_slice(1024, &mut entries) {}
            entries.unpack().expect("just written")
        })
        .collect();
    report("snapshot: an order", started, orders);
    let bytes: usize =
        dumped.iter().flatten().map(|e| e.key.len() + e.value.as_ref().map_or(0, Vec::len)).sum();
    println!("{:<40} {:>6}", "snapshot bytes per order", bytes / orders);
    let mut fresh = Book::new(settings);
    let started = cpu_ns();
    for (state, entries) in fresh.states().into_iter().zip(&dumped) {
        entries.iter().for_each(|entry| state.load(entry).expect("just written"));
    }
    fresh.on_restored();
    report("restore: an order", started, orders);
}

fn tenant(n: usize) -> schemas::Text {
    format!("tenant-{}", n % TENANTS).into()
}

fn offer(n: usize) -> BookIn {
    let row = Reference::Offer(Box::new(Offer {
        tenant: tenant(n),
        offer_id: format!("offer-{}", n / TENANTS).into(),
        kind: OfferKind::Voucher,
        price_minor: 100,
        currency: "EUR".into(),
        stock_total: 1_000_000_000,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 10,
        max_per_customer: None,
        draw_id: None,
        restock_on_refund: true,
        status: OfferStatus::Open,
    }));
    BookIn::Change(Box::new(TableChange { key: row.key(), row: Some(row) }))
}

fn order(n: usize) -> BookIn {
    let order = PlaceOrder {
        command_id: format!("0190b8a2-7c1e-7d3a-9f00-{n:012}").into(),
        tenant: tenant(n),
        order_id: format!("order-{n:012}").into(),
        customer_id: format!("customer-{}", n * 31 % 200_000).into(),
        partner_id: Some("partner-1".into()),
        offer_id: format!("offer-{}", n * 7919 % OFFERS).into(),
        quantity: 2,
        price_minor: 100,
        currency: "EUR".into(),
        placed_at_ms: 1,
        card: Some("fp_1234567890".into()),
        device: None,
        ip: None,
        numbers: Vec::new(),
        seat: None,
    };
    BookIn::Order { order: Box::new(order), reasons: Vec::new(), screening: None }
}

fn capture(n: usize) -> BookIn {
    let command = Command::PaymentCaptured(Box::new(PaymentCaptured {
        command_id: format!("0190b8a2-7c1e-7d3a-9f01-{n:012}").into(),
        tenant: tenant(n),
        order_id: format!("order-{n:012}").into(),
        payment_id: format!("pay-{n:012}").into(),
        amount_minor: 200,
        currency: "EUR".into(),
        captured_at_ms: 2,
    }));
    BookIn::Settle(CommandMsg { command, payload_hash: 0, raw: None, retry_of: None })
}
