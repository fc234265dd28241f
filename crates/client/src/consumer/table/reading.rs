//! Handing messages out, and what the application says about them.

use std::sync::Arc;

use quipu_types::PartitionId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Fate, Owned, Phase, State, Table, Tracker};
use crate::consumer::TopicPartition;
use crate::error::AckError;
use crate::metrics::Consuming;

impl Table {
    /// A chunk is about to be read: whether it is of the current generation. One from before what
    /// was handed out means that reading was set back.
    pub(in crate::consumer) fn begin_chunk(
        &self,
        id: PartitionId,
        generation: u64,
        from: u64,
    ) -> bool {
        let mut state = self.lock();
        let Some(owned) = state.current(id, generation) else { return false };
        if from < owned.tracker.next() {
            owned.restart(from);
        }
        true
    }

    /// A message goes out, unless its generation is over.
    pub(in crate::consumer) fn hand_out(
        &self,
        id: PartitionId,
        generation: u64,
        offset: u64,
    ) -> Option<(Fate, Consuming)> {
        let mut state = self.lock();
        let owned = state.current(id, generation)?;
        owned.tracker.hand_out(offset, Instant::now());
        owned.metrics.consumed.increment(1);
        Some((owned.fate.clone(), owned.metrics.clone()))
    }

    /// All of a chunk was handed out: nothing else is below `next`.
    pub(in crate::consumer) fn end_chunk(&self, id: PartitionId, generation: u64, next: u64) {
        if let Some(owned) = self.lock().current(id, generation) {
            owned.tracker.skip_to(next);
        }
    }

    /// A partition cannot be read on; returns whether that is news of the current generation.
    pub(in crate::consumer) fn park(&self, id: PartitionId, generation: u64) -> bool {
        let is_current = self.lock().current(id, generation).is_some();
        if is_current {
            self.plan.remove(id);
        }
        is_current
    }

    /// Takes an acknowledgement; the receiver resolves when it is committed.
    pub(in crate::consumer) fn ack(
        &self,
        id: PartitionId,
        fate: &Fate,
        offset: u64,
    ) -> Result<oneshot::Receiver<Result<(), AckError>>, AckError> {
        let (waiter, committed) = oneshot::channel();
        let mut state = self.lock();
        let owned = state.of(id, fate)?;
        owned.tracker.ack(offset);
        // Not one that this reader left behind it, above the end of the log or by a seek back.
        let position = owned.tracker.position();
        if owned.committed.is_some_and(|committed| offset < committed && committed <= position) {
            // Whoever asked holds the receiver.
            let _ = waiter.send(Ok(()));
        } else {
            owned.waiters.entry(offset).or_default().push(waiter);
        }
        drop(state);
        self.touched.notify_one();
        Ok(committed)
    }

    /// Takes an acknowledgement that nobody waits for.
    pub(in crate::consumer) fn ack_later(&self, id: PartitionId, fate: &Fate, offset: u64) {
        let mut state = self.lock();
        let is_stopping = state.is_stopping;
        let Ok(owned) = state.of(id, fate) else { return };
        owned.tracker.ack(offset);
        let is_awaited = is_stopping || matches!(owned.phase, Phase::Revoking(_));
        drop(state);
        if is_awaited {
            self.touched.notify_one();
        }
    }

    /// The application let go of a message.
    pub(in crate::consumer) fn dropped(&self, id: PartitionId, fate: &Fate, offset: u64) {
        let mut state = self.lock();
        let is_stopping = state.is_stopping;
        let Ok(owned) = state.of(id, fate) else { return };
        owned.tracker.dropped(offset, Instant::now());
        let is_awaited = is_stopping || matches!(owned.phase, Phase::Revoking(_));
        drop(state);
        if is_awaited {
            self.touched.notify_one();
        }
    }

    /// Says when the processing of a message began; `None`: not yet.
    pub(in crate::consumer) fn set_since(
        &self,
        id: PartitionId,
        fate: &Fate,
        offset: u64,
        since: Option<Instant>,
    ) {
        if let Ok(owned) = self.lock().of(id, fate) {
            owned.tracker.set_since(offset, since);
        }
    }

    /// The identity of a partition that is held.
    pub(in crate::consumer) fn find(&self, name: &TopicPartition) -> Option<PartitionId> {
        let state = self.lock();
        let mut owned = state.owned.iter();
        owned.find(|(id, owned)| owned.name(**id) == *name).map(|(id, _)| *id)
    }

    /// Stops or resumes delivery. What was fetched meanwhile is fetched again.
    pub(in crate::consumer) fn set_paused(&self, id: PartitionId, is_paused: bool) {
        let mut state = self.lock();
        let Some(owned) = state.owned.get_mut(&id) else { return };
        if owned.is_paused == is_paused {
            return;
        }
        owned.is_paused = is_paused;
        if is_paused {
            self.stop_reading(id, state);
        } else {
            self.read_on(id, &mut state);
        }
    }

    /// Goes on at `to`; what was handed out before cannot be acknowledged any more.
    pub(in crate::consumer) fn seek(&self, id: PartitionId, to: u64) -> bool {
        let mut state = self.lock();
        let Some(owned) = state.owned.get_mut(&id) else { return false };
        if matches!(owned.phase, Phase::Revoking(_)) {
            return false;
        }
        owned.phase = Phase::Reading;
        owned.restart(to);
        self.read_on(id, &mut state);
        drop(state);
        self.output.discard(id);
        true
    }
}

impl State {
    fn current(&mut self, id: PartitionId, generation: u64) -> Option<&mut Owned> {
        self.owned.get_mut(&id).filter(|owned| owned.generation == generation)
    }

    /// The partition, if it is still held as it was when the message was handed out.
    pub(super) fn of(&mut self, id: PartitionId, fate: &Fate) -> Result<&mut Owned, AckError> {
        if let Some(why) = fate.get() {
            return Err(why.clone());
        }
        let owned = self.owned.get_mut(&id).filter(|owned| Arc::ptr_eq(&owned.fate, fate));
        owned.ok_or(AckError::AssignmentLost)
    }
}

impl Owned {
    /// The position is set anew.
    fn restart(&mut self, to: u64) {
        let why = AckError::AssignmentLost;
        // A fate is set once, by who replaces it.
        let _ = self.fate.set(why.clone());
        self.refuse(u64::MAX, &why);
        self.fate = Fate::default();
        self.tracker = Tracker::new(to);
        self.is_chosen = true;
    }
}
