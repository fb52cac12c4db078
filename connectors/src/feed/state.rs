//! What the connector remembers of a source: `DATA_DIR/feeds/SOURCE.json`.
//!
//! ```text
//!   write down what is about to be sent (sending) ─> append to the log ─> write down that it was (sent, validators)
//! ```
//!
//! A crash before the append, or after it: `sending` is there, and the same commands go again, byte for byte. Where
//! the source has changed its word meanwhile, the new one comes after the one that may have gone.
//! The file is replaced whole. Lost or damaged, everything is sent once more: the same results, as new commands where
//! the source had changed its word before.

use super::fetch::Validators;
use super::result::DrawResult;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const LAYOUT: u32 = 1;

/// What a source said of a draw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Of the result.
    pub digest: String,
    /// Of the command that told it.
    pub command_id: String,
    pub reported_at_ms: i64,
}

/// What is remembered of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    layout: u32,
    /// Digest of the mapping under which the document with these validators was read.
    mapping: String,
    validators: Validators,
    /// What was sent last, by draw.
    pub sent: BTreeMap<String, Word>,
    /// What is being sent: whether it is in the log is not known.
    pub sending: BTreeMap<String, Word>,
    /// Digests of what didn't fit in the last document: told once, not with every poll.
    pub problems: BTreeSet<String>,
}

/// Why a source's state can't be had.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("another process polls the source {source_name} into {}; this one goes on when that one ends", dir.display())]
    Taken { source_name: String, dir: PathBuf },
    #[error("{}: {problem}; make the data directory writable, with room on its disk", path.display())]
    Io { path: PathBuf, problem: std::io::Error },
}

impl State {
    /// What is known of the document, if it was read under this mapping and nothing was being sent since: a newer
    /// word may have gone, which a publisher who returns to the older document has taken back.
    pub fn validators(&self, mapping: &str) -> Validators {
        let current = self.mapping == mapping && self.sending.is_empty();
        if current { self.validators.clone() } else { Validators::default() }
    }

    /// Remembers the document that all of this came from.
    pub fn read(&mut self, mapping: &str, validators: Validators) {
        (self.mapping, self.validators) = (mapping.to_owned(), validators);
    }

    /// What is to be sent of a result, if anything is.
    pub fn to_send(&self, result: &DrawResult, reported_at_ms: i64) -> Option<Word> {
        let digest = result.digest();
        let before = match (self.sending.get(&result.draw_id), self.sent.get(&result.draw_id)) {
            (Some(word), _) if word.digest == digest => return Some(word.clone()),
            (Some(word), _) => Some(word),
            (None, Some(word)) if word.digest == digest => return None,
            (None, before) => before,
        };
        let command_id = result.command_id(before.map(|word| word.command_id.as_str()));
        Some(Word { digest, command_id, reported_at_ms })
    }

    /// What was being sent of these draws is in the log.
    pub fn delivered<'a>(&mut self, draws: impl Iterator<Item = &'a str>) {
        for draw in draws {
            if let Some((draw, word)) = self.sending.remove_entry(draw) {
                self.sent.insert(draw, word);
            }
        }
    }
}

/// The file of one source, held by this process alone.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Held while open; the system lets go of it with the process.
    _lock: File,
}

impl StateFile {
    /// Takes the file of a source under the data directory; what it says.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(data_dir: &Path, source: &str) -> Result<(StateFile, State), StateError> {
        let dir = data_dir.join("feeds");
        let io = |path: &Path| {
            let path = path.to_owned();
            move |problem| StateError::Io { path, problem }
        };
        std::fs::create_dir_all(&dir).map_err(io(&dir))?;
        let lock_path = dir.join(format!("{source}.lock"));
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(StateError::Taken { source_name: source.to_owned(), dir });
            }
            Err(std::fs::TryLockError::Error(problem)) => return Err(io(&lock_path)(problem)),
        }
        let file = StateFile { path: dir.join(format!("{source}.json")), _lock: lock };
        let state = file.load().map_err(io(&file.path))?;
        Ok((file, state))
    }

    fn load(&self) -> std::io::Result<State> {
        let fresh = State { layout: LAYOUT, ..State::default() };
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(fresh),
            Err(e) => return Err(e),
        };
        let problem = match serde_json::from_slice::<State>(&text) {
            Ok(state) if state.layout == LAYOUT => return Ok(state),
            Ok(state) => format!("it has layout {}, this program knows {LAYOUT}", state.layout),
            Err(e) => e.to_string(),
        };
        let kept = self.path.with_extension("json.unreadable");
        std::fs::rename(&self.path, &kept)?;
        let (path, kept) = (self.path.display(), kept.display());
        tracing::warn!(%path, problem, %kept, "a source's state can't be read: everything is sent once more");
        Ok(fresh)
    }

    /// Writes the state for good.
    ///
    /// # Errors
    /// [`StateError::Io`]; the file is as it was before.
    pub fn save(&self, state: &State) -> Result<(), StateError> {
        self.replace(state).map_err(|problem| StateError::Io { path: self.path.clone(), problem })
    }

    fn replace(&self, state: &State) -> std::io::Result<()> {
        let staged = self.path.with_extension("json.new");
        let mut file = File::create(&staged)?;
        file.write_all(&serde_json::to_vec(state).map_err(std::io::Error::other)?)?;
        file.sync_all()?;
        std::fs::rename(&staged, &self.path)?;
        File::open(self.path.parent().expect("it lies in a folder"))?.sync_all()
    }
}
