//! What the nodes of a run stand on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quipu_metadata::state_machine::State;
use quipu_metadata::{Image, NodeRecord, NodeState, sim};
use quipu_runtime::{OnExit, TaskGroup};
use quipu_types::{
    ClusterId, DirectoryId, Incarnation, LevelRange, NodeId, ReplicaId, ShardId, StartId,
};

use super::net::Net;
use super::oracle::Oracle;
use super::plan::Plan;
use super::replicas::Replicas;
use super::scene::Scene;
use crate::l2::Floor;

/// One run's. Clones share it.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) scene: Scene,
    pub(crate) plan: Arc<Plan>,
    pub(crate) net: Net,
    /// Of the simulator, not of a node.
    pub(crate) tasks: TaskGroup,
    oracles: Arc<Vec<(ShardId, Arc<Mutex<Oracle>>)>>,
    pub(crate) replicas: Replicas,
    /// What brokers stand on, where nodes have one.
    pub(crate) floor: Option<Arc<Floor>>,
}

impl Ground {
    pub(crate) fn new(
        scene: Scene,
        plan: Arc<Plan>,
        net: Net,
        tasks: TaskGroup,
        floor: Option<Arc<Floor>>,
    ) -> Self {
        let replicas = Replicas::new(scene.clone());
        let oracle = |shard| match &floor {
            Some(floor) => {
                Oracle::new(shard, replicas.clone()).watched_by(floor.watch(&scene, shard))
            }
            None => Oracle::new(shard, replicas.clone()),
        };
        let shards = (1..=plan.storage.shards).map(ShardId::new);
        let oracles = shards.map(|shard| (shard, Arc::new(Mutex::new(oracle(shard)))));
        let oracles = Arc::new(oracles.collect());
        Self { scene, plan, net, tasks, oracles, replicas, floor }
    }

    /// All shards.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.oracles.iter().map(|(shard, _)| *shard)
    }

    /// What a shard's replicas must agree on.
    pub(crate) fn oracle(&self, shard: ShardId) -> &Arc<Mutex<Oracle>> {
        let mut all = self.oracles.iter();
        let found = all.find(|(id, _)| *id == shard);
        &found.expect("shards do not come and go").1
    }

    pub(crate) fn lock(&self, shard: ShardId) -> MutexGuard<'_, Oracle> {
        self.oracle(shard).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.plan.nodes).map(NodeId::new)
    }

    /// What the metadata group begins with, where replicas move: each shard on three nodes in turn.
    pub(crate) fn first_state(&self) -> State {
        let nodes: Vec<NodeId> = self.nodes().collect();
        let turn = |at: usize| nodes.iter().copied().cycle().skip(at).take(REPLICAS).collect();
        let shards: Vec<Vec<NodeId>> = (0..self.shards().count()).map(turn).collect();
        let mut image = Image::default();
        image.cluster = CLUSTER;
        image.shards_per_node = 1;
        image.nodes = nodes.iter().map(|node| (*node, node_record(*node))).collect();
        sim::with_shards(image, &shards)
    }

    /// Every shard's members where replicas do not move: one per node, under its number.
    pub(crate) fn members(&self) -> Vec<(ReplicaId, NodeId)> {
        self.nodes().map(|node| (replica_on(node), node)).collect()
    }

    /// Starts a task of the simulator: its panic is a violation.
    pub(crate) fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, OnExit::Log, task);
    }
}

/// Of each shard, where replicas move.
const REPLICAS: usize = 3;
/// The cluster that all nodes belong to.
pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);

/// A node's data directory.
pub(crate) fn directory_of(node: NodeId) -> DirectoryId {
    DirectoryId::from_bytes([u8::try_from(node.get()).expect("few"); 16])
}

/// A node that never started.
fn node_record(node: NodeId) -> NodeRecord {
    NodeRecord {
        address_client: String::new(),
        address_peer: node.to_string(),
        directory: directory_of(node),
        incarnation: Incarnation::new(0),
        start: StartId::default(),
        rack: String::new(),
        version: String::new(),
        levels: LevelRange::OWN,
        state: NodeState::Active,
        rebuilt: None,
    }
}

/// A shard's replica on a node, where replicas do not move.
pub(crate) const fn replica_on(node: NodeId) -> ReplicaId {
    ReplicaId::new(node.get())
}
