//! A state machine outside of a node: the door for simulators.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use quipu_consensus::{Consensus, Group};
use quipu_kv::Store;
use quipu_partition::{PartitionEnv, PartitionHandle};
use quipu_runtime::{Clock, TaskGroup};
use quipu_types::{LeaderEpoch, PartitionId, ShardId, Term};

use crate::handle::SharedState;
use crate::metrics::ShardMetrics;
use crate::snapshot::Manifest;
use crate::state_machine::{ShardStateMachine, StateMachineEnv};
use crate::{GroupTable, Shard};

/// What a simulated shard stands on.
pub struct SimEnv {
    /// Its rows.
    pub kv: Store,
    /// Its partitions' files.
    pub partitions: PartitionEnv,
    /// Where snapshots are staged.
    pub snapshot_dir: PathBuf,
}

/// A shard's state machine without a Raft group.
pub struct SimShard {
    /// To be driven as consensus drives it.
    pub machine: ShardStateMachine,
    /// What its readers see.
    pub view: SimView,
}

/// What the readers of a shard see. Clones share it.
#[derive(Clone)]
pub struct SimView {
    state: SharedState,
}

impl SimShard {
    /// Opens the state of a shard as of its last durable checkpoint.
    ///
    /// # Errors
    /// A sentence that says what cannot be read.
    pub fn open(env: SimEnv, shard: ShardId) -> Result<Self, String> {
        let state = SharedState {
            table: Arc::default(),
            groups: Arc::default(),
            debt: Arc::default(),
            metrics: ShardMetrics::new(shard),
        };
        let SharedState { table, groups, debt, metrics } = state.clone();
        let env = StateMachineEnv {
            kv: env.kv,
            partitions: env.partitions,
            snapshot_dir: env.snapshot_dir,
            table,
            groups,
            debt,
            metrics,
        };
        let machine = ShardStateMachine::open(env, shard).map_err(|error| error.to_string())?;
        Ok(Self { machine, view: SimView { state } })
    }
}

impl SimView {
    /// Every hosted partition as its readers see it, in order.
    #[must_use]
    pub fn partitions(&self) -> Vec<PartitionHandle> {
        let ids = self.state.table.partitions().into_iter();
        ids.filter_map(|id| self.state.table.handle(id)).collect()
    }

    /// The leader epoch of a partition in a term.
    #[must_use]
    pub fn leader_epoch(&self, partition: PartitionId, term: Term) -> Option<LeaderEpoch> {
        self.state.table.leader_epoch(partition, term)
    }

    /// What callers hold of the shard, around the group that drives its state machine.
    #[must_use]
    pub fn shard(
        &self,
        group: Group,
        consensus: Arc<Consensus>,
        clock: Clock,
        tasks: &TaskGroup,
    ) -> Shard {
        Shard::around(group, consensus, self.state.clone(), clock, tasks)
    }

    /// The consumer groups.
    #[must_use]
    pub fn groups(&self) -> &GroupTable {
        &self.state.groups
    }
}

/// A snapshot's manifest with every partition's producers forgotten: a fault to be found.
///
/// # Panics
/// When the bytes are no manifest.
#[must_use]
pub fn without_producers(manifest: &Bytes) -> Bytes {
    let mut manifest = Manifest::decode(manifest).expect("made by a shard");
    for row in &mut manifest.rows {
        row.state = state_without_producers(&row.state);
    }
    manifest.encode()
}

/// A partition's state with an empty table: `docs/formats/partition-checkpoint.md`.
fn state_without_producers(state: &Bytes) -> Bytes {
    const COUNT: std::ops::Range<usize> = 4..8;
    const HEADER_BYTES: usize = 48;
    let mut header = BytesMut::from(&state[..HEADER_BYTES]);
    header[COUNT].fill(0);
    let checksum = crc32c::crc32c(&header);
    header.put_u32(checksum);
    header.freeze()
}
