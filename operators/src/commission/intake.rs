//! Takes what statements are made of, and gives each its step: the sales of an epoch summed up by statement.
//!
//! ```text
//!   sales, refunds (by partner) ─> totals ──┬─> Update: base += the step's sum ──> figures
//!   plans, rates (by row) ──────> rows ─────┘   Traded: count, sum, last cause ──> statements
//!   marks (to every worker) ───> the number of marks passed is the step
//! ```
//!
//! A sale comes after every mark at or before its time, a command after the reference changes of its own
//! millisecond. So its step follows from its fact alone, whether the fact comes in memory or through a topic.
//!
//! Invariants: a base is never negative, asserted; what was given to the figures adds up to `totals` and
//! `rows`, which are in the snapshot, and given again when they are restored.

use super::figures::Fed;
use super::{Sale, StatementKey, Traded, step_of_mark, step_of_trade};
use crate::keys::reference_route;
use crate::messages::TableChange;
use hashbrown::HashMap;
use runtime::relation::{Amount, Step, Stepped, Steps};
use runtime::{At, Class, Ctx, KeyedState, Operator, Route, State, slot_of};
use rustc_hash::FxBuildHasher;
use schemas::ReferenceKey;
use serde::{Deserialize, Serialize};

/// Into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntakeIn {
    Sale(Box<Sale>),
    /// Of a partner or a rate.
    Change(TableChange),
    /// A change of any table that statements follow from, to every worker.
    Mark,
}

/// Out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntakeOut {
    Update(Stepped<Fed>),
    Traded(Box<Traded>),
}

/// The operator. See the module.
pub struct Intake {
    /// The base of each statement, where it isn't zero.
    totals: KeyedState<StatementKey, Amount>,
    /// What each row of a reference table adds to the figures.
    rows: KeyedState<ReferenceKey, Fed>,
    steps: Steps,
    /// Of the epoch in hand.
    traded: HashMap<(StatementKey, Step), (At, Traded), FxBuildHasher>,
    /// Sales of the epoch in hand that no command caused: a reference change of their millisecond may be to come.
    woken: Vec<(At, Sale)>,
}

impl Default for Intake {
    fn default() -> Self {
        Intake {
            totals: KeyedState::new("bases.v1", StatementKey::slot),
            rows: KeyedState::new("rows.v1", |key| slot_of(reference_route(key))),
            steps: Steps::default(),
            traded: HashMap::default(),
            woken: Vec::new(),
        }
    }
}

impl Intake {
    fn change(&mut self, at: At, change: TableChange, ctx: &mut Ctx<IntakeOut>) {
        let step = step_of_mark(self.steps.of_mark(at));
        let new = change.row.and_then(Fed::of);
        if self.rows.get(&change.key) == new.as_ref() {
            return;
        }
        let old = self.rows.remove(&change.key);
        let mut update = |data, diff| ctx.emit(at, IntakeOut::Update(Stepped { step, data, diff }));
        if let Some(old) = old {
            update(old, -1);
        }
        if let Some(new) = new {
            update(new.clone(), 1);
            self.rows.insert(change.key, new);
        }
    }

    fn trade(&mut self, marks: Step, at: At, sale: Sale) {
        let step = step_of_trade(marks, sale.refund);
        let Sale { key, amount_minor, refund, cause, .. } = sale;
        let first = || {
            (
                at,
                Traded { key: key.clone(), step, refunds: refund, count: 0, amount: 0, cause: cause.clone() },
            )
        };
        let (last, traded) = self.traded.entry((key.clone(), step)).or_insert_with(first);
        traded.count += 1;
        traded.amount += Amount::from(amount_minor);
        if at > *last {
            (*last, traded.cause) = (at, cause);
        }
    }

    fn settle(&mut self, at: At, traded: Traded, ctx: &mut Ctx<IntakeOut>) {
        let diff = if traded.refunds { -traded.amount } else { traded.amount };
        let (key, step) = (traded.key.clone(), traded.step);
        let total = self.totals.get(&key).copied().unwrap_or_default() + diff;
        assert!(total >= 0, "more was refunded than sold: {key:?} stands at {total}");
        match total {
            0 => drop(self.totals.remove(&key)),
            _ => self.totals.insert(key.clone(), total),
        }
        if diff != 0 {
            ctx.emit(at, IntakeOut::Update(Stepped { step, data: Fed::Base(key), diff }));
        }
        ctx.emit(at, IntakeOut::Traded(Box::new(traded)));
    }
}

impl Operator for Intake {
    type In = IntakeIn;
    type Out = IntakeOut;
    const NAME: &'static str = "commission_intake";

    fn route(input: &IntakeIn) -> Route {
        match input {
            IntakeIn::Sale(sale) => Route::Key(sale.key.route()),
            IntakeIn::Change(change) => Route::Key(reference_route(&change.key)),
            IntakeIn::Mark => Route::All,
        }
    }

    fn on_record(&mut self, at: At, input: IntakeIn, ctx: &mut Ctx<IntakeOut>) {
        match input {
            IntakeIn::Mark => drop(self.steps.mark(at)),
            IntakeIn::Change(change) => self.change(at, change, ctx),
            IntakeIn::Sale(sale) if at.cause.class() == Class::Command => {
                self.trade(self.steps.passed(), at, *sale);
            }
            IntakeIn::Sale(sale) => self.woken.push((at, *sale)),
        }
    }

    fn on_epoch_end(&mut self, ctx: &mut Ctx<IntakeOut>) {
        for (at, sale) in std::mem::take(&mut self.woken) {
            self.trade(self.steps.upto(sale.at_ms), at, sale);
        }
        let mut traded: Vec<(At, Traded)> = self.traded.drain().map(|(_, traded)| traded).collect();
        traded.sort_unstable_by(|(_, a), (_, b)| (&a.key, a.step).cmp(&(&b.key, b.step)));
        traded.into_iter().for_each(|(at, traded)| self.settle(at, traded, ctx));
        self.steps.clear();
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.totals, &mut self.rows]
    }

    fn restored_output(&mut self, emit: &mut dyn FnMut(IntakeOut)) {
        let mut update = |data, diff| emit(IntakeOut::Update(Stepped { step: 0, data, diff }));
        self.totals.iter().for_each(|(key, total)| update(Fed::Base(key.clone()), *total));
        self.rows.iter().for_each(|(_, fed)| update(fed.clone(), 1));
    }
}
