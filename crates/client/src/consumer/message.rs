//! A message, and saying that it is processed.

use std::ops::Deref;
use std::sync::Arc;

use quipu_types::PartitionId;
use tokio::time::Instant;

use super::table::{Fate, Table};
use crate::error::AckError;
use crate::metrics::Consuming;
use crate::record::Record;
use crate::{Error, Result};

/// An event that was handed out to this member. It dereferences to its [`Record`].
///
/// A message that is dropped without an acknowledgement stays unacknowledged: it holds the
/// position of its partition back, and is delivered again after the partition was reassigned, the
/// member restarted, or the processing timeout passed.
///
/// ```no_run
/// # async fn example(mut consumer: quipu_client::Consumer) -> quipu_client::Result<()> {
/// while let Some(message) = consumer.next().await {
///     let message = message?;
///     println!("{}/{}@{}", message.topic, message.partition, message.offset);
///     message.ack().await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Message {
    record: Record,
    pub(super) handle: Arc<Handle>,
}

impl Message {
    pub(super) fn new(record: Record, handle: Handle) -> Self {
        Self { record, handle: Arc::new(handle) }
    }

    /// Says that the message is processed, and resolves once a position that covers it is
    /// committed: all messages before it in its partition are acknowledged too then.
    ///
    /// Dropping the future does not take the acknowledgement back.
    ///
    /// # Errors
    /// [`AckError`]: the message will be delivered again.
    pub async fn ack(&self) -> Result<(), AckError> {
        self.handle.ack().await
    }

    /// Says that the message is processed. The position is committed with the next interval.
    pub fn ack_later(&self) {
        self.handle.ack_later();
    }

    /// Takes the record out. As a drop, unless the message was acknowledged before.
    #[must_use]
    pub fn into_record(self) -> Record {
        self.record
    }
}

impl Deref for Message {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

/// What is left of a message when its record is gone.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) table: Arc<Table>,
    pub(super) id: PartitionId,
    pub(super) offset: u64,
    pub(super) fate: Fate,
    pub(super) metrics: Consuming,
}

impl Handle {
    async fn ack(&self) -> Result<(), AckError> {
        let committed = self.table.ack(self.id, &self.fate, self.offset)?;
        committed.await.unwrap_or(Err(AckError::Failed(Error::Closed)))
    }

    pub(super) fn ack_later(&self) {
        self.table.ack_later(self.id, &self.fate, self.offset);
    }

    /// Its processing has not begun, or begins now.
    pub(super) fn set_since(&self, since: Option<Instant>) {
        self.table.set_since(self.id, &self.fate, self.offset, since);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.table.dropped(self.id, &self.fate, self.offset);
    }
}

/// Messages that were handed out together.
///
/// ```no_run
/// # async fn example(mut consumer: quipu_client::Consumer) -> quipu_client::Result<()> {
/// use std::time::Duration;
///
/// let batch = consumer.next_batch(100, Duration::from_secs(5)).await?;
/// for message in batch.iter() {
///     println!("{}@{}", message.partition, message.offset);
/// }
/// batch.ack().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) messages: Vec<Message>,
}

impl Batch {
    /// Acknowledges all, and resolves once positions that cover all are committed.
    ///
    /// # Errors
    /// The first [`AckError`] there is; the others are acknowledged nevertheless.
    pub async fn ack(&self) -> Result<(), AckError> {
        let acks = self.messages.iter().map(Message::ack);
        futures::future::join_all(acks).await.into_iter().collect()
    }

    /// Acknowledges all; positions are committed with the next interval.
    pub fn ack_later(&self) {
        self.messages.iter().for_each(Message::ack_later);
    }
}

impl Deref for Batch {
    type Target = [Message];

    fn deref(&self) -> &[Message] {
        &self.messages
    }
}

impl IntoIterator for Batch {
    type Item = Message;
    type IntoIter = std::vec::IntoIter<Message>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages.into_iter()
    }
}
