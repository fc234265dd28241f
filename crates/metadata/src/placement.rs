//! Which nodes hold which shard, and which shard which partition. Pure: the same input gives the
//! same output, on every replica and in every release.
//!
//! The state machine calls these at apply, so that concurrent requests are placed one after the
//! other and not all on the same shard. Therefore a rule is never changed: another one gets
//! another name, which commands then carry.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use quipu_types::{NodeId, ShardId};
use serde::{Deserialize, Serialize};

mod rebalance;
#[cfg(test)]
mod tests;

pub use rebalance::{Weighed, rebalance};

/// How places are chosen. Persisted; never reuse a name, never change what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Nodes and shards with the least first, racks before load; ties by id.
    LeastLoaded,
}

/// A node that may hold replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The node.
    pub node: NodeId,
    /// Failure domain.
    pub rack: String,
}

/// The replica set of a shard that exists; the first is its preferred leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its replication factor.
    pub class: u8,
    /// Its nodes.
    pub nodes: Vec<NodeId>,
}

/// Replica sets of the shards that a class lacks: until every node is the preferred leader of
/// `leaders_per_node` of them. None when there are fewer nodes than the class needs.
///
/// - Leaders go round the nodes; each node leads the same number.
/// - Followers: racks that the set does not have yet first, then the nodes with the fewest
///   replicas, then those that follow this leader least, so that a node's load is spread over
///   many when it fails.
#[must_use]
pub fn shards(
    rule: Rule,
    sites: &[Site],
    existing: &[Placed],
    class: u8,
    leaders_per_node: u32,
) -> Vec<Vec<NodeId>> {
    match rule {
        Rule::LeastLoaded => {
            if sites.len() < usize::from(class) || class == 0 {
                return Vec::new();
            }
            let mut load = Load::of(sites, existing, class);
            let mut made = Vec::new();
            while let Some(leader) = load.next_leader(leaders_per_node) {
                let set = load.replica_set(leader, class);
                load.add(&set, true);
                made.push(set);
            }
            load.even_out(&mut made);
            made
        }
    }
}

/// The set that takes the place of another which loses nodes: racks that are not in it first, then
/// the emptiest. The preferred leader stays first; where it is gone, who leads least is.
///
/// None when there are not enough sites.
#[must_use]
pub fn replace(
    sites: &[Site],
    existing: &[Placed],
    class: u8,
    set: &[NodeId],
    gone: &[NodeId],
) -> Option<Vec<NodeId>> {
    let racks: BTreeMap<NodeId, &str> =
        sites.iter().map(|site| (site.node, site.rack.as_str())).collect();
    let replicas = |node| existing.iter().filter(|placed| placed.nodes.contains(&node)).count();
    let leads = |node| {
        let of_class = existing.iter().filter(|placed| placed.class == class);
        of_class.filter(|placed| placed.nodes.first() == Some(&node)).count()
    };
    let mut to = set.to_vec();
    for place in 0..to.len() {
        if !gone.contains(&to[place]) {
            continue;
        }
        let stays = |node: &&NodeId| !gone.contains(*node);
        let taken: Vec<&str> =
            to.iter().filter(stays).filter_map(|node| racks.get(node).copied()).collect();
        let cost = |(node, rack): (&NodeId, &&str)| {
            (taken.iter().filter(|other| *other == rack).count(), replicas(*node), *node)
        };
        let free = racks.iter().filter(|(node, _)| !to.contains(*node) && stays(node));
        to[place] = free.map(cost).min()?.2;
    }
    if set.first() != to.first()
        && let Some(first) = (0..to.len()).min_by_key(|place| (leads(to[*place]), to[*place]))
    {
        to.swap(0, first);
    }
    Some(to)
}

/// What each node has so far.
struct Load<'a> {
    racks: BTreeMap<NodeId, &'a str>,
    /// Preferred leaderships within the class.
    leaders: BTreeMap<NodeId, u32>,
    /// Replicas of all classes.
    replicas: BTreeMap<NodeId, u32>,
    /// (leader, follower) → how often.
    pairs: BTreeMap<(NodeId, NodeId), u32>,
}

impl<'a> Load<'a> {
    fn of(sites: &'a [Site], existing: &[Placed], class: u8) -> Self {
        let racks: BTreeMap<NodeId, &str> =
            sites.iter().map(|site| (site.node, site.rack.as_str())).collect();
        let none: BTreeMap<NodeId, u32> = racks.keys().map(|node| (*node, 0)).collect();
        let mut load =
            Self { racks, leaders: none.clone(), replicas: none, pairs: BTreeMap::new() };
        for placed in existing {
            load.add(&placed.nodes, placed.class == class);
        }
        load
    }

    fn add(&mut self, set: &[NodeId], is_of_class: bool) {
        let Some((leader, followers)) = set.split_first() else { return };
        for node in set {
            *self.replicas.entry(*node).or_default() += 1;
        }
        if is_of_class {
            *self.leaders.entry(*leader).or_default() += 1;
            for follower in followers {
                *self.pairs.entry((*leader, *follower)).or_default() += 1;
            }
        }
    }

    /// The node that leads least, unless all have their share.
    fn next_leader(&self, leaders_per_node: u32) -> Option<NodeId> {
        self.racks
            .keys()
            .map(|node| (self.leaders[node], self.replicas[node], *node))
            .filter(|(leads, _, _)| *leads < leaders_per_node)
            .min()
            .map(|(_, _, node)| node)
    }

    fn replica_set(&self, leader: NodeId, class: u8) -> Vec<NodeId> {
        let mut set = vec![leader];
        let mut left: BTreeSet<NodeId> = self.racks.keys().copied().collect();
        left.remove(&leader);
        while set.len() < usize::from(class) {
            let next = left.iter().map(|node| self.cost(&set, *node)).min();
            let (_, _, _, next) =
                next.expect("there are at least as many nodes as the class needs");
            left.remove(&next);
            set.push(next);
        }
        set
    }

    /// Choosing one set after the other may leave a node with two replicas more than another:
    /// moves followers from the fullest to the emptiest, where no set loses a rack by it.
    fn even_out(&mut self, made: &mut [Vec<NodeId>]) {
        while let Some((set, place, node)) = self.next_correction(made) {
            let fullest = std::mem::replace(&mut made[set][place], node);
            *self.replicas.entry(fullest).or_default() -= 1;
            *self.replicas.entry(node).or_default() += 1;
        }
    }

    /// A set, a follower's place in it, and the node that should be there. Each correction brings
    /// two nodes closer, so this ends.
    fn next_correction(&self, made: &[Vec<NodeId>]) -> Option<(usize, usize, NodeId)> {
        let (least, emptiest) = self.replicas.iter().map(|(node, count)| (*count, *node)).min()?;
        let most = self.replicas.values().copied().max()?;
        if most < least + 2 {
            return None;
        }
        let is_fullest = |node: &NodeId| self.replicas.get(node) == Some(&most);
        made.iter().enumerate().find_map(|(at, set)| {
            let place = 1 + set[1..].iter().position(is_fullest)?;
            let mut corrected = set.clone();
            corrected[place] = emptiest;
            let is_right =
                !set.contains(&emptiest) && self.racks_in(&corrected) >= self.racks_in(set);
            is_right.then_some((at, place, emptiest))
        })
    }

    fn racks_in(&self, set: &[NodeId]) -> usize {
        set.iter().map(|node| self.racks[node]).collect::<BTreeSet<&str>>().len()
    }

    /// Less is better.
    fn cost(&self, set: &[NodeId], node: NodeId) -> (usize, u32, u32, NodeId) {
        let rack = self.racks[&node];
        let in_rack = set.iter().filter(|other| self.racks[other] == rack).count();
        let together = self.pairs.get(&(set[0], node)).copied().unwrap_or_default();
        (in_rack, self.replicas[&node], together, node)
    }
}

/// A shard for each of `count` partitions: the least loaded first, ties by id. `loads` are the
/// shards of the class with the partitions they host.
///
/// None when there are no shards.
#[must_use]
pub fn partitions(rule: Rule, loads: &[(ShardId, usize)], count: u32) -> Vec<ShardId> {
    match rule {
        Rule::LeastLoaded => {
            let mut heap: BinaryHeap<Reverse<(usize, ShardId)>> =
                loads.iter().map(|(shard, load)| Reverse((*load, *shard))).collect();
            let mut chosen = Vec::new();
            for _ in 0..count {
                let Some(Reverse((load, shard))) = heap.pop() else { break };
                chosen.push(shard);
                heap.push(Reverse((load + 1, shard)));
            }
            chosen
        }
    }
}
