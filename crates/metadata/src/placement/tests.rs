use proptest::prelude::*;

use super::*;

fn sites(racks: &[u8]) -> Vec<Site> {
    let racks = racks.iter().map(|rack| format!("rack-{rack}"));
    (1..).zip(racks).map(|(node, rack)| Site { node: NodeId::new(node), rack }).collect()
}

fn spread_of(counts: &[usize]) -> usize {
    counts.iter().max().copied().unwrap_or_default()
        - counts.iter().min().copied().unwrap_or_default()
}

fn count_by_node(sites: &[Site], sets: &[Vec<NodeId>]) -> Vec<usize> {
    let count = |site: &Site| sets.iter().filter(|set| set.contains(&site.node)).count();
    sites.iter().map(count).collect()
}

fn any_class_and_racks() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (1..=7_u8).prop_flat_map(|class| {
        (Just(class), prop::collection::vec(0..4_u8, usize::from(class)..=12))
    })
}

proptest! {
    #[test]
    fn every_node_leads_its_share_and_sets_have_no_node_twice(
        (class, racks) in any_class_and_racks(),
        per_node in 1..=6_u32,
    ) {
        let sites = sites(&racks);
        let sets = shards(Rule::LeastLoaded, &sites, &[], class, per_node);
        for site in &sites {
            let leads = sets.iter().filter(|set| set[0] == site.node).count();
            prop_assert_eq!(leads, per_node as usize);
        }
        for set in &sets {
            let distinct: BTreeSet<NodeId> = set.iter().copied().collect();
            prop_assert_eq!(distinct.len(), usize::from(class));
        }
        prop_assert_eq!(&sets, &shards(Rule::LeastLoaded, &sites, &[], class, per_node));
    }

    #[test]
    fn every_set_lies_in_as_many_racks_as_it_can(
        (class, racks) in any_class_and_racks(),
        per_node in 1..=6_u32,
    ) {
        let sites = sites(&racks);
        let rack_of: BTreeMap<NodeId, &str> =
            sites.iter().map(|site| (site.node, site.rack.as_str())).collect();
        let all: BTreeSet<&str> = rack_of.values().copied().collect();
        for set in shards(Rule::LeastLoaded, &sites, &[], class, per_node) {
            let used: BTreeSet<&str> = set.iter().map(|node| rack_of[node]).collect();
            prop_assert_eq!(used.len(), all.len().min(usize::from(class)));
        }
    }

    #[test]
    fn without_racks_replicas_are_spread_evenly(
        class in 1..=7_u8,
        more in 0..=8_usize,
        per_node in 1..=6_u32,
    ) {
        let sites = sites(&vec![0; usize::from(class) + more]);
        let sets = shards(Rule::LeastLoaded, &sites, &[], class, per_node);
        let counts = count_by_node(&sites, &sets);
        prop_assert!(spread_of(&counts) <= 1, "{counts:?}");
    }

    /// What was made for some nodes is completed for more, and nothing is made twice.
    #[test]
    fn a_node_that_joins_gets_its_share(
        class in 1..=5_u8,
        nodes in 0..=5_usize,
        joining in 1..=3_usize,
        per_node in 1..=4_u32,
    ) {
        let nodes = usize::from(class) + nodes;
        let all = sites(&vec![0; nodes + joining]);
        let first = shards(Rule::LeastLoaded, &all[..nodes], &[], class, per_node);
        let placed = |sets: &[Vec<NodeId>]| -> Vec<Placed> {
            sets.iter().map(|nodes| Placed { class, nodes: nodes.clone() }).collect()
        };
        let second = shards(Rule::LeastLoaded, &all, &placed(&first), class, per_node);
        prop_assert_eq!(second.len(), joining * per_node as usize);
        for set in &second {
            prop_assert!(set[0].get() > nodes as u64, "only the new ones lead more");
        }
        let both: Vec<Vec<NodeId>> = first.into_iter().chain(second).collect();
        prop_assert!(shards(Rule::LeastLoaded, &all, &placed(&both), class, per_node).is_empty());
    }

    #[test]
    fn partitions_fill_the_valleys_first(
        loads in prop::collection::vec(0..50_usize, 1..12),
        count in 0..300_u32,
    ) {
        let loads: Vec<(ShardId, usize)> =
            (1..).zip(&loads).map(|(id, load)| (ShardId::new(id), *load)).collect();
        let chosen = partitions(Rule::LeastLoaded, &loads, count);
        prop_assert_eq!(chosen.len(), count as usize);
        let after: Vec<usize> = loads
            .iter()
            .map(|(shard, load)| load + chosen.iter().filter(|to| *to == shard).count())
            .collect();
        // Who got any is no fuller, by more than one, than anybody else.
        let least = after.iter().min().copied().unwrap_or_default();
        for ((shard, _), load) in loads.iter().zip(&after) {
            prop_assert!(!chosen.contains(shard) || *load <= least + 1);
        }
        prop_assert_eq!(chosen, partitions(Rule::LeastLoaded, &loads, count));
    }
}

proptest! {
    /// Partitions placed in two steps lie as those placed in one: growing costs no balance.
    #[test]
    fn placing_in_steps_is_placing_at_once(
        loads in prop::collection::vec(0..50_usize, 1..12),
        first in 0..100_u32,
        more in 0..100_u32,
    ) {
        let loads: Vec<(ShardId, usize)> =
            (1..).zip(&loads).map(|(id, load)| (ShardId::new(id), *load)).collect();
        let mut chosen = partitions(Rule::LeastLoaded, &loads, first);
        let loads_then: Vec<(ShardId, usize)> = loads
            .iter()
            .map(|(shard, load)| (*shard, load + chosen.iter().filter(|to| *to == shard).count()))
            .collect();
        chosen.extend(partitions(Rule::LeastLoaded, &loads_then, more));
        prop_assert_eq!(chosen, partitions(Rule::LeastLoaded, &loads, first + more));
    }
}

#[test]
fn three_nodes_of_the_default_are_placed_as_documented() {
    let sets = shards(Rule::LeastLoaded, &sites(&[0, 0, 0]), &[], 3, 4);
    let numbers: Vec<Vec<u64>> =
        sets.iter().map(|set| set.iter().map(|node| node.get()).collect()).collect();
    assert_eq!(numbers.len(), 12);
    assert_eq!(numbers[..3], [vec![1, 2, 3], vec![2, 1, 3], vec![3, 1, 2]]);
}

/// When a node fails, its leaderships go to many nodes and not to one.
#[test]
fn a_leaders_followers_vary() {
    let sites = sites(&[0; 6]);
    let sets = shards(Rule::LeastLoaded, &sites, &[], 3, 10);
    for site in &sites {
        let followers: BTreeSet<NodeId> = sets
            .iter()
            .filter(|set| set[0] == site.node)
            .flat_map(|set| set[1..].iter().copied())
            .collect();
        assert!(followers.len() >= 4, "node {}: {followers:?}", site.node);
    }
}

#[test]
fn too_few_nodes_give_no_shards_and_no_shards_no_places() {
    assert!(shards(Rule::LeastLoaded, &sites(&[0, 0]), &[], 3, 4).is_empty());
    assert!(shards(Rule::LeastLoaded, &sites(&[0, 0]), &[], 0, 4).is_empty());
    assert!(partitions(Rule::LeastLoaded, &[], 3).is_empty());
}
