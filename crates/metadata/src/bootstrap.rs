//! How a node gets from its data directory into its cluster.
//!
//! A node that belongs to a cluster opens its replica of the metadata group and registers. Fresh
//! nodes first become a cluster: each asks the others how far they are. One that hears of a
//! cluster joins it. Otherwise the node with the lowest id forms one, once every node of the list
//! has answered that it is fresh and has the same list: it makes up the cluster id, writes it down
//! together with everybody's directory, and starts the metadata group; the others hear of it.
//!
//! What makes this safe:
//! - One node may form, and only with the consent of all: no two clusters from one list.
//! - The cluster id is durable before the group exists, so a crash in between is continued.
//! - A founder that returns with another directory (a wiped disk) is turned away by everybody,
//!   before it could vote a second time under its old name.

mod discover;
mod error;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quipu_consensus::{Consensus, Group, InitializeError, OpenGroupError, PeerStatus};
use quipu_journal::GroupJournal;
use quipu_runtime::{Clock, Deadline, OnExit, TaskGroup};
use quipu_types::{ClusterId, NodeId, ReplicaId, ShardId};

use crate::admission::Admission;
use crate::calls;
use crate::command::NodeRegistration;
use crate::controller::Controller;
use crate::error::MetadataError;
use crate::handle::Metadata;
use crate::identity::{Founder, Identity};
use crate::level;
use crate::rebuild;
use crate::replica::{Images, MetadataStateMachine};

pub use error::BootstrapError;

/// How long one try to register may take.
const REGISTER_WAIT: Duration = Duration::from_secs(2);
/// A peer that turns this node away for so long means it.
const REJECTED_FOR_GOOD: Duration = Duration::from_secs(10);
/// How often a running node looks whether it is turned away.
const REJECTIONS_LOOK: Duration = Duration::from_secs(1);

/// In a rejection that is only for now.
pub(crate) const TRY_AGAIN: &str = "try again";

/// What the operator decided about this node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The nodes that form the cluster, with the addresses their peers dial: the same list on
    /// each of them. Empty: a cluster of this node alone.
    pub bootstrap: Vec<(NodeId, String)>,
    /// Shard leaders each node is to have; fixed when the cluster is formed.
    pub shards_per_node: u32,
    /// How long the cluster must be at rest before uneven nodes are evened out; zero: never.
    pub rebalance_after: Duration,
    /// `host:port` that clients are told to dial.
    pub address_client: String,
    /// `host:port` that other nodes are told to dial.
    pub address_peer: String,
    /// Failure domain; empty when there is none.
    pub rack: String,
    /// The release of this process.
    pub version: String,
}

/// What the start of the metadata stands on. The peer listener serves already.
#[derive(Debug)]
pub struct Bootstrap {
    /// Whose directory this is.
    pub identity: Identity,
    /// The node's consensus.
    pub consensus: Arc<Consensus>,
    /// The metadata group's part of the journal.
    pub journal: GroupJournal,
    /// The state machine, as of its last checkpoint.
    pub machine: MetadataStateMachine,
    /// Where its images appear.
    pub images: Images,
    /// Time.
    pub clock: Clock,
    /// The node's tasks.
    pub tasks: TaskGroup,
    /// The operator's part.
    pub settings: Settings,
}

/// What is left once the state machine and the journal belong to the group.
struct Node {
    identity: Identity,
    consensus: Arc<Consensus>,
    clock: Clock,
    settings: Settings,
    /// Since when each peer turns this node away. Unit: since the clock's start.
    rejected: BTreeMap<NodeId, Duration>,
}

impl Bootstrap {
    /// Brings the node into its cluster; resolves once it is registered, its image included.
    /// `progress` is told what is being waited for.
    ///
    /// Waits as long as it takes: for the other nodes, for a majority. Dropping the future leaves
    /// the group open; [`Consensus::shutdown`] closes it.
    ///
    /// # Errors
    /// Only what an operator must see to; each sentence says what to do.
    pub async fn run(self, progress: impl Fn(&str)) -> Result<Metadata, BootstrapError> {
        let Self { identity, consensus, journal, machine, images, clock, tasks, settings } = self;
        let admission = Admission::new(identity.clone(), images.clone());
        consensus.set_hello_policy(Arc::new(admission));
        calls::answer_transfers(&consensus);
        status::answer(&consensus, &identity, &images, &settings.bootstrap);
        let metadata = Metadata::new(images.clone(), Arc::clone(&consensus), clock.clone());
        rebuild::answer(&consensus, &metadata, &clock);
        let rejected = BTreeMap::new();
        let mut node = Node { identity, consensus, clock, settings, rejected };
        node.connect(&images);
        if !node.identity.is_member() {
            progress("waiting for the other nodes of the cluster");
            node.find_cluster().await?;
        }
        let group = node.open_group(journal, machine).await?;
        node.form_group(&group).await?;
        let controller = Controller {
            identity: node.identity.clone(),
            metadata: metadata.clone(),
            group,
            consensus: Arc::clone(&node.consensus),
            clock: node.clock.clone(),
            shards_per_node: node.settings.shards_per_node,
            rebalance_after: node.settings.rebalance_after,
        };
        tasks.spawn("controller", OnExit::StopNode, controller.run());
        progress("waiting for a majority of the metadata group");
        node.register(&metadata).await?;
        if node.identity.is_rebuilt() {
            progress("waiting for the metadata of the cluster");
            node.know_own_replicas(&images).await;
        }
        let watch =
            rebuild::watch(node.identity.node(), metadata.clone(), Arc::clone(&node.consensus));
        tasks.spawn("rebuild-watch", OnExit::StopNode, watch);
        let identity = node.identity.clone();
        let noted = tokio::task::spawn_blocking(move || identity.note_registered());
        noted.await.map_err(|_| BootstrapError::Stopping)??;
        level::spawn_keeper(node.identity.clone(), &metadata, &tasks);
        let fatal = tasks.fatal().clone();
        tasks.spawn("rejections", OnExit::StopNode, async move {
            fatal.stop_node(node.rejected_for_good().await.to_string());
        });
        Ok(metadata)
    }
}

impl Node {
    fn connect(&self, images: &Images) {
        let configured = self.settings.bootstrap.iter().map(|(node, _)| *node);
        let image = images.image();
        for node in configured.chain(image.nodes.keys().copied()) {
            self.consensus.connect_peer(node);
        }
    }

    /// Becomes a member of a cluster that exists, or forms one.
    async fn find_cluster(&mut self) -> Result<(), BootstrapError> {
        let (cluster, founders) = self.discover().await?;
        let identity = self.identity.clone();
        let adopted =
            tokio::task::spawn_blocking(move || identity.adopt_cluster(cluster, founders));
        adopted.await.map_err(|_| BootstrapError::Stopping)??;
        self.consensus.adopt_cluster(cluster);
        tracing::info!(%cluster, "this node belongs to a cluster");
        Ok(())
    }

    async fn open_group(
        &self,
        journal: GroupJournal,
        machine: MetadataStateMachine,
    ) -> Result<Group, OpenGroupError> {
        let replica = self.identity.replica();
        let machine = Box::new(machine);
        self.consensus.open_group(ShardId::METADATA, replica, journal, machine).await
    }

    /// The first founder starts the group, unless it did so in an earlier life.
    async fn form_group(&self, group: &Group) -> Result<(), InitializeError> {
        let founders = self.identity.founders();
        let is_first = founders.first().is_some_and(|first| first.node == self.identity.node());
        // One that began anew lost the group it formed, and forms no second.
        if !is_first || self.identity.is_rebuilt() || group.is_initialized() {
            return Ok(());
        }
        match group.initialize(voters(&founders)).await {
            Ok(()) | Err(InitializeError::Already) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells the cluster of this start, until it is heard.
    async fn register(&mut self, metadata: &Metadata) -> Result<(), BootstrapError> {
        let peer = self.identity.peer_identity();
        let registration = NodeRegistration {
            node: peer.node,
            directory: peer.directory,
            incarnation: peer.incarnation,
            starts: peer.starts,
            address_client: self.settings.address_client.clone(),
            address_peer: self.settings.address_peer.clone(),
            rack: self.settings.rack.clone(),
            version: self.settings.version.clone(),
            levels: level::own(),
        };
        loop {
            let deadline = Deadline::after(&self.clock, REGISTER_WAIT);
            match metadata.register_node(registration.clone(), deadline).await {
                Ok(()) => return Ok(()),
                Err(MetadataError::Refused(refusal)) => return Err(refusal.into()),
                Err(error) => tracing::debug!(%error, "not registered yet; trying again"),
            }
            self.check_rejections()?;
        }
    }

    /// Waits until the image here names this node's replicas as they are: before, it may name those
    /// that were lost.
    async fn know_own_replicas(&self, images: &Images) {
        let (node, own) = (self.identity.node(), self.identity.replica());
        let mut images = images.watch();
        let is_known = images.wait_for(|image| image.metadata_replica(node) == Some(own));
        if is_known.await.is_err() {
            tracing::debug!("the metadata group is gone, and so is the node");
        }
    }

    /// Resolves when this node must not run. A member may be turned away late: the directory of a
    /// cluster of one node needs nobody's consent to serve, be it in the place of another.
    async fn rejected_for_good(mut self) -> BootstrapError {
        loop {
            tokio::time::sleep(REJECTIONS_LOOK).await;
            if let Err(rejected) = self.check_rejections() {
                return rejected;
            }
        }
    }

    /// Gives up when most of the configured nodes keep turning this node away: a single one may be
    /// the one that is wrong.
    fn check_rejections(&mut self) -> Result<(), BootstrapError> {
        let now = self.clock.monotonic();
        let others =
            self.settings.bootstrap.iter().filter(|(node, _)| *node != self.identity.node());
        let others: BTreeSet<NodeId> = others.map(|(node, _)| *node).collect();
        let rejection = |peer: PeerStatus| Some((peer.node, peer.rejected_by?));
        let rejections: Vec<(NodeId, String)> = self
            .consensus
            .peers()
            .into_iter()
            .filter(|peer| others.contains(&peer.node))
            .filter_map(rejection)
            .filter(|(_, why)| !why.contains(TRY_AGAIN))
            .collect();
        let since = |node: &NodeId| self.rejected.get(node).copied().unwrap_or(now);
        self.rejected = rejections.iter().map(|(node, _)| (*node, since(node))).collect();
        let is_for_good =
            |node: &NodeId| now.saturating_sub(self.rejected[node]) >= REJECTED_FOR_GOOD;
        let for_good = rejections.iter().filter(|(node, _)| is_for_good(node)).count();
        match rejections.into_iter().next() {
            Some((node, why)) if 2 * for_good > others.len() => {
                Err(BootstrapError::TurnedAway { node, why })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The founders that vote: three, or five of five and more; the others follow.
fn voters(founders: &[Founder]) -> Vec<(ReplicaId, NodeId)> {
    let count = match founders.len() {
        0..=2 => founders.len(),
        3 | 4 => 3,
        _ => 5,
    };
    let voters = founders.iter().take(count);
    voters.map(|founder| (ReplicaId::new(founder.node.get()), founder.node)).collect()
}

fn is_nil(cluster: ClusterId) -> bool {
    cluster == ClusterId::default()
}

#[cfg(test)]
mod tests {
    use quipu_types::DirectoryId;

    use super::*;

    #[test]
    fn a_metadata_group_has_at_most_five_voters() {
        let founders: Vec<Founder> = (1..=7)
            .map(|node| Founder { node: NodeId::new(node), directory: DirectoryId::default() })
            .collect();
        let counts: Vec<usize> = (1..=7).map(|nodes| voters(&founders[..nodes]).len()).collect();
        assert_eq!(counts, [1, 2, 3, 3, 5, 5, 5]);
        assert_eq!(voters(&founders)[0], (ReplicaId::new(1), NodeId::new(1)));
    }
}
