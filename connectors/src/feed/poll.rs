//! One source: its document fetched, mapped, compared with what was sent, and the difference sent.
//!
//! A crash at any point is met by the order of things, see [`super::state`]. A row that doesn't fit may become a dead
//! letter twice then; a result can't be counted twice.

use super::draw::{Mapped, Problem, map};
use super::fetch::{FetchError, Fetched, Http, Validators};
use super::mapping::Mapping;
use super::result::DrawResult;
use super::state::{State, StateError, StateFile, Word};
use crate::decode::REJECTED;
use crate::embedded::NewRecord;
use runtime::killpoint;
use schemas::{SchemaIds, encode_command};
use std::collections::BTreeSet;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_128;

/// The topic results are reported on.
pub const TOPIC: &str = "commands.draws";

/// Records appended at once.
const BATCH_RECORDS: usize = 1_000;

/// Longest reason that goes into a header, in bytes.
const REASON_BYTES_MAX: usize = 1_000;

/// Where records go.
pub trait Deliver {
    /// Appends to [`TOPIC`] for good, all or none.
    ///
    /// # Errors
    /// What went wrong.
    fn append(&mut self, records: &[NewRecord]) -> Result<(), String>;
}

/// What moments the reports of a document carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The source says so now.
    Now(i64),
    /// The source has said so long ago: as of each draw. The records' own time is that, too, where `event_time` says so.
    History { now_ms: i64, event_time: bool },
}

/// What came of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// The publisher says it is the document of last time.
    pub unchanged: bool,
    /// Results in it.
    pub results: usize,
    /// Those that were new or changed, and are in the log now.
    pub sent: usize,
    /// What in it doesn't fit.
    pub problems: Vec<Problem>,
    /// How many of these weren't there last time, and are in the log now.
    pub rejected: usize,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the log: {0}")]
    Deliver(String),
    #[error("the mapping of {0} has no poll.url; set it, or send files with `tombola feeds backfill`")]
    NoUrl(String),
}

/// A source that this process polls.
#[derive(Debug)]
pub struct Feed {
    mapping: Mapping,
    ids: SchemaIds,
    file: StateFile,
    state: State,
}

impl Feed {
    /// Takes a source. `data_dir` is where its state is, `ids` are those of the contracts.
    ///
    /// # Errors
    /// Where another process has it, or its state can't be read.
    pub fn open(data_dir: &Path, mapping: Mapping, ids: SchemaIds) -> Result<Feed, StateError> {
        let (file, state) = StateFile::open(data_dir, &mapping.source.0)?;
        Ok(Feed { mapping, ids, file, state })
    }

    /// What the source is called.
    pub fn source(&self) -> &str {
        &self.mapping.source.0
    }

    /// Forgets what was sent: everything goes again.
    pub fn forget(&mut self) {
        (self.state.sent, self.state.problems) = Default::default();
    }

    /// Polls once.
    ///
    /// # Errors
    /// See [`PollError`]. The next poll makes up for it.
    pub fn poll(&mut self, http: &Http, to: &mut dyn Deliver, now_ms: i64) -> Result<Polled, PollError> {
        let url = self.mapping.poll.url.as_ref().ok_or_else(|| PollError::NoUrl(self.source().to_owned()))?;
        match http.fetch(&url.0, &self.state.validators(&self.mapping.digest))? {
            Fetched::Unchanged => Ok(Polled { unchanged: true, ..Polled::default() }),
            Fetched::Document { body, validators } => {
                let before = self.state.clone();
                let polled = self.send(map(&self.mapping, &body), When::Now(now_ms), to)?;
                self.state.read(&self.mapping.digest, validators);
                self.save_unless(&before)?;
                Ok(polled)
            }
        }
    }

    /// Sends what a document says that was not sent before.
    ///
    /// # Errors
    /// See [`PollError`].
    pub fn backfill(
        &mut self,
        document: &[u8],
        when: When,
        to: &mut dyn Deliver,
    ) -> Result<Polled, PollError> {
        let before = self.state.clone();
        let polled = self.send(map(&self.mapping, document), when, to)?;
        if polled.sent > 0 {
            // What the publisher's document says, unchanged or not, is no longer what was sent last.
            self.state.read("", Validators::default());
        }
        self.save_unless(&before)?;
        Ok(polled)
    }

    fn save_unless(&self, before: &State) -> Result<(), PollError> {
        if self.state != *before {
            self.file.save(&self.state)?;
            killpoint::reach("feed.after_save");
        }
        Ok(())
    }

    fn send(&mut self, mapped: Mapped, when: When, to: &mut dyn Deliver) -> Result<Polled, PollError> {
        let (now_ms, told) = (when.now_ms(), mapped.results.len());
        let problems: BTreeSet<String> = mapped.problems.iter().map(digest).collect();
        let fresh = |problem: &&Problem| !self.state.problems.contains(&digest(problem));
        let mut records: Vec<NewRecord> =
            mapped.problems.iter().filter(fresh).map(|problem| self.rejected(problem, now_ms)).collect();
        let rejected = records.len();
        let mut changed: Vec<(&DrawResult, Word)> = Vec::new();
        for result in &mapped.results {
            let word = self.state.to_send(result, when.reported_at_ms(result));
            changed.extend(word.map(|word| (result, word)));
        }
        records.extend(changed.iter().map(|(result, word)| self.record(result, word, when)));
        if !changed.is_empty() {
            self.state
                .sending
                .extend(changed.iter().map(|(result, word)| (result.draw_id.clone(), word.clone())));
            self.file.save(&self.state)?;
        }
        killpoint::reach("feed.before_append");
        for batch in records.chunks(BATCH_RECORDS) {
            to.append(batch).map_err(PollError::Deliver)?;
        }
        killpoint::reach("feed.after_append");
        self.state.delivered(changed.iter().map(|(result, _)| result.draw_id.as_str()));
        self.state.problems = problems;
        Ok(Polled {
            unchanged: false,
            results: told,
            sent: changed.len(),
            problems: mapped.problems,
            rejected,
        })
    }

    fn record(&self, result: &DrawResult, word: &Word, when: When) -> NewRecord {
        let command = result.report(&word.command_id, word.reported_at_ms);
        let mut value = Vec::with_capacity(256);
        encode_command(&command, |record| self.ids.of(record), &mut value);
        let timestamp_ms = when.timestamp_ms(result);
        let key = Some(result.draw_id.as_bytes().to_vec());
        NewRecord { key, value: Some(value), timestamp_ms, ..NewRecord::default() }
    }

    fn rejected(&self, problem: &Problem, now_ms: i64) -> NewRecord {
        let reason = format!("feed {}: {}: {}", self.source(), problem.place, problem.reason);
        let cut = reason.floor_char_boundary(REASON_BYTES_MAX);
        NewRecord {
            value: Some(problem.original.clone()),
            timestamp_ms: now_ms,
            headers: vec![(REJECTED.to_owned(), reason.as_bytes()[..cut].to_vec())],
            ..NewRecord::default()
        }
    }
}

impl When {
    fn now_ms(self) -> i64 {
        match self {
            When::Now(now_ms) | When::History { now_ms, .. } => now_ms,
        }
    }

    fn reported_at_ms(self, result: &DrawResult) -> i64 {
        match self {
            When::Now(now_ms) => now_ms,
            // Not the clock: a file sent a second time must give the same commands.
            When::History { .. } => result.drawn_at_ms,
        }
    }

    fn timestamp_ms(self, result: &DrawResult) -> i64 {
        match self {
            When::History { event_time: true, .. } => result.drawn_at_ms,
            When::Now(now_ms) | When::History { now_ms, .. } => now_ms,
        }
    }
}

/// Of the row and what is wrong with it, not of its place: a line added above it makes it no other problem.
fn digest(problem: &Problem) -> String {
    let mut said = problem.original.clone();
    said.push(0);
    said.extend_from_slice(problem.reason.as_bytes());
    format!("{:032x}", xxh3_128(&said))
}
