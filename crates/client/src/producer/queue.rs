//! What is sent when, for one partition: pure, so that every order of failures can be tried.
//!
//! Laws, as long as the server accepts only the sequence after the last (KIP-98):
//! - Batches are sent in the order in which they joined, and at most `window` of them are sent
//!   and not settled, counted from the oldest: the server remembers as many.
//! - A batch that came back is sent again, with the same bytes, only after everything sent after
//!   it came back too: the stream never carries a later sequence before an earlier one.
//! - A batch whose fate is unknown keeps its producer id and sequence to its end. Under another
//!   id it could be stored twice.
//! - A batch that leaves without being stored leaves a hole that no later sequence of the same id
//!   can pass. Those behind it take a new epoch, unless they may be stored already: what was given
//!   up and is still on its way is refused once one of theirs is stored.

use std::collections::VecDeque;
use std::time::Duration;

use quipu_types::{Effect, ProducerEpoch, ProducerId, Sequence};

use crate::Error;

/// What makes a batch recognisable when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) sequence: Sequence,
}

/// The batches of one partition that are not settled. `B` is the batch, `R` names the stream a
/// batch was sent on. Times count from any fixed moment.
#[derive(Debug)]
pub(crate) struct Queue<B, R> {
    slots: VecDeque<Slot<B, R>>,
    window: u64,
    /// Of the next batch to join; numbers are never used again.
    next_number: u64,
    identity: Identity,
}

#[derive(Debug)]
struct Slot<B, R> {
    number: u64,
    batch: B,
    records: u32,
    deadline: Duration,
    stamp: Option<Stamp>,
    /// The stream it is on; `None` while it waits.
    in_flight: Option<R>,
    /// An attempt ended without saying whether the batch was stored.
    is_in_doubt: bool,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// Batches carry no producer: retries may store twice.
    Off,
    /// None yet, or the last one is spent.
    Needed,
    Active {
        id: ProducerId,
        epoch: ProducerEpoch,
        next: Sequence,
    },
    /// A batch left without being stored, for certain or perhaps.
    Broken {
        /// Batches from this number on cannot be stored under their id.
        dead_from: u64,
        /// Batches from this number on can be stored under their id only if an earlier one was.
        doubtful_from: u64,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum Verdict<T> {
    Stored(T),
    /// It failed, and another attempt may succeed.
    Again(Effect),
    /// The sequence does not follow the last one stored: refused without effect.
    Gap(Error),
    /// It failed for good.
    Refused(Error),
}

/// A batch that leaves.
#[derive(Debug)]
pub(crate) struct Settled<B, T> {
    pub(crate) batch: B,
    pub(crate) attempts: u32,
    pub(crate) outcome: Outcome<T>,
}

/// Why it leaves.
#[derive(Clone, Debug)]
pub(crate) enum Outcome<T> {
    Stored(T),
    Refused(Error),
    Expired(Effect),
}

/// A batch to be sent now.
#[derive(Debug)]
pub(crate) struct Sending<'a, B> {
    pub(crate) number: u64,
    pub(crate) batch: &'a mut B,
    /// To be written into the batch, unless it carries it already.
    pub(crate) stamp: Option<Stamp>,
}

impl<B, R: Copy + Eq> Queue<B, R> {
    pub(crate) fn new(window: usize, is_idempotent: bool) -> Self {
        Self {
            slots: VecDeque::new(),
            window: u64::try_from(window).expect("a window is small"),
            next_number: 0,
            identity: if is_idempotent { Identity::Needed } else { Identity::Off },
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Another batch could be sent if it joined now.
    pub(crate) fn has_room(&self) -> bool {
        let first = self.slots.front().map_or(self.next_number, |slot| slot.number);
        self.next_number < first + self.window && !self.has_waiting()
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.slots.iter().any(|slot| slot.in_flight.is_none())
    }

    /// A batch joins at the end.
    pub(crate) fn push(&mut self, batch: B, records: u32, deadline: Duration) {
        self.slots.push_back(Slot {
            number: self.next_number,
            batch,
            records,
            deadline,
            stamp: None,
            in_flight: None,
            is_in_doubt: false,
            attempts: 0,
        });
        self.next_number += 1;
    }

    /// Whether a producer id is missing to go on.
    pub(crate) fn needs_identity(&self) -> bool {
        self.identity == Identity::Needed && !self.is_empty()
    }

    /// Goes on under a new producer id, or a later epoch of the last one.
    pub(crate) fn set_identity(&mut self, id: ProducerId, epoch: ProducerEpoch) {
        if self.identity == Identity::Needed {
            self.identity = Identity::Active { id, epoch, next: Sequence::new(0) };
        }
    }

    /// The next batch to send on `route`, if one may be sent now.
    pub(crate) fn take_next(&mut self, route: R) -> Option<Sending<'_, B>> {
        let first = self.slots.front()?.number;
        let at = self.slots.iter().position(|slot| slot.in_flight.is_none())?;
        let (before, from) = self.slots.as_slices();
        let mut others = before.iter().chain(from).enumerate().filter(|(index, _)| *index != at);
        let is_clear = others.all(|(index, slot)| match slot.in_flight {
            Some(on) => index < at && on == route,
            None => index > at,
        });
        let slot = self.slots.get_mut(at).expect("found above");
        if !is_clear || slot.number >= first + self.window {
            return None;
        }
        if slot.stamp.is_none() {
            match &mut self.identity {
                Identity::Off => {}
                Identity::Needed | Identity::Broken { .. } => return None,
                Identity::Active { id, epoch, next } => {
                    slot.stamp = Some(Stamp { id: *id, epoch: *epoch, sequence: *next });
                    *next = next.advance(slot.records);
                }
            }
        }
        slot.in_flight = Some(route);
        slot.attempts += 1;
        Some(Sending { number: slot.number, batch: &mut slot.batch, stamp: slot.stamp })
    }

    /// An attempt ended. Late answers, of a stream that was given up, change nothing.
    pub(crate) fn answer<T>(
        &mut self,
        number: u64,
        route: R,
        verdict: Verdict<T>,
    ) -> Option<Settled<B, T>> {
        let at = self.slots.iter().position(|slot| slot.number == number)?;
        let slot = &mut self.slots[at];
        if slot.in_flight != Some(route) {
            return None;
        }
        slot.in_flight = None;
        let settled = match verdict {
            Verdict::Stored(stored) => Some(self.remove(at, Outcome::Stored(stored))),
            Verdict::Again(effect) => {
                slot.is_in_doubt |= effect == Effect::Unknown;
                None
            }
            Verdict::Gap(error) => self.gap(at, error),
            Verdict::Refused(error) => Some(self.refuse(at, error)),
        };
        self.resolve();
        settled
    }

    /// Everything that was sent on a stream came back without an answer.
    pub(crate) fn stream_lost(&mut self, route: R, effect: Effect) {
        for slot in self.slots.iter_mut().filter(|slot| slot.in_flight == Some(route)) {
            slot.in_flight = None;
            slot.is_in_doubt |= effect == Effect::Unknown;
        }
        self.resolve();
    }

    /// Batches whose deadline has passed leave, wherever they are.
    pub(crate) fn expire<T>(&mut self, now: Duration) -> Vec<Settled<B, T>> {
        let mut expired = Vec::new();
        while self.slots.front().is_some_and(|slot| slot.deadline <= now) {
            let slot = &self.slots[0];
            let is_unknown = slot.is_in_doubt || slot.in_flight.is_some();
            let effect = if is_unknown { Effect::Unknown } else { Effect::None };
            self.leave_hole(0, effect);
            expired.push(self.remove(0, Outcome::Expired(effect)));
        }
        self.resolve();
        expired
    }

    /// Everything leaves: `outcome` says why, given what is known of each batch.
    pub(crate) fn drain<T>(
        &mut self,
        outcome: impl Fn(Effect) -> Outcome<T>,
    ) -> Vec<Settled<B, T>> {
        let mut drained = Vec::new();
        while let Some(slot) = self.slots.front() {
            let is_unknown = slot.is_in_doubt || slot.in_flight.is_some();
            let effect = if is_unknown { Effect::Unknown } else { Effect::None };
            self.leave_hole(0, effect);
            drained.push(self.remove(0, outcome(effect)));
        }
        self.resolve();
        drained
    }

    /// A sequence did not follow. Behind an unsettled batch that is a consequence; at the front
    /// it never will: an earlier batch left a hole, or the server lost what it had.
    fn gap<T>(&mut self, at: usize, error: Error) -> Option<Settled<B, T>> {
        let slot = &self.slots[at];
        if slot.stamp.is_none() {
            return Some(self.refuse(at, error));
        }
        if at > 0 {
            return None;
        }
        if slot.is_in_doubt {
            return Some(self.refuse(at, error));
        }
        self.break_identity(slot.number, slot.number);
        None
    }

    fn refuse<T>(&mut self, at: usize, error: Error) -> Settled<B, T> {
        let is_in_doubt = self.slots[at].is_in_doubt;
        let error = if is_in_doubt { error.with_unknown_effect() } else { error };
        self.leave_hole(at, error.effect());
        self.remove(at, Outcome::Refused(error))
    }

    /// The batch at `at` leaves without being known as stored.
    fn leave_hole(&mut self, at: usize, effect: Effect) {
        let slot = &self.slots[at];
        if slot.stamp.is_none() {
            return;
        }
        let behind = slot.number + 1;
        match effect {
            Effect::None => self.break_identity(behind, behind),
            Effect::Unknown => self.break_identity(u64::MAX, behind),
        }
    }

    fn break_identity(&mut self, dead: u64, doubtful: u64) {
        self.identity = match self.identity {
            Identity::Off => Identity::Off,
            Identity::Needed => Identity::Needed,
            Identity::Active { .. } => {
                Identity::Broken { dead_from: dead, doubtful_from: doubtful }
            }
            Identity::Broken { dead_from, doubtful_from } => Identity::Broken {
                dead_from: dead_from.min(dead),
                doubtful_from: doubtful_from.min(doubtful),
            },
        };
    }

    /// Once nothing is in flight, batches that cannot be stored under their id lose it. The first
    /// that certainly is not stored makes the same certain for all behind it, for its sequence is
    /// never sent again.
    fn resolve(&mut self) {
        let Identity::Broken { dead_from, doubtful_from } = self.identity else { return };
        if self.slots.iter().any(|slot| slot.in_flight.is_some()) {
            return;
        }
        let is_lost = |slot: &Slot<B, R>| {
            slot.stamp.is_none()
                || slot.number >= dead_from
                || (slot.number >= doubtful_from && !slot.is_in_doubt)
        };
        let kept = self.slots.iter().position(is_lost).unwrap_or(self.slots.len());
        for slot in self.slots.iter_mut().skip(kept) {
            slot.stamp = None;
            slot.is_in_doubt = false;
        }
        if kept == 0 {
            self.identity = Identity::Needed;
        }
    }

    fn remove<T>(&mut self, at: usize, outcome: Outcome<T>) -> Settled<B, T> {
        let slot = self.slots.remove(at).expect("the index was found");
        Settled { batch: slot.batch, attempts: slot.attempts, outcome }
    }
}

#[cfg(test)]
mod tests;
