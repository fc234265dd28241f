//! All metrics of this crate. Requests themselves are counted by the broker.

use metrics::{counter, gauge};

use crate::grpc::refusal::Refusal;

const CONNECTIONS: &str = "quipu_connections";
const STREAMS: &str = "quipu_listener_streams";
const MEMORY: &str = "quipu_listener_request_memory_bytes";
const MEMORY_RATIO: &str = "quipu_memory_permits_used_ratio";
const MALFORMED: &str = "quipu_listener_refused_requests_total";

/// Registers descriptions; call once after the recorder is installed.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_gauge!(
        CONNECTIONS,
        Unit::Count,
        "Open connections, by listener: client, peer, metrics."
    );
    for listener in ["client", "peer", "metrics"] {
        gauge!(CONNECTIONS, "listener" => listener).set(0.0);
    }
    describe_gauge!(STREAMS, Unit::Count, "Open streams, by api.");
    describe_gauge!(MEMORY, Unit::Bytes, "Bytes of requests being worked on.");
    describe_gauge!(
        MEMORY_RATIO,
        "Part of limits.request-memory that requests hold; at 1 connections are read no further."
    );
    gauge!(MEMORY).set(0.0);
    gauge!(MEMORY_RATIO).set(0.0);
    describe_counter!(MALFORMED, Unit::Count, "Requests refused as a whole, by error.");
    for api in ["produce", "fetch", "join"] {
        gauge!(STREAMS, "api" => api).set(0.0);
    }
    for error in Refusal::CODES {
        counter!(MALFORMED, "error" => error.name()).increment(0);
    }
}

/// Counts an open connection until dropped.
#[derive(Debug)]
pub(crate) struct ConnectionCount(&'static str);

impl ConnectionCount {
    /// A connection to this listener was accepted.
    pub(crate) fn new(listener: &'static str) -> Self {
        gauge!(CONNECTIONS, "listener" => listener).increment(1.0);
        Self(listener)
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        gauge!(CONNECTIONS, "listener" => self.0).decrement(1.0);
    }
}

/// Counts an open stream until dropped.
pub(crate) struct StreamCount(&'static str);

impl StreamCount {
    /// A stream of this api was opened.
    pub(crate) fn new(api: &'static str) -> Self {
        gauge!(STREAMS, "api" => api).increment(1.0);
        Self(api)
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        gauge!(STREAMS, "api" => self.0).decrement(1.0);
    }
}

/// Sets how much memory requests hold, and of how much.
pub(crate) fn memory(bytes: usize, whole: usize) {
    let kibibytes = |bytes: usize| f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX));
    gauge!(MEMORY).set(kibibytes(bytes) * 1024.0);
    gauge!(MEMORY_RATIO).set(kibibytes(bytes) / kibibytes(whole));
}

/// Counts a request that was refused as a whole.
pub(crate) fn refused(error: &'static str) {
    counter!(MALFORMED, "error" => error).increment(1);
}
