//! openraft's state machine on ours: one lock, applies in order, panics caught.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine, SnapshotMeta};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use quipu_journal::GroupJournal;
use quipu_runtime::{Fatal, Undone, run_blocking};
use quipu_types::{EntryId, LogIndex, ShardId};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::error::CheckpointError;
use crate::snapshot::SnapshotData;
use crate::state_machine::{
    AppliedState, Reply, SnapshotReceiver, StateMachine, StateMachineError,
};
use crate::type_config::{Entry, LogId, StoredMembership, TypeConfig, entry_id, log_id};
use crate::{entry, membership};

/// What a snapshot covers.
type Meta = openraft::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot and what it covers.
type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// Entries between two rounds: what they made visible is published, their replies are sent.
const ROUND_ENTRIES: usize = 256;

/// The state machine of one group, with how far it has come. Clones share it.
#[derive(Clone)]
pub(crate) struct Machine {
    hosted: Arc<Mutex<Hosted>>,
    /// Held while a checkpoint is prepared, beside the applies.
    preparing: Arc<Mutex<()>>,
    shard: ShardId,
    fatal: Fatal,
}

struct Hosted {
    machine: Box<dyn StateMachine>,
    /// The group has stopped: nothing is touched any more, for it may not be there.
    is_closed: bool,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// The last durable checkpoint.
    checkpointed: Meta,
}

impl Hosted {
    fn check_open(&self) -> Result<(), StateMachineError> {
        if self.is_closed {
            return Err(StateMachineError::new("the group has stopped"));
        }
        Ok(())
    }

    fn state(&self) -> AppliedState {
        AppliedState {
            applied: self.applied.as_ref().map(entry_id),
            membership: membership::encode_stored(&self.membership),
        }
    }

    fn meta(&self) -> Meta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }

    fn apply(&mut self, entry: &Entry) -> Result<Reply, StateMachineError> {
        let payload = entry::payload(&entry.payload);
        let id = entry_id(&entry.log_id);
        quipu_failpoint::hit("consensus.apply.before");
        let reply = guarded(|| self.machine.apply(id, payload))?;
        quipu_failpoint::hit("consensus.apply.after");
        self.applied = Some(entry.log_id);
        if let EntryPayload::Membership(members) = &entry.payload {
            self.membership = StoredMembership::new(Some(entry.log_id), members.clone());
        }
        Ok(reply)
    }

    fn install(
        &mut self,
        meta: &Meta,
        received: Box<dyn SnapshotReceiver>,
    ) -> Result<(), StateMachineError> {
        let state = AppliedState {
            applied: meta.last_log_id.as_ref().map(entry_id),
            membership: membership::encode_stored(&meta.last_membership),
        };
        guarded(|| self.machine.install(state, received))?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.checkpointed = meta.clone();
        Ok(())
    }
}

/// Turns a panic into an error: a panicking apply would leave a leader that goes on without it.
fn guarded<T>(call: impl FnOnce() -> Result<T, StateMachineError>) -> Result<T, StateMachineError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        Err(StateMachineError::new(format!("panicked: {}", words(panic.as_ref()))))
    })
}

/// The words of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}

impl Machine {
    /// Takes over a state machine at its last checkpoint.
    pub(crate) fn open(
        shard: ShardId,
        machine: Box<dyn StateMachine>,
        fatal: Fatal,
    ) -> Result<Self, entry::Undecodable> {
        let state = machine.applied_state();
        let applied = state.applied.map(log_id);
        let membership = membership::decode_stored(state.membership)?;
        let checkpointed =
            SnapshotMeta { last_log_id: applied, last_membership: membership.clone() };
        let hosted = Hosted { machine, is_closed: false, applied, membership, checkpointed };
        let hosted = Arc::new(Mutex::new(hosted));
        Ok(Self { hosted, preparing: Arc::default(), shard, fatal })
    }

    /// Touches nothing from now on; returns once what is under way is over. openraft does not wait
    /// for what it has asked for, and a checkpoint is none of its business: either would go on in
    /// files that the caller is about to remove.
    pub(crate) async fn close(&self) {
        if quipu_failpoint::is_planted("plant.group.works-after-close") {
            return;
        }
        self.hosted.lock().await.is_closed = true;
        drop(self.preparing.lock().await);
    }

    /// The last entry of the checkpoint it was opened at.
    pub(crate) async fn applied(&self) -> Option<EntryId> {
        self.hosted.lock().await.applied.as_ref().map(entry_id)
    }

    /// The index of the last durable checkpoint.
    pub(crate) async fn checkpointed(&self) -> Option<LogIndex> {
        let hosted = self.hosted.lock().await;
        hosted.checkpointed.last_log_id.map(|id| entry_id(&id).index)
    }

    /// Makes everything applied durable: the journal up to there first, so that the checkpoint
    /// never claims more than the journal holds.
    pub(crate) async fn checkpoint(
        &self,
        journal: &GroupJournal,
    ) -> Result<Option<LogIndex>, CheckpointError> {
        let preparing = Arc::clone(&self.preparing).lock_owned().await;
        let job = {
            let mut hosted = self.hosted.lock().await;
            hosted.check_open().map_err(|_| CheckpointError::Stopped)?;
            hosted.machine.prepare_checkpoint()
        };
        if let Some(job) = job {
            let prepare = move || {
                let _until_done = preparing;
                guarded(job)
            };
            let done = run_blocking(prepare).await;
            self.checked("prepare a checkpoint", joined(done))?;
        }
        let hosted = Arc::clone(&self.hosted).lock_owned().await;
        hosted.check_open().map_err(|_| CheckpointError::Stopped)?;
        let Some(applied) = hosted.applied else { return Ok(None) };
        if hosted.checkpointed.last_log_id == Some(applied) {
            return Ok(Some(entry_id(&applied).index));
        }
        flushed(journal).await?;
        quipu_failpoint::hit("consensus.checkpoint.journal-flushed");
        let done = run_blocking(move || write_checkpoint(hosted)).await;
        self.checked("make a checkpoint", joined(done))?;
        Ok(Some(entry_id(&applied).index))
    }

    /// Prepares to receive a snapshot.
    pub(crate) async fn receiver(
        &self,
        manifest: Bytes,
    ) -> Result<Box<dyn SnapshotReceiver>, StateMachineError> {
        let mut hosted = Arc::clone(&self.hosted).lock_owned().await;
        hosted.check_open()?;
        let made = run_blocking(move || guarded(|| hosted.machine.receiver(manifest)));
        joined(made.await)
    }

    /// Ends the node when the state machine cannot go on.
    fn checked<T>(
        &self,
        what: &str,
        outcome: Result<T, StateMachineError>,
    ) -> Result<T, StateMachineError> {
        if let Err(error) = &outcome {
            self.fatal.stop_node(format!("shard {}: {what}: {error}", self.shard));
        }
        outcome
    }

    async fn live_snapshot(&self) -> Result<Option<Snapshot>, StateMachineError> {
        let mut hosted = self.hosted.lock().await;
        if hosted.is_closed || hosted.applied.is_none() {
            return Ok(None);
        }
        let meta = hosted.meta();
        let source = guarded(|| hosted.machine.snapshot())?;
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::Source(source) }))
    }
}

fn write_checkpoint(mut hosted: OwnedMutexGuard<Hosted>) -> Result<(), StateMachineError> {
    let (state, meta) = (hosted.state(), hosted.meta());
    guarded(|| hosted.machine.checkpoint(state))?;
    hosted.checkpointed = meta;
    Ok(())
}

fn joined<T>(done: Result<Result<T, StateMachineError>, Undone>) -> Result<T, StateMachineError> {
    done.unwrap_or_else(|_| Err(StateMachineError::new("the runtime is shutting down")))
}

/// Waits until everything handed to the journal before is durable.
async fn flushed(journal: &GroupJournal) -> Result<(), CheckpointError> {
    let (done, flushed) = oneshot::channel();
    journal.barrier(Box::new(move |result| drop(done.send(result))));
    match flushed.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(CheckpointError::Journal),
    }
}

/// openraft's handle, and the journal that a snapshot must not run ahead of.
pub(crate) struct Applier(Machine, GroupJournal);

impl Applier {
    pub(crate) const fn new(machine: Machine, journal: GroupJournal) -> Self {
        Self(machine, journal)
    }
}

/// Replies wait here until what they speak of is visible.
type Unsent = Vec<(ApplyResponder<TypeConfig>, Reply)>;

fn end_round(hosted: &mut Hosted, unsent: &mut Unsent) -> Result<(), StateMachineError> {
    guarded(|| {
        hosted.machine.end_of_round();
        Ok(())
    })?;
    quipu_failpoint::hit("consensus.reply.before");
    unsent.drain(..).for_each(|(responder, reply)| responder.send(reply));
    quipu_failpoint::hit("consensus.reply.after");
    Ok(())
}

impl RaftStateMachine<TypeConfig> for Applier {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let hosted = self.0.hosted.lock().await;
        Ok((hosted.applied, hosted.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut hosted = self.0.hosted.lock().await;
        hosted.check_open().map_err(io::Error::other)?;
        let mut unsent = Unsent::new();
        let mut in_round = 0;
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let applied = hosted.apply(&entry);
            let reply = self.0.checked("apply", applied).map_err(io::Error::other)?;
            unsent.extend(responder.map(|responder| (responder, reply)));
            in_round += 1;
            if in_round == ROUND_ENTRIES {
                in_round = 0;
                let ended = end_round(&mut hosted, &mut unsent);
                self.0.checked("end a round", ended).map_err(io::Error::other)?;
                tokio::task::yield_now().await;
            }
        }
        let ended = end_round(&mut hosted, &mut unsent);
        self.0.checked("end a round", ended).map_err(io::Error::other)
    }

    /// `is_forced` (at start, after a purge without a snapshot) covers everything applied;
    /// otherwise a snapshot stands for the last durable checkpoint.
    async fn try_create_snapshot_builder(&mut self, is_forced: bool) -> Option<Builder> {
        let hosted = self.0.hosted.lock().await;
        let meta = if is_forced { hosted.meta() } else { hosted.checkpointed.clone() };
        drop(hosted);
        let is_something = is_forced || meta.last_log_id.is_some();
        is_something.then_some(Builder(meta))
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder(self.0.hosted.lock().await.checkpointed.clone())
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let received = snapshot.received(&self.0).await.map_err(io::Error::other)?;
        // openraft hands a tail that conflicts with the snapshot to the journal to be cut, and does
        // not wait. A crash between the two would leave a log older than what is applied, with
        // which no start succeeds.
        quipu_failpoint::hit("consensus.install.before");
        flushed(&self.1).await.map_err(io::Error::other)?;
        quipu_failpoint::hit("consensus.install.journal-flushed");
        let mut hosted = Arc::clone(&self.0.hosted).lock_owned().await;
        hosted.check_open().map_err(io::Error::other)?;
        let meta = meta.clone();
        let done = run_blocking(move || hosted.install(&meta, received));
        self.0.checked("install a snapshot", joined(done.await)).map_err(io::Error::other)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let snapshot = self.0.live_snapshot().await;
        self.0.checked("take a snapshot", snapshot).map_err(io::Error::other)
    }
}

/// "Building" a snapshot is saying what a checkpoint covers: nothing is copied. What is sent to a
/// follower is taken afresh.
pub(crate) struct Builder(Meta);

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        Ok(Snapshot { meta: self.0.clone(), snapshot: SnapshotData::Checkpoint })
    }
}
