//! Partitions that move between shards.

use bytes::BytesMut;
use quipu_types::LeaderEpoch;
use quipu_types::record::ValidatedBatch;

use super::*;

/// Any step of any move, mostly at the wrong time.
pub(super) fn random(rng: &mut Rng, index: u32) -> Command {
    let by = MoveId::new(1 + rng.below(4));
    let log_start = Offset::new(rng.below(4));
    match rng.below(8) {
        0 | 1 => receive(index, by, rng.below(4) == 0),
        2..5 => import(index, by, log_start, at(rng.below(6), &batch(2, 9))),
        5 => seal(index, by),
        6 if rng.below(2) == 0 => unseal(index, by),
        6 => Command::Control(PartitionControl::Close {
            partition: partition(index),
            arrived_by: Some(by),
        }),
        _ => {
            let end = Offset::new(rng.below(8));
            let state = PartitionCheckpoint::bare(Progress::new(log_start.min(end), end));
            adopt(index, by, 3, state.encode())
        }
    }
}

fn receive(index: u32, by: MoveId, is_anew: bool) -> Command {
    let partition = partition(index);
    Command::Control(PartitionControl::Receive { partition, by, is_anew, config: small() })
}

fn import(index: u32, by: MoveId, log_start: Offset, batch: ValidatedBatch) -> Command {
    Command::Import { partition: partition(index), by, log_start, batch }
}

fn seal(index: u32, by: MoveId) -> Command {
    Command::Control(PartitionControl::Seal { partition: partition(index), by })
}

fn unseal(index: u32, by: MoveId) -> Command {
    Command::Control(PartitionControl::Unseal { partition: partition(index), by })
}

fn adopt(index: u32, by: MoveId, epoch: i32, state: Bytes) -> Command {
    let epoch_after = LeaderEpoch::new(epoch);
    let partition = partition(index);
    Command::Control(PartitionControl::Adopt { partition, by, epoch_after, state })
}

/// A batch as it is stored at an offset.
fn at(base: u64, batch: &ValidatedBatch) -> ValidatedBatch {
    let mut bytes = BytesMut::from(&batch.bytes()[..]);
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    ValidatedBatch::parse(bytes.freeze()).unwrap()
}

const BY: MoveId = MoveId::new(5);

/// What a replica stores of a partition, from an offset on.
fn stored(replica: &mut Replica, index: u32, from: Offset) -> Vec<ValidatedBatch> {
    let row = replica.machine().env.table.row(partition(index)).unwrap();
    let mut bytes: Bytes =
        row.handle.copy_range(from, Offset::new(u64::MAX), 1 << 30).unwrap().concat().into();
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        batches.push(ValidatedBatch::split_first(&mut bytes).unwrap());
    }
    batches
}

/// Brings over what is there, as the leader of the other shard does.
fn bring(from: &mut Replica, to: &mut Replica, index: u32) {
    let row = to.machine().env.table.row(partition(index)).unwrap();
    let log_start = from.machine().env.table.row(partition(index)).unwrap().handle.progress();
    let log_start = log_start.log_start();
    let next = row.handle.progress().high_watermark().max(log_start);
    for batch in stored(from, index, next) {
        let outcomes = to.apply(vec![import(index, BY, log_start, batch)]);
        assert!(matches!(outcomes[0], Outcome::Imported(_)), "{outcomes:?}");
    }
}

fn idempotent(sequence: i32) -> Command {
    Command::Append { partition: partition(0), batch: batch_of((7, 0, sequence), 1, 5, 0) }
}

fn sealed(replica: &mut Replica, term: u64) -> (LeaderEpoch, Bytes) {
    let outcomes = replica.apply_in(term, vec![seal(0, BY)]);
    let Outcome::Sealed { epoch, state } = outcomes[0].clone() else { panic!("{outcomes:?}") };
    (epoch, state)
}

/// A shard with a partition that has a producer, and was trimmed.
fn source() -> Replica {
    let mut source = Replica::new();
    source.apply_in(4, vec![open_with(0, small())]);
    for n in 0..30 {
        source.apply_in(4, vec![append_large(0, 1), idempotent(n)]);
    }
    source.apply_in(4, vec![trim(0, 21)]);
    source
}

#[test]
fn a_partition_goes_on_in_another_shard_where_it_was_sealed() {
    let (mut from, mut to) = (source(), Replica::new());
    assert_eq!(to.apply(vec![receive(0, BY, false)]), [Outcome::Opened { is_new: true }]);
    bring(&mut from, &mut to, 0);
    // It is written to meanwhile.
    from.apply_in(4, vec![idempotent(30), append(0, 3, 9)]);
    assert!(to.machine().env.table.handle(partition(0)).is_none(), "nobody sees it yet");
    assert_eq!(to.apply(vec![append(0, 1, 1)]), [Outcome::UnknownPartition]);
    let (epoch, state) = sealed(&mut from, 4);
    let early = to.apply(vec![adopt(0, BY, epoch.get(), state.clone())]);
    assert_eq!(early, [Outcome::Misplaced], "the last records are missing");
    let refused = from.apply_in(4, vec![idempotent(31), trim(0, 40)]);
    assert_eq!(refused, [Outcome::UnknownPartition, Outcome::UnknownPartition]);
    assert!(from.machine().env.table.handle(partition(0)).is_none(), "nobody sees it any more");
    assert_eq!(sealed(&mut from, 6).1, state, "the same once more, in another term");
    bring(&mut from, &mut to, 0);
    let adopted = to.apply(vec![adopt(0, BY, epoch.get(), state.clone())]);
    assert_eq!(adopted, [Outcome::Opened { is_new: true }]);
    let again = to.apply(vec![adopt(0, BY, epoch.get(), state), receive(0, BY, true)]);
    assert_eq!(again, [Outcome::Opened { is_new: false }, Outcome::Opened { is_new: false }]);

    let before = from.machine().hosted[&partition(0)].partition.progress();
    let handle = to.machine().env.table.handle(partition(0)).unwrap();
    assert_eq!(handle.progress(), before);
    let bytes = |batches: Vec<ValidatedBatch>| -> Vec<Bytes> {
        batches.iter().map(|batch| batch.bytes().clone()).collect()
    };
    let start = before.log_start();
    let (old, new) = (stored(&mut from, 0, start), stored(&mut to, 0, start));
    assert_eq!(bytes(old), bytes(new));
    let outcomes = to.apply(vec![idempotent(30), idempotent(31)]);
    let Outcome::Appended(retried) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(retried.is_duplicate && retried.base_offset == Offset::new(60), "{retried:?}");
    assert_eq!(base_offset(&outcomes[1]), before.high_watermark().get());
    let last = stored(&mut to, 0, before.high_watermark());
    assert!(last[0].header().leader_epoch > epoch, "epochs only grow");
}

#[test]
fn a_move_that_was_called_off_leaves_the_partition_where_it_was() {
    let (mut from, mut to) = (source(), Replica::new());
    to.apply(vec![receive(0, BY, false)]);
    bring(&mut from, &mut to, 0);
    sealed(&mut from, 4);
    let late = MoveId::new(4);
    assert_eq!(from.apply_in(4, vec![unseal(0, late)]), [Outcome::Misplaced], "another move's");
    assert_eq!(from.apply_in(4, vec![unseal(0, BY)]), [Outcome::Opened { is_new: false }]);
    assert_eq!(base_offset(&from.apply_in(4, vec![idempotent(30)])[0]), 60);
    let wrong = Command::Control(PartitionControl::Close {
        partition: partition(0),
        arrived_by: Some(late),
    });
    assert_eq!(to.apply(vec![wrong, close(0)]), [Outcome::Misplaced, Outcome::Misplaced]);
    let right =
        Command::Control(PartitionControl::Close { partition: partition(0), arrived_by: Some(BY) });
    assert_eq!(to.apply(vec![right]), [Outcome::Closed]);
    assert!(to.view().is_empty());
}

#[test]
fn a_partition_that_comes_back_takes_the_place_of_what_it_left_and_late_commands_do_nothing() {
    let mut home = source();
    let (_, state) = sealed(&mut home, 4);
    let back = MoveId::new(8);
    assert_eq!(home.apply(vec![receive(0, MoveId::new(3), false)]), [Outcome::Misplaced]);
    assert_eq!(home.apply(vec![receive(0, back, false)]), [Outcome::Opened { is_new: true }]);
    let late = home.apply(vec![close(0), seal(0, BY), unseal(0, BY), receive(0, BY, true)]);
    assert_eq!(late, vec![Outcome::Misplaced; 4]);
    let empty = Progress::new(Offset::new(63), Offset::new(63));
    let whole = PartitionCheckpoint::bare(empty).encode();
    let adopted = home.apply(vec![adopt(0, BY, 9, state), adopt(0, back, 9, whole)]);
    assert_eq!(adopted, [Outcome::Misplaced, Outcome::Opened { is_new: true }]);
    assert_eq!(base_offset(&home.apply(vec![append(0, 1, 1)])[0]), 63);
    home.checkpoint();
    home.restart();
    assert_eq!(home.view()[&partition(0)].0, Progress::new(Offset::new(63), Offset::new(64)));
}

/// A node may hold both shards: neither touches the other's files.
#[test]
fn what_moves_has_a_directory_of_its_own() {
    let mut to = Replica::new();
    to.apply(vec![receive(0, BY, false)]);
    let first = Offset::new(0);
    to.apply(vec![import(0, BY, first, at(0, &batch(2, 9)))]);
    to.checkpoint();
    assert!(!to.directory(partition(0)).exists());
    let generation = Tenure::first_generation(Some(BY));
    let root = generation_root(&to.dir.path().join("partitions"), SHARD, generation);
    assert!(root.join(partition(0).to_string()).exists());
    to.restart();
    let row = to.machine().env.table.row(partition(0)).unwrap();
    assert!(!row.tenure.is_open());
    assert_eq!(row.handle.progress().high_watermark(), Offset::new(2));
}

#[test]
fn a_snapshot_carries_partitions_on_the_move() {
    let (mut from, mut to) = (source(), Replica::new());
    to.apply(vec![receive(0, BY, false), open(1)]);
    bring(&mut from, &mut to, 0);
    sealed(&mut from, 4);
    for leader in [&mut from, &mut to] {
        let mut fresh = Replica::new();
        send(leader, &mut fresh);
        assert_eq!(fresh.view(), leader.view());
        fresh.restart();
        assert_eq!(fresh.view(), leader.view());
    }
}
