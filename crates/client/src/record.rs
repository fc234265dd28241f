//! What goes in, what comes out, and the proof in between.

use std::sync::Arc;

use bytes::Bytes;
use quipu_types::TimestampMs;
use quipu_types::record::RecordHeader;

/// An event to be published.
///
/// ```
/// use quipu_client::NewRecord;
///
/// let record = NewRecord::new("fees", r#"{"amount":120}"#).key("T-1").header("source", "desk");
/// assert_eq!(record.key.as_deref(), Some(&b"T-1"[..]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// The topic's name.
    pub topic: Arc<str>,
    /// A partition chosen by the caller; otherwise by key, or spread.
    pub partition: Option<u32>,
    /// Events of one key stay in order.
    pub key: Option<Bytes>,
    /// The payload; none is a tombstone.
    pub value: Option<Bytes>,
    /// Ordered; keys may repeat.
    pub headers: Vec<RecordHeader>,
    /// When it happened; now if unset.
    pub timestamp: Option<TimestampMs>,
}

impl NewRecord {
    /// An event of `topic`.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
            timestamp: None,
        }
    }

    /// A key without a value: in a compacted topic it removes the key.
    #[must_use]
    pub fn tombstone(topic: impl Into<Arc<str>>, key: impl Into<Bytes>) -> Self {
        Self { value: None, ..Self::new(topic, Bytes::new()).key(key) }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(self, key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(RecordHeader::new(key, Some(value.into())));
        self
    }

    /// Sets when it happened.
    #[must_use]
    pub fn timestamp(self, timestamp: TimestampMs) -> Self {
        Self { timestamp: Some(timestamp), ..self }
    }

    /// Sets the partition, whatever the key.
    #[must_use]
    pub fn partition(self, partition: u32) -> Self {
        Self { partition: Some(partition), ..self }
    }
}

/// The proof that an event is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition it went to.
    pub partition: u32,
    /// Where it stands. Unknown with acks `none` and `leader`, and when a retry came so late that
    /// the server remembers only that the event is stored.
    pub offset: Option<u64>,
    /// The timestamp readers will see.
    pub timestamp: TimestampMs,
    /// A retry found it stored already.
    pub is_duplicate: bool,
}

/// An event that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition it was read from.
    pub partition: u32,
    /// Its place there: dense from 0, the same for ever.
    pub offset: u64,
    /// When it happened, or was stored, as the topic is configured.
    pub timestamp: TimestampMs,
    /// The key.
    pub key: Option<Bytes>,
    /// The payload; none is a tombstone.
    pub value: Option<Bytes>,
    /// Ordered; keys may repeat.
    pub headers: Vec<RecordHeader>,
}

impl Record {
    /// The value of the first header of this key; `Some(None)` when that value is null.
    #[must_use]
    pub fn header(&self, key: &str) -> Option<Option<&Bytes>> {
        self.headers.iter().find(|header| header.key() == key).map(RecordHeader::value)
    }
}
