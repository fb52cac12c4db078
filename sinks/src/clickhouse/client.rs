//! Requests to ClickHouse from a thread of our own: each is waited for, for a bounded time.

use super::error::{ClickHouseError, Result};
use super::https;
use super::settings::ClickHouseSettings;
use clickhouse::error::Error;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How soon a request is given up once the loader is told to stop.
const STOP_WITHIN: Duration = Duration::from_millis(50);

/// How long a change of a table is waited for. It goes on without us; given up, it is looked at again.
const CHANGE_MAX: Duration = Duration::from_secs(600);

/// A connection pool and the little runtime that drives it while somebody waits.
pub(super) struct Client {
    pub http: clickhouse::Client,
    pub place: String,
    runtime: tokio::runtime::Runtime,
    timeout: Duration,
}

impl Client {
    /// Sends nothing yet.
    pub fn new(settings: &ClickHouseSettings) -> Result<Client> {
        settings.check()?;
        let place = settings.place();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| ClickHouseError::Stop {
            place: place.clone(),
            problem: format!("no connection can be driven: {source}"),
            remedy: "raise the limit of open files".to_owned(),
        })?;
        let http = https::client(settings)?
            .with_url(&settings.url)
            .with_user(&settings.user)
            .with_password(settings.password()?)
            .with_database(&settings.database);
        let timeout = Duration::from_millis(settings.timeout_ms);
        Ok(Client { http, place, runtime, timeout })
    }

    /// Waits for a request: at most the timeout, and not much longer than until `stop`.
    pub fn wait<T>(
        &self,
        doing: &'static str,
        stop: Option<&AtomicBool>,
        request: impl Future<Output = clickhouse::error::Result<T>>,
    ) -> Result<T> {
        self.wait_at_most(self.timeout, doing, stop, request)
    }

    fn wait_at_most<T>(
        &self,
        timeout: Duration,
        doing: &'static str,
        stop: Option<&AtomicBool>,
        request: impl Future<Output = clickhouse::error::Result<T>>,
    ) -> Result<T> {
        let place = || self.place.clone();
        let deadline = Instant::now() + timeout;
        let done = self.runtime.block_on(async {
            let mut request = pin!(request);
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let stopping = stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
                if left.is_zero() || stopping {
                    return None;
                }
                if let Ok(done) = tokio::time::timeout(left.min(STOP_WITHIN), &mut request).await {
                    return Some(done);
                }
            }
        });
        let timeout_ms = timeout.as_millis() as u64;
        let done = done.ok_or_else(|| ClickHouseError::TimedOut { place: place(), doing, timeout_ms })?;
        done.map_err(|source: Error| ClickHouseError::of_request(place(), doing, source))
    }

    /// Runs a statement for its effect.
    pub fn run(&self, doing: &'static str, stop: Option<&AtomicBool>, sql: &str) -> Result<()> {
        self.wait(doing, stop, self.http.query_raw(sql).execute())
    }

    /// The same for what changes a table: it may have to write all of it anew.
    pub fn change(&self, doing: &'static str, stop: Option<&AtomicBool>, sql: &str) -> Result<()> {
        let timeout = self.timeout.max(CHANGE_MAX);
        self.wait_at_most(timeout, doing, stop, self.http.query_raw(sql).execute())
    }

    /// Every row of an answer.
    pub fn rows<T>(&self, doing: &'static str, stop: Option<&AtomicBool>, sql: &str) -> Result<Vec<T>>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        self.wait(doing, stop, self.http.query_raw(sql).fetch_all::<T>())
    }

    /// An answer as it comes, in a format.
    pub fn bytes(
        &self,
        doing: &'static str,
        stop: Option<&AtomicBool>,
        sql: &str,
        format: &str,
    ) -> Result<Vec<u8>> {
        let ask = async {
            let mut cursor = self.http.query_raw(sql).fetch_bytes(format)?;
            cursor.collect().await
        };
        self.wait(doing, stop, ask).map(|bytes| bytes.to_vec())
    }
}

/// A text as SQL writes it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
