//! The serving tables' declarations and the values of a row in the declared order.
//!
//! Invariant: `Row::values` has one value per column of `Row::table`, of the column's type, the key's
//! columns first. Sinks add the column `epoch` last; it is not listed here.

use crate::Text;
pub use crate::draws::{DRAWS, PUBLICATIONS, WINNING_TICKETS};
use crate::draws::{draw_cells, publication_cells, winning_cells};
use crate::rows::{
    Column, ColumnType, CommissionRow, DeadLetterRow, FraudAlertRow, OrderRow, Row, StockRow, TableSpec,
    TicketRow, Value,
};

pub(crate) const fn text(name: &'static str) -> Column {
    Column { name, ty: ColumnType::Text, nullable: false }
}

pub(crate) const fn int(name: &'static str) -> Column {
    Column { name, ty: ColumnType::Int, nullable: false }
}

const fn bytes(name: &'static str) -> Column {
    Column { name, ty: ColumnType::Bytes, nullable: false }
}

pub(crate) const fn optional(column: Column) -> Column {
    Column { nullable: true, ..column }
}

/// Where every order stands.
pub static ORDERS: TableSpec = TableSpec {
    name: "orders",
    columns: &[
        text("tenant"),
        text("order_id"),
        text("command_id"),
        text("offer_id"),
        optional(text("partner_id")),
        text("customer_id"),
        int("quantity"),
        int("amount_minor"),
        text("currency"),
        text("status"),
        text("reasons"),
        int("placed_at_ms"),
    ],
    key: 2,
};

/// The stock ledger's balances of every offer.
pub static STOCK: TableSpec = TableSpec {
    name: "stock",
    columns: &[
        text("tenant"),
        text("offer_id"),
        int("stock_total"),
        int("available"),
        int("held"),
        int("sold"),
        int("shrink_due"),
    ],
    key: 2,
};

/// Tickets issued.
pub static TICKETS: TableSpec = TableSpec {
    name: "tickets",
    columns: &[text("tenant"), text("ticket_id"), text("order_id"), text("offer_id"), text("payload")],
    key: 2,
};

/// Records nothing could be done with.
pub static DEAD_LETTERS: TableSpec = TableSpec {
    name: "dead_letters",
    columns: &[
        text("id"),
        text("topic"),
        int("partition"),
        int("offset"),
        text("reason"),
        bytes("payload"),
        int("first_seen_ms"),
        int("attempts"),
        text("status"),
    ],
    key: 1,
};

/// What partners earn, by month, currency and kind of offer.
pub static COMMISSION_STATEMENTS: TableSpec = TableSpec {
    name: "commission_statements",
    columns: &[
        text("tenant"),
        text("partner_id"),
        text("month"),
        text("currency"),
        text("offer_kind"),
        int("base_minor"),
        int("commission_minor"),
        int("adjustment_minor"),
        text("status"),
    ],
    key: 5,
};

/// Velocity rules that fired.
pub static FRAUD_ALERTS: TableSpec = TableSpec {
    name: "fraud_alerts",
    columns: &[
        text("tenant"),
        text("rule_id"),
        text("command_id"),
        text("key"),
        text("order_id"),
        text("metric"),
        int("value"),
        int("threshold"),
        int("window_ms"),
        text("action"),
        optional(int("exact_since_ms")),
        int("placed_at_ms"),
        int("at_ms"),
    ],
    key: 3,
};

/// Every serving table, in the order in which sinks create and digests list them.
pub static ALL_TABLES: [&TableSpec; 9] = [
    &ORDERS,
    &STOCK,
    &TICKETS,
    &DEAD_LETTERS,
    &COMMISSION_STATEMENTS,
    &FRAUD_ALERTS,
    &DRAWS,
    &WINNING_TICKETS,
    &PUBLICATIONS,
];

/// Most columns of a primary key.
pub const KEY_COLUMNS_MAX: usize = 5;

/// Which row: what a sink coalesces an epoch's rows by. `parts` are the key's texts, in the order of its columns;
/// those beyond are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey<'a> {
    pub table: &'static str,
    pub parts: [&'a str; KEY_COLUMNS_MAX],
    /// The key's number, where one of its columns is one.
    pub number: Option<i64>,
}

impl Row {
    /// The table it belongs to.
    pub fn table(&self) -> &'static TableSpec {
        match self {
            Row::Order(_) => &ORDERS,
            Row::Stock(_) => &STOCK,
            Row::Ticket(_) => &TICKETS,
            Row::DeadLetter(_) => &DEAD_LETTERS,
            Row::Commission(_) => &COMMISSION_STATEMENTS,
            Row::FraudAlert(_) => &FRAUD_ALERTS,
            Row::Draw(_) => &DRAWS,
            Row::WinningTicket(_) => &WINNING_TICKETS,
            Row::Publication(_) => &PUBLICATIONS,
        }
    }

    /// Its primary key.
    pub fn key(&self) -> RowKey<'_> {
        let parts = match self {
            Row::Order(row) => pair(&row.tenant, &row.order_id),
            Row::Stock(row) => pair(&row.tenant, &row.offer_id),
            Row::Ticket(row) => pair(&row.tenant, &row.ticket_id),
            Row::DeadLetter(row) => pair(&row.id, ""),
            Row::Commission(row) => {
                [&row.tenant, &row.partner_id, &row.month, &row.currency, row.offer_kind.as_str()]
            }
            Row::FraudAlert(row) => [&row.tenant, &row.rule_id, &row.command_id, "", ""],
            Row::Draw(row) => pair(&row.tenant, &row.draw_id),
            Row::WinningTicket(row) => [&row.tenant, &row.draw_id, &row.ticket_id, &row.tier, ""],
            Row::Publication(row) => [&row.tenant, &row.draw_id, &row.channel, "", ""],
        };
        let number = match self {
            Row::WinningTicket(row) => Some(i64::from(row.revision)),
            Row::Publication(row) => Some(i64::from(row.revision)),
            _ => None,
        };
        RowKey { table: self.table().name, parts, number }
    }

    /// Stable hash of table and key: the same in every run, version and machine.
    pub fn key_hash(&self) -> u64 {
        let RowKey { table, parts, number } = self.key();
        // At least two, as the first tables' hashes were made.
        let parts = &parts[..self.table().key.max(2)];
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for part in std::iter::once(&table).chain(parts) {
            hasher.update(&(part.len() as u32).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        if let Some(number) = number {
            hasher.update(&number.to_le_bytes());
        }
        hasher.digest()
    }

    /// One value per column of its table, in the declared order.
    pub fn values(&self) -> Vec<Value> {
        let mut values = Vec::with_capacity(self.table().columns.len());
        self.each_cell(|cell| values.push(cell.into()));
        values
    }

    /// The same without copying: calls `each` with every column's value, in the declared order.
    pub fn each_cell<'a>(&'a self, each: impl FnMut(Cell<'a>)) {
        match self {
            Row::Order(row) => order_cells(row).into_iter().for_each(each),
            Row::Stock(row) => stock_cells(row).into_iter().for_each(each),
            Row::Ticket(row) => ticket_cells(row).into_iter().for_each(each),
            Row::DeadLetter(row) => dead_letter_cells(row).into_iter().for_each(each),
            Row::Commission(row) => commission_cells(row).into_iter().for_each(each),
            Row::FraudAlert(row) => fraud_alert_cells(row).into_iter().for_each(each),
            Row::Draw(row) => draw_cells(row).into_iter().for_each(each),
            Row::WinningTicket(row) => winning_cells(row).into_iter().for_each(each),
            Row::Publication(row) => publication_cells(row).into_iter().for_each(each),
        }
    }
}

/// A column's value, borrowed from its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

fn pair<'a>(first: &'a str, second: &'a str) -> [&'a str; KEY_COLUMNS_MAX] {
    [first, second, "", "", ""]
}

fn order_cells(row: &OrderRow) -> [Cell<'_>; 12] {
    [
        text_cell(&row.tenant),
        text_cell(&row.order_id),
        text_cell(&row.command_id),
        text_cell(&row.offer_id),
        row.partner_id.as_ref().map_or(Cell::Null, text_cell),
        text_cell(&row.customer_id),
        Cell::Int(row.quantity.into()),
        Cell::Int(row.amount_minor),
        text_cell(&row.currency),
        Cell::Text(row.status.as_str()),
        text_cell(&row.reasons),
        Cell::Int(row.placed_at_ms),
    ]
}

fn stock_cells(row: &StockRow) -> [Cell<'_>; 7] {
    [
        text_cell(&row.tenant),
        text_cell(&row.offer_id),
        Cell::Int(row.stock_total),
        Cell::Int(row.available),
        Cell::Int(row.held),
        Cell::Int(row.sold),
        Cell::Int(row.shrink_due),
    ]
}

fn ticket_cells(row: &TicketRow) -> [Cell<'_>; 5] {
    [&row.tenant, &row.ticket_id, &row.order_id, &row.offer_id, &row.payload].map(text_cell)
}

fn dead_letter_cells(row: &DeadLetterRow) -> [Cell<'_>; 9] {
    [
        text_cell(&row.id),
        text_cell(&row.topic),
        Cell::Int(row.partition.into()),
        Cell::Int(row.offset),
        Cell::Text(&row.reason),
        Cell::Bytes(&row.payload),
        Cell::Int(row.first_seen_ms),
        Cell::Int(row.attempts.into()),
        text_cell(&row.status),
    ]
}

fn commission_cells(row: &CommissionRow) -> [Cell<'_>; 9] {
    [
        text_cell(&row.tenant),
        text_cell(&row.partner_id),
        text_cell(&row.month),
        text_cell(&row.currency),
        Cell::Text(row.offer_kind.as_str()),
        Cell::Int(row.base_minor),
        Cell::Int(row.commission_minor),
        Cell::Int(row.adjustment_minor),
        Cell::Text(row.status.as_str()),
    ]
}

fn fraud_alert_cells(row: &FraudAlertRow) -> [Cell<'_>; 13] {
    [
        text_cell(&row.tenant),
        text_cell(&row.rule_id),
        text_cell(&row.command_id),
        text_cell(&row.key),
        text_cell(&row.order_id),
        Cell::Text(row.metric.as_str()),
        Cell::Int(row.value),
        Cell::Int(row.threshold),
        Cell::Int(row.window_ms),
        Cell::Text(row.action.as_str()),
        row.exact_since_ms.map_or(Cell::Null, Cell::Int),
        Cell::Int(row.placed_at_ms),
        Cell::Int(row.at_ms),
    ]
}

pub(crate) fn text_cell(text: &Text) -> Cell<'_> {
    Cell::Text(text)
}

impl From<Cell<'_>> for Value {
    fn from(cell: Cell<'_>) -> Value {
        match cell {
            Cell::Null => Value::Null,
            Cell::Int(int) => Value::Int(int),
            Cell::Text(text) => Value::Text(text.into()),
            Cell::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests;
