use std::time::Duration;

use quipu_client::{ClusterDescription, Group, GroupPartition, ShardDescription, Traffic};
use tokio::time::Instant;

use super::*;

fn node(node_id: u64, is_alive: bool) -> NodeDescription {
    NodeDescription {
        node_id,
        address: format!("host{node_id}:9192"),
        rack: String::new(),
        is_alive,
        version: "0.1.0".to_owned(),
        level_min: 1,
        level_max: 1,
        state: "active",
        drained_until_ms: None,
        drained_until_restart: false,
    }
}

fn cluster() -> ClusterDescription {
    let shard = |shard, leader| ShardDescription {
        shard,
        leader,
        term: 1,
        replicas: vec![1, 2],
        committed_index: None,
        applied_index: None,
        partitions: 1,
        leaving: Vec::new(),
    };
    ClusterDescription {
        cluster_id: "c".to_owned(),
        answering_node: 1,
        controller: Some(1),
        nodes: vec![node(1, true), node(2, false)],
        shards: vec![shard(0, Some(1)), shard(1, Some(1)), shard(2, None)],
        topics: 1,
        partitions: 2,
        is_healthy: false,
        problems: vec!["node 2 (host2:9292) does not answer".to_owned()],
        planned_moves: Vec::new(),
        removed_nodes: Vec::new(),
        format_level: 1,
        wall_ms: 0,
        storage_full: None,
        traffic: None,
    }
}

fn group(committed: u64, end: u64) -> GroupDescription {
    GroupDescription {
        summary: Group {
            group: "sms".to_owned(),
            state: "stable".to_owned(),
            members: 1,
            epoch: 1,
            positions: 1,
        },
        coordinator: 1,
        assignor: "uniform".to_owned(),
        last_change: String::new(),
        changed_at_ms: 0,
        members: Vec::new(),
        partitions: vec![GroupPartition {
            topic: "fees".to_owned(),
            partition: 0,
            owner: None,
            committed: Some(committed),
            committed_at_ms: None,
            log_start: Some(0),
            end: Some(end),
            lag: Some(end - committed),
            lag_ms: Some(1_500),
        }],
    }
}

/// Two looks, two seconds apart: 40 records and 4 KiB came in, the group read 60 of 100.
pub(in crate::top) fn looks() -> (Sample, Sample) {
    let topic = |ends: [u64; 2]| TopicSample {
        topic_id: "t".to_owned(),
        partitions: 2,
        bounds: (0..).zip(ends.map(|end| (5, end))).collect(),
    };
    let traffic = |bytes_in| Traffic { bytes_in, bytes_out: 0, since_ms: 7 };
    let taken = Instant::now();
    let before = Sample {
        taken,
        cluster: cluster(),
        traffic: BTreeMap::from([(1, traffic(1_000))]),
        topics: BTreeMap::from([("fees".to_owned(), topic([100, 5]))]),
        groups: vec![group(0, 100)],
        silent: Vec::new(),
    };
    let now = Sample {
        taken: taken + Duration::from_secs(2),
        traffic: BTreeMap::from([(1, traffic(1_000 + 4_096))]),
        topics: BTreeMap::from([("fees".to_owned(), topic([130, 15]))]),
        groups: vec![group(60, 140)],
        ..before.clone()
    };
    (before, now)
}

#[test]
fn rates_are_what_lies_between_two_looks() {
    let (before, now) = looks();
    let view = View::between(&before, &now);
    let [first, dead] = &view.nodes[..] else { panic!("two nodes") };
    assert_eq!((first.leads, first.replicas), (2, 3));
    assert_eq!((first.bytes_in_per_second, first.bytes_out_per_second), (Some(2_048.0), Some(0.0)));
    assert_eq!((dead.state.as_str(), dead.bytes_in_per_second), ("down", None));
    let [topic] = &view.topics[..] else { panic!("one topic") };
    assert_eq!((topic.records, topic.records_per_second), (135, Some(20.0)));
    let [group] = &view.groups[..] else { panic!("one group") };
    assert_eq!((group.lag, group.records_per_second), (80, Some(30.0)));
    assert_eq!(group.catches_up_in_seconds, Some(8.0), "20 in 2 s fewer, 80 are left");
}

#[test]
fn a_group_that_falls_behind_does_not_catch_up_and_one_without_lag_has() {
    let (mut before, mut now) = looks();
    now.groups = vec![group(60, 170)];
    assert_eq!(View::between(&before, &now).groups[0].catches_up_in_seconds, None);
    now.groups = vec![group(140, 140)];
    assert_eq!(View::between(&before, &now).groups[0].catches_up_in_seconds, Some(0.0));
    before.groups.clear();
    assert_eq!(View::between(&before, &now).groups[0].records_per_second, None, "it is new");
}

#[test]
fn what_began_anew_between_the_looks_has_no_rate() {
    let (before, mut now) = looks();
    now.traffic = BTreeMap::from([(1, Traffic { bytes_in: 9_999, bytes_out: 9, since_ms: 8 })]);
    now.topics.get_mut("fees").expect("it").topic_id = "another".to_owned();
    let view = View::between(&before, &now);
    assert_eq!(view.nodes[0].bytes_in_per_second, None);
    assert_eq!(view.topics[0].records_per_second, None);
    let first = View::between(&now, &now);
    assert_eq!(first.topics[0].records_per_second, None, "no time has passed");
}

#[test]
fn figures_are_written_for_eyes() {
    let written = [Some(0.0), Some(1_023.0), Some(2_048.0), Some(5e9), None].map(bytes);
    assert_eq!(written, ["0 B/s", "1023 B/s", "2 KiB/s", "4.7 GiB/s", "-"]);
    assert_eq!([8.0, 600.0, 10_000.0].map(time), ["8 s", "10 min", "3 h"]);
}
