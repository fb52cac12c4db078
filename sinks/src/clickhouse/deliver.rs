//! Sends a recorded batch until the server has all of it, once.
//!
//! A batch that was never sent is sent, and each acknowledgement believed. One that may have been sent before is
//! doubtful: it is sent again under the same tokens, so that the server drops what it has, and then counted,
//! because a server that crashed between noting a token and writing its rows drops what it hasn't, too.

use super::client::Client;
use super::error::{ClickHouseError, Result};
use super::gather::Taken;
use super::insert::insert;
use super::pieces::{Piece, pieces};
use super::plan::Batch;
use futures::{StreamExt, TryStreamExt, stream};
use runtime::killpoint;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// All of it is there, once.
    Whole,
    /// The server has dropped rows that it doesn't have: raise the attempt and deliver again.
    Lost,
}

/// Everything needed to send.
pub(super) struct Delivery<'a> {
    pub client: &'a Client,
    pub stop: &'a AtomicBool,
    pub loader_id: &'a str,
    pub batch: &'a Batch,
    /// It may have been sent before.
    pub doubtful: bool,
}

impl Delivery<'_> {
    /// Sends everything.
    pub fn deliver(&self, taken: &[Taken]) -> Result<Delivered> {
        let pieces: Vec<Piece<'_>> = pieces(taken);
        if !self.doubtful {
            return self.send(pieces.iter().collect()).map(|()| Delivered::Whole);
        }
        for piece in &pieces {
            // After a loss only what is missing may be sent: the rest is there under the tokens of an earlier attempt.
            if self.batch.attempt > 1 && self.is_there(piece)? {
                continue;
            }
            self.send(vec![piece])?;
            if !self.is_there(piece)? {
                return Ok(Delivered::Lost);
            }
        }
        self.check_aggregates(&pieces)?;
        Ok(Delivered::Whole)
    }

    /// Several at once, as each waits for the server's disk. Their order makes no difference: nobody sees any before all
    /// are there.
    fn send(&self, pieces: Vec<&Piece<'_>>) -> Result<()> {
        let at_once = self.client.inserts_at_once;
        let all = stream::iter(pieces).map(Ok).try_for_each_concurrent(at_once, |piece| self.send_one(piece));
        self.client.wait("insert facts", Some(self.stop), all)
    }

    async fn send_one(&self, piece: &Piece<'_>) -> clickhouse::error::Result<()> {
        let token = piece.token(self.loader_id, self.batch);
        killpoint::reach("loader.before_insert");
        insert(&self.client.http, piece, &token, self.batch.through.0).await?;
        killpoint::reach("loader.after_insert");
        Ok(())
    }

    /// Whether the rows of a piece are in its table: all or none.
    fn is_there(&self, piece: &Piece<'_>) -> Result<bool> {
        let table = piece.table.table;
        let sql = format!(
            "SELECT count() FROM {table} WHERE {} SETTINGS select_sequential_consistency = 1",
            piece.condition()
        );
        let rows = self.number("count a batch's rows", &sql)?;
        match piece.rows() {
            sent if sent == rows => Ok(true),
            _ if rows == 0 => Ok(false),
            sent => Err(ClickHouseError::Stop {
                place: format!("{}, table {table}", self.client.place),
                problem: format!(
                    "it holds {rows} rows of {}, recorded in {}, where {sent} were sent",
                    piece.place(),
                    piece.month
                ),
                remedy: "somebody else has written to or deleted from this table: restore it, or load into another database".to_owned(),
            }),
        }
    }

    fn number(&self, doing: &'static str, sql: &str) -> Result<u64> {
        let rows = self.client.rows::<u64>(doing, Some(self.stop), sql)?;
        Ok(rows.first().copied().unwrap_or(0))
    }

    /// Compares what was aggregated of this batch with its facts; nobody sees either before it is published.
    fn check_aggregates(&self, pieces: &[Piece<'_>]) -> Result<()> {
        let of_piece = |piece: &Piece<'_>| {
            let month = piece.month;
            piece.table.aggregates.iter().map(move |aggregate| (*aggregate, month))
        };
        let all: BTreeSet<(&str, u32)> = pieces.iter().flat_map(of_piece).collect();
        for (aggregate, month) in all {
            self.check_aggregate(aggregate, month)?;
        }
        Ok(())
    }

    fn check_aggregate(&self, aggregate: &str, month: u32) -> Result<()> {
        let same = format!(
            "recorded_month = {month} AND batch_epoch = {} SETTINGS select_sequential_consistency = 1",
            self.batch.through
        );
        let select = self.select_of(aggregate)?;
        let has = format!("SELECT sum(facts) FROM {aggregate} WHERE {same}");
        let due = format!("SELECT sum(facts) FROM ({select}) WHERE {same}");
        let count = |sql: &str| self.number("compare an aggregate with its facts", sql);
        if count(&has)? == count(&due)? {
            return Ok(());
        }
        tracing::warn!(
            aggregate,
            month,
            through = self.batch.through.0,
            "an aggregate differs from its facts after a failure of ClickHouse: it is made anew for this batch"
        );
        let epoch = self.batch.through;
        let delete = format!(
            "ALTER TABLE {aggregate} DELETE WHERE recorded_month = {month} AND batch_epoch = {epoch} SETTINGS mutations_sync = 2"
        );
        let refill = format!(
            "INSERT INTO {aggregate} SELECT * FROM ({select}) WHERE recorded_month = {month} AND batch_epoch = {epoch}
             SETTINGS insert_deduplicate = 0, async_insert = 0"
        );
        let run = |sql: &str| self.client.run("make an aggregate anew", Some(self.stop), sql);
        run(&delete).and_then(|()| run(&refill))
    }

    /// How an aggregate is made of its facts: its view knows.
    fn select_of(&self, aggregate: &str) -> Result<String> {
        let sql = format!(
            "SELECT as_select FROM system.tables WHERE database = currentDatabase() AND name = '{aggregate}_mv'"
        );
        let found = self.client.rows::<String>("read an aggregate's view", Some(self.stop), &sql)?;
        found.into_iter().next().ok_or_else(|| ClickHouseError::Stop {
            place: self.client.place.clone(),
            problem: format!("the materialized view {aggregate}_mv is gone"),
            remedy: "run `tombola migrate` against an empty database and load again".to_owned(),
        })
    }
}
