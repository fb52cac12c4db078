//! The workload's folder as a log: one partition of reference rows, one of order lines.
//!
//! See [`super`] for how a line becomes a command. Lines are read once, front to back.

use super::csv::{Line, Lines};
use super::till::SALES_EVERY_MS;
use connectors::decode::Input;
use runtime::source::{Claim, Fetch, Fetched, LogError, LogReader};
use runtime::{Class, Millis, Offset, PartitionId, TopicId};
use schemas::commands::PlaceOrder;
use schemas::reference::{Change, CommissionRate, Offer, OfferKind, OfferStatus, Partner, Standing};
use schemas::velocity::{FraudAction, RuleStatus, VelocityKey, VelocityMetric, VelocityRule};
use schemas::{Command, Reference, Text};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Topics by `TopicId`.
pub const TOPICS: [&str; 2] = ["reference", "commands.orders"];
pub const TENANT: &str = "shop";
const ROWS: PartitionId = PartitionId { topic: TopicId(0), partition: 0 };
const ORDERS: PartitionId = PartitionId { topic: TopicId(1), partition: 0 };
const PARTNERS: u64 = 500;
const PLAN: &str = "standard";

/// The workload's kinds as ours.
pub const KINDS: [(OfferKind, &str); 4] = [
    (OfferKind::Box, "EUR"),
    (OfferKind::Voucher, "EUR"),
    (OfferKind::Box, "USD"),
    (OfferKind::Voucher, "USD"),
];

/// Reference rows, and what the reader has to know of them.
#[derive(Debug)]
pub struct References {
    rows: Vec<Reference>,
    /// By offer: an order says the currency it was shown.
    currencies: Vec<Text>,
    pub rates_bps: Vec<i64>,
}

impl References {
    /// Reads offers and rates.
    ///
    /// # Errors
    /// Where a file can't be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut references =
            References { rows: vec![velocity_rule()], currencies: Vec::new(), rates_bps: Vec::new() };
        references.rows.extend((1..=PARTNERS).map(partner));
        let mut rates = Lines::<2>::open(&folder.join("rates.csv"))?;
        while let Some(line) = rates.next_line()? {
            let [kind, bps] = line.numbers.values;
            references.rates_bps.push(bps as i64);
            references.rows.push(rate(kind, bps));
        }
        let mut offers = Lines::<4>::open(&folder.join("offers.csv"))?;
        while let Some(line) = offers.next_line()? {
            references.rows.push(offer(&line));
            let [id, _, _, kind] = line.numbers.values.map(|value| value as usize);
            let len = references.currencies.len().max(id + 1);
            references.currencies.resize(len, Text::const_new("EUR"));
            references.currencies[id] = Text::const_new(KINDS[kind].1);
        }
        Ok(references)
    }

    fn currency(&self, offer: u64) -> Text {
        self.currencies.get(offer as usize).cloned().unwrap_or(Text::const_new("EUR"))
    }
}

fn velocity_rule() -> Reference {
    Reference::VelocityRule(Box::new(VelocityRule {
        tenant: Text::const_new(TENANT),
        rule_id: Text::const_new("six-a-minute"),
        key: VelocityKey::Customer,
        metric: VelocityMetric::Count,
        window_ms: 60_000,
        threshold: 6,
        action: FraudAction::Block,
        status: RuleStatus::Active,
    }))
}

fn partner(id: u64) -> Reference {
    Reference::Partner(Box::new(Partner {
        tenant: Text::const_new(TENANT),
        partner_id: Text::from(id.to_string()),
        status: Standing::Active,
        plan: Text::const_new(PLAN),
    }))
}

fn rate(kind: u64, bps: u64) -> Reference {
    let (offer_kind, currency) = KINDS[kind as usize];
    Reference::CommissionRate(Box::new(CommissionRate {
        tenant: Text::const_new(TENANT),
        plan: Text::const_new(PLAN),
        offer_kind,
        currency: Text::const_new(currency),
        tier_floor_minor: 0,
        rate_bps: bps as i32,
        valid_from: Text::const_new("2000-01-01"),
    }))
}

fn offer(line: &Line<4>) -> Reference {
    let [_, price_minor, stock_total, kind] = line.numbers.values;
    let (kind, currency) = KINDS[kind as usize];
    Reference::Offer(Box::new(Offer {
        tenant: Text::const_new(TENANT),
        offer_id: Text::from(line.text(0)),
        kind,
        price_minor: price_minor as i64,
        currency: Text::const_new(currency),
        stock_total: stock_total as i64,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 10,
        max_per_customer: None,
        draw_id: None,
        restock_on_refund: true,
        status: OfferStatus::Open,
    }))
}

/// Reads the folder for one worker's fetch thread.
pub struct FolderReader {
    path: PathBuf,
    references: Arc<References>,
    /// Opened by the worker whose partition it is.
    lines: Option<Lines<8>>,
    next: u64,
    newest_ms: Millis,
    ended: bool,
}

impl FolderReader {
    /// A reader that has read nothing yet.
    pub fn new(folder: &Path, references: Arc<References>) -> Self {
        FolderReader {
            path: folder.join("orders.csv"),
            references,
            lines: None,
            next: 0,
            newest_ms: 0,
            ended: false,
        }
    }

    fn fetch_rows(&self, from: Offset, max: usize) -> Fetch<Input> {
        let rows = &self.references.rows;
        let record = |(row, offset): (&Reference, u64)| Fetched {
            offset: Offset(offset),
            claim: Claim::BeforeEverything,
            class: Class::Reference,
            body: Input::Changes(vec![Change::Upsert { lsn: offset + 1, row: row.clone() }]),
            unread: None,
        };
        let wanted = rows.get(from.0 as usize..).unwrap_or_default().iter().take(max);
        let records = wanted.zip(from.0..).map(record).collect();
        Fetch::dense(from, records, Offset(rows.len() as u64))
    }

    fn fetch_orders(&mut self, from: Offset, max: usize) -> io::Result<Fetch<Input>> {
        assert_eq!(from.0, self.next, "lines are read front to back");
        if self.lines.is_none() {
            self.lines = Some(Lines::open(&self.path)?);
        }
        let lines = self.lines.as_mut().expect("opened above");
        let mut records = Vec::with_capacity(max);
        while records.len() < max {
            let record = match lines.next_line()? {
                Some(line) => {
                    self.newest_ms = self.newest_ms.max(line.numbers.values[1] as i64);
                    let body = command(&line, &self.references);
                    Fetched {
                        offset: Offset(self.next),
                        claim: Claim::At(self.newest_ms),
                        class: Class::Command,
                        body,
                        unread: None,
                    }
                }
                None if !self.ended => {
                    self.ended = true;
                    heartbeat(Offset(self.next), self.newest_ms + SALES_EVERY_MS)
                }
                None => return Ok(Fetch::dense(from, records, Offset(self.next))),
            };
            records.push(record);
            self.next += 1;
        }
        Ok(Fetch::dense(from, records, Offset(self.next + 1)))
    }
}

/// Says nothing but that time has passed: the last hour's sales are told.
fn heartbeat(offset: Offset, time: Millis) -> Fetched<Input> {
    let body = Input::Changes(vec![Change::Nothing]);
    Fetched { offset, claim: Claim::At(time), class: Class::Reference, body, unread: None }
}

/// `order_id, ts_ms, customer, partner, offer, qty, unit_price_minor, card` as a command.
fn command(line: &Line<8>, references: &References) -> Input {
    let [_, ts, _, _, offer, quantity, price, _] = line.numbers.values;
    let order = PlaceOrder {
        command_id: Text::from(line.text(0)),
        tenant: Text::const_new(TENANT),
        order_id: Text::from(line.text(0)),
        customer_id: Text::from(line.text(2)),
        partner_id: Some(Text::from(line.text(3))),
        offer_id: Text::from(line.text(4)),
        quantity: quantity as i32,
        price_minor: price as i64,
        currency: references.currency(offer),
        placed_at_ms: ts as i64,
        card: Some(Text::from(line.text(7))),
        device: None,
        ip: None,
        numbers: Vec::new(),
        seat: None,
    };
    Input::Command {
        command: Command::PlaceOrder(Box::new(order)),
        payload_hash: runtime::stable_hash(line.bytes),
        raw: None,
        retry_of: None,
    }
}

impl LogReader for FolderReader {
    type Record = Input;

    fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
        Ok(vec![ROWS, ORDERS])
    }

    fn fetch(&mut self, id: PartitionId, from: Offset, max: usize) -> Result<Fetch<Input>, LogError> {
        if id == ROWS {
            return Ok(self.fetch_rows(from, max));
        }
        self.fetch_orders(from, max).map_err(|error| LogError::Stop {
            place: self.path.display().to_string(),
            problem: error.to_string(),
            remedy: "generate it anew".to_owned(),
        })
    }

    fn wait(&mut self, timeout_ms: u64) {
        std::thread::sleep(std::time::Duration::from_millis(timeout_ms.min(1)));
    }
}
