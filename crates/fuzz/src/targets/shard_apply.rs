//! Bundles applied to a shard.

use bytes::Bytes;
use quipu_partition::PartitionCheckpoint;
use quipu_shard::{Bundle, Command, Outcome, PartitionConfig, PartitionControl};
use quipu_types::{LeaderEpoch, MoveId, Offset, Progress, TimestampMs};

use super::shard_rig::{apply, assert_survives, bundle, filled, open_partition};
use super::{group_commands, shard_rig};
use crate::input::{all_joined, all_parts, shared};
use crate::{Seed, Verdict, reseal, samples};

/// Entries of one input.
const ENTRIES_MAX: usize = 8;

/// The input: bundles, each behind its length.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let parts = all_parts(input, ENTRIES_MAX);
    let verdict = check(&parts);
    let mut resealed: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
    resealed.iter_mut().for_each(|bundle| reseal::bundle(bundle));
    let resealed: Vec<&[u8]> = resealed.iter().map(Vec::as_slice).collect();
    if resealed == parts { verdict } else { verdict.or(check(&resealed)) }
}

fn check(bundles: &[&[u8]]) -> Verdict {
    let (ground, mut shard) = filled();
    let mut applied = 0;
    for (index, bytes) in (2..).zip(bundles) {
        let bytes = shared(bytes);
        if !is_within_bounds(&bytes) {
            return Verdict::Refused;
        }
        let before = shard_rig::view(&shard);
        let Ok(outcomes) = apply(&mut shard, index, bytes.clone()) else {
            // A replica that cannot read an entry stops; only then is nothing else asked of it.
            return Verdict::Refused;
        };
        let commands = Bundle::decode(bytes).expect("it was applied").commands;
        assert_eq!(outcomes.len(), commands.len());
        let is_refused =
            |outcome: &Outcome| matches!(outcome, Outcome::UnknownPartition | Outcome::Misplaced);
        if outcomes.iter().all(is_refused) {
            assert_eq!(shard_rig::view(&shard), before, "what was refused changed nothing");
        }
        applied = index;
    }
    assert_survives(&ground, shard, applied);
    Verdict::when(applied > 0)
}

/// A proposer names no more partitions than a topic may have.
fn is_within_bounds(bytes: &Bytes) -> bool {
    let Ok(bundle) = Bundle::decode(bytes.clone()) else { return true };
    bundle.commands.iter().all(|command| match command {
        Command::Group(bytes) => {
            let command = quipu_coordinator::Command::decode(bytes);
            !command.is_ok_and(|command| !group_commands::is_modest(&command))
        }
        Command::Append { .. } | Command::Import { .. } | Command::Control(_) => true,
    })
}

/// A partition comes, stays, and is about to go again.
fn moves() -> Vec<Command> {
    let (partition, by) = (samples::partition(1), MoveId::new(7));
    let config = PartitionConfig { segment_bytes: 200, segment_age_ms: 5 };
    let progress = Progress::new(Offset::ZERO, Offset::new(3));
    let state = PartitionCheckpoint::bare(progress).encode();
    let receive = PartitionControl::Receive { partition, by, is_anew: false, config };
    let batch = samples::batch(3, b"x");
    let import = Command::Import { partition, by, log_start: Offset::ZERO, batch };
    let epoch_after = LeaderEpoch::new(4);
    let adopt = PartitionControl::Adopt { partition, by, epoch_after, state };
    let seal = PartitionControl::Seal { partition, by: MoveId::new(9) };
    let unseal = PartitionControl::Unseal { partition, by: MoveId::new(9) };
    let [adopt, seal, unseal] = [adopt, seal, unseal].map(Command::Control);
    vec![Command::Control(receive), import, adopt, seal.clone(), unseal, seal]
}

pub(crate) fn seeds() -> Vec<Seed> {
    let partition = samples::partition(0);
    let append = |batch| Command::Append { partition, batch };
    let at = |commands| Bundle { proposed_at: TimestampMs::new(samples::NOON), commands };
    let appends = bundle(vec![
        append(samples::from_producer(9, 2, 1)),
        append(samples::from_producer(9, 0, 2)),
        append(samples::batch(3, b"x")),
    ]);
    let trim = PartitionControl::Trim { partition, to: Offset::new(3) };
    let close = PartitionControl::Close { partition, arrived_by: None };
    let config = PartitionConfig { segment_bytes: 200, segment_age_ms: 5 };
    let grow = PartitionControl::Open { partition, epoch_base: 9, config };
    let controls = bundle([trim, close, grow].map(Command::Control).to_vec());
    let moves = bundle(moves());
    let group = bundle(vec![
        Command::Group(group_commands::join("bert", 3).encode()),
        Command::Group(group_commands::commit("bert", 5).encode()),
    ]);
    vec![
        ("ok-appends", all_joined(&[&appends])),
        ("ok-controls", all_joined(&[&controls, &appends])),
        ("ok-moves", all_joined(&[&moves, &appends])),
        ("ok-group", all_joined(&[&group, &appends])),
        ("ok-open", all_joined(&[&at(vec![open_partition(5)]).encode()])),
        ("ok-nothing", all_joined(&[&at(Vec::new()).encode()])),
    ]
}
