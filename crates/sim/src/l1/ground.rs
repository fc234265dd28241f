//! What the nodes of a run stand on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quipu_runtime::{OnExit, TaskGroup};
use quipu_types::{NodeId, ReplicaId, ShardId};

use super::net::Net;
use super::oracle::Oracle;
use super::plan::Plan;
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
        let oracle = |shard| match &floor {
            Some(floor) => Oracle::new(shard).watched_by(floor.watch(&scene, shard)),
            None => Oracle::new(shard),
        };
        let shards = (1..=plan.storage.shards).map(ShardId::new);
        let oracles = shards.map(|shard| (shard, Arc::new(Mutex::new(oracle(shard)))));
        let oracles = Arc::new(oracles.collect());
        Self { scene, plan, net, tasks, oracles, floor }
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

    /// Every shard's members: one replica per node, under its number.
    pub(crate) fn members(&self) -> Vec<(ReplicaId, NodeId)> {
        self.nodes().map(|node| (replica_on(node), node)).collect()
    }

    /// Starts a task of the simulator: its panic is a violation.
    pub(crate) fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, OnExit::Log, task);
    }
}

/// A shard's replica on a node.
pub(crate) const fn replica_on(node: NodeId) -> ReplicaId {
    ReplicaId::new(node.get())
}
