//! A shard's checkpoint: its rows in the tables.

use bytes::Bytes;
use quipu_consensus::StateMachine;
use quipu_kv::{Key, WriteBatch};
use quipu_shard::{Command, PartitionControl};

use super::shard_rig::{Ground, apply, assert_survives, bundle, filled, open_partition};
use crate::input::{joined, parts, shared, text};
use crate::{Seed, Verdict, reseal, samples};

/// The input: the shard's row, a partition's, a group's name and its row. What is empty is not
/// there.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let parts = parts::<4>(input);
    let verdict = check(&parts);
    let mut resealed = parts.map(<[u8]>::to_vec);
    reseal::trailer(&mut resealed[0]);
    // The partition's own state lies at the end of its row, before the row's checksum.
    if let Some(body) = resealed[1].len().checked_sub(4).filter(|body| *body > 36) {
        reseal::trailer(&mut resealed[1][36..body]);
    }
    reseal::trailer(&mut resealed[1]);
    let resealed = resealed.each_ref().map(Vec::as_slice);
    if resealed == parts { verdict } else { verdict.or(check(&resealed)) }
}

fn check(parts: &[&[u8]; 4]) -> Verdict {
    let [shard_row, partition_row, group, group_row] = *parts;
    let (ground, running) = filled();
    drop(running);
    let mut batch = WriteBatch::new();
    let mut put = |key: &Key, row: &[u8]| {
        if !row.is_empty() {
            batch.put(key, shared(row));
        }
    };
    put(&Key::ShardCheckpoint(samples::SHARD), shard_row);
    put(&Key::PartitionCheckpoint(samples::SHARD, samples::partition(0)), partition_row);
    if let Some(group) = text(group) {
        put(&Key::ConsumerGroup(samples::SHARD, group.into()), group_row);
    }
    ground.store().write(batch).expect("tables without faults");
    goes_on(&ground)
}

/// A shard that opens goes on.
fn goes_on(ground: &Ground) -> Verdict {
    let Ok(mut shard) = ground.open() else { return Verdict::Refused };
    let _ = shard.machine.applied_state();
    let partition = samples::partition(0);
    let commands = vec![
        Command::Append { partition, batch: samples::batch(1, b"next") },
        Command::Control(PartitionControl::Close { partition, arrived_by: None }),
        open_partition(0),
    ];
    let outcomes = apply(&mut shard, 2, bundle(commands)).expect("a disk without faults");
    assert_eq!(outcomes.len(), 3);
    let source = shard.machine.snapshot().expect("a disk without faults");
    assert!(!source.manifest().is_empty());
    assert_survives(ground, shard, 2);
    Verdict::Accepted
}

pub(crate) fn seeds() -> Vec<Seed> {
    let (ground, shard) = filled();
    drop(shard);
    let row = |key: &Key| -> Bytes {
        ground.store().get(key).expect("tables without faults").expect("it was written")
    };
    let shard = row(&Key::ShardCheckpoint(samples::SHARD));
    let partition = row(&Key::PartitionCheckpoint(samples::SHARD, samples::partition(0)));
    let group = row(&Key::ConsumerGroup(samples::SHARD, "sms".into()));
    vec![
        ("ok-all", joined(&[&shard, &partition, b"sms", &group])),
        ("ok-shard", joined(&[&shard, &[], &[], &[]])),
        ("ok-partition", joined(&[&[], &partition, &[], &[]])),
        ("ok-floor", joined(&[&[], &[], &[], br#"{"v":1,"floor":7}"#])),
    ]
}
