//! Which shards should be elsewhere, so that every node has its share.

use std::collections::{BTreeMap, BTreeSet};

use quipu_types::{NodeId, ShardId};

use super::Site;
use crate::image::ReplicaMove;

/// A shard, and what it weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// The shard.
    pub shard: ShardId,
    /// Its nodes; the first is its preferred leader.
    pub nodes: Vec<NodeId>,
    /// What each replica costs its node.
    pub weight: u64,
}

/// Moves that even out what nodes hold and lead, as few as it takes. No set spans fewer racks
/// afterwards. Nothing when all is even.
///
/// Shards on nodes that are no sites stay as they are: those leave by other means.
#[must_use]
pub fn rebalance(sites: &[Site], shards: &[Weighed]) -> Vec<ReplicaMove> {
    let racks: BTreeMap<NodeId, &str> =
        sites.iter().map(|site| (site.node, site.rack.as_str())).collect();
    let mut balance = Balance { racks, shards: shards.to_vec() };
    while balance.move_replica() {}
    while balance.move_leader() {}
    let before = shards.iter().map(|shard| &shard.nodes);
    let after = balance.shards.iter();
    let moved = after.zip(before).filter(|(after, before)| after.nodes != **before);
    moved.map(|(after, _)| ReplicaMove { shard: after.shard, to: after.nodes.clone() }).collect()
}

struct Balance<'a> {
    racks: BTreeMap<NodeId, &'a str>,
    shards: Vec<Weighed>,
}

impl Balance<'_> {
    /// Moves the replica that brings two nodes closest, from the fullest it can to the emptiest.
    /// The sum of squares of the loads falls each time, so this ends.
    fn move_replica(&mut self) -> bool {
        let loads = self.loads(|shard| &shard.nodes[..]);
        let found = self.best(&loads, |shard, from, to| {
            let place = shard.nodes.iter().position(|node| *node == from)?;
            let mut nodes = shard.nodes.clone();
            nodes[place] = to;
            let is_right =
                !shard.nodes.contains(&to) && self.racks_in(&nodes) >= self.racks_in(&shard.nodes);
            is_right.then_some(nodes)
        });
        self.take(found)
    }

    /// The same for leaderships, which replicas trade among themselves.
    fn move_leader(&mut self) -> bool {
        let loads = self.loads(|shard| &shard.nodes[..shard.nodes.len().min(1)]);
        let found = self.best(&loads, |shard, from, to| {
            let place = shard.nodes.iter().position(|node| *node == to)?;
            let mut nodes = shard.nodes.clone();
            nodes.swap(0, place);
            (shard.nodes[0] == from).then_some(nodes)
        });
        self.take(found)
    }

    fn take(&mut self, found: Option<(usize, Vec<NodeId>)>) -> bool {
        let Some((at, nodes)) = found else { return false };
        self.shards[at].nodes = nodes;
        true
    }

    fn loads<'b>(&'b self, counted: impl Fn(&'b Weighed) -> &'b [NodeId]) -> Vec<(u64, NodeId)> {
        let mut loads: BTreeMap<NodeId, u64> = self.racks.keys().map(|node| (*node, 0)).collect();
        for shard in &self.shards {
            for node in counted(shard) {
                if let Some(load) = loads.get_mut(node) {
                    *load += shard.weight;
                }
            }
        }
        let mut loads: Vec<(u64, NodeId)> =
            loads.into_iter().map(|(node, load)| (load, node)).collect();
        loads.sort_unstable();
        loads
    }

    fn best(
        &self,
        loads: &[(u64, NodeId)],
        change: impl Fn(&Weighed, NodeId, NodeId) -> Option<Vec<NodeId>>,
    ) -> Option<(usize, Vec<NodeId>)> {
        for (most, from) in loads.iter().rev() {
            for (least, to) in loads {
                let gap = most.saturating_sub(*least);
                let changes = self.shards.iter().enumerate().filter_map(|(at, shard)| {
                    // Less than the gap: else the two only trade places.
                    let helps = (1..gap).contains(&shard.weight);
                    let nodes = helps.then(|| change(shard, *from, *to)).flatten()?;
                    Some(((2 * shard.weight).abs_diff(gap), at, nodes))
                });
                if let Some((_, at, nodes)) = changes.min() {
                    return Some((at, nodes));
                }
            }
        }
        None
    }

    fn racks_in(&self, set: &[NodeId]) -> usize {
        let racks = set.iter().filter_map(|node| self.racks.get(node));
        racks.collect::<BTreeSet<_>>().len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sites(nodes: u64, racks: u64) -> Vec<Site> {
        (1..=nodes)
            .map(|node| Site { node: NodeId::new(node), rack: format!("rack-{}", node % racks) })
            .collect()
    }

    fn shard(id: usize, nodes: &[u64], weight: u64) -> Weighed {
        let nodes = nodes.iter().copied().map(NodeId::new).collect();
        Weighed { shard: ShardId::new(u32::try_from(id).expect("small")), nodes, weight }
    }

    fn after(before: &[Weighed], moves: &[ReplicaMove]) -> Vec<Weighed> {
        let to = |shard| moves.iter().find(|one| one.shard == shard).map(|one| one.to.clone());
        before
            .iter()
            .map(|one| Weighed {
                nodes: to(one.shard).unwrap_or_else(|| one.nodes.clone()),
                ..one.clone()
            })
            .collect()
    }

    fn loads(shards: &[Weighed], nodes: u64) -> Vec<u64> {
        let holds = |node| {
            let held = shards.iter().filter(move |one| one.nodes.contains(&NodeId::new(node)));
            held.map(|one| one.weight).sum()
        };
        (1..=nodes).map(holds).collect()
    }

    #[test]
    fn two_new_nodes_take_their_share() {
        let sets = [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 3, 2], [2, 1, 3]];
        let before: Vec<Weighed> = (1..).zip(&sets).map(|(id, set)| shard(id, set, 10)).collect();
        let moves = rebalance(&sites(5, 1), &before);
        let balanced = after(&before, &moves);
        assert_eq!(loads(&balanced, 5), [30; 5]);
        let leads: BTreeSet<NodeId> = balanced.iter().map(|one| one.nodes[0]).collect();
        assert_eq!(leads.len(), 5, "one each");
        assert_eq!(rebalance(&sites(5, 1), &balanced), []);
    }

    #[test]
    fn nothing_moves_where_all_is_even_or_nobody_is_free() {
        let even = [shard(1, &[1, 2, 3], 5), shard(2, &[2, 3, 1], 5), shard(3, &[3, 1, 2], 5)];
        assert_eq!(rebalance(&sites(3, 1), &even), []);
        assert_eq!(rebalance(&[], &even), []);
    }

    #[test]
    fn a_set_keeps_its_racks() {
        // Node 4 shares its rack with node 1: only node 1's replicas may go there.
        let sites: Vec<Site> = [(1, "a"), (2, "b"), (3, "c"), (4, "a")]
            .map(|(node, rack)| Site { node: NodeId::new(node), rack: rack.to_owned() })
            .to_vec();
        let before: Vec<Weighed> = (1..=4).map(|id| shard(id, &[1, 2, 3], 10)).collect();
        let balanced = after(&before, &rebalance(&sites, &before));
        assert_eq!(loads(&balanced, 4), [20, 40, 40, 20]);
    }

    proptest! {
        #[test]
        fn sets_stay_whole_and_no_gap_grows(
            nodes in 3_u64..8,
            racks in 1_u64..4,
            weights in prop::collection::vec((1_u64..50, 0_u64..8, 1_u64..4), 0..20),
        ) {
            let before: Vec<Weighed> = (1..)
                .zip(&weights)
                .map(|(id, (weight, from, count))| {
                    let set: Vec<u64> = (0..*count).map(|at| (from + at) % nodes + 1).collect();
                    shard(id, &set, *weight)
                })
                .collect();
            let moves = rebalance(&sites(nodes, racks), &before);
            let balanced = after(&before, &moves);
            for (old, new) in before.iter().zip(&balanced) {
                let set: BTreeSet<NodeId> = new.nodes.iter().copied().collect();
                prop_assert_eq!(set.len(), old.nodes.len());
            }
            let square = |shards: &[Weighed]| {
                loads(shards, nodes).iter().map(|load| load * load).sum::<u64>()
            };
            prop_assert!(square(&balanced) <= square(&before));
        }
    }
}
