//! Clusters for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_client::{ClusterDescription, NodeDescription, ShardDescription};

use super::views::{View, Views};

/// A healthy cluster as node 1 sees it: a shard for each node, which leads it, and shard 0.
pub(crate) fn cluster(nodes: u64) -> ClusterDescription {
    let ids: Vec<u64> = (1..=nodes).collect();
    let node = |id: &u64| NodeDescription {
        node_id: *id,
        address: format!("host-{id}:9192"),
        rack: String::new(),
        is_alive: true,
        version: "0.1.0".to_owned(),
        level_min: 1,
        level_max: 1,
        state: "active",
        drained_until_ms: None,
        drained_until_restart: false,
    };
    let shard = |(id, leader): (u32, u64)| ShardDescription {
        shard: id,
        leader: Some(leader),
        term: 1,
        replicas: ids.clone(),
        committed_index: Some(100),
        applied_index: Some(100),
        partitions: if id == 0 { 0 } else { 4 },
        leaving: Vec::new(),
    };
    let shards = std::iter::once((0, 1)).chain((1..).zip(ids.iter().copied()));
    ClusterDescription {
        cluster_id: "c".to_owned(),
        answering_node: 1,
        controller: Some(1),
        nodes: ids.iter().map(node).collect(),
        shards: shards.map(shard).collect(),
        topics: 1,
        partitions: 12,
        is_healthy: true,
        problems: Vec::new(),
        planned_moves: Vec::new(),
        removed_nodes: Vec::new(),
        format_level: 1,
        wall_ms: 0,
        storage_full: None,
        traffic: None,
    }
}

/// The same as every node sees it.
pub(crate) fn views(nodes: u64) -> Views {
    let view = |node: u64| {
        let cluster = ClusterDescription { answering_node: node, ..cluster(nodes) };
        (node, View { cluster, clock_ahead_ms: 0, round_trip: Duration::from_millis(2) })
    };
    Views { answers: (1..=nodes).map(view).collect(), silent: BTreeMap::new() }
}

/// A node is gone, and the others know.
pub(crate) fn kill(views: &mut Views, node: u64) {
    views.answers.remove(&node);
    views.silent.insert(node, "connection refused".to_owned());
    let others: Vec<u64> = views.answers.keys().copied().collect();
    for other in others {
        deafen(views, other, node);
        let view = views.answers.get_mut(&other).expect("it answers");
        for shard in view.cluster.shards.iter_mut().filter(|it| it.leader == Some(node)) {
            shard.leader = Some(other);
        }
    }
}

/// One node does not hear another any more.
pub(crate) fn deafen(views: &mut Views, node: u64, other: u64) {
    let view = views.answers.get_mut(&node).expect("it answers");
    let other = view.cluster.nodes.iter_mut().find(|it| it.node_id == other);
    other.expect("it is known").is_alive = false;
}

/// Every node says this of the cluster.
pub(crate) fn all(views: &mut Views, change: impl Fn(&mut ClusterDescription)) {
    views.answers.values_mut().for_each(|view| change(&mut view.cluster));
}

/// How far a node's replica is.
pub(crate) fn set_committed(views: &mut Views, node: u64, shard: u32, index: u64) {
    let view = views.answers.get_mut(&node).expect("it answers");
    let shard = view.cluster.shards.iter_mut().find(|it| it.shard == shard);
    shard.expect("it is known").committed_index = Some(index);
}
