//! What every request has at hand, and one request as its handler gets it.

use crate::after::After;
use crate::append::Appender;
use crate::auth::{Auth, AuthError, AuthSettings, Principal};
use crate::backend::{Backend, Change, Failed, History, Images, Select, Selected, Tables};
use crate::counts::Counts;
use crate::decided::Decided;
use crate::fields::Fields;
use crate::limits::{Limits, Seat, Seats, Turns};
use crate::problem::{Answer, Problem};
use bytes::Bytes;
use runtime::trace::Tracer;
use schemas::SchemaIds;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use warp::http::HeaderMap;

/// How the API is served.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    pub auth: AuthSettings,
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
    /// Longest time for a request, waiting for its decision aside.
    pub request_ms_max: u64,
    /// Longest `wait_ms`.
    pub wait_ms_max: u64,
    /// Requests handled at once.
    pub in_flight_max: usize,
    /// Requests a second of one principal.
    pub requests_per_s_max: u32,
    /// Open connections.
    pub connections_max: usize,
    /// Live clients, and those of one principal.
    pub live_max: usize,
    pub live_of_one_max: usize,
    /// Connections that read tables.
    pub readers: usize,
    /// How old the decided frontier may be before the API says that it isn't ready.
    pub frontier_age_ms_max: u64,
    /// How long an order is remembered after its end.
    pub order_retention_ms: i64,
    /// Where the first ticket is sold: only in the demo.
    pub shop: Option<Shop>,
}

/// What `POST /api/ticket/buy` sells.
#[derive(Clone, Debug)]
pub struct Shop {
    pub tenant: String,
    pub offer_id: String,
    pub customer_id: String,
    pub price_minor: i64,
    pub currency: String,
    /// Numbers on a ticket, and the largest of them.
    pub numbers: usize,
    pub number_max: i32,
}

/// Why the API can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("[api]: {0}")]
    Auth(#[from] AuthError),
    #[error("{address}: {problem}; name another address with --api")]
    Bind { address: std::net::SocketAddr, problem: std::io::Error },
    #[error("a thread can't be started: {0}; raise the limit of threads")]
    Thread(#[from] std::io::Error),
    #[error(transparent)]
    Stores(#[from] Failed),
    #[error(
        "{0}: without authentication the API is served on a loopback address only; set api.keys_file or the like"
    )]
    OpenToAll(std::net::SocketAddr),
}

/// Shared by all requests.
pub struct App {
    pub settings: ApiSettings,
    pub auth: Auth,
    pub backend: Arc<dyn Backend>,
    pub ids: SchemaIds,
    pub appender: Appender,
    pub decided: Arc<Decided>,
    pub limits: Limits,
    /// Of live clients.
    pub seats: Arc<Seats>,
    /// Of requests that wait for a decision: fewer than may be in flight, so that those that don't wait find room.
    pub waits: Arc<Seats>,
    /// Of those who ask for explanations.
    pub turns: Turns,
    pub counts: Counts,
    /// Takes spans; absent where nobody traces.
    pub tracer: Option<Arc<dyn Tracer>>,
    pub after: After,
    pub readers: Readers,
    /// Reads much for one answer: nobody else waits behind it.
    pub explaining: Pool<dyn Tables>,
    pub histories: Pool<dyn History>,
    /// One: changes of reference rows have an order.
    pub changes: Pool<dyn Change>,
    pub images: Pool<dyn Images>,
    /// Says that the server is closing.
    pub closing: watch::Receiver<bool>,
}

/// One request.
pub struct Call {
    pub principal: Principal,
    /// Path parameters, in the order of the route's path.
    pub path: Vec<String>,
    pub query: Fields,
    pub body: Fields,
    pub headers: HeaderMap,
    /// The bytes of the body.
    pub raw: Bytes,
}

impl Call {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A path parameter.
    ///
    /// # Errors
    /// Where it is empty or too long to be an id.
    pub fn id(&self, at: usize) -> Result<schemas::Text, Problem> {
        let id = self.path.get(at).map(String::as_str).unwrap_or_default();
        if (1..=128).contains(&id.len()) {
            return Ok(id.into());
        }
        Err(Problem::new("not-found", "an id has 1 to 128 bytes"))
    }
}

/// A handler's answer, later.
pub type Answering = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send>>;

/// How something of a backend is opened.
type Opens<T> = dyn Fn() -> Result<Box<T>, Failed> + Send + Sync;

/// Connections to a store: a few, and one waits for a free one.
pub struct Pool<T: ?Sized> {
    opens: Arc<Opens<T>>,
    free: Arc<Semaphore>,
    open: Arc<Mutex<Vec<Box<T>>>>,
}

impl<T: ?Sized + Send + 'static> Pool<T> {
    /// At most `count` at once.
    pub fn new(count: usize, opens: impl Fn() -> Result<Box<T>, Failed> + Send + Sync + 'static) -> Pool<T> {
        Pool { opens: Arc::new(opens), free: Arc::new(Semaphore::new(count)), open: Arc::default() }
    }

    /// Asks one of them something, on a thread that may block.
    ///
    /// # Errors
    /// See [`Failed`].
    pub async fn ask<A: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut T) -> Result<A, Failed> + Send + 'static,
    ) -> Result<A, Failed> {
        let gone = |_| Failed::Away("the readers have ended".to_owned());
        let free = Arc::clone(&self.free).acquire_owned().await.map_err(gone)?;
        let (opens, open) = (Arc::clone(&self.opens), Arc::clone(&self.open));
        let asked = tokio::task::spawn_blocking(move || {
            let _free = free;
            let taken = open.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut taken = taken.map_or_else(|| opens(), Ok)?;
            let answer = ask(taken.as_mut());
            // A connection that failed is not used again.
            if !matches!(answer, Err(Failed::Away(_))) {
                open.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
            }
            answer
        });
        asked.await.unwrap_or_else(|_| Err(Failed::Away("a reader has ended".to_owned())))
    }
}

/// Connections that read tables. What the key doesn't lead to takes long, and gets half of them at most: who asks for
/// a row by its key never waits behind it.
pub struct Readers {
    pool: Pool<dyn Tables>,
    scans: Semaphore,
}

impl Readers {
    /// At most `count` at once, two at least.
    pub fn new(
        count: usize,
        opens: impl Fn() -> Result<Box<dyn Tables>, Failed> + Send + Sync + 'static,
    ) -> Readers {
        let count = count.max(2);
        Readers { pool: Pool::new(count, opens), scans: Semaphore::new(count / 2) }
    }

    /// A page of a table.
    ///
    /// # Errors
    /// Where it can't be read, or takes too long.
    pub async fn select(&self, select: Select) -> Result<Selected, Problem> {
        if !select.scans() {
            return Ok(self.pool.ask(move |tables| tables.select(&select)).await?);
        }
        let gone = |_| Problem::new("unavailable", "the readers have ended");
        let _scan = self.scans.acquire().await.map_err(gone)?;
        match self.pool.ask(move |tables| tables.select(&select)).await {
            Err(Failed::TooLong(problem)) => {
                tracing::warn!(problem, "a question without a key took too long");
                let remedy = "no key leads to what you ask for, and to look through all rows takes too long: \
                              name the tenant and what the list is ordered by, or ask the analytical store";
                Err(Problem::new("overloaded", remedy))
            }
            found => Ok(found?),
        }
    }
}

/// Leave to wait for so long.
pub struct Wait {
    pub limit: Duration,
    _seat: Seat,
}

impl Wait {
    /// Leave for one more request of a principal.
    ///
    /// # Errors
    /// 503 where too many wait, 429 where too many of the principal's do.
    pub fn take(app: &App, principal: &Principal, limit: Duration) -> Result<Wait, Problem> {
        Ok(Wait { limit, _seat: app.waits.take(&principal.name)? })
    }
}

/// How long a request asks to wait, as far as it may.
pub fn wait_limit(app: &App, call: &Call) -> Option<Duration> {
    let wait_ms = call.query.int("wait_ms")?;
    Some(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0).min(app.settings.wait_ms_max)))
}

/// Leave for a command to wait as it asks to. None where it doesn't, and where too many wait already: then it is
/// answered as one that doesn't, and what becomes of it is found under its status URL.
pub fn wait_of(app: &App, call: &Call) -> Option<Wait> {
    let limit = wait_limit(app, call).filter(|limit| !limit.is_zero())?;
    Wait::take(app, &call.principal, limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Question;
    use schemas::rows::Value;
    use schemas::tables::ORDERS;
    use std::sync::mpsc::{Receiver, channel};

    /// A table in which who scans it gets stuck until told otherwise.
    struct Slow(Arc<Mutex<Receiver<()>>>);

    impl Tables for Slow {
        fn select(&mut self, select: &Select) -> Result<Selected, Failed> {
            if select.scans() {
                let told = self.0.lock().expect("nobody panicked").recv();
                told.map_err(|_| Failed::TooLong("10 s are over".to_owned()))?;
            }
            Ok(Selected { frontier: 1, rows: Vec::new(), more: false })
        }

        fn explain(&mut self, _: &Question) -> Result<(u64, Vec<serde_json::Value>), Failed> {
            Err(Failed::Refused("it isn't asked for".to_owned()))
        }
    }

    #[test]
    fn whoever_asks_by_key_waits_for_nobody_who_looks_through_everything() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (tell, told) = channel();
        let told = Arc::new(Mutex::new(told));
        let readers = Arc::new(Readers::new(4, move || Ok(Box::new(Slow(Arc::clone(&told))))));
        let select = |name| Select::of(&ORDERS, vec![(name, Value::Text("x".into()))]);
        runtime.block_on(async {
            let scan = || {
                let (readers, select) = (Arc::clone(&readers), select("status"));
                tokio::spawn(async move { readers.select(select).await })
            };
            let scans: Vec<_> = (0..8).map(|_| scan()).collect();
            tokio::time::sleep(Duration::from_millis(100)).await;
            let by_key =
                tokio::time::timeout(Duration::from_secs(20), readers.select(select("tenant"))).await;
            assert_eq!(by_key.expect("it waits for nobody").expect("it is read").frontier, 1);
            tell.send(()).expect("somebody scans");
            drop(tell);
            let mut ended = Vec::new();
            for scan in scans {
                ended.push(scan.await.expect("it ends").map_err(|problem| format!("{problem:?}")));
            }
            assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 1);
            let problems = ended.iter().filter_map(|ended| ended.as_ref().err());
            assert!(problems.clone().all(|problem| problem.contains("no key leads to")), "{problems:?}");
        });
    }
}
