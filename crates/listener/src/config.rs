//! What an operator may set, and the fixed bounds of the protocol.

use std::time::Duration;

use quipu_types::limits;

/// Settings of the client listener.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes of requests held at once, over all connections. When used up, connections are read
    /// no further. Default 256 MiB; at least one request of the largest size.
    pub request_memory_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { request_memory_bytes: limits::NODE_REQUEST_BYTES_MAX }
    }
}

/// Bytes a client may send on one stream before it is told to go on: half of the largest request.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// The same over all streams of a connection.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Larger frames than HTTP/2's 16 KiB: fewer turns per batch.
pub(crate) const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Streams and calls one connection may have open.
pub(crate) const CONNECTION_STREAMS_MAX: u32 = 256;
/// Bytes of one request's headers.
pub(crate) const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// Streams a client may open and reset before they are accepted (CVE-2023-44487).
pub(crate) const PENDING_RESETS_MAX: usize = 64;
/// A silent connection is asked whether it lives.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// It has this long to say so.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Fetches one stream may have unanswered.
pub(crate) const STREAM_FETCHES_MAX: usize = 64;
/// Answers handed to the connection and not yet written: they are encoded one by one.
pub(crate) const STREAM_ANSWERS_MAX: usize = 2;
/// Largest request of administration.
pub(crate) const ADMIN_MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The wait of a call that names none.
pub(crate) const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest wait of a call.
pub(crate) const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(300);
