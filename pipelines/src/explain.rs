//! How a commission statement came about: its row, and every delta told of it, from the log.
//!
//! ```text
//!   tombola.db: commission_statements ─ row, epoch ─┐
//!   log.db: facts.commissions ─ deltas up to there ─┴─> Account
//! ```
//!
//! Only deltas up to the row's epoch count: facts reach the log a moment before their rows reach the tables.

use crate::commands::Failure;
use crate::stores::{LogView, Tables, scan};
use connectors::embedded::StoredRecord;
use runtime::Epoch;
use schemas::facts::{CommissionFact, Fact, Tier};
use schemas::{Decoder, Text, Value};
use serde::Serialize;
use std::time::Instant;

/// One statement and its history.
#[derive(Debug, Serialize)]
pub struct Account {
    pub tenant: Text,
    pub partner_id: Text,
    pub month: Text,
    pub currency: Text,
    pub offer_kind: Text,
    pub status: Text,
    pub base_minor: i64,
    pub commission_minor: i64,
    pub adjustment_minor: i64,
    /// How the commission follows from the base; of a closed month, as of its close.
    pub reckoning: Option<Reckoning>,
    /// Whether the deltas below add up to the figures above.
    pub adds_up: bool,
    pub deltas: Vec<Delta>,
    #[serde(skip)]
    epoch: u64,
}

/// The tiers over a base.
#[derive(Debug, Serialize)]
pub struct Reckoning {
    pub plan: Text,
    pub valid_from: Text,
    pub base_minor: i64,
    pub slices: Vec<Slice>,
    pub commission_minor: i64,
    /// What it would be by present sales and rules.
    pub computed_minor: i64,
}

/// What one tier pays.
#[derive(Debug, Serialize)]
pub struct Slice {
    pub floor_minor: i64,
    pub rate_bps: i32,
    pub slice_minor: i64,
    /// Ten-thousandths of a minor unit: exact, before the one rounding.
    pub parts: i128,
}

/// What one epoch changed.
#[derive(Debug, Serialize)]
pub struct Delta {
    pub epoch: u64,
    #[serde(flatten)]
    pub fact: CommissionFact,
}

/// Whose statements, and of which month.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub partner: &'a str,
    pub month: &'a str,
    /// Of all tenants where none is named.
    pub tenant: Option<&'a str>,
}

/// Every statement that was asked for, and the decided epoch that they are as of; given up at `until`, as all that
/// was ever told of commissions is read.
///
/// # Errors
/// Where the tables or the log can't be read.
pub fn accounts(
    tables: &mut dyn Tables,
    log: &mut dyn LogView,
    question: Question<'_>,
    until: Option<Instant>,
) -> Result<(Epoch, Vec<Account>), Failure> {
    let (decided, mut accounts) = rows(tables, question)?;
    if accounts.is_empty() || !log.topics()?.iter().any(|topic| topic.topic == TOPIC) {
        return Ok((decided, accounts));
    }
    let mut decoder = Decoder::default();
    scan(log, TOPIC, |log, record| {
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Failure::Runtime(
                "the topic is longer than can be read in the time given".to_owned(),
            ));
        }
        add(log, &mut decoder, record, &mut accounts)
    })?;
    accounts.iter_mut().for_each(Account::conclude);
    Ok((decided, accounts))
}

const TOPIC: &str = "facts.commissions";

/// The statements' rows and the epoch they are as of, both of one moment.
fn rows(tables: &mut dyn Tables, question: Question<'_>) -> Result<(Epoch, Vec<Account>), Failure> {
    let Question { partner, month, tenant } = question;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let of_tenant = tenant.map_or(String::new(), |tenant| format!("AND tenant = {}", quoted(tenant)));
    let sql = format!(
        "SELECT tenant, partner_id, month, currency, offer_kind, status, base_minor, commission_minor,
                adjustment_minor, epoch
         FROM commission_statements WHERE partner_id = {} AND month = {} {of_tenant} ORDER BY 1, 2, 3, 4, 5",
        quoted(partner),
        quoted(month)
    );
    let (decided, found) = tables.query_at(&sql, usize::MAX, 60_000)?;
    Ok((decided, found.rows.iter().map(|row| account(row)).collect()))
}

fn account(row: &[Value]) -> Account {
    let int = |at: usize| if let Value::Int(int) = &row[at] { *int } else { 0 };
    let text = |at: usize| if let Value::Text(text) = &row[at] { text.clone() } else { Text::default() };
    Account {
        tenant: text(0),
        partner_id: text(1),
        month: text(2),
        currency: text(3),
        offer_kind: text(4),
        status: text(5),
        base_minor: int(6),
        commission_minor: int(7),
        adjustment_minor: int(8),
        epoch: int(9) as u64,
        reckoning: None,
        adds_up: false,
        deltas: Vec::new(),
    }
}

/// Adds a record of the log to the account it concerns.
fn add(
    log: &mut dyn LogView,
    decoder: &mut Decoder,
    record: StoredRecord,
    accounts: &mut [Account],
) -> Result<(), Failure> {
    let key = record.key.as_deref().unwrap_or_default();
    let concerned = |a: &Account| format!("{}/{}", a.tenant, a.partner_id).as_bytes() == key;
    if !accounts.iter().any(concerned) {
        return Ok(());
    }
    let value = record.value.as_deref().unwrap_or_default();
    if let Ok((id, _)) = schemas::avro::split_header(value)
        && !decoder.knows(id)
        && let Some(schema) = log.schema(id)?
    {
        decoder.add(id, &schema);
    }
    let fact = decoder.decode_fact(value).map_err(|e| Failure::Runtime(format!("{TOPIC}: {e}")))?;
    let Fact::Commission(fact) = fact else { return Ok(()) };
    let epoch = record.epoch().map_or(0, |epoch| epoch.0);
    if let Some(account) = accounts.iter_mut().find(|account| account.is_of(&fact) && epoch <= account.epoch)
    {
        account.deltas.push(Delta { epoch, fact: *fact });
    }
    Ok(())
}

impl Account {
    fn is_of(&self, fact: &CommissionFact) -> bool {
        let mine = (&self.tenant, &self.partner_id, &self.month, &self.currency, self.offer_kind.as_str());
        mine == (&fact.tenant, &fact.partner_id, &fact.month, &fact.currency, fact.offer_kind.as_str())
    }

    /// Puts the deltas in order and adds them up; the last one says what the commission follows from.
    fn conclude(&mut self) {
        self.deltas.sort_by_key(|delta| delta.epoch);
        let sum =
            |of: fn(&CommissionFact) -> i64| self.deltas.iter().map(|delta| of(&delta.fact)).sum::<i64>();
        let sums = (
            sum(|fact| fact.base_delta_minor),
            sum(|fact| fact.commission_delta_minor),
            sum(|fact| fact.adjustment_delta_minor),
        );
        self.adds_up = sums == (self.base_minor, self.commission_minor, self.adjustment_minor);
        self.reckoning = self.deltas.last().and_then(|delta| reckoning(&delta.fact));
    }
}

fn reckoning(fact: &CommissionFact) -> Option<Reckoning> {
    let base_minor = fact.commission_base_minor;
    Some(Reckoning {
        plan: fact.plan.clone()?,
        valid_from: fact.valid_from.clone()?,
        base_minor,
        slices: slices(base_minor, &fact.tiers),
        commission_minor: fact.commission_minor,
        computed_minor: fact.computed_minor,
    })
}

fn slices(base_minor: i64, tiers: &[Tier]) -> Vec<Slice> {
    let ends = tiers.iter().skip(1).map(|tier| tier.floor_minor).chain([i64::MAX]);
    let slice = |(tier, end): (&Tier, i64)| {
        let slice_minor = (base_minor.min(end) - tier.floor_minor).max(0);
        let parts = i128::from(slice_minor) * i128::from(tier.rate_bps);
        Slice { floor_minor: tier.floor_minor, rate_bps: tier.rate_bps, slice_minor, parts }
    };
    tiers.iter().zip(ends).map(slice).collect()
}
