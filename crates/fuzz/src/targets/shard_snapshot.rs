//! A shard's snapshot: manifest, chunks, installation.

use bytes::Bytes;
use quipu_consensus::{SnapshotCursor, StateMachine};
use quipu_shard::Command;

use super::shard_rig::{Ground, apply, assert_survives, bundle, filled, open_partition, state};
use crate::input::{all_joined, all_parts, shared};
use crate::{Seed, Verdict, reseal, samples};

/// Parts of one input: the manifest and its chunks.
const PARTS_MAX: usize = 6;

/// The input: the manifest and chunks, each behind its length.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let parts = all_parts(input, PARTS_MAX);
    let verdict = on_both(&parts);
    let mut resealed: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
    if let Some((manifest, chunks)) = resealed.split_first_mut() {
        reseal::manifest(manifest);
        chunks.iter_mut().for_each(|chunk| reseal::chunk(chunk));
    }
    let resealed: Vec<&[u8]> = resealed.iter().map(Vec::as_slice).collect();
    if resealed == parts { verdict } else { verdict.or(on_both(&resealed)) }
}

/// A replica without anything, and one that has a part.
fn on_both(parts: &[&[u8]]) -> Verdict {
    let (ground, running) = filled();
    drop(running);
    install(&Ground::new(), parts).or(install(&ground, parts))
}

fn install(ground: &Ground, parts: &[&[u8]]) -> Verdict {
    let Some((manifest, chunks)) = parts.split_first() else { return Verdict::Refused };
    let mut shard = ground.open().expect("the rig's own rows");
    let Ok(mut receiver) = shard.machine.receiver(shared(manifest)) else {
        return Verdict::Refused;
    };
    for chunk in chunks {
        if receiver.write(shared(chunk)).is_err() {
            return Verdict::Refused;
        }
    }
    if receiver.finish().is_err() || shard.machine.install(state(9), receiver).is_err() {
        return Verdict::Refused;
    }
    let source = shard.machine.snapshot().expect("a disk without faults");
    let (mut cursor, have) = (SnapshotCursor::default(), have(&mut shard, &source.manifest()));
    let rest = source.chunk(&have, &mut cursor).expect("what was installed can be sent");
    assert_eq!(rest, None, "who has it all needs nothing");
    assert_survives(ground, shard, 9);
    Verdict::Accepted
}

/// What this replica says it has.
fn have(shard: &mut quipu_shard::sim::SimShard, manifest: &Bytes) -> Bytes {
    shard.machine.receiver(manifest.clone()).expect("its own manifest").have()
}

pub(crate) fn seeds() -> Vec<Seed> {
    let (_, mut shard) = filled();
    let append = |index, batch| Command::Append { partition: samples::partition(index), batch };
    let more = bundle(vec![
        append(1, samples::batch(2, b"more")),
        append(0, samples::from_producer(9, 2, 1)),
        open_partition(4),
    ]);
    let before = parts_of(&mut shard, &Ground::new());
    apply(&mut shard, 2, more).expect("a valid bundle");
    let (ground, running) = filled();
    drop(running);
    let rest = parts_of(&mut shard, &ground);
    let whole = parts_of(&mut shard, &Ground::new());
    let input = |parts: &[Bytes]| {
        all_joined(&parts.iter().map(|part| part.as_ref()).collect::<Vec<&[u8]>>())
    };
    vec![("ok-same", input(&before)), ("ok-rest", input(&rest)), ("ok-whole", input(&whole))]
}

/// What a replica on this ground is sent.
fn parts_of(shard: &mut quipu_shard::sim::SimShard, ground: &Ground) -> Vec<Bytes> {
    let source = shard.machine.snapshot().expect("a disk without faults");
    let mut parts = vec![source.manifest()];
    let mut follower = ground.open().expect("the rig's own rows");
    let (have, mut cursor) = (have(&mut follower, &parts[0]), SnapshotCursor::default());
    while let Some(chunk) = source.chunk(&have, &mut cursor).expect("a disk without faults") {
        parts.push(chunk);
    }
    parts
}
