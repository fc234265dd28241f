//! Snapshots from a peer.

use quipu_consensus::{SnapshotCursor, SnapshotReceiver, SnapshotSource, StateMachine};
use quipu_runtime::Rng;
use quipu_types::EntryId;

use super::Replica;
use crate::cluster::count;
use crate::commands::one_in;
use crate::journal_model::Record;
use crate::node::Node;
use crate::peer::Peer;
use crate::plant::Plant;
use crate::stop::{Step, Stop};

impl Replica {
    /// Receives a peer's snapshot, if the peer has come further, and mostly installs it.
    pub(super) fn receive_snapshot(&mut self, node: &Node, rng: &mut Rng) -> Step {
        if self.applied() >= self.cluster.committed() {
            return Ok(());
        }
        let mut peer = match self.peer.take() {
            Some(peer) => peer,
            None => Peer::new(self.shard, node.plan())?,
        };
        let received = self.receive_from(&mut peer, node, rng);
        self.peer = Some(peer);
        received
    }

    fn receive_from(&mut self, peer: &mut Peer, node: &Node, rng: &mut Rng) -> Step {
        peer.catch_up(&self.cluster)?;
        if one_in(rng, 3) {
            peer.checkpoint(&self.cluster)?;
        }
        let (state, source) = peer.snapshot(&self.cluster)?;
        let upto = state.applied.expect("the peer has applied something");
        node.trace.note(format_args!("shard {} receives a snapshot at {upto}", self.shard));
        let running = self.running.as_mut().expect("a replica that runs");
        let receiver = running.shard.machine.receiver(source.manifest());
        let mut receiver = receiver.map_err(|error| node.stop(error))?;
        let is_whole = transfer(&*source, &mut *receiver, node, rng)?;
        if one_in(rng, 3) {
            // The log goes on meanwhile.
            self.append(node, rng)?;
            self.apply(node, rng)?;
        }
        if !is_whole || self.applied() >= count(Some(upto)) {
            return Ok(());
        }
        self.drop_conflicting_log(node, upto);
        if !node.has(Plant::InstallAheadOfJournal) {
            // Or a crash leaves the snapshot with the log that conflicts with it.
            self.wait_for_journal(node)?;
        }
        self.try_point(node, state, true, |running, state| {
            running.shard.machine.install(state, receiver)
        })?;
        self.begin_after(node, upto);
        self.compare(node)
    }

    /// A log that conflicts with the snapshot goes but for what was committed, as in openraft.
    fn drop_conflicting_log(&mut self, node: &Node, upto: EntryId) {
        let running = self.running.as_mut().expect("a replica that runs");
        let here = running.journal.entry_id(upto.index);
        if here.is_some_and(|here| here != upto) {
            let last_kept = self.cluster.applied_state(running.applied).applied;
            node.trace.note(format_args!("shard {} drops its log", self.shard));
            let kept = last_kept.map(|kept| kept.index);
            self.calls.record(Record::TruncateAfter(kept));
            running.journal.truncate_after(kept);
            running.last = last_kept;
        }
    }

    fn begin_after(&mut self, node: &Node, upto: EntryId) {
        node.trace.note(format_args!("shard {} installed {upto}", self.shard));
        self.calls.record(Record::Purge(upto));
        let running = self.running.as_mut().expect("a replica that runs");
        running.applied = count(Some(upto));
        running.last = running.last.max(Some(upto));
        running.journal.purge(upto);
    }

    fn applied(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.applied)
    }
}

/// Sends chunks; says whether all came over.
fn transfer(
    source: &dyn SnapshotSource,
    receiver: &mut dyn SnapshotReceiver,
    node: &Node,
    rng: &mut Rng,
) -> Step<bool> {
    let (have, mut cursor) = (receiver.have(), SnapshotCursor::default());
    let broken = |error| Stop::Violation(format!("a healthy replica sends: {error}"));
    let is_given_up = one_in(rng, 8);
    while let Some(chunk) = source.chunk(&have, &mut cursor).map_err(broken)? {
        receiver.write(chunk).map_err(|error| node.stop(error))?;
        if is_given_up {
            return Ok(false);
        }
    }
    receiver.finish().map_err(|error| node.stop(error))?;
    Ok(true)
}
