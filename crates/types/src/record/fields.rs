//! One record: what a user publishes and what a reader gets.

use std::fmt;

use bytes::Bytes;

use crate::TimestampMs;

/// One event.
///
/// A null value is a tombstone and differs from an empty one; the same holds for keys and for the
/// values of headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When it happened, ms since the epoch. With timestamp type log-append a reader sees the
    /// leader's time instead.
    pub timestamp: TimestampMs,
    /// Chooses the partition, and what compaction keeps.
    pub key: Option<Bytes>,
    /// The payload.
    pub value: Option<Bytes>,
    /// Ordered; the same key may come more than once.
    pub headers: Vec<RecordHeader>,
}

impl Record {
    /// The value of the first header of this key; `Some(None)` when that value is null.
    #[must_use]
    pub fn header(&self, key: &str) -> Option<Option<&Bytes>> {
        self.headers.iter().find(|header| header.key() == key).map(RecordHeader::value)
    }
}

/// A name and an optional value beside the payload.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// UTF-8: checked wherever a header is made.
    key: Bytes,
    value: Option<Bytes>,
}

impl RecordHeader {
    /// Makes a header.
    #[must_use]
    pub fn new(key: impl Into<String>, value: Option<Bytes>) -> Self {
        Self { key: Bytes::from(key.into()), value }
    }

    /// A header whose key is a slice of a batch; `None` unless the key is UTF-8.
    pub(super) fn from_stored(key: Bytes, value: Option<Bytes>) -> Option<Self> {
        std::str::from_utf8(&key).is_ok().then_some(Self { key, value })
    }

    /// The name.
    #[must_use]
    pub fn key(&self) -> &str {
        std::str::from_utf8(&self.key).expect("checked when the header was made")
    }

    /// The value; null and empty differ.
    #[must_use]
    pub const fn value(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }
}

impl fmt::Debug for RecordHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordHeader")
            .field("key", &self.key())
            .field("value", &self.value)
            .finish()
    }
}
