//! How the broker's shards are opened on this node's journal and tables.

use std::path::PathBuf;
use std::sync::Arc;

use quipu_broker::OpenShard;
use quipu_consensus::Consensus;
use quipu_journal::Journal;
use quipu_kv::Store;
use quipu_partition::PartitionEnv;
use quipu_runtime::{Clock, TaskGroup};
use quipu_shard::{OpenError, Shard, ShardEnv};
use quipu_types::{ReplicaId, ShardId};

/// Everything a shard stands on.
pub(crate) struct Opener {
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) kv: Store,
    pub(crate) partitions: PartitionEnv,
    pub(crate) snapshot_dir: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) tasks: TaskGroup,
}

impl OpenShard for Opener {
    fn open(
        &self,
        shard: ShardId,
        replica: ReplicaId,
    ) -> futures::future::BoxFuture<'static, Result<Shard, OpenError>> {
        let env = ShardEnv {
            consensus: Arc::clone(&self.consensus),
            journal: self.journal.group(shard),
            kv: self.kv.clone(),
            partitions: self.partitions.clone(),
            snapshot_dir: self.snapshot_dir.clone(),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
        };
        Box::pin(Shard::open(env, shard, replica))
    }

    fn forget(&self, shard: ShardId) {
        self.journal.group(shard).remove();
    }
}
