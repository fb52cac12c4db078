//! Sending a dead letter in again, once.
//!
//! ```text
//!   exclusive appender ───> is the id in `dead-letters.retries`? ─ no ─> one transaction on the log:
//!                                                                         original bytes → their topic (header `retry-of`)
//!                                                                         the id         → dead-letters.retries
//! ```
//!
//! Invariant: an id is in `dead-letters.retries` if and only if its record was appended again, because both
//! go in with one transaction; only one process at a time has the appender, so no two of them pass the
//! question together.
//! A crash before the commit leaves neither, after it both; the appender goes with its process.

use crate::commands::Failure;
use crate::stores::{LogView, StoreError, Stores};
use connectors::embedded::{NewRecord, StoredRecord};
use std::collections::HashSet;

/// The topic that remembers which dead letters were sent in again; one partition.
pub const RETRIES: &str = "dead-letters.retries";

/// Ids looked at at once.
const LOOK_RECORDS: usize = 10_000;

/// The header that names the dead letter a record is a retry of.
pub const RETRY_OF: &str = "retry-of";

/// A record's place in the log, as a dead letter is named: `topic/partition/offset`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordId {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
}

/// What became of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in its topic once more, at this offset.
    Appended { offset: u64 },
    /// It was before; nothing was done.
    Already,
}

impl RecordId {
    /// Reads `topic/partition/offset`.
    ///
    /// # Errors
    /// [`Failure::Usage`] where it isn't one.
    pub fn parse(text: &str) -> Result<RecordId, Failure> {
        let mut parts = text.rsplitn(3, '/');
        let (offset, partition, topic) = (parts.next(), parts.next(), parts.next());
        let parsed =
            offset.and_then(|o| o.parse().ok()).zip(partition.and_then(|p| p.parse().ok())).zip(topic);
        let ((offset, partition), topic) = parsed.ok_or_else(|| {
            Failure::Usage(format!(
                "{text:?} is no id of a dead letter; ids look like commands.orders/0/1234"
            ))
        })?;
        Ok(RecordId { topic: topic.to_owned(), partition, offset })
    }
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// Ids that were sent in again.
///
/// # Errors
/// Where the log can't be read.
pub fn retried(log: &mut dyn LogView) -> Result<HashSet<String>, Failure> {
    let mut sent = SentAgain::default();
    sent.look(log)?;
    Ok(sent.ids)
}

/// The ids that were sent in again, as far as they were looked at.
#[derive(Debug, Default)]
pub struct SentAgain {
    ids: HashSet<String>,
    /// The next offset to look at.
    next: u64,
}

impl SentAgain {
    /// Reads what has come since the last look.
    ///
    /// # Errors
    /// Where the log can't be read; a further look goes on where this one ended.
    pub fn look(&mut self, log: &mut dyn LogView) -> Result<(), StoreError> {
        // The topic is made with the first of them, or by `tombola topics apply`.
        if self.next == 0 && !log.topics()?.iter().any(|info| info.topic == RETRIES) {
            return Ok(());
        }
        loop {
            let records = log.read(RETRIES, 0, self.next, LOOK_RECORDS)?;
            let Some(last) = records.last() else { return Ok(()) };
            self.next = last.offset + 1;
            let ids = records.into_iter().filter_map(|record| String::from_utf8(record.value?).ok());
            self.ids.extend(ids);
        }
    }

    /// Whether it was sent in again.
    pub fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}

/// Sends each record in again, unless it was before. What became of each, in order.
///
/// # Errors
/// The ids before the one that failed have been dealt with for good.
pub fn retry(stores: &Stores, ids: &[RecordId]) -> Result<Vec<Outcome>, Failure> {
    let mut appender = stores.retries()?;
    let mut log = stores.log()?;
    let mut done = retried(log.as_mut())?;
    let mut outcomes = Vec::with_capacity(ids.len());
    for id in ids {
        if !done.insert(id.to_string()) {
            outcomes.push(Outcome::Already);
            continue;
        }
        let again = again(original(log.as_mut(), id)?, id);
        let mark = NewRecord {
            partition: Some(0),
            value: Some(id.to_string().into_bytes()),
            timestamp_ms: again.timestamp_ms,
            ..NewRecord::default()
        };
        let placed = appender.append_many(&[(&id.topic, &[again]), (RETRIES, &[mark])])?;
        outcomes.push(Outcome::Appended { offset: placed[0][0].1 });
    }
    Ok(outcomes)
}

fn original(log: &mut dyn LogView, id: &RecordId) -> Result<StoredRecord, Failure> {
    let absent =
        || Failure::Usage(format!("{id}: the log holds no such record; `tombola status` shows its ends"));
    let topics = log.topics()?;
    let topic = topics.iter().find(|info| info.topic == id.topic).ok_or_else(absent)?;
    if topic.ends.get(id.partition as usize).is_none_or(|end| *end <= id.offset) {
        return Err(absent());
    }
    let found = log.read(&id.topic, id.partition, id.offset, 1)?.pop();
    found.filter(|record| record.offset == id.offset).ok_or_else(absent)
}

/// The same bytes, arriving now.
fn again(record: StoredRecord, id: &RecordId) -> NewRecord {
    let mut headers = record.headers;
    headers.retain(|(name, _)| name != RETRY_OF);
    headers.push((RETRY_OF.to_owned(), id.to_string().into_bytes()));
    NewRecord {
        partition: Some(record.partition),
        key: record.key,
        value: record.value,
        timestamp_ms: crate::clock_ms(),
        headers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::Config;
    use connectors::embedded::Log;

    fn retry_in(dir: &tempfile::TempDir, ids: &[RecordId]) -> Result<Vec<Outcome>, Failure> {
        retry(&Stores::of(&Config::default(), dir.path()), ids)
    }

    fn log_with_garbage() -> (tempfile::TempDir, RecordId) {
        let dir = tempfile::tempdir().unwrap();
        let mut appender = Log::appender(dir.path()).unwrap();
        let garbage =
            NewRecord { key: Some(b"k".into()), value: Some(b"garbage".into()), ..NewRecord::default() };
        appender.append("commands.orders", &[garbage]).unwrap();
        (dir, RecordId::parse("commands.orders/0/0").unwrap())
    }

    #[test]
    fn a_dead_letter_enters_once_however_often_it_is_retried() {
        let (dir, id) = log_with_garbage();
        assert_eq!(retry_in(&dir, std::slice::from_ref(&id)).unwrap(), [Outcome::Appended { offset: 1 }]);
        assert_eq!(retry_in(&dir, &[id.clone(), id.clone()]).unwrap(), [Outcome::Already, Outcome::Already]);
        let log = Log::open(dir.path()).unwrap();
        let again = log.read("commands.orders", 0, 1, 10).unwrap();
        assert_eq!(again.len(), 1);
        assert_eq!(
            (again[0].key.as_deref(), again[0].value.as_deref()),
            (Some(&b"k"[..]), Some(&b"garbage"[..]))
        );
        assert_eq!(again[0].headers, [("retry-of".to_owned(), b"commands.orders/0/0".to_vec())]);
        let mut log = Stores::of(&Config::default(), dir.path()).log().unwrap();
        assert!(retried(log.as_mut()).unwrap().contains("commands.orders/0/0"));
    }

    #[test]
    fn an_id_that_names_no_record_is_refused() {
        let (dir, _) = log_with_garbage();
        for (id, wanted) in
            [("nonsense", "is no id"), ("a/b/c", "is no id"), ("commands.orders/0/7", "no such record")]
        {
            let error = RecordId::parse(id).and_then(|id| retry_in(&dir, &[id])).unwrap_err();
            assert!(error.to_string().contains(wanted), "{id}: {error}");
        }
    }
}
