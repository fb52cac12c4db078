//! The sink: reads the workload's fields off facts and rows, whatever workers they came from.

use super::folder::KINDS;
use super::outcome::{Code, Decisions, Outcome};
use super::parts::{Told, number, refusal};
use operators::commission::tiers;
use operators::messages::Output;
use runtime::Epoch;
use runtime::sink::{EpochItems, Sink, SinkError};
use rustc_hash::FxHashMap;
use schemas::facts::{OrderEvent, OrderFact, Tier};
use schemas::rows::CommissionRow;
use schemas::{Fact, Row, Text};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What was counted so far.
#[derive(Default)]
pub struct Counted {
    committed: Epoch,
    decisions: Decisions,
    /// What is left, by offer.
    stock: FxHashMap<u64, i64>,
    /// By partner, kind and month.
    statements: FxHashMap<(u64, usize, Text), CommissionRow>,
}

/// Counts as it goes; asked at the end.
#[derive(Clone, Default)]
pub struct Tally(Arc<Mutex<Counted>>);

impl Tally {
    /// What was decided, and what followed from it.
    pub fn outcome(&self, rates_bps: &[i64]) -> Outcome {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bases: BTreeMap<(u64, usize), i64> = BTreeMap::new();
        for ((partner, kind, _), row) in &counted.statements {
            assert_own_rounding(row, rates_bps[*kind]);
            *bases.entry((*partner, *kind)).or_default() += row.base_minor;
        }
        let mut earned: BTreeMap<u64, i64> = BTreeMap::new();
        for ((partner, kind), base) in bases {
            *earned.entry(partner).or_default() += base * rates_bps[kind] / 10_000;
        }
        Outcome::new(counted.decisions, counted.stock.values().copied(), earned.into_iter())
    }
}

/// A statement is right by its own rules.
fn assert_own_rounding(row: &CommissionRow, rate_bps: i64) {
    let tier = Tier { floor_minor: 0, rate_bps: rate_bps as i32 };
    let computed = tiers::commission(row.base_minor.into(), &[tier]);
    assert_eq!(computed, row.commission_minor.into(), "what a statement says follows from its base: {row:?}");
}

/// What can be counted.
pub trait Countable {
    /// Adds it.
    fn count(&self, counted: &mut Counted);
}

impl Countable for Output {
    fn count(&self, counted: &mut Counted) {
        match self {
            Output::Fact(Fact::Order(fact)) => counted.decisions.add(number(&fact.order_id), code(fact)),
            Output::Row(Row::Stock(row)) => {
                counted.stock.insert(number(&row.offer_id), row.available);
            }
            Output::Row(Row::Commission(row)) => counted.statement(row),
            _ => {}
        }
    }
}

impl Countable for Told {
    fn count(&self, counted: &mut Counted) {
        match self {
            Told::Decided { order_id, code } => counted.decisions.add(*order_id, *code),
            Told::Left { offer, left } => {
                counted.stock.insert(*offer, *left);
            }
            Told::Statement(row) => counted.statement(row),
        }
    }
}

impl Counted {
    fn statement(&mut self, row: &CommissionRow) {
        let kind = KINDS.iter().position(|kind| *kind == (row.offer_kind, row.currency.as_str()));
        let kind = kind.expect("all offers are of these kinds");
        self.statements.insert((number(&row.partner_id), kind, row.month.clone()), row.clone());
    }
}

/// The decision an order's only fact tells.
fn code(fact: &OrderFact) -> Code {
    match (fact.event, fact.reasons.first()) {
        (OrderEvent::Confirmed, _) => Code::Accepted,
        (OrderEvent::Duplicate, _) => Code::Duplicate,
        (OrderEvent::Refused, Some(reason)) => refusal(*reason),
        other => panic!("the workload knows no {other:?}"),
    }
}

impl<I: Countable> Sink<I> for Tally {
    fn name(&self) -> &'static str {
        "tally"
    }

    fn committed(&mut self) -> Result<Epoch, SinkError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).committed)
    }

    fn commit(&mut self, run: &[EpochItems<I>]) -> Result<(), SinkError> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for epoch in run {
            counted.committed = epoch.epoch;
            epoch.items.iter().for_each(|item| item.body.count(&mut counted));
        }
        Ok(())
    }
}
