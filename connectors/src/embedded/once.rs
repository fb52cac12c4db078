//! Changes that go in once, however often they are sent: for records that carry no id which the pipeline would know.
//!
//! ```text
//!   BEGIN IMMEDIATE · is the id known? ─ yes, the same change ──> where it went
//!                     │                └ yes, another ──────────> conflict, nothing is appended
//!                     └ no ─> the next position ─> record ─> batch, end and id · COMMIT
//! ```
//!
//! Invariants: an id is known if and only if its record is in the log, as both go in with one transaction. Positions
//! grow in the order of the log, whoever appends and whatever clocks say: a change that comes later has a larger one.
//! A crash before the commit leaves neither, after it both, and the change that is sent again is told where it went.
//!
//! Ids are forgotten some time after their change, but for the newest: its position is what the next one is above.

use super::append::{Appender, NewRecord, Placed, place};
use super::error::Result;
use runtime::{Millis, killpoint};
use rusqlite::{OptionalExtension, Transaction, params};

/// Positions in a millisecond.
const POSITIONS_PER_MS: Millis = 1_000;

/// What tells a change from others.
#[derive(Clone, Copy, Debug)]
pub struct Once<'a> {
    pub id: &'a str,
    /// Of what was asked for.
    pub hash: u64,
    pub now_ms: Millis,
    /// How long the id is remembered.
    pub kept_ms: Millis,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the log now.
    Appended(Placed),
    /// It has been there since it was sent before; nothing was appended.
    Before(Placed),
    /// Another change has this id; nothing was appended.
    Conflict,
}

impl Appender {
    /// Appends a change unless it was before. `record` makes it of its position. Durable on return.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub fn append_once(
        &mut self,
        topic: &str,
        once: Once<'_>,
        record: impl FnOnce(u64) -> NewRecord,
    ) -> Result<Sent> {
        let partitions = self.topics.of(&self.db, topic)?;
        let tx = self.db.write()?;
        let known = look_up(&tx, once).map_err(|e| self.db.failed("look for a change", e))?;
        let position = match known {
            Known::Sent(sent) => return Ok(sent),
            Known::Next(position) => position,
        };
        self.packer.begin();
        let record = record(position as u64);
        let placed = place(&self.db, &tx, &mut self.packer, topic, &partitions, &record)?;
        let noted = self.packer.finish(&tx).and_then(|()| note(&tx, once, position, placed));
        noted.map_err(|e| self.db.failed("append", e))?;
        killpoint::reach("log.before_append");
        tx.commit().map_err(|e| self.db.failed("append", e))?;
        killpoint::reach("log.after_append");
        Ok(Sent::Appended(placed))
    }
}

enum Known {
    Sent(Sent),
    /// Nobody has sent it: the position it gets.
    Next(i64),
}

fn look_up(tx: &Transaction<'_>, once: Once<'_>) -> rusqlite::Result<Known> {
    let mut newest = tx.prepare_cached("SELECT max(position) FROM changes")?;
    let newest: i64 = newest.query_row([], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(0);
    let since = once.now_ms.saturating_sub(once.kept_ms).saturating_mul(POSITIONS_PER_MS);
    tx.prepare_cached("DELETE FROM changes WHERE position < ?1")?.execute([since.min(newest)])?;
    let mut known = tx.prepare_cached("SELECT hash, partition, record_offset FROM changes WHERE id = ?1")?;
    let known = known.query_row([once.id], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get::<_, i64>(2)?))
    });
    Ok(match known.optional()? {
        Some((hash, partition, offset)) if hash as u64 == once.hash => {
            Known::Sent(Sent::Before((partition, offset as u64)))
        }
        Some(_) => Known::Sent(Sent::Conflict),
        None => Known::Next(once.now_ms.saturating_mul(POSITIONS_PER_MS).max(newest + 1)),
    })
}

fn note(
    tx: &Transaction<'_>,
    once: Once<'_>,
    position: i64,
    (partition, offset): Placed,
) -> rusqlite::Result<()> {
    let sql =
        "INSERT INTO changes (id, hash, position, partition, record_offset) VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![once.id, once.hash as i64, position, partition, offset as i64];
    tx.prepare_cached(sql)?.execute(values).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::Log;

    const TOPIC: &str = "oltp.public.offers";

    /// Sends `id hash now_ms`, one after the other, on two connections in turn, with ids that are remembered for 100 ms:
    /// what became of each, and the position it got.
    fn check(script: &[(&str, u64, Millis, &str)]) {
        let dir = tempfile::tempdir().unwrap();
        let mut appenders = [Log::appender(dir.path()).unwrap(), Log::appender(dir.path()).unwrap()];
        for (at, (id, hash, now_ms, wanted)) in script.iter().enumerate() {
            let once = Once { id, hash: *hash, now_ms: *now_ms, kept_ms: 100 };
            let mut position = None;
            let sent = appenders[at % 2].append_once(TOPIC, once, |given| {
                position = Some(given);
                NewRecord { value: Some(id.as_bytes().to_vec()), ..NewRecord::default() }
            });
            let told = match (sent.unwrap(), position) {
                (Sent::Appended((0, offset)), Some(position)) => format!("{offset} as {position}"),
                (Sent::Before((0, offset)), None) => format!("{offset} before"),
                (Sent::Conflict, None) => "conflict".to_owned(),
                other => panic!("{other:?}"),
            };
            assert_eq!(told, *wanted, "{at}: {id}");
        }
    }

    #[test]
    fn a_change_goes_in_once_and_another_under_its_id_not_at_all() {
        check(&[
            ("a", 1, 10, "0 as 10000"),
            ("b", 2, 11, "1 as 11000"),
            ("a", 1, 12, "0 before"),
            ("a", 3, 13, "conflict"),
            ("b", 2, 14, "1 before"),
            ("c", 1, 14, "2 as 14000"),
        ]);
    }

    #[test]
    fn positions_grow_though_a_clock_stands_or_goes_back() {
        check(&[
            ("a", 1, 10, "0 as 10000"),
            ("b", 1, 10, "1 as 10001"),
            ("c", 1, 3, "2 as 10002"),
            ("d", 1, 11, "3 as 11000"),
        ]);
    }

    #[test]
    fn what_is_old_is_forgotten_but_for_the_newest() {
        check(&[
            ("a", 1, 10, "0 as 10000"),
            ("b", 1, 20, "1 as 20000"),
            ("a", 1, 110, "0 before"),
            ("b", 1, 500, "1 before"),
            ("c", 1, 15, "2 as 20001"),
            ("a", 1, 500, "3 as 500000"),
        ]);
    }
}
