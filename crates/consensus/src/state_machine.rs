//! What a group replicates into: implemented by the crates above.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use quipu_types::EntryId;

/// How far a state machine has come, in words it stores but does not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedState {
    /// The last entry applied; none before the first.
    pub applied: Option<EntryId>,
    /// The group's membership as of `applied`: opaque, empty at first.
    pub membership: Bytes,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A command, as it was proposed.
    Command(Bytes),
    /// The first entry of a leader's term: nothing to do.
    Blank,
    /// A change of members, which the group itself keeps: nothing to do.
    Membership(Bytes),
}

/// What a command answers: opaque, encoded by the state machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply(pub Bytes);

/// A state machine cannot go on: its disk failed, or what it reads there contradicts itself.
///
/// Refusals that every replica computes alike are replies, not errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StateMachineError(String);

impl StateMachineError {
    /// Says what failed.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Work that [`StateMachine::prepare_checkpoint`] hands out, done beside further applies.
pub type PrepareJob = Box<dyn FnOnce() -> Result<(), StateMachineError> + Send>;

/// The replicated state. Called under the group's lock, in order, never concurrently.
///
/// - `apply` must be deterministic: every replica sees the same entries in the same order.
/// - `apply`, `end_of_round` and `snapshot` run on the runtime's threads: they may write to the
///   page cache, not wait for a disk. `checkpoint`, `receiver` and `install` run on the blocking
///   pool.
/// - An error or a panic ends the process: what follows a failed apply cannot be trusted.
pub trait StateMachine: Send + 'static {
    /// What the last durable checkpoint holds.
    fn applied_state(&self) -> AppliedState;

    /// Applies one committed entry.
    ///
    /// # Errors
    /// Only when the replica cannot go on; refusals are replies.
    fn apply(&mut self, id: EntryId, payload: Payload) -> Result<Reply, StateMachineError>;

    /// Ends a round of applies: publish what became visible. Replies are sent after it.
    fn end_of_round(&mut self);

    /// Hands out the slow part of a checkpoint, to be done while applies go on; [`Self::checkpoint`]
    /// then finds little left to flush. By default there is none.
    fn prepare_checkpoint(&mut self) -> Option<PrepareJob> {
        None
    }

    /// Makes everything applied durable, together with `state`.
    ///
    /// # Errors
    /// When the disk refuses.
    fn checkpoint(&mut self, state: AppliedState) -> Result<(), StateMachineError>;

    /// A cheap manifest of the current state, readable while applies go on.
    ///
    /// # Errors
    /// When the disk refuses.
    fn snapshot(&mut self) -> Result<Arc<dyn SnapshotSource>, StateMachineError>;

    /// Prepares to receive what `manifest` describes. Nothing changes until [`Self::install`].
    ///
    /// # Errors
    /// When the manifest is unreadable or the disk refuses.
    fn receiver(&mut self, manifest: Bytes)
    -> Result<Box<dyn SnapshotReceiver>, StateMachineError>;

    /// Replaces the state by what was received. Durable on return.
    ///
    /// # Errors
    /// When the disk refuses.
    fn install(
        &mut self,
        state: AppliedState,
        received: Box<dyn SnapshotReceiver>,
    ) -> Result<(), StateMachineError>;
}

/// Where a snapshot's sender stands: two numbers that only the source reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotCursor(pub u64, pub u64);

/// The sending side of a snapshot. Blocking calls.
pub trait SnapshotSource: Send + Sync + 'static {
    /// What the snapshot consists of.
    fn manifest(&self) -> Bytes;

    /// The next chunk of what the receiver does not have; none at the end.
    ///
    /// # Errors
    /// When the disk refuses.
    fn chunk(
        &self,
        have: &Bytes,
        cursor: &mut SnapshotCursor,
    ) -> Result<Option<Bytes>, StateMachineError>;
}

/// The receiving side of a snapshot. Blocking calls. Dropping it forgets what was received.
pub trait SnapshotReceiver: Send + 'static {
    /// What is already here, for [`SnapshotSource::chunk`].
    fn have(&self) -> Bytes;

    /// Bytes that an earlier transfer left on the disk, for this one to go on from.
    fn staged_bytes(&self) -> u64 {
        0
    }

    /// Removes what is on the disk, so that the next transfer begins anew.
    fn give_up(self: Box<Self>) {}

    /// Takes one chunk.
    ///
    /// # Errors
    /// When the chunk is unreadable or the disk refuses.
    fn write(&mut self, chunk: Bytes) -> Result<(), StateMachineError>;

    /// Checks that all is here.
    ///
    /// # Errors
    /// When something is missing or damaged.
    fn finish(&mut self) -> Result<(), StateMachineError>;

    /// For the state machine that made it, to take it apart in [`StateMachine::install`].
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}
