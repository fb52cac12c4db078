//! Traces of requests: continued where a client sends `traceparent` (and `tracestate`), begun here for commands, carried on by the record.
//!
//! ```text
//!   traceparent ─> request (server) ─> send commands.* (producer) ─> the record's traceparent
//! ```
//!
//! A request's trace goes with its task, so handlers need not hand it on. Where nobody traces, none of it exists.

use crate::backend::{Failed, Place};
use crate::routes::ROUTES;
use runtime::trace::{
    Said, Span, SpanKind, TRACEPARENT, TRACESTATE, Trace, TraceContext, TraceState, Tracer,
};
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;
use warp::http::{HeaderMap, Method, StatusCode};

tokio::task_local! {
    /// The request that this task answers.
    static CURRENT: Current;
}

#[derive(Clone)]
struct Current {
    tracer: Arc<dyn Tracer>,
    context: TraceContext,
    state: TraceState,
}

/// A request that belongs to a trace.
pub struct Request {
    current: Current,
    /// The client's span.
    parent: Option<u64>,
    method: Method,
    start: SystemTime,
}

impl Request {
    /// The trace that the client names; else one begun here, for what changes something.
    pub fn begin(tracer: &Arc<dyn Tracer>, method: &Method, headers: &HeaderMap) -> Option<Request> {
        let sent = headers.get(TRACEPARENT).and_then(|header| TraceContext::parse(header.as_bytes()));
        let context = match sent {
            Some(sent) if sent.sampled => sent.under(tracer.span_id()),
            Some(unsampled) => unsampled,
            None if method == Method::POST => tracer.begin()?,
            None => return None,
        };
        let state = sent.map(|_| state_of(headers)).unwrap_or_default();
        let current = Current { tracer: Arc::clone(tracer), context, state };
        let parent = sent.map(|sent| sent.span_id);
        Some(Request { current, parent, method: method.clone(), start: SystemTime::now() })
    }

    /// It was answered.
    fn ended(self, route: &str, status: StatusCode) {
        if !self.current.context.sampled {
            return;
        }
        let route = ROUTES.iter().find(|known| known.id == route).map(|known| known.path);
        let name = route.map_or_else(|| self.method.to_string(), |route| format!("{} {route}", self.method));
        let mut attributes = vec![
            ("http.request.method", Said::Text(self.method.to_string())),
            ("http.response.status_code", Said::Int(i64::from(status.as_u16()))),
        ];
        attributes.extend(route.map(|route| ("http.route", Said::Text(route.to_owned()))));
        self.current.tracer.ended(Span {
            name,
            kind: SpanKind::Server,
            context: self.current.context,
            state: self.current.state,
            parent: self.parent,
            start: self.start,
            end: SystemTime::now(),
            attributes,
            failed: status.is_server_error(),
        });
    }
}

/// What a client says in one header or in several.
fn state_of(headers: &HeaderMap) -> TraceState {
    let mut sent = headers.get_all(TRACESTATE).iter().map(|header| header.as_bytes());
    match (sent.next(), sent.next()) {
        (None, _) => TraceState::default(),
        (Some(only), None) => TraceState::parse(only),
        (Some(first), Some(second)) => {
            let all: Vec<&[u8]> = [first, second].into_iter().chain(sent).collect();
            TraceState::parse(&all.join(&b','))
        }
    }
}

/// Answers a request within its trace, if it has one. `answering` gives the route's id and the answer.
pub async fn within<B>(
    request: Option<Request>,
    answering: impl Future<Output = (&'static str, warp::http::Response<B>)>,
) -> (&'static str, warp::http::Response<B>) {
    let Some(request) = request else { return answering.await };
    let (route, answer) = CURRENT.scope(request.current.clone(), answering).await;
    request.ended(route, answer.status());
    (route, answer)
}

/// A record being sent on behalf of a traced request.
pub struct Sending {
    current: Current,
    context: TraceContext,
    start: SystemTime,
}

impl Sending {
    /// Begins; none where the task answers no traced request.
    pub fn begin() -> Option<Sending> {
        let current = CURRENT.try_with(Current::clone).ok()?;
        let mut context = current.context;
        if context.sampled {
            context = context.under(current.tracer.span_id());
        }
        Some(Sending { current, context, start: SystemTime::now() })
    }

    /// What the record carries.
    pub fn headers(&self) -> impl Iterator<Item = (String, Vec<u8>)> + use<> {
        let trace = Trace { context: self.context, state: self.current.state.clone() };
        trace.headers().map(|(name, value)| (name.to_owned(), value.into_bytes()))
    }

    /// It was sent, or not.
    pub fn ended(self, topic: &str, sent: &Result<Place, Failed>) {
        if !self.context.sampled {
            return;
        }
        let mut attributes = vec![
            ("messaging.operation.type", Said::Text("send".to_owned())),
            ("messaging.destination.name", Said::Text(topic.to_owned())),
        ];
        if let Ok(place) = sent {
            let partition = Said::Text(place.partition.to_string());
            attributes.push(("messaging.destination.partition.id", partition));
            attributes.push(("messaging.kafka.offset", Said::Int(place.offset as i64)));
        }
        self.current.tracer.ended(Span {
            name: format!("send {topic}"),
            kind: SpanKind::Producer,
            context: self.context,
            state: self.current.state,
            parent: Some(self.current.context.span_id),
            start: self.start,
            end: SystemTime::now(),
            attributes,
            failed: sent.is_err(),
        });
    }
}
