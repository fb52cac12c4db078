//! Spans to a collector: queued, sent in batches by a thread of their own, dropped and counted where that is too slow.
//!
//! OpenTelemetry's batch processor drops in silence what its queue can't take. So places in the queue are counted at its
//! entry, and given back when a batch has been sent or given up.

use crate::config::Tracing;
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, SpanData, SpanExporter,
    SpanProcessor as _,
};
use runtime::trace::{Figures, Said, Span, SpanKind, TraceContext, Tracer};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often spans are sent.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How long a batch is tried.
const SEND_MAX: Duration = Duration::from_secs(5);
/// How long the end of a process waits for its last spans.
const CLOSING_MAX: Duration = Duration::from_secs(2);
/// How often a collector that is away is spoken of.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// A collector that can't be used as configured.
#[derive(Debug, thiserror::Error)]
#[error("tracing.otlp_url: {0}; name the URL of a collector that takes OTLP over HTTP, or none")]
pub struct TracingError(String);

/// What is counted.
#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    sent: AtomicU64,
    dropped: AtomicU64,
}

/// Sends spans, those of one service.
pub struct Exporter {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    ids: RandomIdGenerator,
    sampled_bps: u32,
    waiting_max: usize,
    counts: Arc<Counts>,
}

impl Exporter {
    /// Starts sending; none where the settings name no collector.
    ///
    /// # Errors
    /// See [`TracingError`]. A collector that is away is none.
    pub fn start(settings: &Tracing, service: String) -> Result<Option<Arc<Self>>, TracingError> {
        let Some(url) = &settings.otlp_url else { return Ok(None) };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", url.trim_end_matches('/')))
            .with_timeout(SEND_MAX)
            .build()
            .map_err(|problem| TracingError(problem.to_string()))?;
        let counts = Arc::new(Counts::default());
        let counting = Counting { inner: exporter, counts: Arc::clone(&counts), warned: Mutex::default() };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(settings.spans_waiting_max)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let mut processor = BatchSpanProcessor::builder(counting).with_batch_config(batches).build();
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        processor.set_resource(&resource.build());
        Ok(Some(Arc::new(Exporter {
            processor,
            scope: InstrumentationScope::builder("tombola").build(),
            ids: RandomIdGenerator::default(),
            sampled_bps: settings.sampled_bps,
            waiting_max: settings.spans_waiting_max,
            counts,
        })))
    }

    /// A place in the queue, if there is one.
    fn enter(&self) -> bool {
        let enter = |waiting: usize| (waiting < self.waiting_max).then_some(waiting + 1);
        self.counts.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_ok()
    }

    fn data(&self, span: Span) -> SpanData {
        let attributes = span.attributes.into_iter().map(|(name, said)| match said {
            Said::Int(int) => KeyValue::new(name, int),
            Said::Text(text) => KeyValue::new(name, text),
        });
        SpanData {
            span_context: SpanContext::new(
                TraceId::from(span.context.trace_id),
                SpanId::from(span.context.span_id),
                TraceFlags::SAMPLED,
                false,
                state(&span.state),
            ),
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from),
            // Whoever serves or takes was asked by another process.
            parent_span_is_remote: matches!(span.kind, SpanKind::Server | SpanKind::Consumer)
                && span.parent.is_some(),
            span_kind: match span.kind {
                SpanKind::Server => opentelemetry::trace::SpanKind::Server,
                SpanKind::Producer => opentelemetry::trace::SpanKind::Producer,
                SpanKind::Consumer => opentelemetry::trace::SpanKind::Consumer,
                SpanKind::Internal => opentelemetry::trace::SpanKind::Internal,
            },
            name: span.name.into(),
            start_time: span.start,
            end_time: span.end,
            attributes: attributes.collect(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: if span.failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// What was read already; so it is well-formed.
fn state(state: &runtime::trace::TraceState) -> TraceState {
    state.header().and_then(|header| header.parse().ok()).unwrap_or(TraceState::NONE)
}

impl Tracer for Exporter {
    fn begin(&self) -> Option<TraceContext> {
        let trace_id = u128::from_be_bytes(self.ids.new_trace_id().to_bytes());
        // By the id's last bits, which W3C wants random, so that all who sample by the same share agree.
        let sampled = (trace_id as u64 % 10_000) < u64::from(self.sampled_bps);
        sampled.then(|| TraceContext { trace_id, span_id: self.span_id(), sampled })
    }

    fn span_id(&self) -> u64 {
        u64::from_be_bytes(self.ids.new_span_id().to_bytes()).max(1)
    }

    fn ended(&self, span: Span) {
        if self.enter() {
            self.processor.on_end(self.data(span));
        } else {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn figures(&self) -> Figures {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Figures { sent: load(&self.counts.sent), dropped: load(&self.counts.dropped) }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(problem) = self.processor.shutdown_with_timeout(CLOSING_MAX) {
            tracing::warn!(%problem, "the last spans didn't reach the collector");
        }
    }
}

/// Counts what becomes of batches.
#[derive(Debug)]
struct Counting {
    inner: opentelemetry_otlp::SpanExporter,
    counts: Arc<Counts>,
    warned: Mutex<Option<Instant>>,
}

impl Counting {
    fn warn(&self, problem: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() > WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(
                problem,
                "spans can't be sent to the collector; they are dropped, and nothing else is"
            );
        }
    }
}

impl SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let sent = self.inner.export(batch).await;
        self.counts.waiting.fetch_sub(count, Ordering::Relaxed);
        let counted = if sent.is_ok() { &self.counts.sent } else { &self.counts.dropped };
        counted.fetch_add(count as u64, Ordering::Relaxed);
        if let Err(problem) = &sent {
            self.warn(&problem.to_string());
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::time::SystemTime;

    fn span(context: TraceContext) -> Span {
        Span {
            name: "a span".to_owned(),
            kind: SpanKind::Internal,
            context,
            state: Default::default(),
            parent: None,
            start: SystemTime::UNIX_EPOCH,
            end: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            failed: false,
        }
    }

    #[test]
    fn nobody_waits_for_a_collector_that_never_answers_and_what_it_costs_is_counted() {
        // Connections are accepted by the system, and nobody ever reads.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", silent.local_addr().expect("it is bound"));
        let settings = Tracing { otlp_url: Some(url), spans_waiting_max: 512, ..Tracing::default() };
        let exporter =
            Exporter::start(&settings, "test".to_owned()).expect("it can be used").expect("it is on");
        let context = exporter.begin().expect("all are sampled");
        let began = Instant::now();
        (0..10_000).for_each(|_| exporter.ended(span(context)));
        // At most one batch of 512 is out while 512 more wait.
        let figures = exporter.figures();
        assert!(figures.dropped >= 10_000 - 1_024, "{figures:?}");
        drop(exporter);
        assert!(began.elapsed() < Duration::from_secs(30), "somebody waited for the collector");
    }

    #[test]
    fn as_many_traces_begin_as_the_settings_say() {
        let begun = |sampled_bps| {
            let otlp_url = Some("http://127.0.0.1:9".to_owned());
            let settings = Tracing { otlp_url, sampled_bps, ..Tracing::default() };
            let exporter = Exporter::start(&settings, "test".to_owned()).expect("it can be used");
            let exporter = exporter.expect("it is on");
            (0..10_000).filter(|_| exporter.begin().is_some()).count()
        };
        assert_eq!((begun(0), begun(10_000)), (0, 10_000));
        assert!((800..1_200).contains(&begun(1_000)));
        assert!(Exporter::start(&Tracing::default(), String::new()).expect("it is off").is_none());
    }
}
