//! Publishing: records are gathered into batches, batches are sent in order and again until they
//! are stored.
//!
//! The caller's side puts records into the [`buffer`] of their partition; one task per producer,
//! the [`sender`], owns everything that was taken out of there.

use std::sync::Arc;
use std::time::Duration;

use quipu_types::limits::{BATCH_BYTES_MAX, BATCH_BYTES_MAX_DEFAULT, PRODUCER_BATCHES_KEPT};
use quipu_types::record::{Codec, HEADER_BYTES, Record, RecordHeader};
use quipu_types::{Acks, Effect};
use tokio::time::Instant;

use crate::client::Shared;
use crate::error::{TimeoutError, TooLarge};
use crate::record::{NewRecord, Receipt};
use crate::{Error, Result, clock};

mod buffer;
mod delivery;
mod inbox;
mod queue;
mod sender;
mod topic;

pub use delivery::Delivery;

use buffer::Joining;
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

/// See [`ProducerBuilder`] for the meaning of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    acks: Acks,
    linger: Duration,
    batch_bytes: usize,
    compression: Codec,
    max_in_flight: usize,
    buffer_bytes: usize,
    delivery_timeout: Duration,
    is_idempotent: bool,
    event_bytes_max: usize,
}

/// Settings of a [`Producer`].
#[derive(Clone, Debug)]
#[must_use = "call build()"]
pub struct ProducerBuilder {
    client: Arc<Shared>,
    config: Config,
    /// Unless set, it follows the acknowledgement level.
    idempotent: Option<bool>,
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
        let buffer = topic.buffer_for(&record)?;
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

impl ProducerBuilder {
    pub(crate) fn new(client: Arc<Shared>) -> Self {
        let config = Config {
            acks: Acks::Quorum,
            linger: Duration::from_millis(5),
            batch_bytes: 64 << 10,
            compression: Codec::None,
            max_in_flight: PRODUCER_BATCHES_KEPT,
            buffer_bytes: 32 << 20,
            delivery_timeout: Duration::from_secs(120),
            is_idempotent: true,
            event_bytes_max: BATCH_BYTES_MAX_DEFAULT,
        };
        Self { client, config, idempotent: None }
    }

    /// When an event counts as stored. Quorum unless set; a topic may refuse less.
    pub fn acks(self, acks: Acks) -> Self {
        Self { config: Config { acks, ..self.config }, ..self }
    }

    /// How long a batch waits for more events before it is sent. 5 ms unless set; zero sends at
    /// once, and still gathers what comes while earlier batches are on their way.
    pub fn linger(self, linger: Duration) -> Self {
        Self { config: Config { linger, ..self.config }, ..self }
    }

    /// A batch of this size does not wait. 64 KiB unless set.
    pub fn batch_bytes(self, bytes: usize) -> Self {
        Self { config: Config { batch_bytes: bytes, ..self.config }, ..self }
    }

    /// How batches are compressed; servers pass them on as they are. None unless set.
    pub fn compression(self, codec: Codec) -> Self {
        Self { config: Config { compression: codec, ..self.config }, ..self }
    }

    /// Batches of one partition on their way at once: 1 to 5, for the servers remember as many to
    /// recognise a retry. 5 unless set.
    pub fn max_in_flight(self, batches: usize) -> Self {
        Self { config: Config { max_in_flight: batches, ..self.config }, ..self }
    }

    /// Memory for events that are not acknowledged; full means that publishing waits. 32 MiB
    /// unless set.
    pub fn buffer_bytes(self, bytes: usize) -> Self {
        Self { config: Config { buffer_bytes: bytes, ..self.config }, ..self }
    }

    /// Bounds the whole delivery of an event with all retries. 2 min unless set. Once it passed
    /// the effect is unknown if the event was sent.
    pub fn delivery_timeout(self, timeout: Duration) -> Self {
        Self { config: Config { delivery_timeout: timeout, ..self.config }, ..self }
    }

    /// Whether servers recognise a retry. On unless set, with acknowledgement by quorum; the
    /// weaker levels cannot have it, and their retries may store an event twice.
    pub fn idempotent(self, is_idempotent: bool) -> Self {
        Self { idempotent: Some(is_idempotent), ..self }
    }

    /// The largest event taken. 1 MiB unless set; a topic may take less.
    pub fn event_bytes_max(self, bytes: usize) -> Self {
        Self { config: Config { event_bytes_max: bytes, ..self.config }, ..self }
    }

    /// Starts the producer. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`] when settings contradict each other.
    pub fn build(self) -> Result<Producer> {
        let is_quorum = self.config.acks == Acks::Quorum;
        if self.idempotent == Some(true) && !is_quorum {
            let acks = self.config.acks;
            return Err(Error::invalid(format!(
                "idempotent(true) needs acks quorum, not {acks}: a weaker level cannot tell \
                 whether the sequence has a gap"
            )));
        }
        let is_idempotent = self.idempotent.unwrap_or(is_quorum);
        let config = Config { is_idempotent, ..self.config };
        config.validate()?;
        let inbox = Arc::new(Inbox::new(config.buffer_bytes));
        sender::start(self.client.clone(), config, inbox.clone());
        Ok(Producer { handle: Arc::new(Handle { client: self.client, config, inbox }) })
    }
}

impl Config {
    fn validate(&self) -> Result<()> {
        let within = |name: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::invalid(format!("{name} is {value}; it must be {least} to {most}")))
        };
        let buffer_max = usize::try_from(u32::MAX).expect("u32 fits in usize");
        within("max_in_flight", self.max_in_flight, 1, PRODUCER_BATCHES_KEPT)?;
        within("batch_bytes", self.batch_bytes, 1, BATCH_BYTES_MAX)?;
        within("event_bytes_max", self.event_bytes_max, 1, BATCH_BYTES_MAX)?;
        within("buffer_bytes", self.buffer_bytes, self.event_bytes_max, buffer_max)?;
        if self.delivery_timeout <= self.linger {
            let Self { delivery_timeout, linger, .. } = self;
            return Err(Error::invalid(format!(
                "delivery_timeout {delivery_timeout:?} must be longer than linger {linger:?}"
            )));
        }
        Ok(())
    }
}
