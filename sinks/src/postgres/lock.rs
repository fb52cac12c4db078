//! The ownership lock: one pipeline per schema.
//!
//! An advisory lock of a connection of its own, held for as long as that lasts: the server releases it however
//! the process ends. A thread takes it again after a lost connection. Nothing rests on it but good manners: two
//! pipelines on one schema are kept apart by their generations (see `frontier.rs`), so one that runs on
//! without its lock harms nothing, and stops at its next commit where another has begun.

use super::error::{PostgresError, Result};
use super::session::Session;
use super::settings::PostgresSettings;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

const KEY: &str = "hashtextextended('tombola pipeline ' || current_schema(), 0)";

/// Held by the one pipeline that runs on a schema.
#[derive(Debug)]
pub struct PostgresLock {
    held: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PostgresLock {
    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// [`PostgresError::Owned`] where another pipeline runs on the schema.
    pub fn take(settings: &PostgresSettings) -> Result<PostgresLock> {
        let session = locked(settings)?;
        let (settings, held) = (settings.clone(), Arc::new(AtomicBool::new(true)));
        let (stop, stopped) = channel();
        let told = Arc::clone(&held);
        let place = session.place.clone();
        let thread = std::thread::Builder::new().name("pipeline-lock".to_owned()).spawn(move || {
            let mut session = Some(session);
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                session = keep(session, &settings);
                told.store(session.is_some(), Ordering::Relaxed);
            }
        });
        let thread = thread.map_err(|source| PostgresError::Thread { place, source })?;
        Ok(PostgresLock { held, stop: Some(stop), thread: Some(thread) })
    }

    /// Whether it was held when last looked, a moment ago.
    pub fn held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// The pipeline that runs on a schema, where one does.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub fn holder(settings: &PostgresSettings) -> Result<Option<String>> {
        holder(&Session::open(settings, "status")?)
    }
}

impl Drop for PostgresLock {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends with the lock given back; a panic in it has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn locked(settings: &PostgresSettings) -> Result<Session> {
    let session = Session::open(settings, "pipeline")?;
    let take = format!("SELECT pg_try_advisory_lock({KEY})");
    let taken = session.row("take the pipeline's lock", &take, &[])?;
    if taken.get(0) {
        return Ok(session);
    }
    let holder = holder(&session)?.unwrap_or_else(|| "another one, just gone".to_owned());
    Err(PostgresError::Owned { place: session.place.clone(), holder })
}

/// The session while it lives, or a new one with the lock.
fn keep(session: Option<Session>, settings: &PostgresSettings) -> Option<Session> {
    if let Some(session) = session
        && session.run("look after the pipeline's lock", "SELECT 1").is_ok()
    {
        return Some(session);
    }
    match locked(settings) {
        Ok(session) => {
            tracing::info!(place = %session.place, "the pipeline's lock was lost with its connection and is taken again");
            Some(session)
        }
        Err(error) => {
            tracing::warn!(%error, "the pipeline's lock is lost; its generation still keeps others out");
            None
        }
    }
}

/// Who holds the lock: where from and since when is told only to those who may see it.
fn holder(session: &Session) -> Result<Option<String>> {
    let sql = format!(
        "SELECT l.pid, a.application_name, host(a.client_addr), to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
         FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND (l.classid::bigint << 32) | l.objid::bigint = {KEY}"
    );
    let found = session.rows("look for the pipeline", &sql, &[])?;
    Ok(found.first().map(|row| {
        let backend: i32 = row.get(0);
        let known = |at: usize| row.get::<_, Option<String>>(at).filter(|text| !text.is_empty());
        let name = known(1).unwrap_or_else(|| "a session without a name".to_owned());
        let from = known(2).map_or(String::new(), |host| format!(" from {host}"));
        let since = known(3).map_or(String::new(), |time| format!(" since {time} UTC"));
        format!("\"{name}\"{from}{since}, server process {backend}")
    }))
}
