//! Publishing: records are gathered into batches, batches are sent in order and again until they
//! are stored.
//!
//! The caller's side puts records into the [`buffer`] of their partition; one task per producer,
//! the [`sender`], owns everything that was taken out of there.

use std::sync::Arc;
use std::time::Duration;

use quipu_types::Effect;
use quipu_types::record::{HEADER_BYTES, Record, RecordHeader};
use tokio::time::Instant;

use crate::client::Shared;
use crate::error::{TimeoutError, TooLarge};
use crate::record::{NewRecord, Receipt};
use crate::trace::TraceContext;
use crate::{Error, Result, clock};

mod buffer;
mod builder;
mod delivery;
mod inbox;
pub(crate) mod queue;
mod sender;
mod topic;

pub use builder::ProducerBuilder;
pub use delivery::Delivery;
#[cfg(feature = "sim")]
pub(crate) use sender::next_identity;

use buffer::Joining;
use builder::Config;
use inbox::Inbox;
use topic::TopicState;

/// Upper bound of what a record takes in a batch beside its bytes: length, deltas, field lengths.
const RECORD_FRAME_BYTES: usize = 40;
/// Of a header: two field lengths.
const HEADER_FRAME_BYTES: usize = 10;

/// Publishes events. Cheap to clone: clones share buffers and order.
///
/// Dropping the last clone delivers what is buffered in the background, without blocking;
/// [`Self::close`] waits for it.
///
/// ```no_run
/// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
/// use std::time::Duration;
///
/// use quipu_client::{Codec, NewRecord};
///
/// let producer = client
///     .producer()
///     .linger(Duration::from_millis(20))
///     .compression(Codec::Lz4)
///     .build()?;
///
/// // One after the other: simple, and each is on a quorum of disks when its call returns.
/// let receipt = producer.publish(NewRecord::new("fees", "{}").key("T-1")).await?;
///
/// // Pipelined: order is kept, failures come out of each delivery.
/// let mut deliveries = Vec::new();
/// for number in 0..1_000 {
///     deliveries.push(producer.enqueue(NewRecord::new("fees", number.to_string())).await?);
/// }
/// for delivery in deliveries {
///     delivery.await?;
/// }
/// producer.close(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// What all clones share; its end tells the sender that nobody will add more.
#[derive(Debug)]
struct Handle {
    client: Arc<Shared>,
    config: Config,
    inbox: Arc<Inbox>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

/// Why a record was not taken at once.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryEnqueueError {
    /// The buffer has no room; the record comes back.
    #[error("the producer's buffer is full")]
    Full(Box<NewRecord>),
    /// The topic was not looked up yet: call [`Producer::prepare`]; the record comes back.
    #[error("topic {:?} was not prepared", _0.topic)]
    NotPrepared(Box<NewRecord>),
    /// It can never be sent.
    #[error(transparent)]
    Refused(Error),
}

impl Producer {
    /// Publishes one event and resolves once it is acknowledged: by default, once a quorum of
    /// replicas has it on disk.
    ///
    /// - Order: events of one partition keep the order of calls. Events of one key go to one
    ///   partition while the number of partitions stays.
    /// - Waits while the buffer is full, up to the delivery timeout.
    /// - Dropping the future does not cancel the event once it is in the buffer.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the delivery timeout passed, with the last cause;
    /// [`Error::TooLarge`] before anything is sent; the server's refusals. Ask
    /// [`Error::effect`] whether the event may be stored all the same.
    pub async fn publish(&self, record: NewRecord) -> Result<Receipt> {
        self.enqueue(record).await?.await
    }

    /// Puts one event into the buffer and resolves with its [`Delivery`]; waits only for room,
    /// and for the topic to be looked up the first time.
    ///
    /// Dropping the future before it resolves leaves the event out.
    ///
    /// # Errors
    /// As [`Self::publish`], always with effect none.
    pub async fn enqueue(&self, record: NewRecord) -> Result<Delivery> {
        let record = record.trace_context(&TraceContext::current());
        let topic = self.topic(&record.topic).await?;
        let handle = &*self.handle;
        let reserved = handle.check(&topic, &record)?;
        if !handle.inbox.try_reserve(reserved) {
            let timeout = handle.config.delivery_timeout;
            let begun = Instant::now();
            let room = tokio::time::timeout(timeout, handle.inbox.reserve(reserved)).await;
            room.map_err(|_| handle.no_room(begun))??;
        }
        handle.join(&topic, record, reserved)
    }

    /// As [`Self::enqueue`] without waiting.
    ///
    /// # Errors
    /// [`TryEnqueueError`] gives the record back where another attempt may succeed.
    pub fn try_enqueue(&self, record: NewRecord) -> std::result::Result<Delivery, TryEnqueueError> {
        let record = record.trace_context(&TraceContext::current());
        let handle = &*self.handle;
        let Some(topic) = handle.prepared(&record.topic) else {
            return Err(TryEnqueueError::NotPrepared(Box::new(record)));
        };
        let reserved = handle.check(&topic, &record).map_err(TryEnqueueError::Refused)?;
        if !handle.inbox.try_reserve(reserved) {
            return Err(TryEnqueueError::Full(Box::new(record)));
        }
        handle.join(&topic, record, reserved).map_err(TryEnqueueError::Refused)
    }

    /// Looks a topic up and returns its number of partitions.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC`, or that no server answered.
    pub async fn prepare(&self, topic: &str) -> Result<u32> {
        Ok(self.topic(topic).await?.partitions())
    }

    /// Sends without lingering and waits for everything that was enqueued before the call.
    ///
    /// # Errors
    /// The first failure among them; each delivery has its own.
    pub async fn flush(&self) -> Result<()> {
        self.handle.inbox.flush().await
    }

    /// Takes no more events, delivers what is buffered, and gives up what is not acknowledged
    /// after `deadline`.
    ///
    /// # Errors
    /// The first failure among the events that were open when it was called.
    pub async fn close(&self, deadline: Duration) -> Result<()> {
        let inbox = &self.handle.inbox;
        inbox.close();
        let delivered = tokio::time::timeout(deadline, inbox.flush()).await;
        if let Ok(outcome) = delivered {
            return outcome;
        }
        inbox.give_up(deadline);
        inbox.flush().await
    }

    async fn topic(&self, name: &str) -> Result<Arc<TopicState>> {
        if let Some(topic) = self.handle.prepared(name) {
            return Ok(topic);
        }
        let known = self.handle.client.topic(name).await?;
        Ok(self.handle.inbox.topic(known, &self.handle.client.service))
    }
}

impl Handle {
    /// The topic, if it is known.
    fn prepared(&self, name: &str) -> Option<Arc<TopicState>> {
        let known = self.client.view.topic(name)?;
        Some(self.inbox.topic(known, &self.client.service))
    }

    /// Checks the size and returns the room to reserve.
    fn check(&self, topic: &TopicState, record: &NewRecord) -> Result<usize> {
        let reserved = bytes_at_most(record);
        let (limit, limited_by) = match topic.batch_bytes_max() {
            batch if batch < self.config.event_bytes_max => (batch, "max-batch-bytes of the topic"),
            _ => (self.config.event_bytes_max, "event_bytes_max of the producer"),
        };
        if reserved > limit {
            let topic = record.topic.clone();
            let too_large = TooLarge { topic, actual: reserved, limit, limited_by };
            return Err(Error::TooLarge(Arc::new(too_large)));
        }
        Ok(reserved)
    }

    fn join(&self, topic: &TopicState, record: NewRecord, reserved: usize) -> Result<Delivery> {
        let joined = self.join_buffer(topic, record, reserved);
        if joined.is_err() {
            self.inbox.release(reserved);
        }
        joined
    }

    fn join_buffer(
        &self,
        topic: &TopicState,
        record: NewRecord,
        reserved: usize,
    ) -> Result<Delivery> {
        // A partition that is not known may have been added a moment ago.
        let refresh = |_: &Error| self.client.view.want_refresh();
        let buffer = topic.buffer_for(&record).inspect_err(refresh)?;
        let record = Record {
            timestamp: record.timestamp.unwrap_or_else(clock::wall),
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        let joining = Joining {
            record: &record,
            reserved,
            now: self.inbox.now(),
            batch_bytes: self.config.batch_bytes.min(topic.batch_bytes_max()),
        };
        self.inbox.join(buffer, &joining)
    }

    fn no_room(&self, begun: Instant) -> Error {
        let buffer = self.config.buffer_bytes;
        Error::timeout(TimeoutError {
            action: format!("wait for room in the producer's buffer of {buffer} bytes"),
            waited: begun.elapsed(),
            attempts: 1,
            effect: Effect::None,
            last: self.inbox.last_error(),
        })
    }
}

/// What a batch with only this record takes, rounded up.
fn bytes_at_most(record: &NewRecord) -> usize {
    let header = |header: &RecordHeader| {
        HEADER_FRAME_BYTES + header.key().len() + header.value().map_or(0, |value| value.len())
    };
    HEADER_BYTES
        + RECORD_FRAME_BYTES
        + record.key.as_ref().map_or(0, |key| key.len())
        + record.value.as_ref().map_or(0, |value| value.len())
        + record.headers.iter().map(header).sum::<usize>()
}
