//! What is to be committed, and what became of it.

use quipu_types::PartitionId;
use quipu_types::limits::REQUEST_PARTITIONS_MAX;
use tokio::time::Instant;

use super::{Fate, Owned, Phase, Table};
use crate::error::AckError;

/// One position on its way to the group.
#[derive(Clone, Debug)]
pub(in crate::consumer) struct Commit {
    pub(in crate::consumer) id: PartitionId,
    /// First offset that is not settled.
    pub(in crate::consumer) position: u64,
    fate: Fate,
}

/// Whether there is something to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::consumer) enum Dirty {
    Clean,
    /// With the next interval.
    Later,
    /// Somebody waits for it.
    Now,
}

impl Table {
    /// How urgent a commit is.
    pub(in crate::consumer) fn dirty(&self, now: Instant) -> Dirty {
        let state = self.lock();
        state.owned.values().map(|owned| owned.dirty(now)).max().unwrap_or(Dirty::Clean)
    }

    /// What differs from what the group has, as much as one request takes.
    pub(in crate::consumer) fn commits(&self, now: Instant) -> Vec<Commit> {
        let state = self.lock();
        let dirty = state.owned.iter().filter(|(_, owned)| owned.dirty(now) != Dirty::Clean);
        let commit = |(id, owned): (&PartitionId, &Owned)| Commit {
            id: *id,
            position: owned.tracker.position(),
            fate: owned.fate.clone(),
        };
        dirty.map(commit).take(REQUEST_PARTITIONS_MAX).collect()
    }

    /// Whether a partition has a position that the group does not.
    pub(in crate::consumer) fn is_dirty(&self, id: PartitionId, now: Instant) -> bool {
        self.lock().owned.get(&id).is_some_and(|owned| owned.dirty(now) != Dirty::Clean)
    }

    /// The group has this position now.
    pub(in crate::consumer) fn committed(&self, commit: &Commit) {
        let mut state = self.lock();
        let Ok(owned) = state.of(commit.id, &commit.fate) else { return };
        owned.committed = Some(commit.position);
        owned.is_chosen = false;
        let later = owned.waiters.split_off(&commit.position);
        let done = std::mem::replace(&mut owned.waiters, later);
        for waiter in done.into_values().flatten() {
            // Who stopped waiting needs no answer.
            let _ = waiter.send(Ok(()));
        }
    }

    /// The group refused this position for a reason that does not pass.
    pub(in crate::consumer) fn refused(&self, commit: &Commit, why: &AckError) {
        if let Ok(owned) = self.lock().of(commit.id, &commit.fate) {
            owned.refuse(commit.position, why);
        }
    }
}

impl Owned {
    fn dirty(&self, now: Instant) -> Dirty {
        let position = self.tracker.position();
        let has_moved = match self.committed {
            Some(committed) => committed != position,
            // A start that was only looked up is not stored before something was acknowledged.
            None => self.is_chosen || position != self.tracker.start(),
        };
        match self.phase {
            Phase::Starting => Dirty::Clean,
            Phase::Reading | Phase::Revoking(_) if !has_moved => Dirty::Clean,
            Phase::Revoking(until) if self.tracker.held() == 0 || now >= until => Dirty::Now,
            Phase::Reading | Phase::Revoking(_) => {
                let awaited = self.waiters.first_key_value().map(|(offset, _)| *offset);
                if awaited.is_some_and(|offset| offset < position) {
                    Dirty::Now
                } else {
                    Dirty::Later
                }
            }
        }
    }
}
