//! From envelopes to changes of our own reference tables.
//!
//! ```text
//!   c, r, u ──> Upsert          u that moves the key, d then c ──> Delete old, Upsert new
//!   d       ──> Delete          t ──> Truncate          tombstone, notice ──> Nothing
//! ```
//!
//! Columns are matched by the names in `schemas/avro/{offers,partners,customers,...}.avsc`; further columns
//! are ignored, optional ones may be absent. A whole number may come as an integer, an exact decimal or a
//! text; a time as milliseconds, any Debezium time type or ISO 8601; a flag as a boolean or 0 and 1.

use super::avro::AvroSchemas;
use super::commission;
use super::connect::zoned_timestamp;
use super::datum::{Datum, Decimal};
use super::draws;
use super::envelope::{self, Cells, Envelope, Message, Op};
use super::hints::Hints;
use super::write::id_column;
use crate::Text;
use crate::avro::{DecodeError, MAGIC};
use crate::checks;
use crate::reference::{Change, Customer, Offer, Partner, Reference, ReferenceKey, ReferenceTable};
use crate::velocity::{VelocityRule, WINDOW_MS_MAX};

/// What PostgreSQL's connector writes for a large column it was not told.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// One message, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedChange {
    /// Never empty; two where a primary key changed.
    pub changes: Vec<Change>,
    /// What the message claims about its time.
    pub source_ts_ms: Option<i64>,
    /// Comes before everything, whatever time it claims.
    pub snapshot_read: bool,
}

/// Decodes bare or wrapped JSON without hints.
///
/// # Errors
/// As [`ChangeDecoder::decode_change`].
pub fn decode_change(
    table: ReferenceTable,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<DecodedChange, DecodeError> {
    ChangeDecoder::default().decode_change(table, key, value)
}

/// Decodes the messages of reference tables, JSON or Avro.
#[derive(Debug, Default)]
pub struct ChangeDecoder {
    /// What columns mean where messages come without a schema.
    pub hints: Hints,
    /// Writers' schemas of Avro messages, by registry id.
    pub avro: AvroSchemas,
}

impl ChangeDecoder {
    /// Decodes one message of a table's topic. `None` or empty is a tombstone.
    ///
    /// # Errors
    /// The record goes to the dead letters. On [`DecodeError::UnknownSchema`] ask the registry for the
    /// id first, add it to `avro` and try again.
    pub fn decode_change(
        &self,
        table: ReferenceTable,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<DecodedChange, DecodeError> {
        let fail = |why| DecodeError::Change { table: table.as_str(), why };
        let message = match value {
            None | Some([]) => Message::Tombstone,
            Some(bytes @ [MAGIC, ..]) => self.avro.message(bytes, &self.hints)?,
            Some(bytes) => envelope::message(bytes, &self.hints).map_err(fail)?,
        };
        match message {
            Message::Tombstone | Message::Notice(_) => Ok(nothing(None)),
            Message::Change(change) => {
                let key = || self.key(table, key.unwrap_or_default());
                to_change(table, &change, key).map_err(fail)
            }
        }
    }

    fn key(&self, table: ReferenceTable, bytes: &[u8]) -> Result<Cells, String> {
        match bytes {
            [] => Err(
                "a delete has neither a row before it nor a message key; set REPLICA IDENTITY on the table"
                    .into(),
            ),
            [MAGIC, ..] => self.avro.key(bytes, table.as_str(), &self.hints).map_err(|e| e.to_string()),
            _ => envelope::key(bytes, table.as_str(), &self.hints),
        }
    }
}

fn nothing(source_ts_ms: Option<i64>) -> DecodedChange {
    DecodedChange { changes: vec![Change::Nothing], source_ts_ms, snapshot_read: false }
}

fn to_change(
    table: ReferenceTable,
    envelope: &Envelope,
    message_key: impl FnOnce() -> Result<Cells, String>,
) -> Result<DecodedChange, String> {
    if envelope.op == Op::Message {
        return Ok(nothing(envelope.source.ts_ms));
    }
    let lsn = lsn(envelope)?;
    let changes = match (envelope.op, &envelope.before, &envelope.after) {
        (Op::Truncate, _, _) => vec![Change::Truncate { lsn, table }],
        (Op::Delete, before, _) => {
            let in_row = before.as_ref().and_then(|before| key_in(table, before).ok());
            let key = in_row.map_or_else(|| key_in(table, &message_key()?), Ok)?;
            vec![Change::Delete { lsn, key }]
        }
        (_, before, Some(after)) => upsert(table, lsn, before.as_ref(), after)?,
        (op, _, None) => return Err(format!("`op` is {}, but there is no row `after` it", op.letter())),
    };
    let (source_ts_ms, snapshot_read) = (envelope.source.ts_ms, envelope.is_snapshot_read());
    Ok(DecodedChange { changes, source_ts_ms, snapshot_read })
}

/// The newest wins by this; a snapshot read without one counts from the beginning.
fn lsn(envelope: &Envelope) -> Result<u64, String> {
    match envelope.source.position {
        Some(position) => Ok(position),
        None if envelope.is_snapshot_read() => Ok(0),
        None => Err("`source` has no position (`lsn`, or `file` and `pos`), so it can't be told from a \
             redelivery; leave `source` in the connector's output"
            .into()),
    }
}

fn upsert(
    table: ReferenceTable,
    lsn: u64,
    before: Option<&Cells>,
    after: &Cells,
) -> Result<Vec<Change>, String> {
    let row = reference(table, after)?;
    row.check()?;
    // Where the source leaves the key out of `before`, the connector itself splits a key's change in two.
    let old_key = before.and_then(|before| key_in(table, before).ok());
    let moved_from = old_key.filter(|key| *key != row.key());
    let delete = moved_from.map(|key| Change::Delete { lsn, key });
    Ok(delete.into_iter().chain([Change::Upsert { lsn, row }]).collect())
}

fn key_in(table: ReferenceTable, cells: &Cells) -> Result<ReferenceKey, String> {
    let columns = Columns(cells);
    if table == ReferenceTable::CommissionRates {
        return commission::rate_key(&columns);
    }
    let (tenant, id) = (columns.text("tenant")?, columns.text(id_column(table))?);
    Ok(match table {
        ReferenceTable::Offers => ReferenceKey::Offer { tenant, offer_id: id },
        ReferenceTable::Partners => ReferenceKey::Partner { tenant, partner_id: id },
        ReferenceTable::Customers => ReferenceKey::Customer { tenant, customer_id: id },
        ReferenceTable::CommissionPeriods => ReferenceKey::CommissionPeriod { tenant, month: id },
        ReferenceTable::VelocityRules => ReferenceKey::VelocityRule { tenant, rule_id: id },
        ReferenceTable::Draws => ReferenceKey::Draw { tenant, draw_id: id },
        ReferenceTable::Channels => ReferenceKey::Channel { tenant, channel_id: id },
        ReferenceTable::CommissionRates => unreachable!("its key has more columns: see above"),
    })
}

fn reference(table: ReferenceTable, cells: &Cells) -> Result<Reference, String> {
    let columns = Columns(cells);
    Ok(match table {
        ReferenceTable::Offers => Reference::Offer(Box::new(offer(&columns)?)),
        ReferenceTable::Partners => Reference::Partner(Box::new(Partner {
            tenant: columns.text("tenant")?,
            partner_id: columns.text("partner_id")?,
            status: columns.word("status")?,
            plan: columns.text("plan")?,
        })),
        ReferenceTable::Customers => Reference::Customer(Box::new(Customer {
            tenant: columns.text("tenant")?,
            customer_id: columns.text("customer_id")?,
            status: columns.word("status")?,
            daily_spend_limit_minor: columns.optional("daily_spend_limit_minor", INT)?,
        })),
        ReferenceTable::CommissionRates => Reference::CommissionRate(Box::new(commission::rate(&columns)?)),
        ReferenceTable::CommissionPeriods => {
            Reference::CommissionPeriod(Box::new(commission::period(&columns)?))
        }
        ReferenceTable::VelocityRules => Reference::VelocityRule(Box::new(velocity_rule(&columns)?)),
        ReferenceTable::Draws => Reference::Draw(Box::new(draws::draw(&columns)?)),
        ReferenceTable::Channels => Reference::Channel(Box::new(draws::channel(&columns)?)),
    })
}

fn offer(columns: &Columns<'_>) -> Result<Offer, String> {
    Ok(Offer {
        tenant: columns.text("tenant")?,
        offer_id: columns.text("offer_id")?,
        kind: columns.word("kind")?,
        price_minor: columns.required("price_minor", INT)?,
        currency: columns.text("currency")?,
        stock_total: columns.required("stock_total", INT)?,
        sale_opens_at_ms: columns.optional("sale_opens_at_ms", TIME_MS)?,
        sale_closes_at_ms: columns.optional("sale_closes_at_ms", TIME_MS)?,
        max_per_order: columns.required("max_per_order", INT32)?,
        max_per_customer: columns.optional("max_per_customer", INT32)?,
        draw_id: columns.optional("draw_id", TEXT)?,
        restock_on_refund: columns.required("restock_on_refund", FLAG)?,
        status: columns.word("status")?,
    })
}

fn velocity_rule(columns: &Columns<'_>) -> Result<VelocityRule, String> {
    Ok(VelocityRule {
        tenant: columns.text("tenant")?,
        rule_id: columns.text("rule_id")?,
        key: columns.word("key")?,
        metric: columns.word("metric")?,
        window_ms: columns.required("window_ms", INT)?,
        threshold: columns.required("threshold", INT)?,
        action: columns.word("action")?,
        status: columns.word("status")?,
    })
}

impl Reference {
    /// Checks ids (1–128 bytes), the currency, times, and that prices, stock, limits and thresholds
    /// are not negative.
    ///
    /// # Errors
    /// Names the column, what is wrong with it, and what it should be.
    pub fn check(&self) -> Result<(), String> {
        let key = self.key();
        let (tenant, id) = key.parts();
        checks::id("tenant", tenant)?;
        if !matches!(self, Reference::CommissionRate(_)) {
            checks::id(id_column(self.table()), id)?;
        }
        match self {
            Reference::Offer(offer) => check_offer(offer),
            Reference::Partner(_) => Ok(()),
            Reference::Customer(customer) => {
                not_negative("daily_spend_limit_minor", customer.daily_spend_limit_minor.unwrap_or(0))
            }
            Reference::CommissionRate(rate) => commission::check_rate(rate),
            Reference::CommissionPeriod(period) => commission::check_period(period),
            Reference::VelocityRule(rule) => check_rule(rule),
            Reference::Draw(draw) => crate::draws::check_draw(draw),
            Reference::Channel(channel) => crate::draws::check_channel(channel),
        }
    }
}

fn check_offer(offer: &Offer) -> Result<(), String> {
    checks::currency(&offer.currency)?;
    not_negative("price_minor", offer.price_minor)?;
    not_negative("stock_total", offer.stock_total)?;
    not_negative("max_per_order", i64::from(offer.max_per_order))?;
    not_negative("max_per_customer", i64::from(offer.max_per_customer.unwrap_or(0)))?;
    checks::time("sale_opens_at_ms", offer.sale_opens_at_ms.unwrap_or(0))?;
    checks::time("sale_closes_at_ms", offer.sale_closes_at_ms.unwrap_or(0))
}

fn check_rule(rule: &VelocityRule) -> Result<(), String> {
    not_negative("threshold", rule.threshold)?;
    if (1..=WINDOW_MS_MAX).contains(&rule.window_ms) {
        return Ok(());
    }
    Err(format!("`window_ms` is {}; it must be 1 to {WINDOW_MS_MAX} (366 days)", rule.window_ms))
}

pub(super) fn not_negative(column: &str, value: i64) -> Result<(), String> {
    if value >= 0 { Ok(()) } else { Err(format!("`{column}` is {value}; it can't be negative")) }
}

/// A row's columns by name.
pub(super) struct Columns<'a>(&'a Cells);

impl Columns<'_> {
    pub(super) fn optional<T>(&self, column: &str, to: To<T>) -> Result<Option<T>, String> {
        match self.0.iter().find(|(name, _)| name == column).map(|(_, datum)| datum) {
            None | Some(Datum::Null) => Ok(None),
            Some(Datum::Text(text)) if text == UNAVAILABLE => Err(format!(
                "`{column}` was left out by the source as unchanged; set REPLICA IDENTITY FULL on the table"
            )),
            Some(datum) => match (to.read)(datum) {
                Some(value) => Ok(Some(value)),
                None => Err(format!("`{column}` is {datum}, not {}", to.expected)),
            },
        }
    }

    pub(super) fn required<T>(&self, column: &str, to: To<T>) -> Result<T, String> {
        self.optional(column, to)?.ok_or_else(|| format!("`{column}` is missing or null; the row needs it"))
    }

    pub(super) fn text(&self, column: &str) -> Result<Text, String> {
        self.required(column, TEXT)
    }

    /// A word of a closed list.
    pub(super) fn word<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T, String> {
        let word = self.text(column)?;
        let list = serde_json::Value::String(word.to_string());
        serde_json::from_value(list).map_err(|e| format!("`{column}`: {e}"))
    }
}

/// How a column is read, and what it takes, as an error says it.
pub(super) struct To<T> {
    pub(super) expected: &'static str,
    pub(super) read: fn(&Datum) -> Option<T>,
}

pub(super) const TEXT: To<Text> = To { expected: "a text", read: to_text };
pub(super) const INT: To<i64> = To { expected: "a whole number that fits 64 bits", read: to_int };
pub(super) const INT32: To<i32> = To { expected: "a whole number that fits 32 bits", read: to_i32 };
pub(super) const TIME_MS: To<i64> =
    To { expected: "milliseconds since 1970 or an ISO 8601 time", read: to_time_ms };
pub(super) const FLAG: To<bool> = To { expected: "true or false", read: to_flag };

pub(super) fn to_text(datum: &Datum) -> Option<Text> {
    match datum {
        Datum::Text(text) => Some(Text::from(text.as_str())),
        Datum::Int(int) => Some(compact_str::format_compact!("{int}")),
        _ => None,
    }
}

/// Largest whole number up to which a double holds every one.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

fn to_int(datum: &Datum) -> Option<i64> {
    match datum {
        Datum::Int(int) => Some(*int),
        Datum::Decimal(decimal) => decimal.to_i64(),
        Datum::Text(text) => Decimal::parse(text)?.to_i64(),
        Datum::Float(float) if float.fract() == 0.0 && float.abs() <= EXACT_MAX => Some(*float as i64),
        _ => None,
    }
}

fn to_i32(datum: &Datum) -> Option<i32> {
    to_int(datum)?.try_into().ok()
}

const MILLI_NS: i128 = 1_000_000;

fn to_time_ms(datum: &Datum) -> Option<i64> {
    match datum {
        Datum::Timestamp(ns) => ns.div_euclid(MILLI_NS).try_into().ok(),
        Datum::Text(text) => match zoned_timestamp(text) {
            Some(ns) => ns.div_euclid(MILLI_NS).try_into().ok(),
            None => to_int(datum),
        },
        _ => to_int(datum),
    }
}

fn to_flag(datum: &Datum) -> Option<bool> {
    match datum {
        Datum::Bool(flag) => Some(*flag),
        Datum::Int(0) => Some(false),
        Datum::Int(1) => Some(true),
        _ => None,
    }
}
