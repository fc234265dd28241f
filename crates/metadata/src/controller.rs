//! What the leader of the metadata group sees to.
//!
//! The task runs on every node and acts only where the group is led. All it does is propose
//! commands and ask for transfers; both are harmless when two nodes believe to lead.

mod drain;
mod home;
mod liveness;
mod moves;
mod rebalance;
mod voters;

use std::sync::Arc;
use std::time::Duration;

use quipu_consensus::{ChangeMembersError, Consensus, Group, Role};
use quipu_runtime::{Clock, Deadline};
use quipu_types::{NodeId, ReplicaId};

use crate::command::{Command, Outcome};
use crate::error::MetadataError;
use crate::handle::Metadata;
use crate::identity::Identity;
use crate::image::Image;
use crate::level;
use crate::metrics;
use crate::placement::Rule;
use crate::state_machine;
use drain::Drain;
use home::Homecoming;
use liveness::Liveness;
use rebalance::Rebalance;

/// Looks again this often, for what no image announces: nodes that come and go.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long one step may take.
const STEP_WAIT: Duration = Duration::from_secs(5);

/// The controller of one node.
pub(crate) struct Controller {
    pub(crate) identity: Identity,
    pub(crate) metadata: Metadata,
    pub(crate) group: Group,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) clock: Clock,
    pub(crate) shards_per_node: u32,
    /// How long the cluster must be at rest before uneven nodes are evened out; zero: never.
    pub(crate) rebalance_after: Duration,
}

impl Controller {
    /// Follows images and leadership until cancelled.
    pub(crate) async fn run(self) {
        let mut images = self.metadata.watch();
        let mut standing = self.group.status();
        let mut liveness = Liveness::default();
        let mut homecoming = Homecoming::default();
        let mut drain = Drain::default();
        let mut rebalance = Rebalance::default();
        loop {
            let image = Arc::clone(&images.borrow_and_update());
            self.observe(&image, &mut liveness);
            // Leads, and knows all that was decided before.
            let is_controller =
                standing.borrow_and_update().role == Role::Leader { is_ready: true };
            metrics::controller_is_leader(is_controller);
            if is_controller {
                self.act(&image).await;
                drain.step(&self, &image, &liveness).await;
                voters::step(&self, &image, &liveness).await;
                moves::step(&self, &image, &liveness).await;
                homecoming.step(&self, &image, &liveness).await;
                rebalance.step(&self, &image, &liveness).await;
            } else {
                homecoming = Homecoming::default();
                rebalance = Rebalance::default();
            }
            // What changed meanwhile wakes at once. All three are cancel-safe.
            tokio::select! {
                Ok(()) = images.changed() => {}
                Ok(()) = standing.changed() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Keeps connections to all nodes, and a record of who answers.
    fn observe(&self, image: &Image, liveness: &mut Liveness) {
        for node in image.nodes.keys() {
            self.consensus.connect_peer(*node);
        }
        let consensus = &self.consensus;
        let now = self.clock.monotonic();
        let nodes = image.nodes.iter().map(|(node, record)| (*node, record.start));
        let alive = liveness.observe(nodes, |node| consensus.is_alive(node), now);
        metrics::cluster_nodes(alive, image.nodes.len().saturating_sub(alive));
    }

    async fn act(&self, image: &Image) {
        if !image.is_formed() {
            self.form().await;
            return;
        }
        self.add_learners(image).await;
        if let Some(class) = class_to_grow(image) {
            self.create_shards(class).await;
        }
    }

    /// The first command of all. The founders were agreed upon before the group was formed.
    async fn form(&self) {
        let command = Command::FormCluster {
            cluster: self.identity.cluster(),
            founders: self.identity.founders(),
            shards_per_node: self.shards_per_node,
            level: level::own().max,
        };
        match self.propose(command).await {
            Ok(_) => tracing::info!(cluster = %self.identity.cluster(), "the cluster is formed"),
            Err(error) => tracing::warn!(%error, "the cluster is not formed yet; trying again"),
        }
    }

    /// Nodes without a vote follow as learners: so they hold the image too.
    async fn add_learners(&self, image: &Image) {
        let Some(leadership) = self.group.leadership() else { return };
        let members: Vec<ReplicaId> =
            self.group.members().iter().map(|member| member.replica).collect();
        let replicas =
            image.nodes.keys().filter_map(|node| Some((image.metadata_replica(*node)?, *node)));
        let missing = replicas.filter(|(replica, _)| !members.contains(replica));
        for (replica, node) in missing.filter(|(_, node)| self.consensus.is_alive(*node)) {
            match self.group.add_learner(leadership, replica, node).await {
                Ok(()) => tracing::info!(%node, "node follows the metadata from now on"),
                Err(ChangeMembersError::NotLeader { .. } | ChangeMembersError::Stopped) => return,
                Err(
                    error @ (ChangeMembersError::Refused(_) | ChangeMembersError::LeadershipLost),
                ) => tracing::debug!(%node, %error, "node does not follow the metadata yet"),
            }
        }
    }

    async fn create_shards(&self, class: u8) {
        match self.propose(Command::CreateShards { class, rule: Rule::LeastLoaded }).await {
            Ok(Outcome::ShardsCreated(shards)) => {
                tracing::info!(class, count = shards.len(), "created shards");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(class, %error, "shards are not created; trying again"),
        }
    }

    async fn propose(&self, command: Command) -> Result<Outcome, MetadataError> {
        self.metadata.propose(command, Deadline::after(&self.clock, STEP_WAIT)).await
    }
}

/// A class that lacks shards: the cluster's default, or one that a topic asked for, after nodes
/// joined. None before all founders have registered: their shards are to be made together.
fn class_to_grow(image: &Image) -> Option<u8> {
    let has_come =
        |node: &NodeId| image.nodes.contains_key(node) || image.removed.contains_key(node);
    if !image.founders.keys().all(has_come) {
        return None;
    }
    let mut classes: Vec<u8> = image.shards.values().map(|shard| shard.class).collect();
    classes.push(image.default_replication());
    classes.sort_unstable();
    classes.dedup();
    let lacks =
        |class: &u8| !state_machine::missing_shards(image, *class, Rule::LeastLoaded).is_empty();
    classes.into_iter().find(lacks)
}
