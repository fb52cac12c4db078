//! Rows of a CSV as orders.

use clap::Args;
use runtime::Millis;
use schemas::commands::PlaceOrder;
use schemas::{Command, Text};
use std::path::Path;

/// Whose orders they are.
pub const TENANT: &str = "csv";

type Error = Box<dyn std::error::Error>;

/// Where to look: a header's name, or a number from 1.
#[derive(Debug, Args)]
pub struct Columns {
    /// Column of the event time. Default: 1.
    #[arg(long, value_name = "COLUMN", default_value = "1")]
    time: String,
    /// Column of the customer. Default: 2.
    #[arg(long, value_name = "COLUMN", default_value = "2")]
    customer: String,
    /// Column of the amount. Default: 3.
    #[arg(long, value_name = "COLUMN", default_value = "3")]
    amount: String,
    #[arg(long, value_name = "COLUMN")]
    card: Option<String>,
    #[arg(long, value_name = "COLUMN")]
    device: Option<String>,
    #[arg(long, value_name = "COLUMN")]
    ip: Option<String>,
    #[arg(long, value_name = "COLUMN")]
    partner: Option<String>,
    /// Most digits an amount has after the point; the minor unit is one of the last.
    #[arg(long, default_value_t = 0)]
    decimals: usize,
}

/// The file, and where its columns are.
pub struct Input {
    rows: csv::StringRecordsIntoIter<std::fs::File>,
    first: Option<csv::StringRecord>,
    /// time, customer, amount
    required: [usize; 3],
    /// card, device, ip, partner
    optional: [Option<usize>; 4],
    decimals: usize,
    line: u64,
    latest: Millis,
}

impl Input {
    /// Opens a file; a first row without a time is its header.
    pub fn open(path: &Path, columns: &Columns) -> Result<Input, Error> {
        let reader = csv::ReaderBuilder::new().has_headers(false).from_path(path);
        let mut rows = reader.map_err(|e| format!("{}: {e}", path.display()))?.into_records();
        let first = rows.next().transpose()?.ok_or("the file is empty")?;
        let find = |column: &String| place(&first, column);
        let required = [find(&columns.time)?, find(&columns.customer)?, find(&columns.amount)?];
        let optional = [&columns.card, &columns.device, &columns.ip, &columns.partner];
        let mut places = [None; 4];
        for (place, column) in places.iter_mut().zip(optional) {
            *place = column.as_ref().map(find).transpose()?;
        }
        let header = first.get(required[0]).is_none_or(|text| time(text).is_err());
        let first = (!header).then_some(first);
        let (line, decimals) = (u64::from(header), columns.decimals);
        Ok(Input { rows, first, required, optional: places, decimals, line, latest: 0 })
    }

    /// The next orders, at most `count`, each with its record time.
    pub fn read(&mut self, count: usize) -> Result<Vec<(Millis, PlaceOrder)>, Error> {
        let mut orders = Vec::with_capacity(count);
        while orders.len() < count {
            let Some(row) = self.first.take().map(Ok).or_else(|| self.rows.next()) else { break };
            self.line += 1;
            let order = self.order(&row?).map_err(|why| format!("line {}: {why}", self.line))?;
            self.latest = self.latest.max(order.placed_at_ms);
            orders.push((self.latest, order));
        }
        Ok(orders)
    }

    fn order(&self, row: &csv::StringRecord) -> Result<PlaceOrder, String> {
        let cell = |place: usize| row.get(place).ok_or_else(|| format!("there is no column {}", place + 1));
        let [at, customer, amount] = self.required;
        let optional = |nth: usize| {
            let text = self.optional[nth].and_then(|place| row.get(place));
            text.filter(|text| !text.is_empty()).map(Text::from)
        };
        let line = Text::from(self.line.to_string());
        let order = PlaceOrder {
            command_id: line.clone(),
            tenant: Text::const_new(TENANT),
            order_id: line,
            customer_id: cell(customer)?.into(),
            partner_id: optional(3),
            offer_id: Text::const_new("any"),
            quantity: 1,
            price_minor: minor(cell(amount)?, self.decimals)?,
            currency: Text::const_new("XXX"),
            placed_at_ms: time(cell(at)?)?,
            card: optional(0),
            device: optional(1),
            ip: optional(2),
            numbers: Vec::new(),
            seat: None,
        };
        let command = Command::PlaceOrder(Box::new(order));
        command.check()?;
        let Command::PlaceOrder(order) = command else { unreachable!("made above") };
        Ok(*order)
    }
}

fn place(header: &csv::StringRecord, column: &String) -> Result<usize, String> {
    match column.parse::<usize>() {
        Ok(number @ 1..) => Ok(number - 1),
        _ => header
            .iter()
            .position(|name| name == column)
            .ok_or_else(|| format!("no column {column:?}; the first line is {header:?}")),
    }
}

/// Milliseconds, or ISO 8601 with or without a zone (UTC).
fn time(text: &str) -> Result<Millis, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let zoned = text.parse::<jiff::Timestamp>();
    let plain = || text.parse::<jiff::civil::DateTime>()?.to_zoned(jiff::tz::TimeZone::UTC);
    let at = zoned.or_else(|_| plain().map(|zoned| zoned.timestamp()));
    at.map(|at| at.as_millisecond()).map_err(|e| format!("time {text:?}: {e}"))
}

fn minor(text: &str, decimals: usize) -> Result<i64, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let wrong = || format!("amount {text:?} is no number with up to {decimals} decimals; see --decimals");
    if part.len() > decimals || text.starts_with('-') {
        return Err(wrong());
    }
    format!("{whole}{part:0<decimals$}").parse().map_err(|_| wrong())
}
