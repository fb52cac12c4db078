//! Keeps the statements: open ones follow the computed figures, closed ones keep theirs, differences are adjusted.
//!
//! ```text
//!   Traded  (key, step) ─┐                        ┌ open:   commission += effect
//!   Figure  (key, step) ─┼─ by step, at epoch end ┤ closed: adjustment of the first open month after += effect
//!   marks, to all ───────┘                        └ closed, reopened: see the module above
//!                                           then: one delta and one row for each statement that changed
//! ```
//!
//! Everything of an epoch is kept until its end and then handled in the order of steps, because figures come
//! without a place of their own. A figure says what it is, not by how much it changed: one that is said
//! again changes nothing.
//!
//! Invariants, asserted: an open statement's commission is its computed figure; over the months of a partner,
//! currency and kind, what an epoch changes of commissions and adjustments is what it changes of the computed
//! figures. Both states are in the snapshot.

use super::figures::Figure;
use super::telling::{Changes, Reckoned, Statement, Why};
use super::{Mark, StatementKey, Traded, mark_of_step, step_of_mark};
use crate::cause::cause_at;
use crate::messages::Output;
use crate::settings::Settings;
use runtime::relation::{Amount, Step, Stepped, Steps};
use runtime::{At, Ctx, KeyedState, Operator, Route, State};
use rustc_hash::{FxBuildHasher, FxHashMap};
use schemas::facts::CauseKind;
use schemas::reference::PeriodStatus;
use schemas::{Month, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::BuildHasher;

/// Into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatementsIn {
    Traded(Box<Traded>),
    Figure(Box<Stepped<(StatementKey, Figure)>>),
    Mark(Mark),
}

/// The operator. See the module.
pub struct Statements {
    settings: Settings,
    statements: KeyedState<StatementKey, Statement>,
    /// Months that are closed, on every worker.
    closed: KeyedState<(Text, Month), ()>,
    steps: Steps,
    epoch: Work,
}

/// What an epoch brought, and what has become of it.
#[derive(Default)]
struct Work {
    marks: Vec<(Step, At, Mark)>,
    moves: BTreeMap<(Step, StatementKey), Move>,
    changed: BTreeMap<StatementKey, Changes>,
    /// By how much the computed figures changed, less what of it was posted: by the hash of partner, currency and kind,
    /// whatever the month. Sums that share a hash are added up: two errors would have to share one and be each other's opposite.
    unposted: FxHashMap<u64, Amount>,
}

/// What a step changes of a statement.
#[derive(Default)]
struct Move {
    traded: Option<(At, Traded)>,
    /// The figure from this step on, where it changes.
    figure: Option<Option<Figure>>,
}

impl Statements {
    /// No statements yet.
    pub fn new(settings: Settings) -> Self {
        Statements {
            settings,
            statements: KeyedState::new("statements.v1", StatementKey::slot),
            closed: KeyedState::new_replicated("closed.v1", |_| 0),
            steps: Steps::default(),
            epoch: Work::default(),
        }
    }

    fn is_closed(&self, tenant: &Text, month: Month) -> bool {
        !self.closed.is_empty() && self.closed.contains(&(tenant.clone(), month))
    }

    /// The first month from `month` on that is open.
    fn first_open(&self, tenant: &Text, mut month: Month) -> Month {
        while self.is_closed(tenant, month) {
            month = month.next();
        }
        month
    }

    fn at_mut(&mut self, key: &StatementKey) -> &mut Statement {
        self.statements.get_or_insert_with(key, Statement::default)
    }

    fn handle(&mut self, step: Step, key: &StatementKey, what: Move) {
        let closed = self.is_closed(&key.tenant, key.month);
        let why = self.why(step, key.month, &what);
        let traded = what.traded.is_some();
        let effect = self.at_mut(key).take(what, !closed);
        *self.epoch.unposted.entry(across_months(key)).or_default() += effect;
        if !closed {
            return self.note(key, Why { effect, ..why });
        }
        if traded {
            self.note(key, why.clone());
        }
        // Also where the effect is nothing: whether a sale's effect is depends on what it is summed up with.
        if traded || effect != 0 {
            let target = key.of_month(self.first_open(&key.tenant, key.month));
            self.at_mut(&target).sums.adjustment += effect;
            self.note(&target, Why { effect, ..why });
        }
    }

    /// The cause of what a step changes; its effect is still to be seen.
    fn why(&self, step: Step, month: Month, what: &Move) -> Why {
        if let Some((at, traded)) = &what.traded {
            let kind = if traded.refunds { CauseKind::Refunds } else { CauseKind::Sales };
            let (count, amount, cause) = (traded.count, traded.amount, traded.cause.clone());
            return Why { kind, month, count, amount, effect: 0, at: *at, cause };
        }
        let number = mark_of_step(step).expect("a figure changes by a trade or a mark");
        let of_step = |(other, ..): &&(Step, At, Mark)| *other == step;
        let (_, at, mark) = self.epoch.marks.iter().find(of_step).unwrap_or_else(|| {
            panic!("a figure changed at mark {number}, which didn't come: marks go to every worker")
        });
        self.because(*at, mark.kind(), month)
    }

    fn because(&self, at: At, kind: CauseKind, month: Month) -> Why {
        let cause = cause_at(at, Text::default(), &self.settings);
        Why { kind, month, count: 1, amount: 0, effect: 0, at, cause }
    }

    fn note(&mut self, key: &StatementKey, why: Why) {
        if let Some(changes) = self.epoch.changed.get_mut(key) {
            return changes.add(why);
        }
        self.epoch.changed.entry(key.clone()).or_default().add(why);
    }

    /// A month is closed or reopened.
    fn period(&mut self, at: At, tenant: &Text, month: Month, closed: bool) {
        if self.is_closed(tenant, month) == closed {
            return;
        }
        match closed {
            true => self.closed.insert((tenant.clone(), month), ()),
            false => drop(self.closed.remove(&(tenant.clone(), month))),
        }
        let kind = if closed { CauseKind::MonthClosed } else { CauseKind::MonthReopened };
        let why = self.because(at, kind, month);
        let concerned = |key: &&StatementKey| key.month == month && key.tenant == *tenant;
        let mut keys: Vec<StatementKey> =
            self.statements.iter().map(|(key, _)| key).filter(concerned).cloned().collect();
        keys.sort_unstable();
        for key in keys {
            let statement = self.at_mut(&key);
            if closed {
                statement.close()
            } else {
                statement.reopen()
            }
            self.note(&key, why.clone());
        }
    }

    /// Closes and reopens what the marks up to `step` say.
    fn periods_upto(&mut self, step: Step, next: &mut usize) {
        while let Some((_, at, mark)) = self.epoch.marks.get(*next).filter(|(of, ..)| *of <= step) {
            let (at, mark) = (*at, mark.clone());
            if let Mark::Period { tenant, month, closed } = mark {
                self.period(at, &tenant, month, closed);
            }
            *next += 1;
        }
    }

    fn tell(&mut self, ctx: &mut Ctx<Output>) {
        for (key, changes) in std::mem::take(&mut self.epoch.changed) {
            let closed = self.is_closed(&key.tenant, key.month);
            let status = if closed { PeriodStatus::Closed } else { PeriodStatus::Open };
            let told = self.at_mut(&key).tell(&key, changes, status);
            *self.epoch.unposted.entry(across_months(&key)).or_default() -= told.gain;
            told.outputs.into_iter().for_each(|output| ctx.emit(told.at, output));
        }
        let posted = self.epoch.unposted.drain().all(|(_, left)| left == 0);
        assert!(posted, "what is posted is what was computed, wherever it is posted");
    }
}

fn across_months(key: &StatementKey) -> u64 {
    FxBuildHasher.hash_one((&key.tenant, &key.partner, &key.currency, key.kind))
}

impl Statement {
    /// Takes a step's move; by how much it changed the computed figure.
    fn take(&mut self, what: Move, open: bool) -> Amount {
        if let Some((_, traded)) = what.traded {
            self.sums.base += if traded.refunds { -traded.amount } else { traded.amount };
        }
        let Some(figure) = what.figure else { return 0 };
        let before = self.computed;
        self.computed = figure.as_ref().map_or(0, |figure| figure.commission);
        self.terms = figure.map(|figure| figure.terms);
        let effect = self.computed - before;
        if open {
            self.sums.commission += effect;
            assert_eq!(self.sums.commission, self.computed, "an open statement follows its figure");
        }
        effect
    }

    /// It keeps its commission, and what that follows from.
    fn close(&mut self) {
        self.kept = Some(Reckoned { base: self.sums.base, terms: self.terms.clone() });
    }

    /// It follows its figure again; what was posted elsewhere is taken back here.
    fn reopen(&mut self) {
        self.sums.adjustment -= self.computed - self.sums.commission;
        self.sums.commission = self.computed;
        self.kept = None;
    }
}

impl Operator for Statements {
    type In = StatementsIn;
    type Out = Output;
    const NAME: &'static str = "commission_statements";

    fn configure(&mut self, settings: &str) {
        self.settings = Settings::recorded_or_stop(settings);
    }

    fn route(input: &StatementsIn) -> Route {
        match input {
            StatementsIn::Traded(traded) => Route::Key(traded.key.route()),
            StatementsIn::Figure(figure) => Route::Key(figure.data.0.route()),
            StatementsIn::Mark(_) => Route::All,
        }
    }

    fn on_record(&mut self, at: At, input: StatementsIn, _ctx: &mut Ctx<Output>) {
        match input {
            StatementsIn::Mark(mark) => {
                let step = step_of_mark(self.steps.mark(at));
                self.epoch.marks.push((step, at, mark));
            }
            StatementsIn::Traded(traded) => {
                let place = (traded.step, traded.key.clone());
                self.epoch.moves.entry(place).or_default().traded = Some((at, *traded));
            }
            StatementsIn::Figure(figure) => {
                let Stepped { step, data: (key, figure), diff } = *figure;
                let known = &mut self.epoch.moves.entry((step, key)).or_default().figure;
                // The old figure goes, the new one comes, in whichever order they are said.
                match diff {
                    1 => *known = Some(Some(figure)),
                    -1 => drop(known.get_or_insert(None)),
                    other => panic!("a statement has one figure at a time, not {other} times the same"),
                }
            }
        }
    }

    fn on_epoch_end(&mut self, ctx: &mut Ctx<Output>) {
        let mut next = 0;
        for ((step, key), what) in std::mem::take(&mut self.epoch.moves) {
            self.periods_upto(step, &mut next);
            self.handle(step, &key, what);
        }
        self.periods_upto(Step::MAX, &mut next);
        self.tell(ctx);
        self.epoch.marks.clear();
        self.steps.clear();
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.statements, &mut self.closed]
    }
}
