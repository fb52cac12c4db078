//! The columns of the two tables commission follows from.
//!
//! A rate's key has six columns; within the pipeline they are one text (see [`CommissionRate::rate_id`]).

use super::change::To;
use super::change::{Columns, INT, INT32, not_negative, to_text};
use super::datum::Datum;
use crate::Text;
use crate::checks;
use crate::month::Month;
use crate::reference::{CommissionPeriod, CommissionRate, OfferKind, ReferenceKey};

/// All of a base: no tier pays more than what was sold.
const RATE_BPS_MAX: i32 = 10_000;

/// A date column, or the same as text.
const DATE: To<Text> = To { expected: "a date, YYYY-MM-DD", read: to_date };

pub(super) fn rate(columns: &Columns<'_>) -> Result<CommissionRate, String> {
    Ok(CommissionRate { rate_bps: columns.required("rate_bps", INT32)?, ..key_columns(columns)? })
}

pub(super) fn rate_key(columns: &Columns<'_>) -> Result<ReferenceKey, String> {
    let key = key_columns(columns)?;
    Ok(ReferenceKey::CommissionRate { rate_id: key.rate_id(), tenant: key.tenant })
}

/// The columns of the key, which may be all there is.
fn key_columns(columns: &Columns<'_>) -> Result<CommissionRate, String> {
    Ok(CommissionRate {
        tenant: columns.text("tenant")?,
        plan: columns.text("plan")?,
        offer_kind: columns.word::<OfferKind>("offer_kind")?,
        currency: columns.text("currency")?,
        tier_floor_minor: columns.required("tier_floor_minor", INT)?,
        rate_bps: 0,
        valid_from: columns.required("valid_from", DATE)?,
    })
}

pub(super) fn period(columns: &Columns<'_>) -> Result<CommissionPeriod, String> {
    Ok(CommissionPeriod {
        tenant: columns.text("tenant")?,
        month: columns.text("month")?,
        status: columns.word("status")?,
    })
}

pub(super) fn check_rate(rate: &CommissionRate) -> Result<(), String> {
    checks::id("plan", &rate.plan)?;
    checks::currency(&rate.currency)?;
    not_negative("tier_floor_minor", rate.tier_floor_minor)?;
    if !(0..=RATE_BPS_MAX).contains(&rate.rate_bps) {
        return Err(format!("`rate_bps` is {}; send 0 to {RATE_BPS_MAX} basis points", rate.rate_bps));
    }
    match Month::parse_first_day(&rate.valid_from) {
        Some(_) => Ok(()),
        None => {
            Err(format!("`valid_from` is {:?}; send the first day of a month, YYYY-MM-01", rate.valid_from))
        }
    }
}

pub(super) fn check_period(period: &CommissionPeriod) -> Result<(), String> {
    match Month::parse(&period.month) {
        Some(_) => Ok(()),
        None => Err(format!("`month` is {:?}; send YYYY-MM", period.month)),
    }
}

/// `YYYY-MM-DD`; a plain number is days since 1970, as Debezium writes dates where it brings no schema.
fn to_date(datum: &Datum) -> Option<Text> {
    let epoch = jiff::civil::date(1970, 1, 1);
    let day = |days: i64| epoch.checked_add(jiff::Span::new().try_days(days).ok()?).ok();
    match datum {
        Datum::Date(days) => Some(compact_str::format_compact!("{}", day(i64::from(*days))?)),
        Datum::Int(days) => Some(compact_str::format_compact!("{}", day(*days)?)),
        Datum::Timestamp(ns) => Some(compact_str::format_compact!(
            "{}",
            day(i64::try_from(ns.div_euclid(86_400_000_000_000)).ok()?)?
        )),
        other => to_text(other),
    }
}
