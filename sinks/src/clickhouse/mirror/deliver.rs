//! Sends the inserts of a recorded batch until the server has all of them.
//!
//! A batch that may have been sent before is sent again under the same tokens, so that the server drops what it has,
//! and then looked for: a server that crashed between noting a token and writing its rows drops what it hasn't,
//! too. An insert is there as a whole or not at all, so one row of it is enough. Where none is found, it is lost, or
//! those looked for have been replaced by newer ones: it is sent under another token, which costs duplicates that
//! merge away, at most.
//!
//! An insert that is refused for what is one table's, or in its rows, leaves the others alone: all are sent, and what
//! speaks against each is told.

use super::fault::{Blame, blame};
use super::gather::{Taken, clock_ms};
use super::names::quoted_name;
use super::rows::{Kind, Piece};
use super::state::{Batch, MirrorState, Range};
use crate::clickhouse::client::{Client, quoted};
use crate::clickhouse::error::{ClickHouseError, Result};
use crate::clickhouse::insert::INSERT_SETTINGS;
use futures::{StreamExt, TryStreamExt, stream};
use runtime::killpoint;
use schemas::captured::Captured;
use std::sync::atomic::AtomicBool;

/// How many rows of an insert are looked for.
const LOOK_FOR_MAX: usize = 1_000;

/// Everything needed to send.
pub(super) struct Delivery<'a> {
    pub client: &'a Client,
    pub stop: &'a AtomicBool,
    pub mirror_id: &'a str,
    /// The batch's.
    pub number: u64,
    pub batch: &'a Batch,
}

/// One insert and the range it is of.
#[derive(Clone, Copy)]
pub(super) struct Parcel<'a> {
    pub range: &'a Range,
    pub piece: &'a Piece,
}

/// An insert that the server doesn't take, where others may be.
pub(super) struct Refusal {
    pub topic: String,
    pub partition: u32,
    pub kind: Kind,
    pub offsets: Vec<u64>,
    pub error: ClickHouseError,
}

/// What came of sending.
#[derive(Default)]
pub(super) struct Delivered {
    /// Tokens of what is there.
    pub there: Vec<String>,
    pub refused: Vec<Refusal>,
    /// Something is missing that the server says it has: raise the attempt and deliver again.
    pub lost: bool,
}

impl Delivered {
    fn note(&mut self, parcel: Parcel<'_>, token: String, refused: Option<ClickHouseError>) {
        let Parcel { range: Range { topic, partition, .. }, piece } = parcel;
        match refused {
            None => self.there.push(token),
            Some(error) => self.refused.push(Refusal {
                topic: topic.clone(),
                partition: *partition,
                kind: piece.kind,
                offsets: piece.offsets.clone(),
                error,
            }),
        }
    }
}

impl Delivery<'_> {
    /// Sends what was never sent.
    pub fn send_all(&self, parcels: &[Parcel<'_>]) -> Result<Delivered> {
        let answers = stream::iter(parcels.iter().copied())
            .map(|parcel| async move { Ok((parcel, self.refused(parcel).await?)) })
            .buffer_unordered(self.client.inserts_at_once)
            .try_collect::<Vec<_>>();
        let answers = async { Ok(answers.await) };
        let answers: Result<Vec<_>> = self.client.wait("insert rows", Some(self.stop), answers)?;
        let mut delivered = Delivered::default();
        for (parcel, refused) in answers? {
            delivered.note(parcel, self.token(parcel), refused);
        }
        Ok(delivered)
    }

    /// Sends what may have been sent before.
    pub fn send_again(&self, parcels: &[Parcel<'_>]) -> Result<Delivered> {
        let mut delivered = Delivered::default();
        for parcel in parcels {
            match self.brought(*parcel) {
                Ok(true) => delivered.note(*parcel, self.token(*parcel), None),
                Ok(false) => {
                    delivered.lost = true;
                    break;
                }
                Err(error) if blame(&error) == Blame::Everyone => return Err(error),
                Err(error) => delivered.note(*parcel, self.token(*parcel), Some(error)),
            }
        }
        Ok(delivered)
    }

    /// Sends one insert, unless it is there; whether it is there then.
    fn brought(&self, parcel: Parcel<'_>) -> Result<bool> {
        if self.batch.attempt > 1 && self.is_there(parcel)? {
            return Ok(true);
        }
        self.client.wait("insert rows", Some(self.stop), self.send_one(parcel))?;
        // Under a token that was never used, what is acknowledged is there.
        Ok(self.batch.attempt > 1 || self.is_there(parcel)?)
    }

    /// Sends one insert: what speaks against it, unless that is everybody's trouble.
    async fn refused(&self, parcel: Parcel<'_>) -> Result<Option<ClickHouseError>> {
        let Err(error) = self.send_one(parcel).await else { return Ok(None) };
        let error = ClickHouseError::of_request(self.client.place.clone(), "insert rows", error);
        if blame(&error) == Blame::Everyone { Err(error) } else { Ok(Some(error)) }
    }

    async fn send_one(&self, parcel: Parcel<'_>) -> clickhouse::error::Result<()> {
        let piece = parcel.piece;
        killpoint::reach("mirror.before_insert");
        let sql = format!("INSERT INTO {} ({}) FORMAT RowBinary", piece.table, piece.columns);
        let mut insert = self.client.http.insert_formatted_with(sql);
        for (name, value) in INSERT_SETTINGS {
            insert = insert.with_setting(name, value);
        }
        let mut insert = insert.with_setting("insert_deduplication_token", self.token(parcel)).buffered();
        let mut rest = piece.bytes.as_slice();
        while !rest.is_empty() {
            rest = &rest[insert.write(rest).await?..];
        }
        insert.end().await?;
        killpoint::reach("mirror.after_insert");
        Ok(())
    }

    /// Whose plan, which batch and attempt, which offsets, which of their inserts.
    pub fn token(&self, parcel: Parcel<'_>) -> String {
        let Parcel { range: Range { topic, partition, from, to, .. }, piece } = parcel;
        let Delivery { mirror_id, number, batch, .. } = self;
        let (attempt, name) = (batch.attempt, &piece.name);
        format!("{mirror_id}/{number}/{attempt}/{topic}/{partition}/{from}-{to}/{name}")
    }

    /// Whether a row of the insert is there, among its last ones: of one key the server keeps the newest alone.
    fn is_there(&self, parcel: Parcel<'_>) -> Result<bool> {
        let Parcel { range, piece } = parcel;
        let of_topic = match piece.columns.starts_with("topic, ") {
            true => format!("AND topic = {}", quoted(&range.topic)),
            false => String::new(),
        };
        let last = piece.offsets.iter().rev().take(LOOK_FOR_MAX);
        let offsets: Vec<String> = last.map(u64::to_string).collect();
        let sql = format!(
            "SELECT count() FROM {} WHERE __partition = {} AND __offset IN ({}) {of_topic}
             SETTINGS select_sequential_consistency = 1",
            piece.table,
            range.partition,
            offsets.join(", ")
        );
        let found = self.client.rows::<u64>("look for a batch's rows", Some(self.stop), &sql)?;
        Ok(found.first().is_some_and(|count| *count > 0))
    }

    /// Tells how far each partition has come.
    pub fn tell_progress(&self, taken: &[Taken], after: &MirrorState) -> Result<()> {
        let row = |taken: &Taken| {
            let Range { topic, partition, to, .. } = &taken.range;
            let (lsn, changed_ms) = last_change(taken);
            let snapshot = after.position(topic, *partition).snapshot;
            format!(
                "({}, {partition}, {}, {}, {to}, {snapshot}, {lsn}, fromUnixTimestamp64Milli({changed_ms}))",
                quoted(topic),
                quoted(self.mirror_id),
                self.number
            )
        };
        let rows: Vec<String> = taken.iter().map(row).collect();
        let sql = format!(
            "INSERT INTO {} (topic, `partition`, mirror_id, batch, next, snapshot, lsn, changed_at)
             SETTINGS async_insert = 0 VALUES {}",
            quoted_name(super::ddl::PROGRESS),
            rows.join(", ")
        );
        self.client.run("tell the progress", Some(self.stop), &sql)
    }
}

/// Where and when the source made the last row of a range; nowhere and now where it has none.
pub(super) fn last_change(taken: &Taken) -> (u64, i64) {
    let last = taken.records.iter().rev().find_map(|record| match &record.body {
        Captured::Rows { rows, .. } => rows.last().map(|row| (row.position, row.ts_ms)),
        _ => None,
    });
    last.unwrap_or((0, clock_ms()))
}
