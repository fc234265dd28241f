//! A state machine outside of a node: the door for simulators.

use std::path::PathBuf;
use std::sync::Arc;

use quipu_kv::Store;
use quipu_partition::{PartitionEnv, PartitionHandle};
use quipu_types::{LeaderEpoch, PartitionId, ShardId, Term};

use crate::GroupTable;
use crate::metrics::ShardMetrics;
use crate::state_machine::{ShardStateMachine, StateMachineEnv};
use crate::table::PartitionTable;

/// What a simulated shard stands on.
pub struct SimEnv {
    /// Its rows.
    pub kv: Store,
    /// Its partitions' files.
    pub partitions: PartitionEnv,
    /// Where snapshots are staged.
    pub snapshot_dir: PathBuf,
}

/// A shard's state machine without a Raft group, and what its readers see.
pub struct SimShard {
    /// To be driven as consensus drives it.
    pub machine: ShardStateMachine,
    table: Arc<PartitionTable>,
    groups: Arc<GroupTable>,
}

impl SimShard {
    /// Opens the state of a shard as of its last durable checkpoint.
    ///
    /// # Errors
    /// A sentence that says what cannot be read.
    pub fn open(env: SimEnv, shard: ShardId) -> Result<Self, String> {
        let (table, groups) = (Arc::default(), Arc::default());
        let env = StateMachineEnv {
            kv: env.kv,
            partitions: env.partitions,
            snapshot_dir: env.snapshot_dir,
            table: Arc::clone(&table),
            groups: Arc::clone(&groups),
            debt: Arc::default(),
            metrics: ShardMetrics::new(shard),
        };
        let machine = ShardStateMachine::open(env, shard).map_err(|error| error.to_string())?;
        Ok(Self { machine, table, groups })
    }

    /// Every hosted partition as its readers see it, in order.
    #[must_use]
    pub fn partitions(&self) -> Vec<PartitionHandle> {
        let ids = self.table.partitions().into_iter();
        ids.filter_map(|id| self.table.handle(id)).collect()
    }

    /// The leader epoch of a partition in a term.
    #[must_use]
    pub fn leader_epoch(&self, partition: PartitionId, term: Term) -> Option<LeaderEpoch> {
        self.table.leader_epoch(partition, term)
    }

    /// The consumer groups.
    #[must_use]
    pub fn groups(&self) -> &GroupTable {
        &self.groups
    }
}
