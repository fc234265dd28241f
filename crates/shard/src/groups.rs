//! The consumer groups a shard keeps, as readers see them.

use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use quipu_coordinator::{Answer, Command, Groups};
use quipu_types::TimestampMs;
use tokio::sync::{oneshot, watch};

use crate::control::ControlError;
use crate::reply::Outcome;

/// Whoever waits for the answer to a command of a group.
pub(crate) type GroupAnswer = oneshot::Sender<Result<Bytes, ControlError>>;

/// Shared between the state machine, which changes it, and everybody who looks a group up. The
/// lock is held for one command or one look.
#[derive(Debug)]
pub struct GroupTable {
    groups: RwLock<Groups>,
    /// How often anything changed.
    changed: watch::Sender<u64>,
}

impl Default for GroupTable {
    fn default() -> Self {
        Self { groups: RwLock::default(), changed: watch::Sender::new(0) }
    }
}

impl GroupTable {
    /// Looks at the groups as applied so far.
    pub fn read<T>(&self, look: impl FnOnce(&Groups) -> T) -> T {
        look(&self.groups.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells of every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut Groups) -> T) -> T {
        change(&mut self.groups.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn apply(&self, proposed_at: TimestampMs, command: Command) -> Answer {
        self.write(|groups| groups.apply(proposed_at, command))
    }

    /// Wakes those who wait for a change.
    pub(crate) fn publish(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }
}

/// A group command's outcome.
pub(crate) fn to_group(outcome: &Outcome) -> Result<Bytes, ControlError> {
    match outcome {
        Outcome::Group(answer) => Ok(answer.clone()),
        Outcome::Appended(_)
        | Outcome::Refused(_)
        | Outcome::UnknownPartition
        | Outcome::Opened { .. }
        | Outcome::Closed
        | Outcome::Trimmed(_)
        | Outcome::Imported(_)
        | Outcome::Sealed { .. }
        | Outcome::Misplaced => Err(ControlError::Reply),
    }
}
