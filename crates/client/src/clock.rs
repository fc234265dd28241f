//! The clock people read. Monotonic time is tokio's.

use std::time::{SystemTime, UNIX_EPOCH};

use quipu_types::TimestampMs;

/// Now, in milliseconds since 1970 UTC.
#[expect(clippy::disallowed_methods, reason = "this is the client's door to the machine's clock")]
pub(crate) fn wall() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
