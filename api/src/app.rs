//! What every request has at hand, and one request as its handler gets it.

use crate::after::After;
use crate::append::Appender;
use crate::auth::{Auth, AuthError, AuthSettings, Principal};
use crate::backend::{Backend, Failed, History, Images, Tables};
use crate::counts::Counts;
use crate::decided::Decided;
use crate::fields::Fields;
use crate::limits::Limits;
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
    /// Live clients.
    pub live_max: usize,
    /// Connections that read tables.
    pub readers: usize,
    /// How old the decided frontier may be before the API says that it isn't ready.
    pub frontier_age_ms_max: u64,
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
    pub counts: Counts,
    /// Takes spans; absent where nobody traces.
    pub tracer: Option<Arc<dyn Tracer>>,
    pub after: After,
    pub readers: Pool<dyn Tables>,
    /// Reads much for one answer: nobody else waits behind it.
    pub explaining: Pool<dyn Tables>,
    pub histories: Pool<dyn History>,
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

/// How long a request may wait, as it asks for.
pub fn wait_of(app: &App, call: &Call) -> Option<Duration> {
    let wait_ms = call.query.int("wait_ms")?;
    let wait_ms = u64::try_from(wait_ms).unwrap_or(0).min(app.settings.wait_ms_max);
    (wait_ms > 0).then_some(Duration::from_millis(wait_ms))
}
