//! How the broker's shards are opened on this node's journal and tables.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use quipu_broker::OpenShard;
use quipu_consensus::Consensus;
use quipu_journal::Journal;
use quipu_kv::Store;
use quipu_partition::PartitionEnv;
use quipu_runtime::{Clock, TaskGroup, run_blocking};
use quipu_shard::{OpenError, Residence, ResidenceError, Shard, ShardEnv};
use quipu_types::{MoveId, PartitionId, ReplicaId, ShardId};

/// Everything a shard stands on.
pub(crate) struct Opener {
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) kv: Store,
    pub(crate) partitions: PartitionEnv,
    pub(crate) snapshot_dir: PathBuf,
    /// Replicas with lower ids are lost.
    pub(crate) first_replica: ReplicaId,
    pub(crate) clock: Clock,
    pub(crate) tasks: TaskGroup,
}

impl OpenShard for Opener {
    fn open(
        &self,
        shard: ShardId,
        replica: ReplicaId,
    ) -> BoxFuture<'static, Result<Shard, OpenError>> {
        let residence = self.residence();
        let (consensus, journal, kv) = (&self.consensus, Arc::clone(&self.journal), &self.kv);
        let (consensus, kv, partitions) =
            (Arc::clone(consensus), kv.clone(), self.partitions.clone());
        let (snapshot_dir, clock, tasks) =
            (self.snapshot_dir.clone(), self.clock.clone(), self.tasks.clone());
        Box::pin(async move {
            let claimed = apart(move || residence.claim(shard, replica)).await;
            claimed.map_err(|source| OpenError::Residence { shard, source })?;
            // Only now: what another replica left in the journal is gone.
            let journal = journal.group(shard);
            let env = ShardEnv { consensus, journal, kv, partitions, snapshot_dir, clock, tasks };
            Shard::open(env, shard, replica).await
        })
    }

    fn evict(
        &self,
        shard: ShardId,
        partitions: Vec<(PartitionId, Option<MoveId>)>,
    ) -> BoxFuture<'static, Result<(), ResidenceError>> {
        let residence = self.residence();
        Box::pin(apart(move || residence.evict(shard, &partitions)))
    }

    fn residents(&self) -> BoxFuture<'static, Result<Vec<(ShardId, ReplicaId)>, ResidenceError>> {
        let residence = self.residence();
        Box::pin(apart(move || residence.residents()))
    }
}

impl Opener {
    fn residence(&self) -> Residence {
        let (kv, journal) = (self.kv.clone(), Arc::clone(&self.journal));
        let (partitions, snapshot_dir) = (self.partitions.clone(), self.snapshot_dir.clone());
        Residence::new(kv, journal, partitions, snapshot_dir, self.first_replica)
    }
}

/// Work that blocks, beside the tasks of the runtime.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ResidenceError> + Send + 'static,
) -> Result<T, ResidenceError> {
    run_blocking(work).await.unwrap_or(Err(ResidenceError::Stopping))
}
