//! Settings of a producer: plain data, checked once.

use std::sync::Arc;
use std::time::Duration;

use quipu_types::Acks;
use quipu_types::limits::{BATCH_BYTES_MAX, BATCH_BYTES_MAX_DEFAULT, PRODUCER_BATCHES_KEPT};
use quipu_types::record::Codec;

use super::{Handle, Inbox, Producer, sender};
use crate::client::Shared;
use crate::{Error, Result};

/// See [`ProducerBuilder`] for the meaning of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(super) acks: Acks,
    pub(super) linger: Duration,
    pub(super) batch_bytes: usize,
    pub(super) compression: Codec,
    pub(super) max_in_flight: usize,
    pub(super) buffer_bytes: usize,
    pub(super) delivery_timeout: Duration,
    pub(super) is_idempotent: bool,
    pub(super) event_bytes_max: usize,
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
