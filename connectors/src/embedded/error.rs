//! What can go wrong with `log.db`, sorted by what the caller must do about it.
//!
//! Every message names the file and the remedy. A failed append has left nothing behind: it was one
//! transaction.

use runtime::sink::SinkError;
use runtime::source::LogError;
use rusqlite::ErrorCode;

/// A failure of the embedded log.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Nothing happened; the same call may succeed later.
    #[error("{file}: {doing}: another process has held it locked for too long; try again")]
    Busy { file: String, doing: &'static str, source: rusqlite::Error },
    /// Nothing happened, and nothing will until there is room.
    #[error("{file}: {doing}: the disk is full ({source}); free space, then start again: nothing is lost")]
    Full { file: String, doing: &'static str, source: rusqlite::Error },
    #[error("{file}: {doing}: {source}; {remedy}")]
    Database { file: String, doing: &'static str, source: rusqlite::Error, remedy: &'static str },
    #[error("{file}: {doing}: {source}; check that the data directory exists and may be written")]
    Directory { file: String, doing: &'static str, source: std::io::Error },
    #[error(
        "{file} was written by a newer version of Tombola (layout {theirs}, this program knows {ours}); run that version"
    )]
    NewerLayout { file: String, ours: i64, theirs: i64 },
    /// The file holds something else than what was once appended.
    #[error("{file}: topic {topic}, partition {partition}, offset {offset}: {problem}; {remedy}")]
    Damaged {
        file: String,
        topic: String,
        partition: u32,
        offset: u64,
        problem: String,
        remedy: &'static str,
    },
    /// Two pipelines must not tell the same facts twice.
    #[error(
        "{file}: topic {topic} is written by the pipeline `{owner}`, so `{ours}` may not write to it; leave that job to `{owner}` (say with --jobs or pipeline.jobs which jobs run here)"
    )]
    Claimed { file: String, topic: String, owner: String, ours: String },
    #[error("{file}: there is no topic {topic}; `tombola status` lists the topics there are")]
    UnknownTopic { file: String, topic: String },
    #[error("{file}: topic {topic} has {partitions} partitions, there is no partition {partition}")]
    UnknownPartition { file: String, topic: String, partition: u32, partitions: u32 },
}

pub(crate) type Result<T> = std::result::Result<T, EmbeddedError>;

/// Turns what SQLite says into what the caller must do.
pub(crate) fn classify(file: &str, doing: &'static str, source: rusqlite::Error) -> EmbeddedError {
    let file = file.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            EmbeddedError::Busy { file, doing, source }
        }
        Some(ErrorCode::DiskFull) => EmbeddedError::Full { file, doing, source },
        code => EmbeddedError::Database { file, doing, source, remedy: remedy(code) },
    }
}

fn remedy(code: Option<ErrorCode>) -> &'static str {
    match code {
        Some(ErrorCode::SystemIoFailure) => {
            "check the disk and its free space, then start again: nothing is lost"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the file is damaged: restore it from a backup"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "check the permissions of the data directory"
        }
        _ => "nothing was changed; please report this",
    }
}

impl From<EmbeddedError> for LogError {
    fn from(error: EmbeddedError) -> LogError {
        match error {
            EmbeddedError::Busy { .. } => LogError::Retry(Box::new(error)),
            EmbeddedError::Damaged { file, topic, partition, offset, problem, remedy } => LogError::Stop {
                place: format!("{file}: topic {topic}, partition {partition}, offset {offset}"),
                problem,
                remedy: remedy.to_owned(),
            },
            other => {
                let (place, problem, remedy) = other.parts();
                LogError::Stop { place, problem, remedy }
            }
        }
    }
}

impl EmbeddedError {
    /// The message of an error that stops the run, cut where the remedy begins.
    fn parts(&self) -> (String, String, String) {
        let text = self.to_string();
        let (rest, remedy) = text.rsplit_once("; ").unwrap_or((&text, "see the message"));
        let (place, problem) = rest.split_once(": ").unwrap_or(("log.db", rest));
        (place.to_owned(), problem.to_owned(), remedy.to_owned())
    }

    /// The same failure as a sink reports it.
    pub(crate) fn into_sink(self, sink: &'static str) -> SinkError {
        if matches!(self, EmbeddedError::Busy { .. }) {
            return SinkError::Retry { sink, source: Box::new(self) };
        }
        let (place, problem, remedy) = self.parts();
        SinkError::Stop { sink, problem: format!("{place}: {problem}"), remedy }
    }
}
