//! The book against a plain sequential program, under random commands, epoch cuts, crashes and worker counts.
//!
//! After every epoch: the facts are the program's, tenant by tenant and in its order; the rows told so far
//! are its shelves and orders; available + held + sold = stock_total, and nothing is negative.
#![allow(clippy::unwrap_used)] // a test may

#[path = "support/reference.rs"]
mod reference;
mod support;

use operators::book::Book;
use operators::harness::Harness;
use operators::messages::{BookIn, Output};
use proptest::prelude::*;
use reference::Program;
use runtime::Envelope;
use schemas::Fact;
use schemas::commands::ReviewVerdict;
use schemas::facts::Reason;
use schemas::velocity::FraudAction;
use std::collections::BTreeMap;
use support::*;

/// One random step; what it doesn't need of itself it ignores.
#[derive(Clone, Debug)]
struct Step {
    wait_ms: i64,
    what: u8,
    tenant: u8,
    order: u8,
    offer: u8,
    customer: u8,
    number: i64,
    flag: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![
        4 => Just(0i64),
        6 => 1i64..80,
        2 => 300i64..1_200,
        2 => HOLD_TTL_MS - 1..=HOLD_TTL_MS,
        1 => 40_000i64..120_000,
    ];
    let who = (0u8..2, 0u8..6, 0u8..2, 0u8..3);
    (wait, 0u8..27, who, 0i64..7, any::<bool>()).prop_map(
        |(wait_ms, what, (tenant, order, offer, customer), number, flag)| Step {
            wait_ms,
            what,
            tenant,
            order,
            offer,
            customer,
            number,
            flag,
        },
    )
}

impl Step {
    /// `placed`: the orders placed so far. Settles speak of the last few, and so do orders that come twice.
    fn input(&self, placed: &mut Vec<(String, String)>) -> BookIn {
        let recent = placed.iter().rev().nth(self.order.into()).cloned();
        if self.what < 13 || recent.is_none() {
            let tenant = format!("tenant-{}", self.tenant);
            let order = format!("{tenant}:o{}", placed.len());
            if self.what >= 5 {
                placed.push((tenant.clone(), order.clone()));
            }
            return self.change_or_order(&tenant, &order);
        }
        let (tenant, order) = recent.unwrap();
        match self.what {
            13 => self.change_or_order(&tenant, &order),
            14..=18 => {
                let payment = format!("p{}", u8::from(self.flag));
                BookIn::Settle(capture(&tenant, &order, &payment, self.paid(), "EUR"))
            }
            19 => BookIn::Settle(decline(&tenant, &order)),
            20 => BookIn::Settle(cancel(&tenant, &order)),
            24.. => {
                let decision = if self.flag { ReviewVerdict::Release } else { ReviewVerdict::Refuse };
                BookIn::Settle(review(&tenant, &order, decision))
            }
            _ => BookIn::Settle(refund(&tenant, &order)),
        }
    }

    fn change_or_order(&self, tenant: &str, order: &str) -> BookIn {
        let (offer_id, customer) = (format!("x{}", self.offer), format!("c{}", self.customer));
        match self.what {
            0..=2 => {
                let mut row = offer(tenant, &offer_id, self.number * if self.flag { 1 } else { 5 });
                row.max_per_customer = (self.customer == 0).then_some(self.number as i32 + 2);
                row.restock_on_refund = !self.order.is_multiple_of(3);
                upsert_offer(row)
            }
            3 if self.flag => delete_offer(tenant, &offer_id),
            3 => upsert_customer(tenant, &customer, (self.number < 5).then_some(self.number * 250)),
            4 if self.flag => delete_customer(tenant, &customer),
            4 => delete_offer(tenant, &offer_id),
            _ => {
                let mut order = place(tenant, order, &offer_id, &customer, self.number as i32, 0);
                order.placed_at_ms = i64::from(self.flag) * 86_400_000;
                let reasons = if self.what == 12 { &[Reason::OfferClosed][..] } else { &[] };
                let screening = match self.what {
                    8 => Some(FraudAction::Flag),
                    9 if self.flag => Some(FraudAction::Block),
                    10..=12 => Some(FraudAction::Review),
                    _ => None,
                };
                screened(order, reasons, screening)
            }
        }
    }

    /// Hundreds, like every order's amount: most captures are made right by [`fit`], some stay wrong.
    fn paid(&self) -> i64 {
        if self.what == 18 { self.number * 100 } else { -1 }
    }
}

/// Gives captures the sum of the first order of their name, so that most of them confirm.
fn fit(log: &mut [Envelope<BookIn>]) {
    let mut sums = BTreeMap::new();
    for envelope in log {
        match &mut envelope.body {
            BookIn::Order { order, .. } => {
                sums.entry(order.order_id.clone()).or_insert(i64::from(order.quantity) * 100);
            }
            BookIn::Settle(message) => {
                if let schemas::Command::PaymentCaptured(p) = &mut message.command
                    && p.amount_minor == -1
                {
                    p.amount_minor = sums.get(&p.order_id).copied().unwrap_or(0);
                }
            }
            _ => (),
        }
    }
}

fn log_of(steps: &[Step]) -> Vec<Envelope<BookIn>> {
    let (mut time, mut placed) = (1, Vec::new());
    let mut log = Vec::new();
    for (offset, step) in (0u64..).zip(steps) {
        time += step.wait_ms;
        log.push(envelope(time, offset, step.input(&mut placed)));
    }
    log.sort_by_key(|envelope| envelope.at);
    fit(&mut log);
    log
}

/// What the program would have said in place of an output, and for which tenant.
fn said(output: &Output) -> Option<(String, String)> {
    let said = brief(output)?;
    Some(match output {
        Output::Fact(Fact::Order(f)) => (f.tenant.to_string(), sum_only(said)),
        Output::Fact(Fact::Stock(f)) => (f.tenant.to_string(), format!("{} {said}", f.offer_id)),
        Output::DeadLetter(letter) => {
            let payload = String::from_utf8(letter.payload.clone()).unwrap();
            let order_id = payload.split(' ').nth(1).unwrap();
            (order_id.split(':').next().unwrap().to_owned(), format!("{said} {order_id}"))
        }
        other => panic!("nobody sells tickets here: {other:?}"),
    })
}

/// `refund_due o1 300EUR reasons` without currency and reasons, which the program doesn't say.
fn sum_only(said: String) -> String {
    if !said.starts_with("refund_due") {
        return said;
    }
    said.split_once("EUR").unwrap().0.to_owned()
}

fn by_tenant(said: impl Iterator<Item = (String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tenant, said) in said {
        all.entry(tenant).or_default().push(said);
    }
    all
}

fn assert_rows(rows: &BTreeMap<String, String>, program: &Program) {
    for ((tenant, offer), shelf) in &program.shelves {
        assert!(shelf.available >= 0 && shelf.held >= 0 && shelf.sold >= 0 && shelf.due >= 0);
        let now =
            format!("{}+{}+{}={} due {}", shelf.available, shelf.held, shelf.sold, shelf.total(), shelf.due);
        let told = rows.get(&format!("stock {tenant}/{offer}"));
        assert_eq!(told.map_or("0+0+0=0 due 0", String::as_str), now, "stock of {tenant}/{offer}");
    }
    for ((tenant, order), sale) in &program.sales {
        let told = &rows[&format!("order {tenant}/{order}")];
        assert_eq!(told.split(' ').next().unwrap(), sale.status.as_str(), "{tenant}/{order}");
    }
}

/// Runs the log cut at `cuts`; after each epoch, perhaps, a crash onto so many workers.
fn check(steps: &[Step], cuts: &[(usize, Option<usize>)], workers: usize) {
    let log = log_of(steps);
    let mut harness = Harness::new(workers, book as fn() -> Book);
    let (mut program, mut rows, mut from, mut past) = (Program::default(), BTreeMap::new(), 0, 0);
    let end = [(log.len(), None)];
    for &(cut, crash) in cuts.iter().chain(&end) {
        let until = log.get(cut.max(1) - 1).map_or(past, |envelope| envelope.at.time()).max(past);
        let records: Vec<_> = log[from..].iter().take_while(|e| e.at.time() <= until).cloned().collect();
        from += records.len();
        past = until;
        for record in &records {
            program.handle(record.at.time(), &record.body);
        }
        program.pass(until);
        let out = harness.epoch(records, until);
        let facts = by_tenant(out.iter().filter_map(|envelope| said(&envelope.body)));
        assert_eq!(facts, by_tenant(program.said.drain(..)));
        rows.extend(out.iter().filter_map(|envelope| brief_row(&envelope.body)));
        assert_rows(&rows, &program);
        if let Some(workers) = crash {
            harness.snapshot(3);
            harness = harness.restored(workers);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_book_does_as_the_plain_program_does(
        steps in proptest::collection::vec(step(), 1..220),
        cuts in proptest::collection::vec((0usize..220, proptest::option::of(1usize..5)), 0..12),
        workers in 1usize..5,
    ) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        check(&steps, &cuts, workers);
    }
}
