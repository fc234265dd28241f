//! Nodes that lost what their replicas had promised.

use std::collections::BTreeSet;

use quipu_types::{NodeId, ReplicaId, ShardId};

use super::*;
use crate::command::NodeRebuild;
use crate::image::ReplicaMove;

fn node(id: u64) -> NodeId {
    NodeId::new(id)
}

/// As a node asks that was started so often.
fn request(id: u64, start: u64, shards: Option<BTreeSet<ShardId>>) -> NodeRebuild {
    let incarnation = Incarnation::new(start);
    NodeRebuild { node: node(id), directory: directory(id), incarnation, shards }
}

fn held(state: &State, id: u64) -> Option<BTreeSet<ShardId>> {
    Some(state.image.shards_on(node(id)).map(|(shard, _)| shard).collect())
}

fn rebuild(state: &mut State, id: u64, start: u64) -> Result<ReplicaId, Refusal> {
    let request = request(id, start, held(state, id));
    let outcome = run(state, Command::RebuildNode(request))?;
    let Outcome::NodeRebuilding { replica: Some(replica) } = outcome else { panic!("{outcome:?}") };
    Ok(replica)
}

fn settle(state: &mut State) {
    for shard in state.image.shards.keys().copied().collect::<Vec<_>>() {
        let replicas = state.image.shards[&shard].replicas.iter().map(|(id, _)| *id).collect();
        run(state, Command::SettleShard { shard, replicas }).expect("settle");
    }
}

#[test]
fn every_replica_of_the_node_gets_an_id_above_its_own_new_one() {
    let mut state = formed(3);
    let before = state.image.shards.clone();
    let replica = rebuild(&mut state, 2, 4).expect("rebuild");
    assert_eq!(state.image.metadata_replica(node(2)), Some(replica));
    assert_eq!(state.image.metadata_replica(node(1)), Some(ReplicaId::new(1)));
    let used: BTreeSet<ReplicaId> =
        before.values().flat_map(|shard| shard.replicas.iter().map(|(id, _)| *id)).collect();
    assert!(used.iter().all(|known| *known < replica));
    for (id, record) in &state.image.shards {
        let known = &before[id];
        let old = known.replica_on(node(2)).expect("three nodes, three replicas");
        let new = record.replica_on(node(2)).expect("it stays");
        assert!(new > replica && !used.contains(&new), "{new} after {replica}");
        assert_eq!(record.nodes(), known.nodes(), "in its place");
        assert_eq!(record.leaving, [(old, node(2))]);
        assert_eq!(record.lost().collect::<Vec<_>>(), [(old, node(2))]);
        assert!(record.founding.is_empty(), "nobody forms it again");
    }
    settle(&mut state);
    assert!(state.image.shards.values().all(|record| record.lost().next().is_none()));
    assert_eq!(state.image.metadata_replica(node(2)), Some(replica));
    let mut again = registration(2);
    again.incarnation = Incarnation::new(4);
    again.starts = starts(&[3, 4]);
    run(&mut state, Command::RegisterNode(again)).expect("register");
    assert_eq!(state.image.metadata_replica(node(2)), Some(replica), "a start keeps it");
}

#[test]
fn a_question_changes_nothing_and_the_same_start_gets_the_same_answer() {
    let mut state = formed(3);
    let before = state.clone();
    let asked = run(&mut state, Command::RebuildNode(request(2, 4, None)));
    assert_eq!(asked, Ok(Outcome::NodeRebuilding { replica: None }));
    assert_eq!(state, before);
    let replica = rebuild(&mut state, 2, 4).expect("rebuild");
    let shards = state.image.shards.clone();
    assert_eq!(rebuild(&mut state, 2, 4), Ok(replica), "the answer was lost");
    assert_eq!(state.image.shards, shards);
    let later = rebuild(&mut state, 2, 5).expect("it died on the way");
    assert!(later > replica);
    let late = rebuild(&mut state, 2, 4).expect_err("that start is over");
    assert!(matches!(late, Refusal::OldDirectory { .. }), "{late}");
    assert_eq!(state.image.metadata_replica(node(2)), Some(later));
    for record in state.image.shards.values() {
        assert_eq!(record.lost().count(), 2, "{record:?}");
        assert!(record.replica_on(node(2)) > Some(later));
    }
}

#[test]
fn two_of_three_replicas_are_never_given_up_at_once() {
    let mut state = formed(3);
    rebuild(&mut state, 2, 4).expect("the first");
    let before = state.clone();
    let refused = rebuild(&mut state, 3, 4).expect_err("the second");
    assert!(matches!(refused, Refusal::TooFewWhole { whole: 1, replicas: 3, .. }), "{refused}");
    assert_eq!(state, before);
    settle(&mut state);
    rebuild(&mut state, 3, 4).expect("the first is whole");
}

#[test]
fn what_the_others_are_no_majority_of_is_refused() {
    for class in [1, 2] {
        let mut state = formed(3);
        run(&mut state, topic("scratch", 7, 3, Some(class))).expect("create");
        let refused = rebuild(&mut state, 1, 4).expect_err("nobody could feed it");
        assert!(
            matches!(refused, Refusal::TooFewReplicas { replicas, .. } if replicas == class),
            "{refused}"
        );
    }
    let mut state = formed(1);
    let refused = rebuild(&mut state, 1, 4).expect_err("alone");
    assert!(matches!(refused, Refusal::TooFewReplicas { replicas: 1, .. }), "{refused}");
}

#[test]
fn who_asks_is_who_it_says_and_asks_about_all_it_holds() {
    let mut state = formed(3);
    let before = state.clone();
    let all = held(&state, 2);
    let mut swapped = request(2, 4, all.clone());
    swapped.directory = directory(3);
    let refused = run(&mut state, Command::RebuildNode(swapped)).expect_err("swapped");
    assert!(matches!(refused, Refusal::NodeIdTaken { .. }), "{refused}");
    let refused = rebuild(&mut state, 2, 2).expect_err("a start before the last");
    assert!(matches!(refused, Refusal::OldDirectory { .. }), "{refused}");
    let refused = rebuild(&mut state, 9, 4).expect_err("a stranger");
    assert_eq!(refused, Refusal::UnknownNode { node: node(9) });
    let fewer = all.into_iter().flatten().skip(1).collect();
    let refused = run(&mut state, Command::RebuildNode(request(2, 4, Some(fewer))));
    assert_eq!(refused, Err(Refusal::ShardsChanged { node: node(2) }));
    assert_eq!(state, before);
}

/// Moving away and back must not wake what was lost.
#[test]
fn a_lost_replica_never_gets_its_place_again() {
    let mut state = formed(3);
    run(&mut state, Command::RegisterNode(registration(4))).expect("register");
    let id = ShardId::new(1);
    let home = state.image.shards[&id].nodes();
    let lost = state.image.shards[&id].replica_on(home[2]).expect("held");
    rebuild(&mut state, home[2].get(), 4).expect("rebuild");
    let new = state.image.shards[&id].replica_on(home[2]);
    let to = vec![home[0], home[1], node(4)];
    run(&mut state, Command::MoveReplicas(ReplicaMove { shard: id, to })).expect("away");
    let away = &state.image.shards[&id];
    assert_eq!((away.replica_on(home[2]), away.leaving.len()), (new, 2));
    run(&mut state, Command::MoveReplicas(ReplicaMove { shard: id, to: home.clone() }))
        .expect("back");
    let back = &state.image.shards[&id];
    assert_eq!(back.replica_on(home[2]), new);
    assert!(back.leaving.contains(&(lost, home[2])), "{back:?}");
}
