//! Bounds nobody should need to turn.

/// Payload bytes of one write: beyond a few MiB a larger write is not faster per byte, and the
/// callers at its front would wait for those at its end.
pub(crate) const BATCH_BYTES_MAX: usize = 8 << 20;
/// Payloads from this size on are written from where they lie; smaller ones are cheaper to copy
/// beside their header than to name in an I/O vector.
pub(crate) const SHARED_PAYLOAD_BYTES_MIN: usize = 4 << 10;
/// The longest payload of one frame: what its length field and a file's bound allow.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 30;
