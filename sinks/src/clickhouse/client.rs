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

/// How long a change of a table is waited for. It goes on without us; given up, it is looked at again. All other tables wait as long.
const CHANGE_MAX: Duration = Duration::from_secs(15);

/// Inserts under way at a time.
const AT_ONCE: usize = 8;

/// What a cluster is told with every request. An insert is acknowledged once most replicas have it, and inserts into one table
/// follow each other: only so does `select_sequential_consistency` mean that what is counted is all that was acknowledged, whichever
/// replica answers. Without them a batch in doubt that another replica took would be taken for lost, and sent under another token.
const QUORUM: [(&str, &str); 2] = [("insert_quorum", "auto"), ("insert_quorum_parallel", "0")];

/// A connection pool and the little runtime that drives it while somebody waits.
pub(super) struct Client {
    pub http: clickhouse::Client,
    pub place: String,
    /// A cluster refuses an insert while another one into the same table waits for its quorum.
    pub inserts_at_once: usize,
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
        let mut http = https::client(settings)?
            .with_url(&settings.url)
            .with_user(&settings.user)
            .with_password(settings.password()?)
            .with_database(&settings.database);
        let mut inserts_at_once = AT_ONCE;
        if settings.cluster.is_some() {
            inserts_at_once = 1;
            http = QUORUM.iter().fold(http, |http, (name, value)| http.with_setting(*name, *value));
        }
        let timeout = Duration::from_millis(settings.timeout_ms);
        Ok(Client { http, place, inserts_at_once, runtime, timeout })
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

    /// The same for what changes a table, of which only the columns are waited for.
    pub fn change(&self, doing: &'static str, stop: Option<&AtomicBool>, sql: &str) -> Result<()> {
        self.wait_at_most(CHANGE_MAX, doing, stop, self.http.query_raw(sql).execute())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test: what fails here fails the test
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// Answers one request after the other with nothing; the first line of each.
    fn server(requests: usize) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = move || {
            let (mut stream, mut byte) = (listener.accept().unwrap().0, [0]);
            let mut request = Vec::new();
            // A body ends with an empty chunk; a statement comes with its length and is as long as it is.
            let is_whole =
                |request: &[u8]| request.ends_with(b"\r\n0\r\n\r\n") || request.ends_with(b"SELECT 1");
            while !is_whole(&request) && stream.read(&mut byte).unwrap() > 0 {
                request.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned()
        };
        (url, std::thread::spawn(move || (0..requests).map(|_| answer()).collect()))
    }

    /// First lines of a statement and of an insert.
    fn sent(cluster: Option<&str>) -> (Vec<String>, usize) {
        let (url, heard) = server(2);
        let cluster = cluster.map(str::to_owned);
        let client =
            Client::new(&ClickHouseSettings { url, cluster, ..ClickHouseSettings::default() }).unwrap();
        client.run("ask", None, "SELECT 1").unwrap();
        let insert = async {
            let mut insert = client.http.insert_formatted_with("INSERT INTO t FORMAT RowBinary").buffered();
            insert.write(b"row").await?;
            insert.end().await
        };
        client.wait("insert", None, insert).unwrap();
        (heard.join().unwrap(), client.inserts_at_once)
    }

    #[test]
    fn a_cluster_is_told_to_acknowledge_by_quorum_one_insert_after_the_other_and_a_single_server_is_not() {
        let (lines, at_once) = sent(Some("main"));
        for line in &lines {
            assert!(
                line.contains("insert_quorum=auto") && line.contains("insert_quorum_parallel=0"),
                "{line}"
            );
        }
        assert_eq!(at_once, 1);
        let (lines, at_once) = sent(None);
        assert!(lines.iter().all(|line| line.starts_with("POST ") && !line.contains("quorum")), "{lines:?}");
        assert_eq!(at_once, AT_ONCE);
    }
}
