//! The rows of `frontiers`: how far each kind of writer has come, and the fence it writes behind.
//!
//! ```text
//!   writer:  BEGIN · lock its row ─ is the generation mine? ─ write · move the row · COMMIT
//!   begin:   BEGIN · lock all rows ─ put the next generation into each · COMMIT
//! ```
//!
//! Invariants: a writer sends COMMIT only after it has seen its row locked and its own. So the next generation
//! begins before or after that transaction and never in between, and whoever locks the row after a lost
//! answer waits for the lost transaction and then knows how it ended. Each kind of writer has a row of its
//! own, so that they don't wait for each other. A crash gives the lock back; the server ends the transaction
//! of a process that was stopped.

use super::error::{PostgresError, Result};
use super::session::{Answer, Session};
use runtime::{Epoch, Generation};
use tokio_postgres::Row;

pub(crate) const BOUND: &str = "bound";
pub(crate) const DECIDED: &str = "decided";
pub(crate) const PUBLISHED: &str = "published";

/// A frontier's row, locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frontier {
    pub epoch: Epoch,
    /// The only one that may move it.
    pub generation: Generation,
}

/// Locks a frontier's row and reads it.
pub(crate) fn lock_sql(name: &str) -> String {
    format!("SELECT epoch, generation FROM frontiers WHERE name = '{name}' FOR UPDATE")
}

/// Moves it from one epoch to a later one. Parameters: to, now, generation, from.
pub(crate) fn advance_sql(name: &str) -> String {
    format!(
        "UPDATE frontiers SET epoch = $1, now_ms = $2 WHERE name = '{name}' AND generation = $3 AND epoch = $4"
    )
}

/// What [`lock_sql`] found.
pub(crate) fn locked(session: &Session, answer: Answer) -> Result<Frontier> {
    match answer.rows().first() {
        Some(row) => {
            Ok(Frontier { epoch: epoch(row, 0), generation: Generation(row.get::<_, i64>(1) as u64) })
        }
        None => Err(damaged(session, "a frontier's row is missing")),
    }
}

/// Fails unless the row was moved: it is locked, so nobody else can have.
pub(crate) fn moved(session: &Session, answer: Option<&Answer>) -> Result<()> {
    match answer.map(Answer::changed) {
        Some(1) => Ok(()),
        _ => Err(damaged(session, "a frontier moved while it was locked")),
    }
}

/// Problem and remedy of a frontier that isn't where we left it: what was committed is not there any more.
pub(crate) fn went_back(place: &str, what: &str, left: u64, there: Epoch) -> (String, String) {
    (
        format!(
            "{place}: {what} were committed up to epoch {left}, and are there up to epoch {there}: the database went back \
             (a standby that lagged and was promoted, or a backup), or was changed by someone else"
        ),
        REMEDY.to_owned(),
    )
}

/// The same of a fence: no generation is ever taken back.
pub(crate) fn fence_went_back(place: &str, ours: Generation, theirs: Generation) -> (String, String) {
    (
        format!(
            "{place}: it is fenced for generation {theirs}, and this is generation {ours}: the database went back \
             (a standby that lagged and was promoted, or a backup)"
        ),
        REMEDY.to_owned(),
    )
}

const REMEDY: &str = "restore it as it was, promoting the standby that has all of it, or begin anew (docs/runbook.md, \"A store went back\")";

pub(crate) fn damaged(session: &Session, problem: &str) -> PostgresError {
    PostgresError::Damaged { place: session.place.clone(), problem: problem.to_owned() }
}

/// An epoch's column.
pub(crate) fn epoch(row: &Row, at: usize) -> Epoch {
    Epoch(row.get::<_, i64>(at) as u64)
}
