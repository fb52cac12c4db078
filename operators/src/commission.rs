//! Commission statements: what a partner earns for a month's sales, in each currency and for each kind of offer.
//!
//! ```text
//!   sales, refunds ──> intake ── base changes ──> figures (relation: base ⋈ plan ⋈ rates, marginal tiers)
//!   partners, rates ──> │ │                             │ what each statement would have by present rules
//!                       │ └─ counts, sums, causes ──┐   │
//!   marks, to all ──────┴───────────────────────> statements ──> facts.commissions, commission_statements
//! ```
//!
//! The rules, exactly:
//! - A statement belongs to a tenant, partner, month (UTC, of the order's `placed_at`), currency and kind of
//!   offer. Its *base* is the confirmed sales less their refunds. It exists from its first sale or adjustment on.
//! - Its *computed* figure is the marginal tiers over its base, by the partner's present plan and the newest
//!   rates not after the month, rounded half to even once. Without a plan or rates it is nothing.
//! - While its month is open, its *commission* is the computed figure.
//! - When its month is closed, it keeps the commission it has at that moment. Whatever the computed figure
//!   changes by afterwards is added to the *adjustment* of the same partner, currency and kind in the first
//!   month after it that is open; that statement comes to be if there was none. Open means not closed: the
//!   months after the last one on record are open, so there always is one. Adjustments never go back in time.
//! - When its month is reopened, its commission is the computed figure again; what was posted elsewhere
//!   meanwhile stays there, and is taken back from its own adjustment, so that nothing is paid twice.
//! - So at every moment, for a partner, currency and kind, commissions and adjustments of all months add up
//!   to what is computed for them by present rules.
//!
//! Which changes a moment knows of follows from the order of causes alone. An epoch is parted into steps by
//! the changes of the reference tables (*marks*): each has its own step, and so have the sales and the
//! refunds between two of them. A month that is closed in the midst of an epoch freezes what the sales
//! before it make, and each change's effect is known apart. Where epochs are cut shows only in how many
//! deltas tell the same story.

pub mod figures;
pub mod intake;
pub mod statements;
mod telling;
#[cfg(test)]
mod tests;
pub mod tiers;

use runtime::relation::{Amount, Step};
use runtime::{Millis, slot_of, stable_hash2};
use schemas::facts::{Cause, CauseKind, OrderEvent, OrderFact};
use schemas::reference::{OfferKind, PeriodStatus, Reference};
use schemas::{Month, ReferenceKey, Text};
use serde::{Deserialize, Serialize};

/// Which statement. Ordered so that the months of a partner, currency and kind lie together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StatementKey {
    pub tenant: Text,
    pub partner: Text,
    pub currency: Text,
    pub kind: OfferKind,
    pub month: Month,
}

impl StatementKey {
    /// All statements of a partner are on one worker.
    pub fn route(&self) -> u64 {
        stable_hash2(self.tenant.as_bytes(), self.partner.as_bytes())
    }

    /// The slot that holds it.
    pub fn slot(&self) -> u8 {
        slot_of(self.route())
    }

    /// The same of another month.
    pub fn of_month(&self, month: Month) -> StatementKey {
        StatementKey { month, ..self.clone() }
    }
}

/// A confirmed sale, or the refund of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sale {
    pub key: StatementKey,
    pub amount_minor: i64,
    pub refund: bool,
    pub at_ms: Millis,
    pub cause: Cause,
}

impl Sale {
    /// What an order's fact says of commission: nothing, unless a partner's sale is confirmed or refunded.
    pub fn of(fact: &OrderFact) -> Option<Sale> {
        let refund = match fact.event {
            OrderEvent::Confirmed => false,
            OrderEvent::Refunded => true,
            _ => return None,
        };
        let key = StatementKey {
            tenant: fact.tenant.clone(),
            partner: fact.partner_id.clone()?,
            currency: fact.currency.clone(),
            kind: fact.offer_kind?,
            month: Month::of_ms(fact.placed_at_ms),
        };
        let (amount_minor, at_ms) = (fact.amount_minor, fact.at_ms);
        Some(Sale { key, amount_minor, refund, at_ms, cause: fact.cause.clone() })
    }
}

/// A change of a table that statements follow from, as every worker gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    Rates,
    Plan,
    Period { tenant: Text, month: Month, closed: bool },
}

impl Mark {
    /// The mark of a change, where statements follow from its table.
    pub fn of(key: &ReferenceKey, row: Option<&Reference>) -> Option<Mark> {
        match key {
            ReferenceKey::Partner { .. } => Some(Mark::Plan),
            ReferenceKey::CommissionRate { .. } => Some(Mark::Rates),
            ReferenceKey::CommissionPeriod { tenant, month } => {
                let month = Month::parse(month)?;
                let closed =
                    matches!(row, Some(Reference::CommissionPeriod(p)) if p.status == PeriodStatus::Closed);
                Some(Mark::Period { tenant: tenant.clone(), month, closed })
            }
            _ => None,
        }
    }

    /// How a change of a figure at its step is told.
    fn kind(&self) -> CauseKind {
        match self {
            Mark::Rates => CauseKind::RateChange,
            Mark::Plan => CauseKind::PlanMove,
            Mark::Period { closed: true, .. } => CauseKind::MonthClosed,
            Mark::Period { closed: false, .. } => CauseKind::MonthReopened,
        }
    }
}

/// Sales of a statement, or refunds, at one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traded {
    pub key: StatementKey,
    pub step: Step,
    pub refunds: bool,
    pub count: i64,
    pub amount: Amount,
    /// Of the last of them.
    pub cause: Cause,
}

/// The step of the n-th mark; the sales after it come one step later, their refunds two.
fn step_of_mark(number: Step) -> Step {
    number.checked_mul(3).expect("an epoch has fewer than a thousand million marks")
}

/// The step of what is sold, or refunded, after so many marks.
fn step_of_trade(marks: Step, refund: bool) -> Step {
    step_of_mark(marks) + 1 + Step::from(refund)
}

/// The number of the mark whose step this is, from 1; none for a step of sales or refunds.
fn mark_of_step(step: Step) -> Option<usize> {
    step.is_multiple_of(3).then_some(step as usize / 3)
}
