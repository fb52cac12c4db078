//! What the demo came to, read from the serving tables and the facts.

use super::latency::Percentiles;
use crate::commands::Failure;
use crate::commands::output::{self, thousands};
use crate::stores::{Stores, Tables, scan};
use schemas::draws::{PublicationEvent, PublicationKind};
use schemas::facts::OrderEvent;
use schemas::{Decoder, Fact, Value};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Longest a question to the tables may take.
const QUERY_MS_MAX: u64 = 120_000;

const PRIZES: &str = "SELECT currency, CAST(sum(amount_minor) AS BIGINT) FROM winning_tickets WHERE status = 'won' GROUP BY currency";

/// How the run itself went.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Run {
    pub seed: u64,
    pub workers: usize,
    pub records: u64,
    /// From the first record to the last decision.
    pub seconds: f64,
    pub latency: Percentiles,
    pub paced: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub run: Run,
    pub orders: u64,
    /// Orders by what became of them.
    pub by_status: BTreeMap<String, u64>,
    /// Refused orders by reason; an order counts under each of its reasons.
    pub refused_by_reason: BTreeMap<String, u64>,
    pub duplicates: u64,
    pub idempotency_conflicts: u64,
    pub refunds_due: u64,
    pub dead_letters: u64,
    pub tickets: u64,
    pub draws: u64,
    /// Results that took another one's place.
    pub draws_corrected: u64,
    /// Ready, one for each result; none of a result that was corrected before its image was there.
    pub images: u64,
    pub winning_tickets: u64,
    /// What they get, by currency, in its minor unit.
    pub prizes_minor: BTreeMap<String, u64>,
    pub offers: u64,
    /// Offers for which available + held + sold = stock_total. All of them, or something is very wrong.
    pub offers_balanced: u64,
    pub flash_sales: Vec<Flash>,
}

/// The stock of a flash sale.
#[derive(Debug, Serialize)]
pub struct Flash {
    pub tenant: String,
    pub offer: String,
    pub stock_total: i64,
    pub available: i64,
    pub held: i64,
    pub sold: i64,
}

/// Reads it all from a data directory.
///
/// # Errors
/// Where tables or log can't be read.
pub fn read(stores: &Stores, run: Run) -> Result<Summary, Failure> {
    let mut reader = stores.tables()?;
    let reader = reader.as_mut();
    let by_status = counts(reader, "SELECT status, count(*) FROM orders GROUP BY status")?;
    let reasons = "SELECT reasons, count(*) FROM orders WHERE status = 'refused' GROUP BY reasons";
    let refused_by_reason = by_single_reason(&counts(reader, reasons)?);
    let balanced = "SELECT 'n', count(*) FROM stock WHERE available + held + sold = stock_total";
    let events = events(stores)?;
    let event = |event: OrderEvent| events.get(event.as_str()).copied().unwrap_or(0);
    Ok(Summary {
        run,
        orders: by_status.values().sum(),
        by_status,
        refused_by_reason,
        duplicates: event(OrderEvent::Duplicate),
        idempotency_conflicts: event(OrderEvent::IdempotencyConflict),
        refunds_due: event(OrderEvent::RefundDue),
        dead_letters: count(reader, "SELECT 'n', count(*) FROM dead_letters")?,
        tickets: count(reader, "SELECT 'n', count(*) FROM tickets")?,
        draws: count(reader, "SELECT 'n', count(*) FROM draws WHERE revision > 0")?,
        draws_corrected: count(reader, "SELECT 'n', count(*) FROM draws WHERE revision > 1")?,
        images: images(stores)?.drawn,
        winning_tickets: count(reader, "SELECT 'n', count(*) FROM winning_tickets WHERE status = 'won'")?,
        prizes_minor: counts(reader, PRIZES)?,
        offers: count(reader, "SELECT 'n', count(*) FROM stock")?,
        offers_balanced: count(reader, balanced)?,
        flash_sales: flash_sales(reader)?,
    })
}

/// Orders that still hold stock.
///
/// # Errors
/// Where the table can't be read.
pub fn held(reader: &mut dyn Tables) -> Result<u64, Failure> {
    count(reader, "SELECT 'n', count(*) FROM orders WHERE status = 'held'")
}

fn counts(reader: &mut dyn Tables, sql: &str) -> Result<BTreeMap<String, u64>, Failure> {
    let found = reader.query(sql, usize::MAX, QUERY_MS_MAX)?;
    Ok(found.rows.iter().map(|row| (output::text(&row[0]), int(&row[1]) as u64)).collect())
}

fn count(reader: &mut dyn Tables, sql: &str) -> Result<u64, Failure> {
    Ok(counts(reader, sql)?.values().sum())
}

fn int(value: &Value) -> i64 {
    if let Value::Int(int) = value { *int } else { 0 }
}

fn by_single_reason(by_reasons: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut by_reason = BTreeMap::new();
    for (reasons, orders) in by_reasons {
        for reason in reasons.split(',') {
            *by_reason.entry(reason.to_owned()).or_default() += orders;
        }
    }
    by_reason
}

fn flash_sales(reader: &mut dyn Tables) -> Result<Vec<Flash>, Failure> {
    let sql = "SELECT tenant, offer_id, stock_total, available, held, sold FROM stock
               WHERE offer_id LIKE '%-flash' ORDER BY 1, 2";
    let flash = |row: &Vec<Value>| Flash {
        tenant: output::text(&row[0]),
        offer: output::text(&row[1]),
        stock_total: int(&row[2]),
        available: int(&row[3]),
        held: int(&row[4]),
        sold: int(&row[5]),
    };
    Ok(reader.query(sql, 100, QUERY_MS_MAX)?.rows.iter().map(flash).collect())
}

/// Order facts by event: what happened without changing a row is only to be seen there.
fn events(stores: &Stores) -> Result<BTreeMap<&'static str, u64>, Failure> {
    let (mut log, ids) = (stores.log()?, stores.ids()?);
    let (decoder, topic) = (Decoder::with_own(|record| ids.of(record)), Fact::TOPICS[0]);
    let mut events = BTreeMap::new();
    scan(log.as_mut(), topic, |_, record| -> Result<(), Failure> {
        if let Ok(Fact::Order(fact)) = decoder.decode_fact(&record.value.unwrap_or_default()) {
            *events.entry(fact.event.as_str()).or_default() += 1;
        }
        Ok(())
    })?;
    Ok(events)
}

/// Images of results.
#[derive(Clone, Copy, Debug, Default)]
pub struct Images {
    pub drawn: u64,
    /// Asked for, and neither drawn nor given up.
    pub open: u64,
}

/// Images as facts tell of them.
///
/// # Errors
/// Where the log can't be read.
pub fn images(stores: &Stores) -> Result<Images, Failure> {
    let (mut log, ids) = (stores.log()?, stores.ids()?);
    let decoder = Decoder::with_own(|record| ids.of(record));
    let mut images = Images::default();
    scan(log.as_mut(), "facts.publications", |_, record| -> Result<(), Failure> {
        match decoder.decode_fact(&record.value.unwrap_or_default()) {
            Ok(Fact::Publication(fact)) if fact.kind == PublicationKind::Image => images.add(fact.event),
            _ => {}
        }
        Ok(())
    })?;
    Ok(images)
}

impl Images {
    /// Facts of a draw lie in one partition, in their order.
    fn add(&mut self, event: PublicationEvent) {
        match event {
            PublicationEvent::Requested => self.open += 1,
            PublicationEvent::Ready => {
                (self.open, self.drawn) = (self.open.saturating_sub(1), self.drawn + 1);
            }
            // What had failed was over before it was superseded; the demo's images don't fail.
            PublicationEvent::Failed | PublicationEvent::Superseded => {
                self.open = self.open.saturating_sub(1)
            }
            PublicationEvent::Posted | PublicationEvent::Skipped => {}
        }
    }
}

impl Summary {
    /// For reading.
    pub fn text(&self) -> String {
        let (run, mut out) = (&self.run, String::new());
        let rate = (run.records as f64 / run.seconds.max(0.001)) as u64;
        let orders_rate = (self.orders as f64 / run.seconds.max(0.001)) as u64;
        let _ = writeln!(
            out,
            "{} orders ({} records with payments, cancels and repeats) in {:.1} s on {} workers, seed {}",
            thousands(self.orders),
            thousands(run.records),
            run.seconds,
            run.workers,
            run.seed
        );
        let (orders_rate, rate) = (thousands(orders_rate), thousands(rate));
        let _ = writeln!(out, "throughput  {orders_rate} orders/s, {rate} records/s");
        let note = if run.paced { "" } else { " (unpaced: waiting in the backlog included)" };
        let Percentiles { p50_ms, p95_ms, p99_ms } = run.latency;
        let _ = writeln!(
            out,
            "latency     p50 {p50_ms:.1} ms, p95 {p95_ms:.1} ms, p99 {p99_ms:.1} ms from appended to decided{note}"
        );
        let _ = write!(out, "\n{}\n{}", self.shares("order became", &self.by_status), self.refusals());
        let _ = write!(out, "\n{}\n{}", self.others(), self.stock());
        out
    }

    fn shares(&self, what: &str, counts: &BTreeMap<String, u64>) -> String {
        let mut counts: Vec<(&String, &u64)> = counts.iter().collect();
        counts.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
        let share = |count: u64| format!("{:.2} %", count as f64 * 100.0 / self.orders.max(1) as f64);
        let rows: Vec<Vec<String>> = counts
            .into_iter()
            .map(|(name, count)| vec![name.clone(), count.to_string(), share(*count)])
            .collect();
        output::table(&[what, "orders", "share"], &rows)
    }

    fn refusals(&self) -> String {
        self.shares("refused because", &self.refused_by_reason)
    }

    fn others(&self) -> String {
        format!(
            "said twice, done once: {}   same id, other content: {}   refunds due: {}   tickets: {}   dead letters: {}\n",
            thousands(self.duplicates),
            thousands(self.idempotency_conflicts),
            thousands(self.refunds_due),
            thousands(self.tickets),
            thousands(self.dead_letters)
        ) + &self.drawn()
    }

    fn drawn(&self) -> String {
        let prizes = self
            .prizes_minor
            .iter()
            .map(|(currency, minor)| format!("{}.{:02} {currency}", thousands(minor / 100), minor % 100));
        format!(
            "draws published: {}   corrected: {}   images ready: {}   winning tickets: {}   prizes: {}\n",
            thousands(self.draws),
            thousands(self.draws_corrected),
            thousands(self.images),
            thousands(self.winning_tickets),
            prizes.collect::<Vec<_>>().join(", ")
        )
    }

    fn stock(&self) -> String {
        let row = |f: &Flash| {
            let numbers = [f.stock_total, f.available, f.held, f.sold].map(|n| n.to_string());
            [f.tenant.clone(), f.offer.clone()].into_iter().chain(numbers).collect()
        };
        let rows: Vec<Vec<String>> = self.flash_sales.iter().map(row).collect();
        let head = ["tenant", "flash sale", "stock", "available", "held", "sold"];
        let balanced = format!(
            "available + held + sold = stock_total for {} of {} offers\n",
            self.offers_balanced, self.offers
        );
        output::table(&head, &rows) + &balanced
    }
}
