//! `tombola explain`: how a figure came about, down to the records in the log.

use super::place::Place;
use super::{Failure, output};
use crate::explain::{self, Account, Delta, Question, Reckoning};
use schemas::Month;
use schemas::facts::{CauseKind, CommissionCause};
use std::fmt::Write as _;

/// Explain a figure: what it consists of, and everything that changed it, with the records behind.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola explain commission partner-12 2017-11
  tombola explain commission partner-12 2017-11 --tenant acme --json")]
pub struct Explain {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A partner's commission for a month: base, tiers, and every change with its cause.
    ///
    /// Amounts are in the currency's minor unit. Where the month is closed, the tiers are those of its close;
    /// what changed afterwards was posted to the partner's first open month.
    Commission {
        /// The partner's id.
        partner: String,
        /// YYYY-MM
        month: String,
        /// Only this tenant's; else those of every tenant that has such a partner.
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        place: Place,
        /// Print one JSON object for each statement.
        #[arg(long)]
        json: bool,
    },
}

impl Explain {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let What::Commission { partner, month, tenant, place, json } = self.what;
        if Month::parse(&month).is_none() {
            return Err(Failure::Usage(format!("{month:?} is no month; say it as YYYY-MM")));
        }
        let (mut tables, mut log) = (place.tables()?, place.log()?);
        let question = Question { partner: &partner, month: &month, tenant: tenant.as_deref() };
        let (_, accounts) = explain::accounts(tables.as_mut(), log.as_mut(), question, None)?;
        if accounts.is_empty() {
            return Err(Failure::Usage(format!(
                "partner {partner} has no statement for {month}; \
                 `tombola query 'SELECT * FROM commission_statements'` shows those there are"
            )));
        }
        if json {
            accounts.iter().for_each(output::print_json);
        } else {
            let texts: Vec<String> = accounts.iter().map(describe).collect();
            output::print(&texts.join("\n"));
        }
        accounts.iter().all(|account| account.adds_up).then_some(()).ok_or_else(|| {
            Failure::Runtime(
                "the deltas in the log don't add up to the statement: part of the log is gone".into(),
            )
        })
    }
}

fn describe(account: &Account) -> String {
    let Account { tenant, partner_id, month, currency, offer_kind, status, .. } = account;
    let mut text = format!("{partner_id} of {tenant}: {month}, {currency}, {offer_kind}: {status}\n\n");
    let mut line = |what: &str, minor: i64| {
        let _ = writeln!(text, "  {what:<12} {:>16}", signed(minor));
    };
    line("base", account.base_minor);
    line("commission", account.commission_minor);
    line("adjustment", account.adjustment_minor);
    line("to be paid", account.commission_minor.saturating_add(account.adjustment_minor));
    match &account.reckoning {
        Some(reckoning) => reckon(&mut text, reckoning),
        None => {
            text.push_str("\n  no plan or no rates apply, or the month was closed before its first sale\n")
        }
    }
    text.push('\n');
    text.push_str(&output::table(
        &["epoch", "when", "base", "commission", "adjustment", "because"],
        &account.deltas.iter().flat_map(rows).collect::<Vec<_>>(),
    ));
    text
}

fn reckon(text: &mut String, reckoning: &Reckoning) {
    let Reckoning { plan, valid_from, base_minor, slices, commission_minor, computed_minor } = reckoning;
    let _ = writeln!(text, "\n  plan {plan}, rates of {valid_from}, on {}:", signed(*base_minor));
    for slice in slices {
        let percent = format!("{}.{:02} %", slice.rate_bps / 100, slice.rate_bps % 100);
        let _ = writeln!(
            text,
            "    above {:>14}  {:>14} at {percent:>8} = {}",
            signed(slice.floor_minor),
            signed(slice.slice_minor),
            exact(slice.parts)
        );
    }
    let _ = writeln!(text, "    rounded once, half to even: {}", signed(*commission_minor));
    if computed_minor != commission_minor {
        let present = signed(*computed_minor);
        let _ =
            writeln!(text, "    by present sales and rules {present}: the rest is adjusted in a later month");
    }
}

/// A delta's figures in its first line, its causes one a line.
fn rows(delta: &Delta) -> Vec<Vec<String>> {
    let fact = &delta.fact;
    let figures = [fact.base_delta_minor, fact.commission_delta_minor, fact.adjustment_delta_minor];
    let mut head = vec![delta.epoch.to_string(), output::time(fact.at_ms)];
    head.extend(figures.map(plus));
    let blank = vec![String::new(); head.len()];
    let causes = fact.causes.iter().enumerate().map(|(index, cause)| {
        let mut row = if index == 0 { head.clone() } else { blank.clone() };
        row.push(because(cause, &fact.month));
        row
    });
    causes.collect()
}

fn because(cause: &CommissionCause, month: &str) -> String {
    let what = match cause.kind {
        CauseKind::Sales => counted(cause, "sale"),
        CauseKind::Refunds => counted(cause, "refund"),
        CauseKind::RateChange => "rates changed".to_owned(),
        CauseKind::PlanMove => "plan changed".to_owned(),
        CauseKind::MonthClosed => "month closed".to_owned(),
        CauseKind::MonthReopened => "month reopened".to_owned(),
    };
    let of =
        if cause.month == month { String::new() } else { format!(" in {}, which is closed", cause.month) };
    let last = if cause.count > 1 { "last " } else { "" };
    let place = format!("{}/{}/{}", cause.topic, cause.partition, cause.offset);
    format!("{what}{of}: {} ({last}{place})", plus(cause.effect_minor))
}

fn counted(cause: &CommissionCause, what: &str) -> String {
    let plural = if cause.count == 1 { "" } else { "s" };
    format!("{} {what}{plural} of {}", cause.count, signed(cause.amount_minor))
}

fn signed(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    format!("{sign}{}", output::thousands(minor.unsigned_abs()))
}

fn plus(minor: i64) -> String {
    if minor > 0 { format!("+{}", signed(minor)) } else { signed(minor) }
}

/// Ten-thousandths as a decimal number.
fn exact(parts: i128) -> String {
    let (whole, rest) = (parts / 10_000, parts % 10_000);
    let digits = format!("{rest:04}");
    let digits = digits.trim_end_matches('0');
    let whole = signed(i64::try_from(whole).unwrap_or(i64::MAX));
    if digits.is_empty() { whole } else { format!("{whole}.{digits}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_signed() {
        assert_eq!(exact(12_902_500), "1,290.25");
        assert_eq!(exact(10_000_000), "1,000");
        assert_eq!(exact(1), "0.0001");
        assert_eq!((plus(1_200), plus(0), plus(-5)), ("+1,200".into(), "0".into(), "-5".into()));
    }
}
