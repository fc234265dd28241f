//! Nodes that come and go, and replicas that move.

use std::collections::BTreeSet;

use quipu_types::{NodeId, ReplicaId, ShardId};

use super::*;
use crate::image::{NodeState, PlannedMoves, ReplicaMove};

fn node(id: u64) -> NodeId {
    NodeId::new(id)
}

fn to(shard: u32, nodes: &[u64]) -> ReplicaMove {
    ReplicaMove { shard: ShardId::new(shard), to: nodes.iter().copied().map(node).collect() }
}

/// Four nodes, of which the first three hold shard 1.
fn four() -> State {
    let mut state = formed(3);
    run(&mut state, Command::RegisterNode(registration(4))).expect("register");
    state
}

fn shard(state: &State) -> ShardRecord {
    state.image.shards[&ShardId::new(1)].clone()
}

fn settle(state: &mut State, replicas: &[ReplicaId]) -> Result<Outcome, Refusal> {
    let replicas: BTreeSet<ReplicaId> = replicas.iter().copied().collect();
    run(state, Command::SettleShard { shard: ShardId::new(1), replicas })
}

#[test]
fn a_replica_that_moves_is_a_new_one_and_the_old_one_stays_until_the_shard_is_settled() {
    let mut state = four();
    let before = shard(&state);
    let nodes: Vec<u64> = before.nodes().iter().map(|node| node.get()).collect();
    let target = [nodes[0], nodes[1], 4];
    run(&mut state, Command::MoveReplicas(to(1, &target))).expect("move");
    let moving = shard(&state);
    assert_eq!(moving.replicas[..2], before.replicas[..2]);
    assert_eq!(moving.leaving, before.replicas[2..]);
    assert_eq!(moving.replica_on(node(nodes[2])), Some(before.replicas[2].0), "still open there");
    let new = moving.replicas[2].0;
    assert!(before.replicas.iter().all(|(replica, _)| *replica != new), "never an old id");
    let old: Vec<ReplicaId> = before.replicas.iter().map(|(replica, _)| *replica).collect();
    settle(&mut state, &old).expect("settle");
    assert_eq!(shard(&state), moving, "the group is not there yet");
    let all: Vec<ReplicaId> = moving.replicas.iter().map(|(replica, _)| *replica).collect();
    settle(&mut state, &all).expect("settle");
    let settled = shard(&state);
    assert!(!settled.is_moving() && settled.replicas == moving.replicas, "{settled:?}");
    assert!(settled.founding.is_empty(), "nobody forms it again");
    settle(&mut state, &all).expect("once more");
    assert_eq!(shard(&state), settled);
}

#[test]
fn moving_back_gives_the_replica_that_has_not_left_its_place_again() {
    let mut state = four();
    let before = shard(&state);
    let home: Vec<u64> = before.nodes().iter().map(|node| node.get()).collect();
    run(&mut state, Command::MoveReplicas(to(1, &[home[0], home[1], 4]))).expect("move");
    let stranger = shard(&state).replicas[2];
    run(&mut state, Command::MoveReplicas(to(1, &home))).expect("move back");
    let back = shard(&state);
    assert_eq!(back.replicas, before.replicas);
    assert_eq!(back.leaving, [stranger]);
    let version = state.image.version;
    run(&mut state, Command::MoveReplicas(to(1, &home))).expect("again");
    assert_eq!(shard(&state), back);
    assert!(state.image.version > version);
}

#[test]
fn what_cannot_be_held_is_refused_without_effect() {
    let mut state = four();
    run(&mut state, Command::SetNodeState { node: node(4), state: NodeState::Decommissioning })
        .expect("decommission");
    let before = state.clone();
    let cases = [
        (to(99, &[1, 2, 3]), "there is no shard 99"),
        (to(1, &[1, 2]), "3 replicas, not 2"),
        (to(1, &[1, 2, 2]), "named twice"),
        (to(1, &[1, 2, 9]), "there is no node 9"),
        (to(1, &[1, 2, 4]), "being decommissioned"),
    ];
    for (wrong, words) in cases {
        for command in [
            Command::MoveReplicas(wrong.clone()),
            Command::PlanMoves(PlannedMoves { moves: vec![wrong.clone()], at_once: 1 }),
        ] {
            let refused = run(&mut state, command).expect_err(words);
            assert!(refused.to_string().contains(words), "{refused}");
            assert_eq!(state, before);
        }
    }
    let twice = PlannedMoves { moves: vec![to(1, &[1, 2, 3]), to(1, &[1, 3, 2])], at_once: 1 };
    let refused = run(&mut state, Command::PlanMoves(twice)).expect_err("twice");
    assert!(refused.to_string().contains("twice"), "{refused}");
}

#[test]
fn a_node_leaves_when_others_can_take_its_replicas_and_never_comes_back() {
    let mut state = formed(3);
    let leave = |id| Command::SetNodeState { node: node(id), state: NodeState::Decommissioning };
    let refused = run(&mut state, leave(1)).expect_err("too few");
    assert_eq!(refused, Refusal::TooFewNodes { node: node(1), left: 2, needed: 3 });
    run(&mut state, Command::RegisterNode(registration(4))).expect("register");
    let refused = run(&mut state, Command::RemoveNode { node: node(4) }).expect_err("active");
    assert_eq!(refused, Refusal::NodeInUse { node: node(4), shards: 0 });
    run(&mut state, leave(1)).expect("decommission");
    let refused = run(&mut state, Command::RemoveNode { node: node(1) }).expect_err("in use");
    assert!(matches!(refused, Refusal::NodeInUse { shards: 1.., .. }), "{refused}");
    let shards: Vec<ShardId> = state.image.shards.keys().copied().collect();
    for id in shards {
        let nodes = state.image.shards[&id].nodes();
        let to = nodes.iter().map(|at| if *at == node(1) { node(4) } else { *at }).collect();
        run(&mut state, Command::MoveReplicas(ReplicaMove { shard: id, to })).expect("move");
        let replicas = state.image.shards[&id].replicas.iter().map(|(id, _)| *id).collect();
        run(&mut state, Command::SettleShard { shard: id, replicas }).expect("settle");
    }
    run(&mut state, Command::RemoveNode { node: node(1) }).expect("remove");
    run(&mut state, Command::RemoveNode { node: node(1) }).expect("again");
    assert!(!state.image.nodes.contains_key(&node(1)));
    let refused = run(&mut state, Command::RegisterNode(registration(1))).expect_err("removed");
    assert_eq!(refused, Refusal::NodeRemoved { node: node(1) });
    let refused = run(&mut state, leave(1)).expect_err("removed");
    assert_eq!(refused, Refusal::NodeRemoved { node: node(1) });
    let mut disguised = registration(1);
    disguised.node = node(7);
    let refused = run(&mut state, Command::RegisterNode(disguised)).expect_err("its directory");
    assert!(matches!(refused, Refusal::DirectoryTaken { .. }), "{refused}");
    assert_eq!(state.image.default_replication(), 3);
}

#[test]
fn a_start_keeps_what_a_node_is_there_for() {
    let mut state = four();
    let drained = NodeState::drained_until(7);
    run(&mut state, Command::SetNodeState { node: node(2), state: drained }).expect("drain");
    let mut again = registration(2);
    again.starts = starts(&[3, 4]);
    again.incarnation = Incarnation::new(4);
    run(&mut state, Command::RegisterNode(again)).expect("register");
    assert_eq!(state.image.nodes[&node(2)].state, drained);
    let refused = run(&mut state, Command::SetNodeState { node: node(9), state: drained });
    assert_eq!(refused, Err(Refusal::UnknownNode { node: node(9) }));
}
