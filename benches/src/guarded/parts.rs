//! The same operators wired to no more than the workload asks: a job without order lives, limits, tickets and rows.
//!
//! ```text
//!   lines ── dedup ── fresh ──> desk ── judged ─┬──────────────────────────> till ──> decisions, what is left
//!              └ repeated        ↑              └─ valid ──> velocity ──────↗  └─ sales ──> commissions
//!   rows ──── table ─────────────┴───────────────────────────┴───────────────↗──────────────────┘
//! ```
//!
//! Dedup, table, desk, velocity, ledger and commissions are the operators of the program; `till` puts an order
//! together with its verdict, as `screen` does, and books it on the ledger, as `book` does.

use super::folder::TENANT;
use super::outcome::Code;
use super::till::{Order, Till, TillIn, TillOut};
use connectors::decode::Input;
use operators::dedup::Dedup;
use operators::desk::Desk;
use operators::messages::{BookIn, DedupOut, DeskIn, DeskOut, Output, TableChange};
use operators::settings::Settings;
use operators::table::Table;
use operators::velocity::Velocity;
use operators::velocity::messages::{KeyHash, Probe, ProbeEvent, VelocityIn, Verdict, currency_code};
use pipelines::jobs::{commissions, fraud, sales};
use runtime::run::Job;
use runtime::{Flow, Messages};
use schemas::commands::PlaceOrder;
use schemas::facts::Reason;
use schemas::rows::CommissionRow;
use schemas::velocity::{FraudAction, VelocityKey};
use schemas::{Fact, Reference, Row, Text};

/// What the sink counts.
#[derive(Clone, Debug)]
pub enum Told {
    Decided { order_id: u64, code: Code },
    Left { offer: u64, left: i64 },
    Statement(Box<CommissionRow>),
}

/// The job.
pub struct Parts {
    pub settings: Settings,
}

impl Job for Parts {
    type Record = Input;
    type Item = Told;

    fn build<'s>(&self, flow: &mut Flow<'s, Told>, source: Messages<'s, Input>) {
        let settings = &self.settings;
        let (commands, changes) = flow.split(source, |_, input| match input {
            Input::Changes(changes) => (None, changes.into_iter().next()),
            command => (sales::command(command), None),
        });
        let rows = flow.stateful(Table::default(), changes);
        let dedup = Dedup::new(settings.clone());
        let (fresh, repeated) = flow.stateful_split(dedup, commands, |_, out| match out {
            DedupOut::Fresh(command) => (Some(DeskIn::Command(command)), None),
            DedupOut::Out(output) => (None, repeated(&output)),
        });
        let for_desk = flow.flat_map(rows.clone(), |_, change| sales::to_desk_table(change));
        let desk_in = flow.merge(vec![fresh, for_desk]);
        let desk = Desk::new(settings.clone());
        let (orders, probes) = flow.stateful_split(desk, desk_in, |_, out| {
            let DeskOut::ToBook(BookIn::Order { order, reasons, .. }) = out else {
                panic!("every command is an order of its own: {out:?}")
            };
            (Some(to_till(&order, &reasons)), reasons.is_empty().then(|| probe(&order)))
        });
        let rules = flow.flat_map(rows.clone(), |_, change| {
            fraud::rule(change).map(|rule| VelocityIn::Rule(Box::new(rule)))
        });
        let velocity_in = flow.merge(vec![probes, rules]);
        let verdicts = flow.stateful_map(Velocity::new(settings), velocity_in, |_, verdict| {
            Some(TillIn::Blocked(blocks(&verdict)))
        });
        let offers = flow.flat_map(rows.clone(), |_, change| offer(change));
        let till_in = flow.merge(vec![orders, verdicts, offers]);
        let (booked, sales) = flow.stateful_split(Till::new(TENANT), till_in, |_, out| match out {
            TillOut::Decided { order_id, code } => (Some(Told::Decided { order_id, code }), None),
            TillOut::Left { offer, left } => (Some(Told::Left { offer, left }), None),
            TillOut::Sale(sale) => (None, Some(sale)),
        });

        let statements = commissions::statements(flow, settings, sales, rows);
        let statements = flow.flat_map(statements, |_, output| statement(output));
        for told in [repeated, booked, statements] {
            flow.deliver(0, told);
        }
    }
}

fn repeated(output: &Output) -> Option<Told> {
    match output {
        Output::Fact(Fact::Order(fact)) => {
            Some(Told::Decided { order_id: number(&fact.order_id), code: Code::Duplicate })
        }
        _ => None,
    }
}

/// A valid order's customer, as `operators::probe` asks about it: with what its one rule counts. To which order the
/// verdict belongs its place says here, cards and customers of a key are for other metrics.
fn probe(order: &PlaceOrder) -> VelocityIn {
    let kind = VelocityKey::Customer;
    VelocityIn::Probe(Probe {
        tenant: order.tenant.clone(),
        kind,
        key: KeyHash::new(&order.tenant, kind, &order.customer_id),
        time: order.placed_at_ms,
        event: ProbeEvent::Order {
            order: 0,
            amount_minor: i64::from(order.quantity) * order.price_minor,
            currency: currency_code(&order.currency),
            card: 0,
            customer: 0,
        },
    })
}

fn to_till(order: &PlaceOrder, reasons: &[Reason]) -> TillIn {
    TillIn::Order(Order {
        order_id: number(&order.order_id),
        offer: number(&order.offer_id),
        partner: order.partner_id.as_ref().map_or(0, number) as u32,
        quantity: order.quantity.unsigned_abs(),
        price_minor: order.price_minor,
        placed_at_ms: order.placed_at_ms,
        refused: reasons.first().map(|reason| refusal(*reason)),
    })
}

/// The workload's rule behind an order's first reason.
pub fn refusal(reason: Reason) -> Code {
    match reason {
        Reason::UnknownOffer => Code::UnknownOffer,
        Reason::PriceMismatch => Code::PriceMismatch,
        Reason::QuantityOutOfRange => Code::BadQuantity,
        Reason::FraudBlocked => Code::Velocity,
        Reason::SoldOut => Code::SoldOut,
        other => panic!("the workload knows no {other}"),
    }
}

fn blocks(verdict: &Verdict) -> bool {
    verdict.fired.iter().any(|fired| fired.action == FraudAction::Block)
}

fn offer(change: TableChange) -> Option<TillIn> {
    let Some(Reference::Offer(row)) = change.row else { return None };
    let (offer, stock) = (number(&row.offer_id), row.stock_total.unsigned_abs());
    Some(TillIn::Offer { offer, kind: row.kind, currency: row.currency, stock })
}

fn statement(output: Output) -> Option<Told> {
    match output {
        Output::Row(Row::Commission(row)) => Some(Told::Statement(row)),
        _ => None,
    }
}

/// An id of the workload: all of them are numbers.
pub fn number(id: &Text) -> u64 {
    id.bytes().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}
