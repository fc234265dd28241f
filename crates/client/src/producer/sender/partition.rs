//! One partition: its queue, and where it stands with its leader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quipu_compression as compression;
use quipu_types::record::{Codec, ValidatedBatch};
use quipu_types::{Effect, NodeId, ProducerEpoch, ProducerId};

use super::super::TimeoutError;
use super::super::buffer::{Buffer, OpenBatch};
use super::super::builder::Config;
use super::super::delivery::{Settle, Stored};
use super::super::inbox::Inbox;
use super::super::queue::{Outcome, Queue, Settled};
use super::attempts::Attempts;
use crate::Error;
use crate::link::LinkId;

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Batch {
    id: u64,
    settle: Settle,
    reserved: usize,
    records: u32,
    pub(super) opened_at: Duration,
    /// `None` for one that will never be sent.
    bytes: Option<ValidatedBatch>,
}

impl Batch {
    /// Closes an open batch. Where its records cannot be compressed, it comes back to be failed.
    pub(super) fn finish(open: OpenBatch, codec: Codec) -> Result<Self, Box<(Self, Error)>> {
        let (builder, batch) = Self::split(open);
        match compression::finish(builder, codec) {
            Ok(bytes) => Ok(Self { bytes: Some(bytes), ..batch }),
            Err(error) => Err(Box::new((batch, Error::invalid(error.to_string())))),
        }
    }

    /// An open batch that will never be sent.
    pub(super) fn unsent(open: OpenBatch) -> Self {
        Self::split(open).1
    }

    fn split(open: OpenBatch) -> (quipu_types::record::BatchBuilder, Self) {
        let batch = Self {
            id: open.id,
            settle: open.settle,
            reserved: open.reserved,
            records: open.builder.record_count(),
            opened_at: open.opened_at,
            bytes: None,
        };
        (open.builder, batch)
    }

    pub(super) fn records(&self) -> u32 {
        self.records
    }

    /// Tells everybody who waits, and frees the room.
    pub(super) fn settle(self, inbox: &Inbox, buffer: &Buffer, outcome: Result<Stored, Error>) {
        let metrics = &buffer.topic.metrics;
        match &outcome {
            Ok(_) => {
                let took = inbox.now().saturating_sub(self.opened_at);
                metrics.stored(u64::from(self.records), took);
            }
            Err(error) => {
                inbox.note_error(error);
                metrics.failed(u64::from(self.records), error.label());
            }
        }
        // Nobody may be waiting: then the outcome is in the metrics only.
        let _ = self.settle.send(outcome);
        inbox.settled(self.id, self.reserved);
    }
}

/// A partition that records were enqueued for.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) buffer: Arc<Buffer>,
    pub(super) queue: Queue<Batch, LinkId>,
    /// Stays until it fails: knowledge that arrives meanwhile may be older.
    pub(super) leader: Option<NodeId>,
    /// Who led when it failed last: to be told the same again is no news.
    pub(super) left: Option<NodeId>,
    /// The producer id and epoch used last.
    pub(super) spent: Option<(ProducerId, ProducerEpoch)>,
    pub(super) attempts: Attempts,
    pub(super) last_error: Option<Error>,
}

impl Partition {
    pub(super) fn new(buffer: Arc<Buffer>, config: &Config) -> Self {
        Self {
            buffer,
            queue: Queue::new(config.max_in_flight, config.is_idempotent),
            leader: None,
            left: None,
            spent: None,
            attempts: Attempts::default(),
            last_error: None,
        }
    }

    /// For people: `fees/3`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.buffer.topic.name, self.buffer.partition)
    }

    /// The next batch to send: its number and its bytes, stamped.
    pub(super) fn take_next(&mut self, route: LinkId) -> Option<(u64, Bytes)> {
        let sending = self.queue.take_next(route)?;
        let bytes = sending.batch.bytes.as_mut().expect("batches in the queue are finished");
        if let Some(stamp) = sending.stamp {
            let header = bytes.header();
            let is_stamped = header.producer_id == stamp.id
                && header.producer_epoch == stamp.epoch
                && header.base_sequence == stamp.sequence;
            if !is_stamped {
                bytes
                    .set_producer(stamp.id, stamp.epoch, stamp.sequence)
                    .expect("the server hands out ids that are not negative");
            }
        }
        Some((sending.number, bytes.bytes().clone()))
    }

    /// An attempt failed: see [`Attempts::failed`].
    pub(super) fn failed(&mut self, now: Duration, at_least: Duration, error: Error) {
        self.attempts.failed(now, at_least);
        self.last_error = Some(error);
    }

    /// It is about to be ready: see [`Attempts::awaits`].
    pub(super) fn awaits(&mut self, now: Duration, pause: Duration, error: Error) {
        self.attempts.awaits(now, pause);
        self.last_error = Some(error);
    }

    /// The server named the leader.
    pub(super) fn redirected(&mut self, now: Duration, leader: NodeId, error: Error) {
        // Else it was sent with the first that was redirected.
        if self.leader != Some(leader) {
            self.attempts.follows(now);
            self.last_error = Some(error);
            self.leader = Some(leader);
        }
    }

    /// Its leader failed: the next attempt asks the view again.
    pub(super) fn leave(&mut self) {
        self.left = self.leader.take().or(self.left);
    }

    pub(super) fn succeeded(&mut self) {
        self.left = None;
        self.attempts = Attempts::default();
    }

    pub(super) fn settle(
        &self,
        inbox: &Inbox,
        settled: Settled<Batch, Stored>,
        delivery: Duration,
    ) {
        let outcome = match settled.outcome {
            Outcome::Stored(stored) => Ok(stored),
            Outcome::Refused(error) => Err(error),
            Outcome::Expired(effect) => Err(self.timed_out(effect, settled.attempts, delivery)),
        };
        settled.batch.settle(inbox, &self.buffer, outcome);
    }

    pub(super) fn timed_out(&self, effect: Effect, attempts: u32, waited: Duration) -> Error {
        Error::timeout(TimeoutError {
            action: format!("deliver to {}", self.name()),
            waited,
            attempts,
            effect,
            last: self.last_error.clone(),
        })
    }
}
