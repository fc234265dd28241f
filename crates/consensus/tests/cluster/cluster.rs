//! Nodes 1 to 3 with one shard, and what tests wait for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quipu_consensus::{Config, Group, ProposeError, Proposed, Role};
use quipu_types::{ClusterId, NodeId, ReplicaId, ShardId};

use crate::node::{Addresses, Node, Plan};

pub(crate) const SHARD: ShardId = ShardId::new(1);
/// Longer than anything takes here; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    _directory: tempfile::TempDir,
    plans: Vec<Plan>,
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    /// Three nodes that have formed one shard; node 1 formed it.
    pub(crate) async fn start(config: Config) -> Self {
        let mut cluster = Self::plan(config);
        for number in 1..=3 {
            cluster.start_node(number).await;
        }
        let members = (1..=3).map(|id| (ReplicaId::new(id), NodeId::new(id))).collect();
        cluster.group(1).initialize(members).await.unwrap();
        cluster
    }

    /// The plans, to be changed before the start.
    pub(crate) fn plan(config: Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let addresses = Arc::new(Addresses::default());
        let plans = (1..=3).map(|id| Plan {
            node: NodeId::new(id),
            cluster: ClusterId::from_bytes([1; 16]),
            directory: directory.path().join(id.to_string()),
            addresses: Arc::clone(&addresses),
            config: config.clone(),
            disk: quipu_disk::real(),
        });
        let plans: Vec<Plan> = plans.collect();
        plans.iter().for_each(|plan| std::fs::create_dir_all(&plan.directory).unwrap());
        Self { _directory: directory, plans, nodes: vec![None, None, None] }
    }

    pub(crate) fn plan_of(&mut self, number: usize) -> &mut Plan {
        &mut self.plans[number - 1]
    }

    /// Starts a node and opens its replica.
    pub(crate) async fn start_node(&mut self, number: usize) {
        let node = Node::start(self.plans[number - 1].clone()).await;
        node.open(SHARD).await.unwrap();
        self.nodes[number - 1] = Some(node);
    }

    pub(crate) fn kill(&mut self, number: usize) {
        drop(self.nodes[number - 1].take().unwrap().kill());
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        self.nodes[number - 1].as_ref().unwrap()
    }

    pub(crate) fn group(&self, number: usize) -> Group {
        self.node(number).group(SHARD)
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// The number of the node that leads and is ready.
    pub(crate) async fn leader(&self) -> usize {
        until("a leader", || {
            let leads = |node: &&Node| {
                node.group(SHARD).status().borrow().role == Role::Leader { is_ready: true }
            };
            self.alive().find(leads).map(|node| usize::try_from(node.id().get()).unwrap())
        })
        .await
    }

    /// Proposes at whoever leads until it is known to be committed.
    pub(crate) async fn write(&self, command: &'static str) -> Proposed {
        let writing = async {
            loop {
                let group = self.group(self.leader().await);
                let Some(leadership) = group.leadership() else { continue };
                let proposed =
                    group.propose(leadership, Bytes::from_static(command.as_bytes()), None);
                match proposed.await {
                    Ok(proposed) => return proposed,
                    Err(ProposeError::NotLeader { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{command}: {error}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, writing).await.expect("a write in time")
    }

    /// Waits until every living node has applied exactly these commands.
    pub(crate) async fn agree_on(&self, commands: &[Bytes]) {
        let agreed = tokio::time::timeout(PATIENCE, async {
            while self.alive().any(|node| node.commands(SHARD) != commands) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        if agreed.await.is_err() {
            let counts: Vec<usize> = self.alive().map(|node| node.commands(SHARD).len()).collect();
            panic!("expected {} commands everywhere, found {counts:?}", commands.len());
        }
    }
}

/// Looks again and again until there is something to see.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    until_async(what, || std::future::ready(look())).await
}

pub(crate) async fn until_async<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(seen) => seen,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// `count` numbered commands.
pub(crate) fn commands(range: std::ops::Range<usize>) -> Vec<Bytes> {
    range.map(|number| Bytes::from(format!("command {number}"))).collect()
}
