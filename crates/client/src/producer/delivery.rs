//! How a record hears what became of its batch: one cell per batch, shared by its records.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::Shared;
use quipu_types::TimestampMs;
use tokio::sync::oneshot;

use crate::record::Receipt;
use crate::{Error, Result};

/// A batch is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) base_offset: Option<u64>,
    pub(crate) is_duplicate: bool,
    pub(crate) log_append_time: Option<TimestampMs>,
}

/// The end that is awaited. Many may wait.
pub(crate) type Awaited = Shared<oneshot::Receiver<Result<Stored>>>;
/// The end that is told, once.
pub(crate) type Settle = oneshot::Sender<Result<Stored>>;

/// Both ends.
pub(crate) fn cell() -> (Settle, Awaited) {
    let (settle, awaited) = oneshot::channel();
    (settle, awaited.shared())
}

/// The verdict of a cell; a sender that ended without one leaves the effect open.
pub(crate) async fn verdict(awaited: Awaited) -> Result<Stored> {
    awaited.await.unwrap_or_else(|_| Err(abandoned()))
}

fn abandoned() -> Error {
    Error::stream_ended("deliver by", "the producer", "its runtime was shut down")
}

/// Resolves when the record is stored, or is known not to be.
///
/// Dropping it does not cancel the record.
#[derive(Clone, Debug)]
#[must_use = "await it to know whether the record is stored"]
pub struct Delivery {
    pub(super) batch: Awaited,
    /// Place of the record in its batch.
    pub(super) index: u64,
    pub(super) topic: Arc<str>,
    pub(super) partition: u32,
    pub(super) timestamp: TimestampMs,
}

impl Delivery {
    /// The partition the record goes to.
    #[must_use]
    pub const fn partition(&self) -> u32 {
        self.partition
    }

    fn receipt(&self, stored: Stored) -> Receipt {
        Receipt {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: stored.base_offset.map(|base| base + self.index),
            timestamp: stored.log_append_time.unwrap_or(self.timestamp),
            is_duplicate: stored.is_duplicate,
        }
    }
}

impl Future for Delivery {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.batch.poll_unpin(context).map(|told| {
            told.unwrap_or_else(|_| Err(abandoned())).map(|stored| self.receipt(stored))
        })
    }
}
