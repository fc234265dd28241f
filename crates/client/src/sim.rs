//! What the client decides without tasks, streams and servers: the door for simulators.

use std::time::Duration;

use quipu_types::{Effect, ErrorCode, ProducerEpoch, ProducerId, Sequence};
use tokio::time::Instant;

use crate::Error;
use crate::consumer::tracker::Tracker;
use crate::producer::queue::{Outcome, Queue, Settled, Verdict};

/// What a producer sends when to one partition; see `producer/queue.rs`. Streams have numbers.
#[derive(Debug)]
pub struct SendQueue<B>(Queue<B, u64>);

/// A batch to be sent now.
#[derive(Debug)]
pub struct ToSend<B> {
    /// Names it in the answer.
    pub number: u64,
    /// The batch.
    pub batch: B,
    /// What makes it recognisable when it comes again.
    pub stamp: (ProducerId, ProducerEpoch, Sequence),
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Stored.
    Stored,
    /// It failed, and another attempt may succeed.
    Again(Effect),
    /// The sequence does not follow the last one stored: refused without effect.
    Gap,
    /// It failed for good.
    Refused(Effect),
}

/// A batch that leaves the queue.
#[derive(Debug)]
pub struct Left<B> {
    /// The batch.
    pub batch: B,
    /// What its producer is told: stored, or whether it may be.
    pub told: Result<(), Effect>,
}

impl<B> Left<B> {
    fn of(settled: Settled<B, ()>) -> Self {
        let told = match settled.outcome {
            Outcome::Stored(()) => Ok(()),
            Outcome::Refused(error) => Err(error.effect()),
            Outcome::Expired(effect) => Err(effect),
        };
        Self { batch: settled.batch, told }
    }
}

/// What a partition goes on under, after it spent an epoch; none when it needs another id.
#[must_use]
pub fn next_identity(
    spent: Option<(ProducerId, ProducerEpoch)>,
    newest: Option<(ProducerId, ProducerEpoch)>,
) -> Option<(ProducerId, ProducerEpoch)> {
    crate::producer::next_identity(spent, newest)
}

impl<B: Clone> SendQueue<B> {
    /// A queue of an idempotent producer.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self(Queue::new(window, true))
    }

    /// Whether nothing is unsettled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether another batch could be sent if it joined now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.0.has_room()
    }

    /// Whether a batch waits to be sent.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.0.has_waiting()
    }

    /// A batch joins at the end.
    pub fn push(&mut self, batch: B, records: u32, deadline: Duration) {
        self.0.push(batch, records, deadline);
    }

    /// Whether a producer id is missing to go on.
    #[must_use]
    pub fn needs_identity(&self) -> bool {
        self.0.needs_identity()
    }

    /// Goes on under a new producer id, or a later epoch of the last one.
    pub fn set_identity(&mut self, id: ProducerId, epoch: ProducerEpoch) {
        self.0.set_identity(id, epoch);
    }

    /// The next batch to send on a stream, if one may be sent now.
    pub fn take_next(&mut self, stream: u64) -> Option<ToSend<B>> {
        let sending = self.0.take_next(stream)?;
        let stamp = sending.stamp?;
        let stamp = (stamp.id, stamp.epoch, stamp.sequence);
        Some(ToSend { number: sending.number, batch: sending.batch.clone(), stamp })
    }

    /// An attempt ended.
    pub fn answer(&mut self, number: u64, stream: u64, attempt: Attempt) -> Option<Left<B>> {
        let refused = |effect: Effect| {
            let error = Error::local(ErrorCode::OutOfOrderSequence, "simulated".to_owned());
            match effect {
                Effect::None => error,
                Effect::Unknown => error.with_unknown_effect(),
            }
        };
        let verdict = match attempt {
            Attempt::Stored => Verdict::Stored(()),
            Attempt::Again(effect) => Verdict::Again(effect),
            Attempt::Gap => Verdict::Gap(refused(Effect::None)),
            Attempt::Refused(effect) => Verdict::Refused(refused(effect)),
        };
        self.0.answer(number, stream, verdict).map(Left::of)
    }

    /// Everything that was sent on a stream came back without an answer.
    pub fn stream_lost(&mut self, stream: u64, effect: Effect) {
        self.0.stream_lost(stream, effect);
    }

    /// Batches whose deadline has passed leave.
    pub fn expire(&mut self, now: Duration) -> Vec<Left<B>> {
        self.0.expire(now).into_iter().map(Left::of).collect()
    }
}

/// How far a partition is processed; see `consumer/tracker.rs`.
#[derive(Debug)]
pub struct Processed(Tracker);

impl Processed {
    /// Nothing from `start` on.
    #[must_use]
    pub fn new(start: u64) -> Self {
        Self(Tracker::new(start))
    }

    /// The offset to commit: nothing below it waits for an acknowledgement.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// Where it began.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.0.start()
    }

    /// The next offset to hand out.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.0.next()
    }

    /// A message goes out.
    pub fn hand_out(&mut self, offset: u64) {
        self.0.hand_out(offset, Instant::now());
    }

    /// There are no messages below `to` but those that were handed out.
    pub fn skip_to(&mut self, to: u64) {
        self.0.skip_to(to);
    }

    /// Takes an acknowledgement; returns whether it is new.
    pub fn ack(&mut self, offset: u64) -> bool {
        self.0.ack(offset)
    }

    /// Messages that the application holds unacknowledged.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.held()
    }
}
