//! Partitions that change their shards.

use quipu_types::{MoveId, PartitionId, PartitionIndex};

use super::*;
use crate::image::PartitionMove;

fn id(of: u8) -> TopicId {
    TopicId::from_bytes([of; 16])
}

pub(super) fn send(of: u8, to: &[(u32, u32)]) -> Command {
    let to = to.iter().map(|(index, shard)| (PartitionIndex::new(*index), ShardId::new(*shard)));
    Command::MovePartitions { topic: id(of), to: to.collect() }
}

pub(super) fn arrive(of: u8, index: u32, by: u64) -> Command {
    let (partition, by) = (PartitionIndex::new(index), MoveId::new(by));
    Command::FinishPartitionMove { topic: id(of), partition, by }
}

pub(super) fn replicate(of: u8, replication: u8) -> Command {
    Command::SetReplication { topic: id(of), replication, rule: RULE }
}

fn record(state: &State) -> TopicRecord {
    TopicRecord::clone(state.image.topic(&name("fees")).expect("there"))
}

fn moving(state: &State, index: u32) -> Option<PartitionMove> {
    record(state).moves.get(&PartitionIndex::new(index)).copied()
}

/// A topic of four partitions on shards 1 to 4.
fn four() -> State {
    let mut state = formed(3);
    run(&mut state, topic("fees", 1, 4, None)).expect("create");
    assert_eq!(record(&state).partitions, [1, 2, 3, 4].map(ShardId::new));
    state
}

#[test]
fn a_partition_is_where_it_was_until_it_has_arrived() {
    let mut state = four();
    run(&mut state, send(1, &[(0, 6), (2, 2)])).expect("move");
    let first = moving(&state, 0).expect("it moves");
    assert_eq!(first.id.get(), state.image.version.get(), "the version of the wish");
    assert_eq!((first.to, moving(&state, 1)), (ShardId::new(6), None));
    let partition = PartitionId::new(id(1), PartitionIndex::new(0));
    assert_eq!(state.image.shard_of(partition), Some(ShardId::new(1)));
    let version = state.image.version;
    run(&mut state, send(1, &[(0, 6)])).expect("once more");
    assert_eq!((moving(&state, 0), state.image.version), (Some(first), version), "the same move");
    run(&mut state, arrive(1, 0, first.id.get())).expect("arrive");
    assert_eq!(state.image.shard_of(partition), Some(first.to));
    assert_eq!(state.image.brought_by(partition, first.to), Some(first.id));
    let arrived = record(&state);
    run(&mut state, arrive(1, 0, first.id.get())).expect("said twice");
    assert_eq!(record(&state), arrived);
    run(&mut state, send(1, &[(0, 1)])).expect("back");
    assert!(moving(&state, 0).is_some_and(|back| back.id > first.id));
    check_laws(&state.image);
}

#[test]
fn a_move_that_was_called_off_does_not_arrive() {
    let mut state = four();
    run(&mut state, send(1, &[(0, 6)])).expect("move");
    let first = moving(&state, 0).expect("it moves").id.get();
    run(&mut state, send(1, &[(0, 1)])).expect("call off");
    assert_eq!(moving(&state, 0), None);
    let before = state.clone();
    let refused = run(&mut state, arrive(1, 0, first)).expect_err("it was called off");
    assert!(matches!(refused, Refusal::MoveCalledOff { .. }), "{refused}");
    assert_eq!(state, before);
    run(&mut state, send(1, &[(0, 6)])).expect("again");
    assert!(run(&mut state, arrive(1, 0, first)).is_err(), "another move to the same place");
    run(&mut state, send(1, &[(0, 5)])).expect("elsewhere");
    assert_eq!(moving(&state, 0).map(|moving| moving.to), Some(ShardId::new(5)));
}

#[test]
fn replicas_are_changed_by_moving_to_shards_that_have_as_many() {
    let mut state = four();
    run(&mut state, replicate(1, 1)).expect("fewer");
    let fewer = record(&state);
    assert_eq!((fewer.replication, fewer.moves.len()), (1, 4));
    assert_eq!(fewer.config, TopicConfig::for_replication(1), "defaults follow");
    for (partition, moving) in fewer.moving() {
        assert_eq!(state.image.shards[&moving.to].class, 1, "{partition}");
        run(&mut state, arrive(1, partition.index.get(), moving.id.get())).expect("arrive");
    }
    check_laws(&state.image);
    let version = state.image.version;
    run(&mut state, replicate(1, 1)).expect("once more");
    assert_eq!(state.image.version, version, "as it is");
    run(&mut state, replicate(1, 3)).expect("more");
    let half = record(&state).moves[&PartitionIndex::new(0)];
    run(&mut state, arrive(1, 0, half.id.get())).expect("arrive");
    run(&mut state, replicate(1, 1)).expect("no, fewer");
    let back = record(&state);
    assert_eq!(back.moves.keys().map(|index| index.get()).collect::<Vec<_>>(), [0]);
    check_laws(&state.image);
}

#[test]
fn what_cannot_move_is_refused_and_nothing_changes() {
    let mut state = four();
    run(&mut state, topic("one", 2, 1, Some(1))).expect("create");
    let lonely = state.image.topic(&name("one")).expect("there").partitions[0].get();
    let last = "topic fees has partitions 0 to 3, not 4";
    let cases = [
        (send(1, &[(0, 6), (4, 6)]), last.to_owned()),
        (send(1, &[(u32::MAX, 6)]), "topic fees has partitions 0 to 3, not 4294967295".to_owned()),
        (send(1, &[(0, 999)]), "there is no shard 999".to_owned()),
        (
            send(1, &[(0, lonely)]),
            format!(
                "shard {lonely} cannot be held by these nodes: it has 1 replicas, partitions of \
                 fees have 3"
            ),
        ),
        (replicate(1, 0), "replication 0 does not fit: use 1 to 3, the number of nodes (3)".into()),
        (replicate(1, 5), "replication 5 does not fit: use 1 to 3, the number of nodes (3)".into()),
    ];
    for (command, sentence) in cases {
        let mut after = state.clone();
        let refused = run(&mut after, command).expect_err(&sentence);
        assert_eq!(refused.to_string(), sentence);
        assert_eq!(after, state, "{sentence}: a refusal changes nothing");
    }
    for command in [send(9, &[(0, 1)]), replicate(9, 1), arrive(9, 0, 1)] {
        assert!(matches!(run(&mut state, command), Err(Refusal::UnknownTopicId { .. })));
    }
}
