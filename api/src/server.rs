//! Sockets: connections in, requests through the table of routes, answers out, an orderly end.
//!
//! ```text
//!   listener ─ accept (bounded) ─> HTTP/1 ─> warp filter ─> route ─> limits ─> who? ─> fields ─> handler
//! ```
//!
//! A client that sends its head slowly, sends too much, or takes nothing of what it is sent, is cut off; it
//! costs a connection until then, of which there are only so many. TLS is the proxy's in front.

use crate::after::After;
use crate::app::{ApiError, ApiSettings, App, Call, Pool, Readers};
use crate::append::Appender;
use crate::auth::{Auth, Principal};
use crate::backend::{Backend, Failed};
use crate::counts::Counts;
use crate::decided::Decided;
use crate::fields::Fields;
use crate::find::{Found, find};
use crate::limits::{Limits, Seats, SeatsMax, Turns};
use crate::problem::{Answer, Problem};
use crate::routes::{Access, Gives, Method, Route};
use crate::trace;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use warp::Filter;
use warp::http::HeaderMap;
use warp::http::header::{ALLOW, HeaderValue};

/// How long a client may take for a request's head, and the server for what it was told to send.
const SLOW_MAX: Duration = Duration::from_secs(10);
/// What the system keeps for a client that doesn't take it.
const SEND_BYTES: usize = 256 * 1024;
/// What is kept here for a client before that; the largest head of a request, too.
const BUFFER_BYTES: usize = 64 * 1024;
/// Live clients that read back at once: the others wait for their turn.
const HISTORIES: usize = 4;
/// Explanations at once, each of another principal.
const EXPLAINING: usize = 2;
/// Images that are fetched at once.
const IMAGES: usize = 8;
/// How long requests in flight are waited for at the end.
const CLOSING_MAX: Duration = Duration::from_secs(5);
/// Threads that serve sockets.
const THREADS: usize = 2;

/// A running API. Dropping it ends it.
pub struct Server {
    pub address: SocketAddr,
    close: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the API on an address, on threads of its own.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn start(
        address: SocketAddr,
        settings: ApiSettings,
        backend: Arc<dyn Backend>,
    ) -> Result<Server, ApiError> {
        if settings.auth.open && !address.ip().is_loopback() {
            return Err(ApiError::OpenToAll(address));
        }
        let bind = |problem| ApiError::Bind { address, problem };
        let listener = TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (close, closing) = watch::channel(false);
        let counts = Counts::default();
        let app = Arc::new(App {
            auth: Auth::new(&settings.auth)?,
            ids: backend.ids()?,
            appender: Appender::start(Arc::clone(&backend))?,
            decided: Decided::start(Arc::clone(&backend), counts.facts.clone())?,
            limits: Limits::new(settings.in_flight_max, settings.requests_per_s_max),
            seats: Seats::new("live clients", live_max(&settings)),
            waits: Seats::new("requests that wait", waits_max(&settings)),
            turns: Turns::default(),
            counts,
            tracer: backend.tracer()?,
            after: After::new(&backend),
            readers: Readers::new(settings.readers, opens(&backend, |backend| backend.tables())),
            explaining: Pool::new(EXPLAINING, opens(&backend, |backend| backend.tables())),
            histories: Pool::new(HISTORIES, opens(&backend, |backend| backend.history())),
            changes: Pool::new(1, opens(&backend, |backend| backend.changes())),
            images: Pool::new(IMAGES, opens(&backend, |backend| backend.images())),
            backend,
            settings,
            closing,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("api")
            .enable_all()
            .build()?;
        let work = move || {
            runtime.block_on(serve(listener, &app));
            app.decided.stop();
            runtime.shutdown_timeout(Duration::from_secs(1));
        };
        let thread = std::thread::Builder::new().name("api-serve".to_owned()).spawn(work)?;
        Ok(Server { address, close, thread: Some(thread) })
    }
}

/// Where nobody says who they are, there is one principal.
fn live_max(settings: &ApiSettings) -> SeatsMax {
    let all = settings.live_max;
    SeatsMax { all, of_one: if settings.auth.open { all } else { settings.live_of_one_max } }
}

/// While nothing is decided, whoever waits stays: a quarter of all requests in flight is left to those that don't wait,
/// and half of the others to other principals.
fn waits_max(settings: &ApiSettings) -> SeatsMax {
    let all = (settings.in_flight_max - settings.in_flight_max / 4).max(1);
    SeatsMax { all, of_one: if settings.auth.open { all } else { all.div_ceil(2) } }
}

/// How a pool opens what it holds.
fn opens<T: ?Sized + 'static>(
    backend: &Arc<dyn Backend>,
    open: fn(&dyn Backend) -> Result<Box<T>, Failed>,
) -> impl Fn() -> Result<Box<T>, Failed> + Send + Sync + 'static {
    let backend = Arc::clone(backend);
    move || open(backend.as_ref())
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the API's thread panicked; its message stands above");
        }
    }
}

async fn serve(listener: TcpListener, app: &Arc<App>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(problem) => {
            tracing::error!(%problem, "the API can't be served");
            return;
        }
    };
    let service = warp::service(filter(Arc::clone(app)));
    let (places, ending) = (Arc::new(Semaphore::new(app.settings.connections_max)), GracefulShutdown::new());
    let mut closing = app.closing.clone();
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(problem) => {
                // Out of file descriptors, most likely: others will close theirs.
                tracing::warn!(%problem, "a connection can't be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        configure(&stream);
        let mut http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).http1_only();
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(SLOW_MAX)
            // Not with `pipeline_flush`: that puts what a client doesn't take into memory without a bound.
            .max_buf_size(BUFFER_BYTES);
        let serving = http
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service.clone()))
            .into_owned();
        let serving = ending.watch(serving);
        tokio::spawn(async move {
            let _place = place;
            if let Err(problem) = serving.await {
                tracing::debug!(problem = %problem, "a connection broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(CLOSING_MAX, ending.shutdown()).await.is_err() {
        tracing::warn!("some requests were cut off at the end");
    }
}

/// Small answers leave at once; a peer that takes nothing for so long is gone, and until then holds so much.
fn configure(stream: &tokio::net::TcpStream) {
    let slow_ms = SLOW_MAX.as_millis() as u32;
    let set = stream.set_nodelay(true);
    let limited = rustix::net::sockopt::set_tcp_user_timeout(stream, slow_ms);
    let bounded = rustix::net::sockopt::set_socket_send_buffer_size(stream, SEND_BYTES);
    if let Some(problem) = set.err().or_else(|| limited.and(bounded).err().map(Into::into)) {
        tracing::debug!(%problem, "a connection can't be configured");
    }
}

fn filter(app: Arc<App>) -> impl Filter<Extract = (Answer,), Error = warp::Rejection> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method: warp::http::Method, path: warp::path::FullPath, query: String, headers, body| {
            let app = Arc::clone(&app);
            async move {
                let started = Instant::now();
                let traced = app.tracer.as_ref();
                let traced = traced.and_then(|tracer| trace::Request::begin(tracer, &method, &headers));
                let answering = answer(&app, &method, path.as_str(), &query, headers, body);
                let (id, answer) = trace::within(traced, answering).await;
                app.counts.answered(id, &answer, started.elapsed());
                guarded(answer)
            }
        })
}

/// What every answer says to browsers.
fn guarded(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert(
        "content-security-policy",
        HeaderValue::from_static(
            "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
    );
    answer
}

async fn answer(
    app: &Arc<App>,
    method: &warp::http::Method,
    path: &str,
    query: &str,
    headers: HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> (&'static str, Answer) {
    let (route, parameters) = match find(method, path) {
        Found::Route(route, parameters) => (route, parameters),
        Found::OtherMethods(methods) => {
            let problem = Problem::new("method-not-allowed", format!("it takes {methods}"));
            let mut answer = problem.answer();
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
            return ("none", answer);
        }
        Found::Nothing => {
            return ("none", Problem::new("not-found", "/openapi.json lists what there is").answer());
        }
    };
    let handled = handle(app, route, parameters, query, headers, body).await;
    (route.id, handled.unwrap_or_else(|problem| problem.answer()))
}

async fn handle(
    app: &Arc<App>,
    route: &'static Route,
    path: Vec<String>,
    query: &str,
    headers: HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> Result<Answer, Problem> {
    if app.auth.is_open() {
        check_origin(&headers)?;
    }
    let principal = who(app, route, &headers).await?;
    let _flight = if route.watches() {
        None
    } else {
        let flight = app.limits.enter()?;
        app.limits.count(&principal.name)?;
        Some(flight)
    };
    let limit = Duration::from_millis(app.settings.request_ms_max);
    let slow = |_| Problem::new("timeout", "the request's body took too long; send it at once");
    let raw = if route.method == Method::Get {
        // Nobody who only looks holds a place for a body that may never come.
        Bytes::new()
    } else {
        tokio::time::timeout(limit, whole(body, app.settings.body_bytes_max)).await.map_err(slow)??
    };
    let (query, body) = (Fields::of_query(route.query, query)?, body_of(route, &headers, &raw)?);
    let call = Call { principal, path, query, body, headers, raw };
    if route.gives == Gives::Events {
        return (route.handler)(Arc::clone(app), call).await;
    }
    let limit = limit + Duration::from_millis(app.settings.wait_ms_max);
    let long = |_| Problem::new("overloaded", "the answer takes too long; send the same request again");
    tokio::time::timeout(limit, (route.handler)(Arc::clone(app), call)).await.map_err(long)?
}

async fn who(app: &App, route: &Route, headers: &HeaderMap) -> Result<Principal, Problem> {
    let Access::Roles(roles) = route.access else {
        let nobody = "anyone".to_owned();
        return Ok(Principal {
            name: nobody,
            roles: Vec::new(),
            tenant: None,
            partner: None,
            ends_at_ms: None,
        });
    };
    let header = headers.get("authorization").map(|value| value.to_str().unwrap_or_default());
    let principal = app.auth.who(header).await?;
    if principal.may(roles) {
        return Ok(principal);
    }
    Err(Problem::new(
        "forbidden",
        "your roles don't allow this; x-roles in /openapi.json lists those that do",
    ))
}

/// Where nobody has to say who they are, no other site's page may ask in its visitor's name.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let local = ["localhost", "127.0.0.1", "[::1]", ""].contains(&name);
    let same = text("origin").is_none_or(|origin| origin == format!("http://{host}"));
    if local && same {
        return Ok(());
    }
    Err(Problem::new(
        "forbidden",
        "in development mode requests come from this machine and no other site's page",
    ))
}

async fn whole(
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    max: usize,
) -> Result<Bytes, Problem> {
    let mut bytes = BytesMut::new();
    let mut body = std::pin::pin!(body);
    while let Some(part) = body.next().await {
        let mut part = part.map_err(|_| Problem::new("malformed", "the body ended before it was whole"))?;
        if bytes.len() + part.remaining() > max {
            return Err(Problem::new("too-large", format!("send at most {max} bytes")));
        }
        let more = part.copy_to_bytes(part.remaining());
        bytes.extend_from_slice(&more);
    }
    Ok(bytes.freeze())
}

fn body_of(route: &Route, headers: &HeaderMap, raw: &[u8]) -> Result<Fields, Problem> {
    if route.method == Method::Get {
        return Ok(Fields::default());
    }
    let kind =
        headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    // Plain curl says this of everything.
    let form = kind.starts_with("application/x-www-form-urlencoded");
    if !raw.is_empty() && !kind.starts_with("application/json") && !form {
        return Err(Problem::new("unsupported-media-type", "send `Content-Type: application/json`"));
    }
    Fields::of_body(route.body, raw)
}
