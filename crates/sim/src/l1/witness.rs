//! Stands between consensus and a shard's real state machine, and watches both.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quipu_consensus::{
    AppliedState, Payload, PrepareJob, Reply, SnapshotReceiver, SnapshotSource, StateMachine,
    StateMachineError,
};
use quipu_journal::GroupJournal;
use quipu_runtime::Rng;
use quipu_shard::ShardStateMachine;
use quipu_shard::sim::SimView;
use quipu_types::{EntryId, ReplicaId, ShardId, Term};

use super::census::Event;
use super::durable::Durable;
use super::life::Life;
use super::oracle::{Oracle, count};
use super::plant::Plant;
use super::replicas::Replicas;
use super::scene::Scene;
use super::snapshot;
use crate::commands::one_in;
use crate::disk::SimDisk;
use crate::stop::Stop;

/// Rounds of applies between two comparisons, about.
const ROUNDS_PER_COMPARISON: u64 = 60;
/// Of so many entries [`Plant::ApplyIsLost`] forgets one.
const LOST_ONE_IN: u64 = 40;

/// What a shard's replica on a node has come to; survives neither its process.
pub(crate) struct Replica {
    pub(crate) shard: ShardId,
    pub(crate) id: ReplicaId,
    pub(crate) life: Life,
    pub(crate) oracle: Arc<Mutex<Oracle>>,
    pub(crate) scene: Scene,
    pub(crate) view: SimView,
    pub(crate) disk: SimDisk,
    pub(crate) durable: Arc<Mutex<Durable>>,
    pub(crate) replicas: Replicas,
    /// Entries whose effect readers see.
    pub(crate) visible: AtomicUsize,
    /// The node holds it no more: what it still does is not seen by anybody.
    pub(crate) has_left: AtomicBool,
    /// It has nothing, and receives a snapshot.
    pub(crate) is_fed: AtomicBool,
}

impl Replica {
    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody sees any more what it does.
    pub(crate) fn is_over(&self) -> bool {
        self.life.is_over() || self.has_left.load(Ordering::Relaxed)
    }

    /// Notes something, while the process lives.
    fn note(&self, event: Option<Event>, what: std::fmt::Arguments<'_>) {
        if self.is_over() {
            return;
        }
        let (node, shard) = (self.life.node(), self.shard);
        match event {
            Some(event) => {
                self.scene.count(event, format_args!("node {node} shard {shard} {what}"));
            }
            None => self.scene.note(format_args!("node {node} shard {shard} {what}")),
        }
    }

    fn durable(&self) -> MutexGuard<'_, Durable> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leads in a term from now on.
    pub(crate) fn leads(&self, term: Term) {
        self.note(Some(Event::Elected), format_args!("leads in term {term}"));
        if !self.is_over() {
            self.scene.expect(self.oracle().leads(self.id, term));
        }
    }

    /// The journal forgot something.
    pub(crate) fn purged(&self) {
        self.note(Some(Event::Purged), format_args!("has its journal purged"));
    }

    /// A checkpoint was made, or not: for no other reason than the disk, or a stop that was asked for.
    pub(crate) fn checkpoint_is_over(&self, outcome: Result<(), String>) {
        if let Err(error) = outcome
            && !self.is_over()
            && !self.life.is_stopping()
            && let Stop::Violation(what) = self.disk.stop(error)
        {
            let (node, shard) = (self.life.node(), self.shard);
            self.scene.violated(format!("node {node} shard {shard}: no checkpoint: {what}"));
        }
    }

    /// Compares everything that readers see with the model.
    pub(crate) fn compare(&self, applied: usize) -> Result<(), String> {
        let oracle = self.oracle();
        let refused = |what: String| self.disk.stop(what);
        let compared = oracle.model(applied).compare(&self.view, &refused);
        self.note(Some(Event::Compared), format_args!("is compared after {applied}"));
        match compared {
            Err(Stop::Violation(what)) => {
                let (own, shard) = (self.life.node(), self.shard);
                Err(format!("node {own} shard {shard} after {applied} entries: {what}"))
            }
            Ok(()) | Err(Stop::Fault) => Ok(()),
        }
    }
}

/// The state machine that consensus drives.
pub(crate) struct Witness {
    machine: ShardStateMachine,
    replica: Arc<Replica>,
    /// Entries applied.
    applied: usize,
    rng: Rng,
}

impl Witness {
    /// Watches a shard that was just opened, and checks what was there.
    pub(crate) fn new(
        shard: ShardStateMachine,
        replica: Arc<Replica>,
        journal: &GroupJournal,
        rng: Rng,
    ) -> Result<Self, String> {
        let applied = replica.oracle().recognize(&shard.applied_state())?;
        if replica.durable().belongs_to(replica.shard, replica.id) {
            Durable::check_fresh(journal, applied)?;
        }
        let old_vote = replica.durable().old_vote(replica.shard);
        replica.durable().check(journal, applied)?;
        if let Some(vote) = old_vote.filter(|_| replica.scene.has(Plant::VoteIsForgotten)) {
            journal.save_vote(vote, Box::new(|_| ()));
        }
        if replica.scene.has(Plant::TruncationIsForgotten) {
            replica.durable().forgotten(replica.shard).put_back(journal);
        }
        replica.visible.store(applied, Ordering::Relaxed);
        replica.note(None, format_args!("opens after {applied}"));
        replica.compare(applied)?;
        Ok(Self { machine: shard, replica, applied, rng })
    }

    fn has(&self, plant: Plant) -> bool {
        self.replica.scene.has(plant)
    }

    /// What is applied, for planted faults: another thing on another node.
    fn bent(&mut self, payload: Payload) -> Payload {
        let is_odd = self.replica.life.node().get() == 2;
        let is_lost = self.has(Plant::ApplyDependsOnNode) && is_odd
            || self.has(Plant::ApplyIsLost) && one_in(&mut self.rng, LOST_ONE_IN);
        if is_lost { Payload::Blank } else { payload }
    }

    fn check(&self, checked: Result<(), String>) {
        if !self.replica.is_over() {
            self.replica.scene.expect(checked);
        }
    }

    fn check_state(&self, state: &AppliedState) {
        if self.replica.is_over() {
            return;
        }
        let known = self.replica.oracle().recognize(state);
        self.check(known.map(drop));
    }

    fn checkpoint_early(&mut self) -> Result<(), StateMachineError> {
        let state = self.replica.oracle().applied_state(self.applied);
        self.machine.checkpoint(state)
    }
}

impl StateMachine for Witness {
    fn applied_state(&self) -> AppliedState {
        self.machine.applied_state()
    }

    fn apply(&mut self, id: EntryId, payload: Payload) -> Result<Reply, StateMachineError> {
        let bent = self.bent(payload.clone());
        let reply = self.machine.apply(id, bent)?;
        if self.replica.is_over() {
            return Ok(reply);
        }
        let checked = self.replica.oracle().applied(self.applied, id, &payload, &reply);
        if let Err(what) = checked {
            self.replica.scene.violated(what.clone());
            return Err(StateMachineError::new(what));
        }
        self.applied += 1;
        self.replica.is_fed.store(false, Ordering::Relaxed);
        self.replica.note(Some(Event::Applied), format_args!("applied {id}"));
        if self.has(Plant::CheckpointAheadOfJournal) && one_in(&mut self.rng, 4) {
            self.checkpoint_early()?;
        }
        Ok(reply)
    }

    fn end_of_round(&mut self) {
        self.machine.end_of_round();
        self.replica.visible.store(self.applied, Ordering::Relaxed);
        if !self.replica.is_over() && one_in(&mut self.rng, ROUNDS_PER_COMPARISON) {
            self.check(self.replica.compare(self.applied));
        }
    }

    fn prepare_checkpoint(&mut self) -> Option<PrepareJob> {
        self.machine.prepare_checkpoint()
    }

    fn checkpoint(&mut self, state: AppliedState) -> Result<(), StateMachineError> {
        self.check_state(&state);
        self.machine.checkpoint(state)?;
        if !self.replica.is_over() {
            self.replica.durable().checkpointed(self.replica.shard, self.applied);
        }
        self.replica.note(Some(Event::Checkpointed), format_args!("checkpoints {}", self.applied));
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Arc<dyn SnapshotSource>, StateMachineError> {
        let source = self.machine.snapshot()?;
        self.replica.note(None, format_args!("gives a snapshot of {}", self.applied));
        if self.has(Plant::SnapshotWithoutProducers) {
            return Ok(Arc::new(snapshot::WithoutProducers(source)));
        }
        Ok(source)
    }

    fn receiver(
        &mut self,
        manifest: Bytes,
    ) -> Result<Box<dyn SnapshotReceiver>, StateMachineError> {
        let receiver = self.machine.receiver(manifest)?;
        if self.applied == 0 && !self.replica.is_over() {
            self.replica.is_fed.store(true, Ordering::Relaxed);
            self.replica.replicas.is_fed(self.replica.life.node());
        }
        Ok(receiver)
    }

    fn install(
        &mut self,
        state: AppliedState,
        received: Box<dyn SnapshotReceiver>,
    ) -> Result<(), StateMachineError> {
        self.check_state(&state);
        let (before, after) = (self.applied, count(state.applied));
        self.machine.install(state, received)?;
        if self.replica.is_over() {
            return Ok(());
        }
        if after < before {
            self.check(Err(format!("a snapshot takes {before} entries back to {after}")));
            return Ok(());
        }
        self.applied = after;
        self.replica.durable().checkpointed(self.replica.shard, after);
        let entries = u64::try_from(after).expect("few");
        self.replica.replicas.reached(self.replica.shard, self.replica.id, entries);
        self.replica.visible.store(after, Ordering::Relaxed);
        self.replica.note(Some(Event::Installed), format_args!("installed {after} at {before}"));
        if self.replica.is_fed.swap(false, Ordering::Relaxed) && before == 0 {
            self.replica.note(Some(Event::FreshFed), format_args!("had nothing"));
        }
        self.check(self.replica.compare(after));
        Ok(())
    }
}
