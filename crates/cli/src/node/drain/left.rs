//! What a node leads, and who could lead it in its place.

use quipu_client::{ClusterDescription, ShardDescription};

/// What a node leads that is to rest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Another is to lead it soon, or is being elected.
    pub(super) pending: Vec<u32>,
    /// Nobody else has it.
    single: Vec<u32>,
    /// Nobody else who has it could lead it.
    staying: Vec<u32>,
}

impl Left {
    pub(super) fn of(cluster: &ClusterDescription, node: u64) -> Self {
        let mut left = Self::default();
        for shard in &cluster.shards {
            let is_led = shard.leader == Some(node);
            let mut others = shard.replicas.iter().filter(|other| **other != node);
            if others.any(|other| may_lead(cluster, *other)) {
                if is_led || is_being_elected(cluster, shard, node) {
                    left.pending.push(shard.shard);
                }
            } else if is_led && shard.replicas.len() > 1 {
                left.staying.push(shard.shard);
            } else if is_led {
                left.single.push(shard.shard);
            }
        }
        left
    }

    /// What is not waited for, for a person.
    pub(super) fn skipped(&self) -> Vec<String> {
        let mut told = Vec::new();
        if !self.single.is_empty() {
            let single = named(&self.single);
            told.push(format!("skipped: {single}, of one replica; nobody else can lead it"));
        }
        if !self.staying.is_empty() {
            let staying = named(&self.staying);
            told.push(format!("skipped: {staying}; no other node that has it could lead now"));
        }
        told
    }
}

/// Why a drain would hand nothing over.
pub(super) fn why_useless(cluster: &ClusterDescription, node: u64) -> Option<String> {
    if cluster.removed_nodes.contains(&node) {
        return Some(format!("node {node} is removed from the cluster"));
    }
    if !cluster.nodes.iter().any(|known| known.node_id == node) {
        return Some(format!("node {node} is not registered in the cluster"));
    }
    let mut others = cluster.nodes.iter().map(|other| other.node_id).filter(|id| *id != node);
    if others.clone().next().is_none() {
        return Some(format!("node {node} is the only one"));
    }
    (!others.any(|other| may_lead(cluster, other)))
        .then(|| format!("no other node answers that could lead in the place of node {node}"))
}

/// `shards 1, 4`
pub(super) fn named(shards: &[u32]) -> String {
    let ids: Vec<String> = shards.iter().map(u32::to_string).collect();
    format!("{} {}", if ids.len() == 1 { "shard" } else { "shards" }, ids.join(", "))
}

fn may_lead(cluster: &ClusterDescription, node: u64) -> bool {
    let known = cluster.nodes.iter().find(|known| known.node_id == node);
    known.is_some_and(|known| known.is_alive && known.state == "active")
}

/// A shard of the node has no leader, and enough nodes are there to elect one.
fn is_being_elected(cluster: &ClusterDescription, shard: &ShardDescription, node: u64) -> bool {
    let is_alive =
        |id: &&u64| cluster.nodes.iter().any(|known| known.node_id == **id && known.is_alive);
    shard.leader.is_none()
        && shard.replicas.contains(&node)
        && 2 * shard.replicas.iter().filter(is_alive).count() > shard.replicas.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::samples;

    #[test]
    fn leaderships_that_another_could_have_are_waited_for() {
        let mut cluster = samples::cluster(3);
        assert_eq!(Left::of(&cluster, 1).pending, [0, 1]);
        cluster.shards[1].leader = None;
        assert_eq!(Left::of(&cluster, 1).pending, [0, 1], "an election runs");
        cluster.shards[1].leader = Some(2);
        cluster.shards[0].leader = Some(3);
        assert_eq!(Left::of(&cluster, 1), Left::default());
    }

    #[test]
    fn what_nobody_else_could_lead_is_skipped_and_said() {
        let mut cluster = samples::cluster(3);
        cluster.shards[1].replicas = vec![1];
        let left = Left::of(&cluster, 1);
        assert_eq!((&left.pending[..], &left.single[..]), (&[0][..], &[1][..]));
        assert_eq!(left.skipped(), ["skipped: shard 1, of one replica; nobody else can lead it"]);
        cluster.nodes[1].is_alive = false;
        cluster.nodes[2].state = "drained";
        let left = Left::of(&cluster, 1);
        assert_eq!((&left.pending[..], &left.staying[..]), (&[][..], &[0][..]));
        cluster.shards[0].leader = None;
        assert!(Left::of(&cluster, 1).pending.is_empty(), "nobody will be elected");
    }

    #[test]
    fn a_drain_is_of_use_where_somebody_else_could_lead() {
        let mut cluster = samples::cluster(3);
        assert_eq!(why_useless(&cluster, 1), None);
        cluster.nodes[1].is_alive = false;
        assert_eq!(why_useless(&cluster, 1), None);
        cluster.nodes[2].state = "drained";
        let why = |cluster: &ClusterDescription, node| why_useless(cluster, node).expect("useless");
        assert!(why(&cluster, 1).contains("no other node answers"));
        assert!(why(&cluster, 4).contains("not registered"));
        cluster.removed_nodes = vec![4];
        assert!(why(&cluster, 4).contains("removed"));
        assert!(why(&samples::cluster(1), 1).contains("the only one"));
    }
}
