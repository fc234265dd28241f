//! One node's part in all its groups: the registry, the peers, the way to other nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use openraft::Raft;
use quipu_journal::{GroupJournal, GroupState};
use quipu_proto::peer as proto;
use quipu_runtime::{Clock, OnExit, TaskGroup};
use quipu_types::{ClusterId, EntryId, NodeId, ReplicaId, ShardId};

use crate::call::{CallHandler, Handlers};
use crate::carrier::Connector;
use crate::config::Config;
use crate::disk_space::{DiskRoom, DiskSpace};
use crate::error::OpenGroupError;
use crate::failover;
use crate::group::{Group, Parts, supervise};
use crate::identity::{AddressBook, HelloPolicy, PeerIdentity};
use crate::log_store::LogStore;
use crate::machine::{Applier, Machine};
use crate::network::Network;
use crate::peer_service::{self, PeerService};
use crate::peers::{PeerStatus, Peers};
use crate::state_machine::StateMachine;
use crate::status::LeaderHint;

mod reach;

/// Consensus on one node.
pub struct Consensus {
    peers: Arc<Peers>,
    groups: RwLock<BTreeMap<ShardId, Group>>,
    handlers: Handlers,
    tasks: TaskGroup,
}

impl fmt::Debug for Consensus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consensus").field("node", &self.peers.node()).finish_non_exhaustive()
    }
}

impl Consensus {
    /// Starts consensus on a node. Connections come with the first group, or with
    /// [`Self::connect_peer`]. Must be called inside a runtime.
    #[must_use]
    pub fn new(
        config: Config,
        identity: PeerIdentity,
        addresses: Arc<dyn AddressBook>,
        clock: Clock,
        tasks: &TaskGroup,
    ) -> Arc<Self> {
        let tasks = tasks.child("consensus");
        let peers = Peers::new(config, identity, addresses, clock, tasks.clone());
        let consensus = Arc::new(Self {
            peers,
            groups: RwLock::default(),
            handlers: Handlers::default(),
            tasks: tasks.clone(),
        });
        tasks.spawn("beats", OnExit::StopNode, failover::beats(Arc::clone(&consensus)));
        tasks.spawn("failover", OnExit::StopNode, failover::watch(Arc::clone(&consensus)));
        consensus
    }

    /// The service for the node's peer listener; serve it with [`crate::peer_server`].
    #[must_use]
    pub fn peer_service(self: &Arc<Self>) -> PeerService {
        peer_service::service(Arc::clone(self))
    }

    /// Who this node is by now.
    #[must_use]
    pub fn identity(&self) -> Arc<PeerIdentity> {
        self.peers.identity()
    }

    /// Makes the node a member of a cluster: from now on its hellos say so.
    pub fn adopt_cluster(&self, cluster: ClusterId) {
        self.peers.adopt_cluster(cluster);
    }

    /// Decides from now on which peers are welcome; before, [`crate::MembersOnly`].
    pub fn set_hello_policy(&self, policy: Arc<dyn HelloPolicy>) {
        self.peers.set_policy(policy);
    }

    /// Reaches peers through a connector from now on; before, over TCP.
    pub fn set_connector(&self, connector: Arc<dyn Connector>) {
        self.peers.set_connector(connector);
    }

    /// Opens a replica: recovers it from its checkpoint and its journal, and takes part.
    ///
    /// # Errors
    /// When it is open already, or when checkpoint and journal contradict each other.
    pub async fn open_group(
        self: &Arc<Self>,
        shard: ShardId,
        replica: ReplicaId,
        journal: GroupJournal,
        machine: Box<dyn StateMachine>,
    ) -> Result<Group, OpenGroupError> {
        if self.group(shard).is_some() {
            return Err(OpenGroupError::AlreadyOpen);
        }
        let config = self.peers.config().clone();
        let raft_config = self.peers.raft_config().map_err(OpenGroupError::Config)?;
        let fatal = self.tasks.fatal().clone();
        let machine = Machine::open(shard, machine, fatal.clone())
            .map_err(|error| OpenGroupError::Checkpoint(error.to_string()))?;
        let log = LogStore::open(journal.clone())
            .map_err(|error| OpenGroupError::Recovery(error.to_string()))?;
        fits(&journal.state(), machine.applied().await).map_err(OpenGroupError::Recovery)?;
        let weight = log.weight();
        let network = Network::new(Arc::clone(&self.peers), shard);
        let applier = Applier::new(machine.clone(), journal.clone());
        let raft = Raft::new(replica.get(), raft_config, network, log, applier).await;
        let raft = raft.map_err(|error| OpenGroupError::Recovery(error.to_string()))?;
        // A round trip: the core runs, and its first metrics are out.
        raft.is_initialized().await.map_err(|error| OpenGroupError::Recovery(error.to_string()))?;
        let is_alone = {
            let voters: Vec<u64> = raft.voter_ids().collect();
            voters == [replica.get()]
        };
        if is_alone {
            // Nobody else could: no need to wait for a timer.
            let campaign = raft.trigger().elect(false).await;
            campaign.map_err(|error| OpenGroupError::Recovery(error.to_string()))?;
        }
        let peers = Arc::clone(&self.peers);
        let group =
            Group::new(Parts { shard, replica, raft, machine, journal, weight, peers, config });
        let supervisor = supervise(group.clone(), Arc::clone(&self.peers), fatal);
        self.tasks.spawn(&format!("shard-{shard}"), OnExit::Log, supervisor);
        self.write_groups().insert(shard, group.clone());
        Ok(group)
    }

    fn write_groups(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<ShardId, Group>> {
        self.groups.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replica of a shard here, if it is open.
    #[must_use]
    pub fn group(&self, shard: ShardId) -> Option<Group> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    /// All open replicas, in order of shard.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Closes a replica; its journal stays.
    pub async fn close_group(&self, shard: ShardId) {
        let group = self.write_groups().remove(&shard);
        if let Some(group) = group {
            group.shutdown().await;
        }
    }

    /// Keeps a connection to a node from now on.
    pub fn connect_peer(&self, node: NodeId) {
        drop(self.peers.keep(node));
    }

    /// What is known of each peer.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.peers.statuses()
    }

    /// Whether a node answers: connected, and heard within the last moments. This node does.
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.peers.is_alive(node)
    }

    /// The room on this node's disk.
    #[must_use]
    pub fn disk(&self) -> &DiskSpace {
        self.peers.disk()
    }

    /// The disk was measured. Returns what to make of it, if that is new: the peers hear of it at
    /// once.
    pub fn disk_measured(&self, free: u64, required: u64) -> Option<DiskRoom> {
        let news = self.disk().measured(free, required);
        if news.is_some() {
            self.peers.beat_now();
        }
        news
    }

    /// Whether a node is short of disk, as it said last.
    #[must_use]
    pub fn is_short_of_disk(&self, node: NodeId) -> bool {
        self.peers.is_short_of_disk(node)
    }

    /// Who leads a shard, as last heard: also of shards without a replica here.
    #[must_use]
    pub fn leader_hint(&self, shard: ShardId) -> Option<LeaderHint> {
        let own = self.group(shard).and_then(|group| {
            let status = group.status();
            let status = status.borrow();
            status.leader.map(|(_, node)| LeaderHint { node, term: status.term })
        });
        let heard = self.peers.hint(shard);
        match (own, heard) {
            (Some(own), Some(heard)) if heard.term > own.term => Some(heard),
            (Some(own), _) => Some(own),
            (None, heard) => heard,
        }
    }

    /// Sets what answers calls of a kind.
    pub fn on_call(&self, kind: u32, handler: Arc<dyn CallHandler>) {
        self.handlers.set(kind, handler);
    }

    pub(crate) const fn peer_table(&self) -> &Arc<Peers> {
        &self.peers
    }

    pub(crate) const fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    pub(crate) const fn tasks(&self) -> &TaskGroup {
        &self.tasks
    }

    /// The replica that a message is for.
    pub(crate) fn addressed(&self, target: &proto::Target) -> Result<Group, String> {
        let group = self.group(ShardId::new(target.shard));
        let group = group.filter(|group| group.replica().get() == target.replica);
        group.ok_or_else(|| {
            format!("replica {} of shard {} is not here", target.replica, target.shard)
        })
    }

    /// Whether the group's leader lives on a node that is heard no more.
    pub(crate) fn has_lost_leader(&self, group: &Group) -> bool {
        let leader = group.status().borrow().leader;
        let is_fast = self.peers.config().is_failover_fast;
        is_fast && leader.is_some_and(|(_, node)| self.peers.is_lost(node))
    }

    /// Closes all replicas and connections. The journal can be closed afterwards.
    pub async fn shutdown(&self) {
        let groups = std::mem::take(&mut *self.write_groups());
        let closing = groups.values().map(Group::shutdown);
        let closed =
            tokio::time::timeout(Duration::from_secs(10), futures::future::join_all(closing));
        if closed.await.is_err() {
            tracing::warn!("not all groups stopped in time");
        }
        self.tasks.cancel();
    }
}

/// Whether a journal and a checkpoint can be of one replica. openraft sees neither of these.
fn fits(journal: &GroupState, applied: Option<EntryId>) -> Result<(), String> {
    if applied.is_some() && journal.vote.is_none() {
        return Err("there is a checkpoint but the journal has no vote: this replica may have \
                    promised votes that it no longer knows. Replace it by a new replica"
            .to_owned());
    }
    match journal.purged {
        Some(purged) if applied.is_none_or(|applied| applied.index < purged.index) => Err(format!(
            "the journal begins after entry {purged} but the checkpoint ends at {}: the entries \
             between are gone. Replace this replica by a new one",
            applied.map_or_else(|| "none".to_owned(), |applied| applied.to_string())
        )),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quipu_types::{LogIndex, Term};

    use super::*;

    fn at(index: u64) -> EntryId {
        EntryId::new(Term::new(1), LogIndex::new(index))
    }

    #[test]
    fn a_checkpoint_without_its_journal_is_refused_and_the_reverse() {
        let vote = Some(Bytes::from_static(b"vote"));
        let voted = GroupState { vote, ..GroupState::default() };
        let purged = GroupState { purged: Some(at(9)), last: Some(at(12)), ..voted.clone() };
        assert!(fits(&GroupState::default(), None).is_ok());
        assert!(fits(&GroupState::default(), Some(at(3))).is_err());
        assert!(fits(&voted, Some(at(3))).is_ok());
        assert!(fits(&purged, Some(at(9))).is_ok());
        assert!(fits(&purged, Some(at(8))).is_err());
        assert!(fits(&purged, None).is_err());
    }
}
