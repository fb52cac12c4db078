//! The serving tables' declarations and the values of a row in the declared order.
//!
//! Invariant: `Row::values` has one value per column of `Row::table`, of the column's type, the key's
//! columns first. Sinks add the column `epoch` last; it is not listed here.

use crate::Text;
use crate::rows::{
    Column, ColumnType, CommissionRow, DeadLetterRow, OrderRow, Row, StockRow, TableSpec, TicketRow, Value,
};

const fn text(name: &'static str) -> Column {
    Column { name, ty: ColumnType::Text, nullable: false }
}

const fn int(name: &'static str) -> Column {
    Column { name, ty: ColumnType::Int, nullable: false }
}

const fn bytes(name: &'static str) -> Column {
    Column { name, ty: ColumnType::Bytes, nullable: false }
}

const fn optional(column: Column) -> Column {
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

/// Every serving table, in the order in which sinks create and digests list them.
pub static ALL_TABLES: [&TableSpec; 5] = [&ORDERS, &STOCK, &TICKETS, &DEAD_LETTERS, &COMMISSION_STATEMENTS];

/// Most columns of a primary key.
pub const KEY_COLUMNS_MAX: usize = 5;

/// Which row: what a sink coalesces an epoch's rows by. Parts beyond the key's columns are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey<'a> {
    pub table: &'static str,
    pub parts: [&'a str; KEY_COLUMNS_MAX],
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
        };
        RowKey { table: self.table().name, parts }
    }

    /// Stable hash of table and key: the same in every run, version and machine.
    pub fn key_hash(&self) -> u64 {
        let RowKey { table, parts } = self.key();
        // At least two, as the first tables' hashes were made.
        let parts = &parts[..self.table().key.max(2)];
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for part in std::iter::once(&table).chain(parts) {
            hasher.update(&(part.len() as u32).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.digest()
    }

    /// One value per column of its table, in the declared order.
    pub fn values(&self) -> Vec<Value> {
        match self {
            Row::Order(row) => order_values(row),
            Row::Stock(row) => stock_values(row),
            Row::Ticket(row) => ticket_values(row),
            Row::DeadLetter(row) => dead_letter_values(row),
            Row::Commission(row) => commission_values(row),
        }
    }
}

fn pair<'a>(first: &'a str, second: &'a str) -> [&'a str; KEY_COLUMNS_MAX] {
    [first, second, "", "", ""]
}

fn order_values(row: &OrderRow) -> Vec<Value> {
    vec![
        (&row.tenant).into(),
        (&row.order_id).into(),
        (&row.command_id).into(),
        (&row.offer_id).into(),
        row.partner_id.as_ref().map_or(Value::Null, Value::from),
        (&row.customer_id).into(),
        i64::from(row.quantity).into(),
        row.amount_minor.into(),
        (&row.currency).into(),
        Value::Text(Text::const_new(row.status.as_str())),
        (&row.reasons).into(),
        row.placed_at_ms.into(),
    ]
}

fn stock_values(row: &StockRow) -> Vec<Value> {
    vec![
        (&row.tenant).into(),
        (&row.offer_id).into(),
        row.stock_total.into(),
        row.available.into(),
        row.held.into(),
        row.sold.into(),
        row.shrink_due.into(),
    ]
}

fn ticket_values(row: &TicketRow) -> Vec<Value> {
    [&row.tenant, &row.ticket_id, &row.order_id, &row.offer_id, &row.payload]
        .into_iter()
        .map(Value::from)
        .collect()
}

fn dead_letter_values(row: &DeadLetterRow) -> Vec<Value> {
    vec![
        (&row.id).into(),
        (&row.topic).into(),
        i64::from(row.partition).into(),
        row.offset.into(),
        Value::Text(row.reason.as_str().into()),
        Value::Bytes(row.payload.clone()),
        row.first_seen_ms.into(),
        i64::from(row.attempts).into(),
        (&row.status).into(),
    ]
}

fn commission_values(row: &CommissionRow) -> Vec<Value> {
    vec![
        (&row.tenant).into(),
        (&row.partner_id).into(),
        (&row.month).into(),
        (&row.currency).into(),
        Value::Text(Text::const_new(row.offer_kind.as_str())),
        row.base_minor.into(),
        row.commission_minor.into(),
        row.adjustment_minor.into(),
        Value::Text(Text::const_new(row.status.as_str())),
    ]
}

impl From<&Text> for Value {
    fn from(text: &Text) -> Value {
        Value::Text(text.clone())
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Value {
        Value::Int(int)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{OfferKind, PeriodStatus};
    use crate::rows::OrderStatus;

    fn rows() -> Vec<Row> {
        let text = Text::const_new;
        vec![
            Row::Order(Box::new(OrderRow {
                tenant: text("t"),
                order_id: text("o"),
                command_id: text("c"),
                offer_id: text("f"),
                partner_id: None,
                customer_id: text("k"),
                quantity: 2,
                amount_minor: 500,
                currency: text("EUR"),
                status: OrderStatus::InReview,
                reasons: text(""),
                placed_at_ms: 7,
            })),
            Row::Stock(Box::new(StockRow {
                tenant: text("t"),
                offer_id: text("o"),
                stock_total: 10,
                available: 7,
                held: 2,
                sold: 1,
                shrink_due: 0,
            })),
            Row::Ticket(Box::new(TicketRow {
                tenant: text("t"),
                ticket_id: text("o"),
                order_id: text("o"),
                offer_id: text("f"),
                payload: text("p"),
            })),
            Row::DeadLetter(Box::new(DeadLetterRow {
                id: text("a/0/1"),
                topic: text("a"),
                partition: 0,
                offset: 1,
                reason: "why".into(),
                payload: vec![0, 255],
                first_seen_ms: 3,
                attempts: 1,
                status: text("open"),
            })),
            Row::Commission(Box::new(CommissionRow {
                tenant: text("t"),
                partner_id: text("o"),
                month: text("2017-11"),
                currency: text("BRL"),
                offer_kind: OfferKind::Box,
                base_minor: 100,
                commission_minor: 10,
                adjustment_minor: -1,
                status: PeriodStatus::Closed,
            })),
        ]
    }

    #[test]
    fn a_row_has_one_value_of_the_right_type_per_column() {
        for row in rows() {
            let (spec, values) = (row.table(), row.values());
            assert_eq!(values.len(), spec.columns.len(), "{}", spec.name);
            for (column, value) in spec.columns.iter().zip(&values) {
                let fits = match value {
                    Value::Null => column.nullable,
                    Value::Int(_) => column.ty == ColumnType::Int,
                    Value::Text(_) => column.ty == ColumnType::Text,
                    Value::Bytes(_) => column.ty == ColumnType::Bytes,
                };
                assert!(fits, "{}.{}: {value:?}", spec.name, column.name);
            }
        }
    }

    #[test]
    fn the_key_is_the_first_columns_and_tells_tables_apart() {
        let rows = rows();
        for row in &rows {
            let key: Vec<Value> =
                row.key().parts[..row.table().key].iter().map(|p| Value::Text((*p).into())).collect();
            assert_eq!(row.values()[..row.table().key], key[..]);
        }
        let mut hashes: Vec<u64> = rows.iter().map(Row::key_hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), rows.len(), "orders, stock and tickets of one id are different rows");
    }
}
