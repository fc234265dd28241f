//! A cluster under load that never stops, and what is asked of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{
    Admin, Client, ClusterDescription, NewTopic, NodeId, ShardId, TopicDescription,
};
use quipu_testkit::{Cluster, ClusterOptions, Ledger, dataset, until};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// How long replicas may take to move, on a machine that does other things too.
pub(crate) const MOVE_WAIT: Duration = Duration::from_secs(120);
/// How long one record may take: a client tries again that long.
const DELIVERY_WAIT: Duration = Duration::from_secs(60);
pub(crate) const TOPIC: &str = "permits";
pub(crate) const PARTITIONS: u32 = 6;
/// Between two records.
const PACE: Duration = Duration::from_millis(4);

/// Small shards and journals, so that replicas need snapshots too.
const SETTINGS: [&str; 6] = [
    "cluster.shards-per-node=1",
    "journal.file-bytes=4MiB",
    "storage.checkpoint-interval=500ms",
    "storage.journal-entries-kept=64",
    "raft.heartbeat=100ms",
    "log.format=text",
];

pub(crate) struct Field {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    ledger: Arc<Ledger>,
    stop: watch::Sender<bool>,
    load: JoinHandle<Result<()>>,
}

impl Field {
    pub(crate) async fn start(nodes: u64) -> Result<Self> {
        Self::start_with(nodes, &[]).await
    }

    pub(crate) async fn start_with(nodes: u64, more: &[&str]) -> Result<Self> {
        let settings = SETTINGS.iter().chain(more).map(|setting| (*setting).to_owned()).collect();
        let cluster =
            Cluster::start_with(ClusterOptions { nodes, settings, ..<_>::default() }).await?;
        let client = cluster.client().await?;
        client.admin().create_topic(NewTopic::new(TOPIC).partitions(PARTITIONS)).await?;
        let ledger = Arc::new(Ledger::new(TOPIC, dataset::lines(64)?));
        let (stop, stopped) = watch::channel(false);
        let load = tokio::spawn(publish(client.clone(), Arc::clone(&ledger), stopped));
        let mut field = Self { cluster, client, ledger, stop, load };
        field.goes_on().await?;
        Ok(field)
    }

    pub(crate) fn admin(&self) -> Admin {
        self.client.admin()
    }

    /// Waits until no partition is on its way, and all are as expected: the node that answers may
    /// not know of a move yet.
    pub(crate) async fn partitions_are_there(
        &mut self,
        is_there: impl Fn(&TopicDescription) -> bool,
    ) -> Result<()> {
        until("partitions to arrive", MOVE_WAIT, async || {
            let topic = self.admin().describe_topic(TOPIC).await?;
            let moving = topic.partitions.iter().find(|it| it.moving_to.is_some());
            ensure!(moving.is_none() && is_there(&topic), "{moving:?} of {:?}", topic.partitions);
            Ok(())
        })
        .await?;
        self.goes_on().await
    }

    /// Waits until records are acknowledged that were not before.
    pub(crate) async fn goes_on(&mut self) -> Result<()> {
        let before = self.ledger.acked();
        until("records to be acknowledged", DELIVERY_WAIT, async || {
            ensure!(self.ledger.acked() > before + 20, "{} are", self.ledger.acked());
            Ok(())
        })
        .await
    }

    /// Starts another node and waits until it is known to all and answers.
    pub(crate) async fn add_node(&mut self) -> Result<u64> {
        let id = self.cluster.add_node()?;
        self.finds("a new node", |cluster| {
            let node = cluster.nodes.iter().find(|node| node.node_id == id);
            ensure!(node.is_some_and(|node| node.is_alive), "{:?}", cluster.nodes);
            Ok(())
        })
        .await?;
        self.cluster.wait_healthy().await?;
        Ok(id)
    }

    /// Waits until the cluster looks so.
    pub(crate) async fn finds<T>(
        &self,
        what: &str,
        look: impl Fn(ClusterDescription) -> Result<T>,
    ) -> Result<T> {
        until(what, MOVE_WAIT, async || look(self.admin().describe_cluster().await?)).await
    }

    pub(crate) async fn moves_end(&mut self) -> Result<()> {
        self.finds("all moves to end", |cluster| {
            ensure!(cluster.planned_moves.is_empty(), "{:?}", cluster.planned_moves);
            let moving = cluster.shards.iter().find(|shard| !shard.leaving.is_empty());
            ensure!(moving.is_none(), "{moving:?}");
            Ok(())
        })
        .await?;
        self.goes_on().await
    }

    pub(crate) async fn is_removed(&mut self, node: u64) -> Result<()> {
        self.finds("a node to be removed", |cluster| {
            ensure!(cluster.removed_nodes.contains(&node), "{:?}", cluster.shards);
            Ok(())
        })
        .await?;
        self.goes_on().await
    }

    pub(crate) async fn leads_nothing(&mut self, node: u64) -> Result<()> {
        self.finds("leaderships to leave", |cluster| {
            let led = cluster.shards.iter().find(|shard| shard.leader == Some(node));
            ensure!(led.is_none(), "{led:?}");
            ensure!(cluster.shards.iter().all(|shard| shard.leader.is_some()), "no leader");
            Ok(())
        })
        .await?;
        self.goes_on().await
    }

    pub(crate) async fn leads(&self, node: u64) -> Result<()> {
        self.finds("a leadership to come home", |cluster| {
            let leads = cluster.shards.iter().any(|shard| shard.leader == Some(node));
            ensure!(leads, "node {node} leads nothing");
            Ok(())
        })
        .await
    }

    /// A shard with records.
    pub(crate) async fn shard(&self) -> Result<ShardId> {
        let topic = self.admin().describe_topic(TOPIC).await?;
        let first = topic.partitions.first().context("a topic has partitions")?;
        Ok(ShardId::new(first.shard))
    }

    pub(crate) async fn leader_of(&self, shard: ShardId) -> Result<u64> {
        self.finds("a leader", |cluster| {
            let shard = cluster.shards.iter().find(|known| known.shard == shard.get());
            shard.and_then(|shard| shard.leader).context("nobody leads")
        })
        .await
    }

    pub(crate) async fn nodes_of(&self, shard: ShardId) -> Result<Vec<NodeId>> {
        let cluster = self.admin().describe_cluster().await?;
        let shard = cluster.shards.into_iter().find(|known| known.shard == shard.get());
        let nodes = shard.context("a shard of the cluster")?.replicas;
        Ok(nodes.into_iter().map(NodeId::new).collect())
    }

    /// Ends the load and looks: every record was acknowledged, stands at its offset, and on all
    /// nodes that are to have it.
    pub(crate) async fn end(self) -> Result<()> {
        self.stop.send_replace(true);
        self.load.await??;
        let failed = self.ledger.failed();
        ensure!(failed.is_empty(), "{} records failed: {:?}", failed.len(), failed.first());
        let verdict = self.ledger.verify(&self.client).await?;
        ensure!(verdict.duplicated == 0 && verdict.read == verdict.acked, "{verdict:?}");
        until("equal replicas", MOVE_WAIT, async || {
            let admin = self.client.admin();
            let topic = admin.describe_topic(TOPIC).await?;
            let replicas = usize::try_from(topic.replication)?;
            for partition in topic.partitions {
                let mut found = Vec::new();
                for node in &partition.replicas {
                    let node = NodeId::new(*node);
                    let sum = admin.partition_checksum(node, TOPIC, partition.index).await?;
                    found.push((sum.log_start, sum.high_watermark, sum.crc32c));
                }
                ensure!(
                    found.len() == replicas && found.iter().all(|it| *it == found[0]),
                    "{found:?}"
                );
            }
            Ok(())
        })
        .await
    }
}

async fn publish(
    client: Client,
    ledger: Arc<Ledger>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let producer = client.producer().delivery_timeout(DELIVERY_WAIT).build()?;
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut settling = tokio::task::JoinSet::new();
    while !*stopped.borrow_and_update() {
        pace.tick().await;
        let (number, record) = ledger.record();
        let delivery = producer.enqueue(record).await?;
        let ledger = Arc::clone(&ledger);
        settling.spawn(async move { ledger.settle(number, delivery).await });
        while settling.try_join_next().is_some() {}
    }
    producer.close(DELIVERY_WAIT).await?;
    settling.join_all().await;
    Ok(())
}
