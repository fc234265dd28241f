//! A shard on a disk and tables in memory.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use quipu_consensus::{AppliedState, Payload, StateMachine, StateMachineError};
use quipu_disk::FaultyDisk;
use quipu_kv::{SimTables, Store};
use quipu_partition::PartitionEnv;
use quipu_shard::sim::{SimEnv, SimShard};
use quipu_shard::{Bundle, Command, Outcome, PartitionConfig, PartitionControl, reply};
use quipu_types::{Progress, TimestampMs};

use super::group_commands;
use crate::input::disk;
use crate::samples;

/// What a shard stands on. Clones share it.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) disk: FaultyDisk,
    tables: SimTables,
}

impl Ground {
    pub(super) fn new() -> Self {
        Self { disk: disk(), tables: SimTables::new(Arc::new(|_| Ok(()))) }
    }

    pub(super) fn store(&self) -> Store {
        Store::simulated(&self.tables).expect("tables without faults")
    }

    pub(super) fn open(&self) -> Result<SimShard, String> {
        let partitions = PartitionEnv {
            disk: Arc::new(self.disk.clone()),
            root_dir: PathBuf::from("/shard/partitions"),
            segment: quipu_segment::Config::default(),
        };
        let snapshot_dir = PathBuf::from("/shard/snapshots");
        SimShard::open(SimEnv { kv: self.store(), partitions, snapshot_dir }, samples::SHARD)
    }
}

/// A shard with two partitions, a few batches, a consumer group and a checkpoint.
pub(super) fn filled() -> (Ground, SimShard) {
    let ground = Ground::new();
    let mut shard = ground.open().expect("nothing to read");
    let partition = samples::partition(0);
    let append = |batch| Command::Append { partition, batch };
    let commands = vec![
        open_partition(0),
        open_partition(1),
        append(samples::batch(2, b"value")),
        append(samples::from_producer(9, 0, 2)),
        Command::Group(group_commands::join("anna", 2).encode()),
    ];
    apply(&mut shard, 1, bundle(commands)).expect("a valid bundle");
    checkpoint(&mut shard, 1);
    (ground, shard)
}

pub(super) fn open_partition(index: u32) -> Command {
    Command::Control(PartitionControl::Open {
        partition: samples::partition(index),
        epoch_base: 1,
        config: PartitionConfig::default(),
    })
}

pub(super) fn bundle(commands: Vec<Command>) -> Bytes {
    Bundle { proposed_at: TimestampMs::new(samples::NOON), commands }.encode()
}

/// Applies an entry and ends the round.
pub(super) fn apply(
    shard: &mut SimShard,
    index: u64,
    bundle: Bytes,
) -> Result<Vec<Outcome>, StateMachineError> {
    let applied = shard.machine.apply(samples::entry(2, index), Payload::Command(bundle))?;
    shard.machine.end_of_round();
    Ok(reply::decode(&applied.0).expect("the shard's own reply"))
}

pub(super) fn state(index: u64) -> AppliedState {
    let applied = Some(samples::entry(2, index));
    AppliedState { applied, membership: Bytes::from_static(b"members") }
}

pub(super) fn checkpoint(shard: &mut SimShard, index: u64) {
    shard.machine.checkpoint(state(index)).expect("a disk without faults");
}

/// What readers of a shard see.
pub(super) fn view(shard: &SimShard) -> (Vec<(String, Progress)>, Bytes) {
    let partitions = shard.view.partitions().into_iter();
    let partitions = partitions.map(|handle| (handle.id().to_string(), handle.progress()));
    (partitions.collect(), shard.view.groups().read(quipu_coordinator::Groups::export))
}

/// A checkpoint is what a restart finds.
pub(super) fn assert_survives(ground: &Ground, mut shard: SimShard, index: u64) {
    checkpoint(&mut shard, index);
    let before = view(&shard);
    drop(shard);
    let again = ground.open().expect("what was checkpointed opens again");
    assert_eq!(view(&again), before);
    assert_eq!(again.machine.applied_state(), state(index));
}
