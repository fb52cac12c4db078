//! What can go wrong with the database, sorted by what the caller must do about it.
//!
//! ```text
//!   lost, shutting down, deadlock, cancelled ──> Retry      not migrated, no right, full ──> Stop, with the remedy
//! ```
//!
//! A commit whose answer was lost is not an error of this kind: whoever sent it finds out first.

use crate::tls::{Refusal, TlsError, refusal};
use runtime::bindings::BindingError;
use runtime::sink::SinkError;
use tokio_postgres::error::SqlState;

/// A failure of the Postgres stores.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("{problem}; {remedy}")]
    Settings { problem: String, remedy: String },
    #[error("postgres: {source}")]
    Tls { source: TlsError },
    /// Whoever answers isn't who was asked for, or can't be told.
    #[error("{place}: {doing}: {problem}; {remedy}")]
    Refusal { place: String, doing: &'static str, problem: String, remedy: String },
    /// The same call may succeed later.
    #[error("{place}: {doing}: {problem}; it will be tried again")]
    Passing { place: String, doing: &'static str, problem: String, source: Option<tokio_postgres::Error> },
    #[error("{place}: {doing}: {problem}; {remedy}")]
    Database {
        place: String,
        doing: &'static str,
        problem: String,
        remedy: &'static str,
        source: tokio_postgres::Error,
    },
    #[error("{place}: {problem}; run `tombola migrate`, as the owner of the schema")]
    NotMigrated { place: String, problem: String },
    #[error("{place}: {problem}; run the version of Tombola that migrated it, or a newer one")]
    Newer { place: String, problem: String },
    #[error("{place}: {problem}; restore the schema from a backup")]
    Damaged { place: String, problem: String },
    #[error(
        "{place} belongs to a pipeline that runs as {holder}; stop it first, or give this one another schema"
    )]
    Owned { place: String, holder: String },
    #[error("the query is refused: {problem}; only one SELECT at a time may be asked")]
    Refused { problem: String },
    #[error("the query took longer than {timeout_ms} ms and was stopped; narrow it down with WHERE or LIMIT")]
    TooLong { timeout_ms: u64 },
    #[error("{place}: the client's thread can't be started: {source}; raise the limits of the process")]
    Thread { place: String, source: std::io::Error },
    #[error(transparent)]
    Replayed(#[from] crate::embedded::EmbeddedError),
}

pub(crate) type Result<T> = std::result::Result<T, PostgresError>;

/// Turns what the client says into what the caller must do.
pub(crate) fn classify(place: &str, doing: &'static str, source: tokio_postgres::Error) -> PostgresError {
    if let Some(Refusal { problem, cure }) = refusal(&source) {
        let problem = format!("TLS with the server failed: {problem}");
        return PostgresError::Refusal {
            place: place.to_owned(),
            doing,
            problem,
            remedy: cure.remedy("postgres"),
        };
    }
    let (place, problem) = (place.to_owned(), message(&source));
    let todo = if lacks_password(&source) { Todo::Stop(PASSWORD) } else { what_to_do(source.code()) };
    match todo {
        Todo::TryAgain => PostgresError::Passing { place, doing, problem, source: Some(source) },
        Todo::Migrate => PostgresError::NotMigrated { place, problem: format!("{doing}: {problem}") },
        Todo::Stop(remedy) => PostgresError::Database { place, doing, problem, remedy, source },
    }
}

/// What to do about a password that isn't there, or isn't the user's.
const PASSWORD: &str =
    "check the user in `url`, and the password in `password_file` or TOMBOLA_POSTGRES_PASSWORD";

/// Whether the server asked for a password and the settings have none: the client then asks nobody, and has no code for it.
fn lacks_password(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    cause.as_deref() == Some("password missing")
}

/// The client's words for a server's "no". It may mean that the server is out of processes, so it is tried again.
const NO_TLS: &str = "server does not support TLS";

/// What the server said, or how the connection ended.
pub(crate) fn message(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} ({})", said.message(), said.code().code());
    }
    let Some(cause) = std::error::Error::source(error) else { return error.to_string() };
    let cause = cause.to_string();
    if cause == NO_TLS {
        return "the server speaks no TLS, which postgres.sslmode asks for".to_owned();
    }
    format!("{error}: {cause}")
}

#[derive(Debug, PartialEq, Eq)]
enum Todo {
    TryAgain,
    Migrate,
    Stop(&'static str),
}

/// By SQLSTATE; without one the connection itself failed.
fn what_to_do(code: Option<&SqlState>) -> Todo {
    let Some(code) = code.map(SqlState::code) else { return Todo::TryAgain };
    match code {
        // Shutting down or starting up, cancelled, lost a race, or waited too long for a lock; read-only: a
        // standby that is about to take over, or the old primary.
        "57P01" | "57P02" | "57P03" | "57P05" | "57014" | "40001" | "40P01" | "40003" | "55P03" | "25P03"
        | "25006" | "53300" => Todo::TryAgain,
        "3F000" | "42P01" | "42703" => Todo::Migrate,
        "53100" => {
            Todo::Stop("the server's disk is full: free space there, then start again; nothing is lost")
        }
        // Also where it lets nobody in without encryption.
        "28000" => Todo::Stop(
            "check the user in `url`; where the server says \"no encryption\", set postgres.sslmode = \"verify-full\"",
        ),
        "28P01" => Todo::Stop(PASSWORD),
        "3D000" => Todo::Stop("create the database, or name another in `url`"),
        "42501" => Todo::Stop(
            "have an administrator run `tombola migrate --roles` and grant tombola_pipeline (to read: tombola_reader) to this user",
        ),
        "26000" => Todo::Stop("connect to the server itself, or through a pooler in session mode"),
        _ if code.starts_with("08") => Todo::TryAgain,
        _ => Todo::Stop("nothing was changed; please report this"),
    }
}

impl PostgresError {
    /// The message of an error that stops the run, cut where the remedy begins.
    fn parts(&self) -> (String, String) {
        let text = self.to_string();
        let (problem, remedy) = text.rsplit_once("; ").unwrap_or((&text, "see the message"));
        (problem.to_owned(), remedy.to_owned())
    }

    /// Whether the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self, PostgresError::Passing { .. })
    }

    /// The same failure as a sink reports it.
    pub(crate) fn into_sink(self, sink: &'static str) -> SinkError {
        if self.is_passing() {
            return SinkError::Retry { sink, source: Box::new(self) };
        }
        let (problem, remedy) = self.parts();
        SinkError::Stop { sink, problem, remedy }
    }
}

impl From<PostgresError> for BindingError {
    fn from(error: PostgresError) -> BindingError {
        if error.is_passing() {
            return BindingError::Retry(Box::new(error));
        }
        let (problem, remedy) = error.parts();
        BindingError::Stop { problem, remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_names_its_remedy() {
        let todo = |code: &str| what_to_do(Some(&SqlState::from_code(code)));
        for passing in
            ["08006", "08P01", "57P01", "57P02", "57P03", "40001", "40P01", "55P03", "25P03", "53300"]
        {
            assert_eq!(todo(passing), Todo::TryAgain, "{passing}");
        }
        assert_eq!(what_to_do(None), Todo::TryAgain, "a connection that broke");
        for missing in ["42P01", "42703", "3F000"] {
            assert_eq!(todo(missing), Todo::Migrate, "{missing}");
        }
        for (code, remedy) in
            [("42501", "administrator"), ("28P01", "password"), ("53100", "disk"), ("XX000", "report")]
        {
            assert!(matches!(todo(code), Todo::Stop(said) if said.contains(remedy)), "{code}");
        }
    }
    /// A server that answers every client's first message by asking for a password.
    fn asking() -> u16 {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut client, _) = server.accept().unwrap();
            let mut first = [0; 512];
            assert!(client.read(&mut first).unwrap() > 8);
            // AuthenticationCleartextPassword.
            client.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]).unwrap();
            let _ = client.read(&mut first);
        });
        port
    }

    #[test]
    fn a_password_that_is_asked_for_and_missing_stops_the_run_instead_of_being_tried_again() {
        let url = format!("postgres://a@127.0.0.1:{}/d", asking());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let refused = runtime.block_on(tokio_postgres::connect(&url, tokio_postgres::NoTls)).err().unwrap();
        let error = classify("here", "connect", refused);
        assert!(!error.is_passing());
        let told = error.to_string();
        assert!(told.contains("password missing") && told.ends_with("TOMBOLA_POSTGRES_PASSWORD"), "{told}");
    }
}
