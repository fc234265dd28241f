//! A trace that crosses the log: W3C Trace Context in the headers of records.
//!
//! An event is one link of a chain: whoever handles it and publishes in turn passes on the trace
//! and the correlation id ([`TraceContext::scope`]; handlers run in the scope of their event). What
//! spans look like is up to the service and its exporter; the consumer's span *links* to the
//! producer's, it is not its child: an event may be read by many, and long after.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;

use quipu_types::record::RecordHeader;

use crate::record::{NewRecord, Record};

/// Where the trace stands: W3C Trace Context, the header of the same name.
pub const TRACEPARENT: &str = "traceparent";
/// What systems on the way added to it.
pub const TRACESTATE: &str = "tracestate";
/// What a chain of events has in common: the correlation extension of `CloudEvents`, in the binary
/// mode of its Kafka binding.
pub const CORRELATION_ID: &str = "ce_correlationid";

/// The longest `tracestate` that is passed on: what the standard asks for.
const TRACESTATE_BYTES_MAX: usize = 512;
/// The longest correlation id that is passed on.
const CORRELATION_BYTES_MAX: usize = 256;
/// Bytes of a `traceparent` of version 00.
const TRACEPARENT_BYTES: usize = 55;

/// A span, as others refer to it.
///
/// ```
/// use quipu_client::SpanContext;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let span: SpanContext = text.parse()?;
/// assert!(span.is_sampled());
/// assert_eq!(span.to_string(), text);
/// # Ok::<(), quipu_client::InvalidTraceParent>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

/// A text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, no id all zero")]
pub struct InvalidTraceParent;

impl SpanContext {
    /// A span by its ids; `None` when one of them is all zero, which the standard forbids.
    #[must_use]
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], is_sampled: bool) -> Option<Self> {
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, flags: u8::from(is_sampled) })
    }

    /// The trace.
    #[must_use]
    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The span in it.
    #[must_use]
    pub const fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Whether whoever began it records it.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        // Of the flags, only those that version 00 knows are passed on.
        write!(f, "-{:02x}", self.flags & 1)
    }
}

impl FromStr for SpanContext {
    type Err = InvalidTraceParent;

    /// A later version may have more behind the last field of version 00; ff is none.
    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let bytes = text.as_bytes();
        let (known, rest) = bytes.split_at_checked(TRACEPARENT_BYTES).ok_or(InvalidTraceParent)?;
        let [version] = hex(&known[..2])?;
        let dashes = [known[2], known[35], known[52]];
        let is_end = rest.is_empty() || (version != 0 && rest[0] == b'-');
        if dashes != [b'-'; 3] || version == 0xff || !is_end {
            return Err(InvalidTraceParent);
        }
        let [flags] = hex(&known[53..])?;
        let span = Self::new(hex(&known[3..35])?, hex(&known[36..52])?, flags & 1 == 1);
        span.ok_or(InvalidTraceParent)
    }
}

/// Lower case alone: the standard forbids the other.
fn hex<const N: usize>(digits: &[u8]) -> Result<[u8; N], InvalidTraceParent> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(InvalidTraceParent),
    };
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return Err(InvalidTraceParent);
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

/// What an event carries of the trace it belongs to.
///
/// ```
/// use quipu_client::{NewRecord, TraceContext};
///
/// let context = TraceContext::default().with_correlation_id("C-991");
/// let record = NewRecord::new("fees", "{}").trace_context(&context);
/// assert_eq!(record.headers[0].key(), "ce_correlationid");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    span: Option<SpanContext>,
    state: Option<Arc<str>>,
    correlation_id: Option<Arc<str>>,
}

tokio::task_local! {
    static CURRENT: TraceContext;
}

impl TraceContext {
    /// With the span that publishes, or that an event was published in.
    #[must_use]
    pub fn with_span(self, span: SpanContext) -> Self {
        Self { span: Some(span), ..self }
    }

    /// With a `tracestate`; one that is longer than 512 bytes is left out.
    #[must_use]
    pub fn with_state(self, state: &str) -> Self {
        Self { state: bounded(state, TRACESTATE_BYTES_MAX), ..self }
    }

    /// With what the whole chain of events has in common; an id that is longer than 256 bytes is
    /// left out.
    #[must_use]
    pub fn with_correlation_id(self, id: &str) -> Self {
        Self { correlation_id: bounded(id, CORRELATION_BYTES_MAX), ..self }
    }

    /// The span.
    #[must_use]
    pub const fn span(&self) -> Option<SpanContext> {
        self.span
    }

    /// What systems on the way added; only ever with a span.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref().filter(|_| self.span.is_some())
    }

    /// What the whole chain has in common.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.span.is_none() && self.correlation_id.is_none()
    }

    /// Runs `work`; what it publishes carries this context, unless the record has its own.
    ///
    /// Tasks that `work` spawns are not in the scope.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The context of the scope this runs in; an empty one outside of any.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// Reads headers. What is malformed is left out: a trace is lost, the event is not.
    #[must_use]
    pub fn of_headers(headers: &[RecordHeader]) -> Self {
        let text = |key: &str| {
            let header = headers.iter().find(|header| header.key() == key)?;
            std::str::from_utf8(header.value()?).ok()
        };
        let span = text(TRACEPARENT).and_then(|text| text.parse().ok());
        let of = |key, bytes_max| text(key).and_then(|text| bounded(text, bytes_max));
        Self {
            span,
            state: of(TRACESTATE, TRACESTATE_BYTES_MAX).filter(|_| span.is_some()),
            correlation_id: of(CORRELATION_ID, CORRELATION_BYTES_MAX),
        }
    }

    /// Adds its headers to those that are there, and changes none of them.
    pub(crate) fn add_to(&self, headers: &mut Vec<RecordHeader>) {
        let has = |headers: &[RecordHeader], key| headers.iter().any(|header| header.key() == key);
        if let Some(span) = self.span.filter(|_| !has(headers, TRACEPARENT)) {
            headers.push(RecordHeader::new(TRACEPARENT, Some(span.to_string().into())));
            if let Some(state) = self.state().filter(|_| !has(headers, TRACESTATE)) {
                headers.push(RecordHeader::new(TRACESTATE, Some(state.to_owned().into())));
            }
        }
        if let Some(id) = self.correlation_id().filter(|_| !has(headers, CORRELATION_ID)) {
            headers.push(RecordHeader::new(CORRELATION_ID, Some(id.to_owned().into())));
        }
    }
}

fn bounded(text: &str, bytes_max: usize) -> Option<Arc<str>> {
    (!text.is_empty() && text.len() <= bytes_max).then(|| text.into())
}

impl NewRecord {
    /// Adds what `context` says to the headers; what they say already stays.
    #[must_use]
    pub fn trace_context(mut self, context: &TraceContext) -> Self {
        context.add_to(&mut self.headers);
        self
    }
}

impl Record {
    /// The trace this event belongs to; empty when it carries none that can be read.
    #[must_use]
    pub fn trace_context(&self) -> TraceContext {
        TraceContext::of_headers(&self.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn header(key: &str, value: &str) -> RecordHeader {
        RecordHeader::new(key, Some(value.to_owned().into()))
    }

    fn span() -> SpanContext {
        PARENT.parse().expect("the standard's own example")
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let zero_span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let wrong = [
            String::new(),
            zero_trace.to_owned(),
            zero_span.to_owned(),
            PARENT.to_uppercase(),
            PARENT.replacen("00", "ff", 1),
            PARENT.replace('-', "_"),
            PARENT.replacen("4bf9", "xyz9", 1),
            format!("{PARENT}-01"),
            format!("{PARENT}0"),
            PARENT[..54].to_owned(),
            "é".repeat(40),
            format!("00-4bf92f3577b34da6a3ce929d0e0e473{}", "é".repeat(20)),
        ];
        for text in wrong {
            assert_eq!(text.parse::<SpanContext>(), Err(InvalidTraceParent), "{text:?}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = PARENT.replacen("00", "cc", 1);
        for text in [later.clone(), format!("{later}-what-comes")] {
            assert_eq!(text.parse(), Ok(span()), "{text}");
        }
        assert_eq!(format!("{later}what").parse::<SpanContext>(), Err(InvalidTraceParent));
        let flags = PARENT.replace("-01", "-ff");
        assert_eq!(flags.parse::<SpanContext>().map(|span| span.to_string()), Ok(PARENT.into()));
    }

    #[test]
    fn a_context_comes_back_from_the_headers_it_was_put_into() {
        let context = TraceContext::default()
            .with_span(span())
            .with_state("vendor=1")
            .with_correlation_id("C-991");
        let record = NewRecord::new("fees", "{}").header("a", "b").trace_context(&context);
        let keys: Vec<&str> = record.headers.iter().map(RecordHeader::key).collect();
        assert_eq!(keys, ["a", "traceparent", "tracestate", "ce_correlationid"]);
        assert_eq!(TraceContext::of_headers(&record.headers), context);
        let again = record.clone().trace_context(&TraceContext::default().with_correlation_id("x"));
        assert_eq!(again, record, "what a record says already stays");
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let long = "x".repeat(TRACESTATE_BYTES_MAX + 1);
        let headers = [
            header(TRACEPARENT, "00-nonsense"),
            header(TRACESTATE, "vendor=1"),
            header(CORRELATION_ID, &long),
        ];
        assert_eq!(TraceContext::of_headers(&headers), TraceContext::default());
        let bytes = RecordHeader::new(TRACEPARENT, Some(vec![0xff, 0xfe].into()));
        let null = RecordHeader::new(CORRELATION_ID, None);
        assert!(TraceContext::of_headers(&[bytes, null]).is_empty());
        let state = TraceContext::default().with_state(&long).with_span(span());
        assert_eq!(state.state(), None);
        assert_eq!(TraceContext::default().with_state("a=1").state(), None, "no span to go with");
    }

    #[tokio::test]
    async fn a_scope_ends_with_its_work() {
        assert!(TraceContext::current().is_empty());
        let context = TraceContext::default().with_correlation_id("C-991");
        let inside = context.clone().scope(async { TraceContext::current() }).await;
        assert_eq!(inside, context);
        assert!(TraceContext::current().is_empty());
    }
}
