//! What each statement would have by present sales and rules: a relation, kept up to date by differential dataflow.
//!
//! ```text
//!   base (key, amount in the diff) ─┐
//!   plans (partner, plan) ──────────┴ join ─> sold by (rates, month) ─┬─ distinct ─┐
//!   rates (rates, valid_from, tier) ──────────────────────────────────┼──── join ──┴ newest not after the month ─> terms
//!                                                                     └──────────── join ─ terms ─ reduce ─> figure
//! ```
//!
//! State grows with partners, months, currencies and kinds, not with sales: a sale moves an amount.
//! A statement without base, plan or rates has no figure here, which counts as nothing.

use super::StatementKey;
use super::tiers::commission;
use crate::keys::Scoped;
use runtime::relation::{Amount, Relation};
use schemas::facts::Tier;
use schemas::reference::{OfferKind, Reference};
use schemas::{Month, Text};
use serde::{Deserialize, Serialize};

/// What figures are made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fed {
    /// Its amount is the base.
    Base(StatementKey),
    Plan {
        partner: Scoped,
        plan: Text,
    },
    Rate {
        rates: Rates,
        valid_from: Month,
        tier: Tier,
    },
}

impl Fed {
    /// What a row of a reference table adds, if anything.
    pub fn of(row: Reference) -> Option<Fed> {
        match row {
            Reference::Partner(row) => {
                Some(Fed::Plan { partner: Scoped { tenant: row.tenant, id: row.partner_id }, plan: row.plan })
            }
            Reference::CommissionRate(row) => {
                let valid_from = Month::parse_first_day(&row.valid_from);
                let tier = Tier { floor_minor: row.tier_floor_minor, rate_bps: row.rate_bps };
                let (tenant, plan, currency, kind) = (row.tenant, row.plan, row.currency, row.offer_kind);
                let rates = Rates { tenant, plan, currency, kind };
                Some(Fed::Rate { rates, valid_from: valid_from.expect("the row was checked"), tier })
            }
            _ => None,
        }
    }
}

/// Whose rates: those of a plan for a currency and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rates {
    pub tenant: Text,
    pub plan: Text,
    pub currency: Text,
    pub kind: OfferKind,
}

/// The rules a figure follows from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Terms {
    pub plan: Text,
    pub valid_from: Month,
    /// By floor.
    pub tiers: Vec<Tier>,
}

/// What a statement would have, and by which rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Figure {
    pub commission: Amount,
    pub terms: Terms,
}

/// The figure of every statement that has a base, a plan and rates.
pub fn figures(fed: Relation<'_, Fed>) -> Relation<'_, (StatementKey, Figure)> {
    let base = fed.clone().flat_map(base);
    let plans = fed.clone().flat_map(plan);
    let rates = fed.flat_map(rate);
    let sold = base.join(plans, |partner, (currency, kind, month), plan| {
        let (tenant, plan, currency) = (partner.tenant.clone(), plan.clone(), currency.clone());
        ((Rates { tenant, plan, currency, kind: *kind }, *month), partner.id.clone())
    });
    let months = sold.clone().map(|(of_month, _)| of_month).distinct();
    let candidates = months.join(rates, |rates, month, (valid_from, tier)| {
        let good = valid_from <= month;
        good.then(|| ((rates.clone(), *month), (*valid_from, *tier)))
    });
    let terms = candidates.flat_map(|candidate| candidate).reduce("terms", |(rates, _), rows, out| {
        out.push((newest(&rates.plan, rows), 1));
    });
    let on_terms = sold.join(terms, |(rates, month), partner, terms| {
        let (tenant, currency, kind) = (rates.tenant.clone(), rates.currency.clone(), rates.kind);
        (StatementKey { tenant, partner: partner.clone(), currency, kind, month: *month }, terms.clone())
    });
    on_terms.reduce("figures", |_, rows, out| {
        let [(terms, base)] = rows else {
            unreachable!("a partner has one plan, and a month of it one set of terms")
        };
        out.push((Figure { commission: commission(*base, &terms.tiers), terms: (*terms).clone() }, 1));
    })
}

fn base(fed: Fed) -> Option<(Scoped, (Text, OfferKind, Month))> {
    let Fed::Base(StatementKey { tenant, partner, currency, kind, month }) = fed else { return None };
    Some((Scoped { tenant, id: partner }, (currency, kind, month)))
}

fn plan(fed: Fed) -> Option<(Scoped, Text)> {
    let Fed::Plan { partner, plan } = fed else { return None };
    Some((partner, plan))
}

fn rate(fed: Fed) -> Option<(Rates, (Month, Tier))> {
    let Fed::Rate { rates, valid_from, tier } = fed else { return None };
    Some((rates, (valid_from, tier)))
}

/// Of rows by (valid_from, floor), those of the newest valid_from.
fn newest(plan: &Text, rows: &[(&(Month, Tier), Amount)]) -> Terms {
    let (valid_from, _) = *rows.last().expect("a key without rows has no terms").0;
    let of_newest = rows.iter().filter(|((from, _), _)| *from == valid_from);
    Terms { plan: plan.clone(), valid_from, tiers: of_newest.map(|((_, tier), _)| *tier).collect() }
}
