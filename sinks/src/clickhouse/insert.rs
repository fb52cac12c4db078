//! One insert: rows of one piece, under its token, in one block.

use super::gather::Placed;
use super::pieces::{Piece, Range};
use super::rows::{
    CommissionRow, DeadLetterRow, DrawRow, FraudRow, OrderRow, Provenance, PublicationRow, ScreeningRow,
    StockRow, TicketRow, WinningRow, recorded_ms,
};
use clickhouse::error::Result;
use clickhouse::insert::Insert;
use clickhouse::{Client, Row};
use schemas::Fact;

/// Settings that make an insert one step, whatever the server's or the user's defaults are.
pub const INSERT_SETTINGS: [(&str, &str); 7] = [
    // The default of newer servers, which puts rows of several inserts together.
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("max_insert_block_size", "1048449"),
    ("min_insert_block_size_rows", "1048449"),
    ("min_insert_block_size_bytes", "268402944"),
    // A piece that spans two partitions would be two steps: the server refuses it instead.
    ("max_partitions_per_insert_block", "1"),
];

/// Sends a piece and waits until the server has it, in its table and in every aggregate.
pub(super) async fn insert(http: &Client, piece: &Piece<'_>, token: &str, batch_epoch: u64) -> Result<()> {
    let facts = piece.ranges.iter().flat_map(|range| range.facts.iter().map(move |fact| (range, *fact)));
    fn provenance<'a>(range: &'a Range<'_>, fact: &Placed, batch_epoch: u64) -> Provenance<'a> {
        let (epoch, offset) = (fact.body.epoch, fact.offset.0);
        Provenance { epoch, batch_epoch, topic_partition: &range.topic_partition, offset }
    }
    macro_rules! send {
        ($row:ident, $kind:ident) => {{
            let mut insert = begin::<$row<'_>>(http, piece.table.table, token).await?;
            for (range, placed) in facts {
                let Fact::$kind(fact) = &placed.body.fact else {
                    unreachable!("a piece holds one kind of fact")
                };
                let row =
                    $row::of(fact, recorded_ms(&placed.body.fact), provenance(range, placed, batch_epoch));
                insert.write(&row).await?;
            }
            insert.end().await
        }};
    }
    let first = piece.ranges.iter().find_map(|range| range.facts.first()).expect("a piece is never empty");
    match first.body.fact {
        Fact::Order(_) => send!(OrderRow, Order),
        Fact::Stock(_) => send!(StockRow, Stock),
        Fact::Ticket(_) => send!(TicketRow, Ticket),
        Fact::DeadLetter(_) => send!(DeadLetterRow, DeadLetter),
        Fact::Commission(_) => send!(CommissionRow, Commission),
        Fact::Fraud(_) => send!(FraudRow, Fraud),
        Fact::Screening(_) => send!(ScreeningRow, Screening),
        Fact::Draw(_) => send!(DrawRow, Draw),
        Fact::Publication(_) => send!(PublicationRow, Publication),
        Fact::Winning(_) => send!(WinningRow, Winning),
    }
}

async fn begin<R: Row>(http: &Client, table: &str, token: &str) -> Result<Insert<R>> {
    let mut insert = http.insert::<R>(table).await?;
    for (name, value) in INSERT_SETTINGS {
        insert = insert.with_setting(name, value);
    }
    Ok(insert.with_setting("insert_deduplication_token", token))
}
