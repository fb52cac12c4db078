//! A statement, what changed it within an epoch, and how that is told: one signed delta with its causes.
//!
//! Invariants, asserted in release builds whenever a delta is told: the effects of its causes add up to it, and
//! its own month's sales and refunds to the change of the base. A statement knows what was told of it, so
//! the deltas add up to it by construction.

use super::StatementKey;
use super::figures::Terms;
use crate::messages::Output;
use runtime::At;
use runtime::relation::Amount;
use schemas::facts::{Cause, CauseKind, CommissionCause, CommissionFact};
use schemas::reference::PeriodStatus;
use schemas::rows::CommissionRow;
use schemas::{Fact, Month, Row};
use serde::{Deserialize, Serialize};

/// The three sums a statement consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    pub base: Amount,
    pub commission: Amount,
    pub adjustment: Amount,
}

/// A statement as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    pub sums: Sums,
    /// What its commission would be by present sales and rules.
    pub computed: Amount,
    /// Those rules.
    pub terms: Option<Terms>,
    /// What the commission follows from, as of the month's close.
    pub kept: Option<Reckoned>,
    /// The sum of all deltas told.
    told: Sums,
}

/// What a commission follows from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reckoned {
    pub base: Amount,
    pub terms: Option<Terms>,
}

/// One thing that changed a statement.
#[derive(Clone, Debug)]
pub struct Why {
    pub kind: CauseKind,
    /// Whose figure it changed.
    pub month: Month,
    pub count: i64,
    pub amount: Amount,
    /// What it changed of the statement's commission and adjustment together.
    pub effect: Amount,
    pub at: At,
    pub cause: Cause,
}

/// All that changed a statement within an epoch.
#[derive(Debug, Default)]
pub struct Changes {
    whys: Vec<Why>,
}

impl Changes {
    /// Adds one. Sales of one month are one cause, and so are refunds.
    pub fn add(&mut self, why: Why) {
        let trade = matches!(why.kind, CauseKind::Sales | CauseKind::Refunds);
        let same = |known: &&mut Why| trade && known.kind == why.kind && known.month == why.month;
        let Some(known) = self.whys.iter_mut().find(same) else { return self.whys.push(why) };
        known.count += why.count;
        known.amount += why.amount;
        known.effect += why.effect;
        if why.at > known.at {
            (known.at, known.cause) = (why.at, why.cause);
        }
    }

    fn effect(&self) -> Amount {
        self.whys.iter().map(|why| why.effect).sum()
    }

    /// What the month's own sales and refunds changed of its base.
    fn of_base(&self, month: Month) -> Amount {
        let signed = |why: &Why| match why.kind {
            CauseKind::Sales => why.amount,
            CauseKind::Refunds => -why.amount,
            _ => 0,
        };
        self.whys.iter().filter(|why| why.month == month).map(signed).sum()
    }
}

impl Statement {
    /// Says what changed: the delta and the row, at the place of the last cause; and what was gained in all.
    pub fn tell(&mut self, key: &StatementKey, changes: Changes, status: PeriodStatus) -> Told {
        let delta = self.sums.less(self.told);
        assert_eq!(delta.gain(), changes.effect(), "the causes of a delta add up to it: {key:?}");
        assert_eq!(delta.base, changes.of_base(key.month), "sales and refunds add up to the base: {key:?}");
        assert!(self.sums.base >= 0, "a base is never negative: {key:?}");
        self.told = self.sums;
        let last = changes.whys.iter().max_by_key(|why| why.at).expect("what is told has a cause");
        let at = last.at;
        let fact = self.fact(key, delta, status, last, &changes);
        let row = self.row(key, status);
        let outputs =
            [Output::Fact(Fact::Commission(Box::new(fact))), Output::Row(Row::Commission(Box::new(row)))];
        Told { at, outputs, gain: delta.gain() }
    }

    fn fact(
        &self,
        key: &StatementKey,
        delta: Sums,
        status: PeriodStatus,
        last: &Why,
        changes: &Changes,
    ) -> CommissionFact {
        let Reckoned { base, terms } = self.reckoned(status);
        CommissionFact {
            tenant: key.tenant.clone(),
            partner_id: key.partner.clone(),
            month: key.month.text(),
            currency: key.currency.clone(),
            offer_kind: key.kind,
            base_delta_minor: minor(delta.base),
            commission_delta_minor: minor(delta.commission),
            adjustment_delta_minor: minor(delta.adjustment),
            base_minor: minor(self.sums.base),
            commission_minor: minor(self.sums.commission),
            adjustment_minor: minor(self.sums.adjustment),
            computed_minor: minor(self.computed),
            status,
            commission_base_minor: minor(base),
            plan: terms.as_ref().map(|terms| terms.plan.clone()),
            valid_from: terms.as_ref().map(|terms| format!("{}-01", terms.valid_from).into()),
            tiers: terms.map(|terms| terms.tiers).unwrap_or_default(),
            causes: changes.whys.iter().map(Why::told).collect(),
            at_ms: last.at.time(),
            cause: last.cause.clone(),
        }
    }

    /// What its commission follows from. One that came to be in a closed month has none.
    fn reckoned(&self, status: PeriodStatus) -> Reckoned {
        match status {
            PeriodStatus::Open => Reckoned { base: self.sums.base, terms: self.terms.clone() },
            PeriodStatus::Closed => self.kept.clone().unwrap_or_default(),
        }
    }

    fn row(&self, key: &StatementKey, status: PeriodStatus) -> CommissionRow {
        CommissionRow {
            tenant: key.tenant.clone(),
            partner_id: key.partner.clone(),
            month: key.month.text(),
            currency: key.currency.clone(),
            offer_kind: key.kind,
            base_minor: minor(self.sums.base),
            commission_minor: minor(self.sums.commission),
            adjustment_minor: minor(self.sums.adjustment),
            status,
        }
    }
}

/// What was said of a statement.
pub struct Told {
    pub at: At,
    pub outputs: [Output; 2],
    /// Change of commission and adjustment together.
    pub gain: Amount,
}

impl Why {
    fn told(&self) -> CommissionCause {
        CommissionCause {
            kind: self.kind,
            month: self.month.text(),
            count: self.count,
            amount_minor: minor(self.amount),
            effect_minor: minor(self.effect),
            topic: self.cause.topic.clone(),
            partition: self.cause.partition,
            offset: self.cause.offset,
            record_time_ms: self.cause.record_time_ms,
        }
    }
}

impl Sums {
    fn less(self, other: Sums) -> Sums {
        Sums {
            base: self.base - other.base,
            commission: self.commission - other.commission,
            adjustment: self.adjustment - other.adjustment,
        }
    }

    fn gain(self) -> Amount {
        self.commission + self.adjustment
    }
}

/// As facts and rows hold money. A sum beyond it (no price reaches there) is as much as it can hold.
fn minor(amount: Amount) -> i64 {
    i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}
