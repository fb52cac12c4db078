//! Sends the inserts of a recorded batch until the server has all of them.
//!
//! A batch that may have been sent before is sent again under the same tokens, so that the server drops what it has,
//! and then looked for: a server that crashed between noting a token and writing its rows drops what it hasn't,
//! too. An insert is there as a whole or not at all, so one row of it is enough. Where none is found, it is lost, or
//! those looked for have been replaced by newer ones: it is sent under another token, which costs duplicates that
//! merge away, at most.

use super::gather::{Taken, clock_ms};
use super::names::quoted_name;
use super::rows::{Piece, Pieces};
use super::state::{Batch, MirrorState, Range};
use crate::clickhouse::client::{Client, quoted};
use crate::clickhouse::error::Result;
use crate::clickhouse::insert::INSERT_SETTINGS;
use futures::{StreamExt, TryStreamExt, stream};
use runtime::killpoint;
use schemas::captured::Captured;
use std::sync::atomic::AtomicBool;

/// Inserts under way at a time.
const AT_ONCE: usize = 8;

/// How many rows of an insert are looked for.
const LOOK_FOR_MAX: usize = 1_000;

/// Everything needed to send.
pub(super) struct Delivery<'a> {
    pub client: &'a Client,
    pub stop: &'a AtomicBool,
    pub state: &'a MirrorState,
    pub batch: &'a Batch,
}

/// What came of a batch that may have been sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    Whole,
    /// Something is missing: raise the attempt and deliver again.
    Lost,
}

impl Delivery<'_> {
    /// Sends what was never sent.
    pub fn send_all(&self, all: &[(&Range, &Pieces)]) -> Result<()> {
        let pieces =
            all.iter().flat_map(|(range, pieces)| pieces.all.iter().map(move |piece| (*range, piece)));
        let sent = stream::iter(pieces).map(Ok);
        let sent = sent.try_for_each_concurrent(AT_ONCE, |(range, piece)| self.send_one(range, piece));
        self.client.wait("insert rows", Some(self.stop), sent)
    }

    /// Sends what may have been sent before.
    pub fn send_again(&self, all: &[(&Range, &Pieces)]) -> Result<Delivered> {
        for (range, pieces) in all {
            for piece in &pieces.all {
                if self.batch.attempt > 1 && self.is_there(range, piece)? {
                    continue;
                }
                self.client.wait("insert rows", Some(self.stop), self.send_one(range, piece))?;
                // Under a token that was never used, what is acknowledged is there.
                if self.batch.attempt == 1 && !self.is_there(range, piece)? {
                    return Ok(Delivered::Lost);
                }
            }
        }
        Ok(Delivered::Whole)
    }

    async fn send_one(&self, range: &Range, piece: &Piece) -> clickhouse::error::Result<()> {
        killpoint::reach("mirror.before_insert");
        let sql = format!("INSERT INTO {} ({}) FORMAT RowBinary", piece.table, piece.columns);
        let mut insert = self.client.http.insert_formatted_with(sql);
        for (name, value) in INSERT_SETTINGS {
            insert = insert.with_setting(name, value);
        }
        let mut insert =
            insert.with_setting("insert_deduplication_token", self.token(range, piece)).buffered();
        let mut rest = piece.bytes.as_slice();
        while !rest.is_empty() {
            rest = &rest[insert.write(rest).await?..];
        }
        insert.end().await?;
        killpoint::reach("mirror.after_insert");
        Ok(())
    }

    /// Whose plan, which batch and attempt, which offsets, which of their inserts.
    fn token(&self, range: &Range, piece: &Piece) -> String {
        let MirrorState { mirror_id, batch, .. } = self.state;
        let Range { topic, partition, from, to, .. } = range;
        let (attempt, number) = (self.batch.attempt, piece.number);
        format!("{mirror_id}/{batch}/{attempt}/{topic}/{partition}/{from}-{to}/{number}")
    }

    /// Whether a row of the insert is there, among its last ones: of one key the server keeps the newest alone.
    fn is_there(&self, range: &Range, piece: &Piece) -> Result<bool> {
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
                quoted(&after.mirror_id),
                after.batch
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
