//! Rows fit their declarations.

use super::*;
use crate::draws::{DrawRow, DrawStatus, PublicationRow, PublicationStatus, WinningStatus, WinningTicketRow};
use crate::reference::{OfferKind, PeriodStatus};
use crate::rows::OrderStatus;
use crate::velocity::{FraudAction, VelocityMetric};

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
        Row::FraudAlert(Box::new(FraudAlertRow {
            tenant: text("t"),
            rule_id: text("o"),
            command_id: text("c"),
            key: text("customer:k"),
            order_id: text("o"),
            metric: VelocityMetric::Count,
            value: 6,
            threshold: 5,
            window_ms: 60_000,
            action: FraudAction::Block,
            exact_since_ms: None,
            placed_at_ms: 7,
            at_ms: 8,
        })),
    ]
}

fn rows_of_draws() -> Vec<Row> {
    let text = Text::const_new;
    vec![
        Row::Draw(Box::new(DrawRow {
            tenant: text("t"),
            draw_id: text("o"),
            revision: 1,
            game: text("lotto"),
            numbers: text("1,2"),
            bonus: text(""),
            prizes: text("[]"),
            jackpot_minor: None,
            currency: text("EUR"),
            drawn_at_ms: Some(5),
            status: DrawStatus::Settled,
            sources: text("a,b"),
            tickets: Some(9),
            winners: Some(1),
            paid_minor: None,
            at_ms: 8,
        })),
        winning(1),
        winning(2),
        Row::Publication(Box::new(PublicationRow {
            tenant: text("t"),
            draw_id: text("o"),
            revision: 1,
            channel: text("c"),
            network: text("webhook"),
            template: text("result"),
            locale: text("en"),
            status: PublicationStatus::Posted,
            round: 1,
            attempts: 2,
            external_id: Some(text("e")),
            image: text("t/lotto/o/result/en/r1.png"),
            reason: None,
            at_ms: 8,
        })),
    ]
}

fn winning(revision: i32) -> Row {
    let text = Text::const_new;
    Row::WinningTicket(Box::new(WinningTicketRow {
        tenant: text("t"),
        draw_id: text("o"),
        revision,
        ticket_id: text("o-1"),
        tier: text("1"),
        order_id: text("o"),
        amount_minor: 100,
        currency: text("EUR"),
        status: WinningStatus::Won,
    }))
}

#[test]
fn a_row_has_one_value_of_the_right_type_per_column() {
    for row in rows().into_iter().chain(rows_of_draws()) {
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
    let rows = [rows(), rows_of_draws()].concat();
    for row in &rows {
        let RowKey { parts, number, .. } = row.key();
        let (mut texts, mut numbers) = (parts.into_iter(), number.into_iter());
        for value in &row.values()[..row.table().key] {
            match value {
                Value::Int(int) => assert_eq!(numbers.next(), Some(*int)),
                other => assert_eq!(*other, Value::Text(texts.next().unwrap().into())),
            }
        }
        assert!(numbers.next().is_none() && texts.all(str::is_empty), "{:?} says more", row.key());
    }
    let mut hashes: Vec<u64> = rows.iter().map(Row::key_hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), rows.len(), "orders, stock and tickets of one id are different rows");
}
