//! Nodes that rest, and shards that change their nodes, as an operator has them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use quipu_client::{Admin, NodeChange, NodeId, ShardDescription, ShardId};
use quipu_testkit::until;

use super::{Fault, Hit, World};
use crate::cluster::connect;

/// The longest a node rests, should nobody call it back.
const REST: Duration = Duration::from_secs(120);
/// How long leaderships may take to leave, among other faults.
const LEAVE_WAIT: Duration = Duration::from_secs(10);

/// A partition is called back so soon, at most: one that holds little has moved by then. Unit:
/// milliseconds.
const BACK_MS: u64 = 300;

async fn admin(world: &World<'_>) -> Result<Admin> {
    Ok(connect(&world.cluster.url()).await?.admin())
}

/// Leaderships leave a node, and come back.
#[derive(Debug, Default)]
pub(super) struct Drain {
    rests: Option<u64>,
}

impl Fault for Drain {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let node = world.leader()?;
            let admin = admin(world).await?;
            self.rests = Some(node);
            admin.change_node(NodeId::new(node), NodeChange::Drain(REST)).await?;
            let left = until("leaderships to leave", LEAVE_WAIT, async || {
                let cluster = admin.describe_cluster().await?;
                let leads = cluster.shards.iter().any(|shard| shard.leader == Some(node));
                ensure!(!leads, "node {node} still leads");
                Ok(())
            });
            let bit = left.await.is_ok();
            Ok(Hit::hindered(&[node], bit, format!("node {node} is drained")))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(node) = self.rests.take() else { return Ok(()) };
            // Without a majority it cannot be told: then its time ends the rest.
            let told = async {
                let admin = admin(world).await?;
                anyhow::Ok(admin.change_node(NodeId::new(node), NodeChange::Activate).await?)
            };
            if let Err(error) = told.await {
                crate::say::say(&format!("node {node} is not called back: {error:#}"));
            }
            Ok(())
        }
        .boxed()
    }
}

/// The replicas of a shard go to other nodes, by chance. With as many nodes as replicas only the
/// preferred leader changes.
#[derive(Debug)]
pub(super) struct MoveShard;

impl Fault for MoveShard {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let admin = admin(world).await?;
            let cluster = admin.describe_cluster().await?;
            let shards: Vec<_> =
                cluster.shards.iter().filter(|shard| shard.partitions > 0).collect();
            let count = u64::try_from(shards.len())?;
            ensure!(count > 0, "no shard has partitions");
            let place = usize::try_from(world.rng.below(count))?;
            let shard = shards.get(place).context("a shard")?;
            let mut nodes: Vec<u64> = cluster.nodes.iter().map(|node| node.node_id).collect();
            let mut to = Vec::new();
            for _ in 0..shard.replicas.len() {
                let place = usize::try_from(world.rng.below(u64::try_from(nodes.len())?))?;
                to.push(nodes.swap_remove(place));
            }
            let ids: Vec<NodeId> = to.iter().copied().map(NodeId::new).collect();
            admin.move_replicas(ShardId::new(shard.shard), &ids).await?;
            let bit = to != shard.replicas;
            let words = format!("shard {} moves from {:?} to {to:?}", shard.shard, shard.replicas);
            Ok(Hit::hindered(&to, bit, words))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, _world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// A partition goes to another shard, by chance; every third time it is to go back soon after: that
/// calls the move off, or is the next one when it has arrived.
#[derive(Debug)]
pub(super) struct MovePartition;

impl Fault for MovePartition {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let admin = admin(world).await?;
            let topics = admin.list_topics().await?;
            let partitions: Vec<_> = topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(move |it| (topic, it)))
                .collect();
            ensure!(!partitions.is_empty(), "no topic has partitions");
            let (topic, partition) = partitions[draw(world, partitions.len())?];
            let cluster = admin.describe_cluster().await?;
            let fits = |shard: &&ShardDescription| {
                shard.shard != 0
                    && shard.shard != partition.shard
                    && u32::try_from(shard.replicas.len()).is_ok_and(|it| it == topic.replication)
            };
            let shards: Vec<_> = cluster.shards.iter().filter(fits).collect();
            ensure!(!shards.is_empty(), "no other shard has as many replicas");
            let to = shards[draw(world, shards.len())?].shard;
            let (name, index, from) = (&topic.name, partition.index, partition.shard);
            let wanted = |shard: u32| [(index, ShardId::new(shard))].into();
            admin.move_partitions(name, &wanted(to)).await?;
            let mut words = format!("partition {index} of {name} moves from shard {from} to {to}");
            if draw(world, 3)? == 0 {
                let pause = Duration::from_millis(world.rng.below(BACK_MS));
                tokio::time::sleep(pause).await;
                words += &match admin.move_partitions(name, &wanted(from)).await {
                    Ok(_) => format!(", and back {pause:?} later"),
                    Err(error) => format!(", and perhaps back {pause:?} later: {error:#}"),
                };
            }
            let nodes = [partition.leader].into_iter().flatten().collect::<Vec<u64>>();
            Ok(Hit::hindered(&nodes, true, words))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, _world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}

fn draw(world: &mut World<'_>, count: usize) -> Result<usize> {
    Ok(usize::try_from(world.rng.below(u64::try_from(count)?))?)
}
