//! What would give every node its share of replicas and leaderships, as an image has it.

use quipu_types::NodeId;

use crate::image::{Image, ReplicaMove};
use crate::placement::{self, Site, Weighed};

/// Moves under way at once, unless somebody says.
pub const MOVES_AT_ONCE: u32 = 2;

/// What a partition weighs against an empty shard, which costs its heartbeats only.
const PARTITION_WEIGHT: u64 = 16;
/// Nodes may hold this part more or less than the average before replicas move by themselves:
/// every new topic tips the scale a little. Unit: percent.
const TOLERANCE: u64 = 25;

/// The moves that give every node that answers its share; none when all is even.
#[must_use]
pub fn plan(image: &Image, answers: impl Fn(NodeId) -> bool) -> Vec<ReplicaMove> {
    placement::rebalance(&sites(image, answers), &shards(image))
}

/// Whether nodes hold so different amounts that it is worth moving data by itself.
#[must_use]
pub(crate) fn is_uneven(image: &Image, answers: impl Fn(NodeId) -> bool) -> bool {
    let shards = shards(image);
    let load = |node: NodeId| -> u64 {
        let held = shards.iter().filter(|shard| shard.nodes.contains(&node));
        held.map(|shard| shard.weight).sum()
    };
    let loads: Vec<u64> = sites(image, answers).into_iter().map(|site| load(site.node)).collect();
    let count = u64::try_from(loads.len()).unwrap_or(u64::MAX).max(1);
    let average = loads.iter().sum::<u64>() / count;
    loads.iter().any(|load| load.abs_diff(average) * 100 > average * TOLERANCE)
}

fn sites(image: &Image, answers: impl Fn(NodeId) -> bool) -> Vec<Site> {
    let hosts = image.hosts().filter(|(node, _)| answers(*node));
    hosts.map(|(node, record)| Site { node, rack: record.rack.clone() }).collect()
}

fn shards(image: &Image) -> Vec<Weighed> {
    let shards = image.shards.iter();
    shards
        .map(|(shard, record)| Weighed {
            shard: *shard,
            nodes: record.nodes(),
            weight: 1 + PARTITION_WEIGHT * count(image.partition_count(*shard)),
        })
        .collect()
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX / PARTITION_WEIGHT - 1)
}
