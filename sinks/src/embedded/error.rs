//! What can go wrong with `tombola.db`, sorted by what the caller must do about it.
//!
//! A failed commit has left nothing behind: it was one transaction. Every message names the file and the remedy.

use runtime::bindings::BindingError;
use runtime::sink::SinkError;
use rusqlite::ErrorCode;

/// A failure of the embedded database.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Nothing happened; the same call may succeed later.
    #[error("{file}: {doing}: another process has held it locked for too long; try again")]
    Busy { file: String, doing: &'static str, source: rusqlite::Error },
    #[error("{file}: {doing}: {source}; {remedy}")]
    Database { file: String, doing: &'static str, source: rusqlite::Error, remedy: &'static str },
    #[error("{file}: {doing}: {source}; check that the data directory exists and may be written")]
    Directory { file: String, doing: &'static str, source: std::io::Error },
    #[error(
        "{file} was written by a newer version of Tombola (layout {theirs}, this program knows {ours}); run that version"
    )]
    NewerLayout { file: String, ours: i64, theirs: i64 },
    #[error("{file}: {problem}; restore the data directory from a backup")]
    Damaged { file: String, problem: String },
    #[error(
        "{dir} belongs to the pipeline that runs as process {pid}; stop it first, or choose another --data-dir"
    )]
    Owned { dir: String, pid: String },
    #[error("the query is refused: {problem}; only one SELECT at a time may be asked")]
    Refused { problem: String },
    #[error("the query took longer than {timeout_ms} ms and was stopped; narrow it down with WHERE or LIMIT")]
    TooLong { timeout_ms: u64 },
}

pub(crate) type Result<T> = std::result::Result<T, EmbeddedError>;

/// Turns what SQLite says into what the caller must do.
pub(crate) fn classify(file: &str, doing: &'static str, source: rusqlite::Error) -> EmbeddedError {
    let file = file.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            EmbeddedError::Busy { file, doing, source }
        }
        code => EmbeddedError::Database { file, doing, source, remedy: remedy(code) },
    }
}

fn remedy(code: Option<ErrorCode>) -> &'static str {
    match code {
        Some(ErrorCode::DiskFull) => "the disk is full: free space, then start again; nothing is lost",
        Some(ErrorCode::SystemIoFailure) => {
            "check the disk and its free space, then start again; nothing is lost"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the file is damaged: restore the data directory from a backup"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "check that the data directory exists and may be written"
        }
        _ => "nothing was changed; please report this",
    }
}

impl EmbeddedError {
    /// The message of an error that stops the run, cut where the remedy begins.
    fn parts(&self) -> (String, String) {
        let text = self.to_string();
        let (problem, remedy) = text.split_once("; ").unwrap_or((&text, "see the message"));
        (problem.to_owned(), remedy.to_owned())
    }

    /// The same failure as a sink reports it.
    pub(crate) fn into_sink(self, sink: &'static str) -> SinkError {
        if matches!(self, EmbeddedError::Busy { .. }) {
            return SinkError::Retry { sink, source: Box::new(self) };
        }
        let (problem, remedy) = self.parts();
        SinkError::Stop { sink, problem, remedy }
    }
}

impl From<EmbeddedError> for BindingError {
    fn from(error: EmbeddedError) -> BindingError {
        if matches!(error, EmbeddedError::Busy { .. }) {
            return BindingError::Retry(Box::new(error));
        }
        let (problem, remedy) = error.parts();
        BindingError::Stop { problem, remedy }
    }
}
