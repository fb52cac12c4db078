//! Distributed traces: what a record's headers `traceparent` and `tracestate` say, and spans as whoever exports them takes them.
//!
//! ```text
//!   request ─ append ─> record, traceparent ─> decision ─┬─ commit of facts, each with its traceparent
//!                                                        └─ commit of rows
//! ```
//!
//! Nothing of it is part of any decision: digests don't cover headers, and a replay needs none. The id of a
//! decision's span follows from the record, so that facts told again after a crash carry what they would have carried.

mod state;
mod table;

use crate::types::stable_hash2;
pub use state::{TRACESTATE, TraceState};
use std::fmt;
use std::time::SystemTime;
pub use table::{Traced, TracedRecords};

/// The header that carries it, in HTTP and in the log.
pub const TRACEPARENT: &str = "traceparent";

/// Which trace something belongs to, and under which span of it: W3C's `traceparent`, version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Never 0.
    pub trace_id: u128,
    /// Never 0.
    pub span_id: u64,
    /// Whether whoever began the trace wants its spans.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a header; none where it isn't well-formed. Of a version to come, what this one knows counts.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let mut parts = text.splitn(5, '-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            part.bytes().all(lower).then(|| u128::from_str_radix(part, 16).ok())?
        };
        let (version, trace_id) = (hex(2)?, hex(32)?);
        let (span_id, flags) = (hex(16)? as u64, hex(2)?);
        let more = parts.next().is_some();
        let known = version < 0xff && !(version == 0 && more);
        (known && trace_id != 0 && span_id != 0).then_some(TraceContext {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }

    /// The same trace, under a span whose id follows from this one and from what the span is of.
    pub fn derived(&self, of: &[u8]) -> Self {
        let mut from = [0; 24];
        from[..16].copy_from_slice(&self.trace_id.to_be_bytes());
        from[16..].copy_from_slice(&self.span_id.to_be_bytes());
        TraceContext { span_id: stable_hash2(&from, of).max(1), ..*self }
    }

    /// The same trace, under another span.
    pub fn under(&self, span_id: u64) -> Self {
        TraceContext { span_id, ..*self }
    }
}

/// As the header says it.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// What a record carries of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub context: TraceContext,
    pub state: TraceState,
}

impl Trace {
    /// Its headers, by name.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let state = self.state.header().map(|state| (TRACESTATE, state.to_owned()));
        std::iter::once((TRACEPARENT, self.context.to_string())).chain(state)
    }
}

/// A span's part in passing something on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Answers a request.
    Server,
    /// Sends a record.
    Producer,
    /// Takes a record.
    Consumer,
    /// Does something by itself.
    Internal,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Int(i64),
    Text(String),
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub kind: SpanKind,
    pub context: TraceContext,
    /// What other vendors say of its trace.
    pub state: TraceState,
    /// The span it is under, if any.
    pub parent: Option<u64>,
    pub start: SystemTime,
    pub end: SystemTime,
    pub attributes: Vec<(&'static str, Said)>,
    /// Whether what it is of failed, by whoever did it.
    pub failed: bool,
}

/// What became of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub sent: u64,
    /// There was no room for them, or nobody took them.
    pub dropped: u64,
}

/// Takes spans. Nothing here ever waits: what can't be taken is dropped and counted.
pub trait Tracer: Send + Sync {
    /// A trace of one's own, with the id of its first span; none where this one is not to be traced.
    fn begin(&self) -> Option<TraceContext>;

    /// An id for a span.
    fn span_id(&self) -> u64;

    /// A span has ended.
    fn ended(&self, span: Span);

    /// What became of those that ended.
    fn figures(&self) -> Figures;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_where_it_is_well_formed() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let zeros = "00000000000000000000000000000000";
        for (header, wanted) in [
            (format!("00-{trace}-{span}-01"), Some(true)),
            (format!("00-{trace}-{span}-00"), Some(false)),
            (format!("00-{trace}-{span}-03"), Some(true)),
            (format!("cc-{trace}-{span}-01-more"), Some(true)),
            (format!("00-{trace}-{span}-01-more"), None),
            (format!("ff-{trace}-{span}-01"), None),
            (format!("00-{zeros}-{span}-01"), None),
            (format!("00-{trace}-{}-01", &zeros[..16]), None),
            (format!("00-{}-{span}-01", trace.to_uppercase()), None),
            (format!("00-{trace}-{span}"), None),
            (format!("00-{trace}-+0f067aa0ba902b7-01"), None),
            (String::new(), None),
        ] {
            let read = TraceContext::parse(header.as_bytes());
            assert_eq!(read.map(|context| context.sampled), wanted, "{header}");
        }
        let header = format!("00-{trace}-{span}-01");
        assert_eq!(TraceContext::parse(header.as_bytes()).map(|c| c.to_string()), Some(header));
    }

    #[test]
    fn a_derived_span_follows_from_its_trace_its_parent_and_what_it_is_of() {
        let context = TraceContext { trace_id: 7, span_id: 8, sampled: true };
        let derived = context.derived(b"commands.orders/0/1");
        assert_eq!(derived, context.derived(b"commands.orders/0/1"));
        assert_eq!((derived.trace_id, derived.sampled), (7, true));
        assert_ne!(derived.span_id, context.derived(b"commands.orders/0/2").span_id);
        assert_ne!(derived.span_id, context.under(9).derived(b"commands.orders/0/1").span_id);
    }
}
