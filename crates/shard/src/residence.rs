//! Which replica of each shard a node's disk holds: one, and never parts of two.
//!
//! A replica id is never used twice, and what one replica stored is worth nothing to another: it
//! has promised votes and entries under its own id. So a note says whose data there is, and before
//! another replica begins all of the former's goes: journal, directories, rows. The note says
//! *nobody's* meanwhile, so that a crash anywhere in between is carried on with.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use quipu_journal::Journal;
use quipu_kv::{Key, KeyPrefix, KvError, Store, WriteBatch};
use quipu_partition::PartitionEnv;
use quipu_types::{PartitionId, ReplicaId, ShardId};

use crate::row::{InvalidRow, PartitionRow, ShardRow};
use crate::snapshot;
use crate::state_machine::generation_root;

/// The note while data is taken away. No replica has this id.
const NOBODY: ReplicaId = ReplicaId::new(0);

/// Why a disk was not made ready for a replica.
#[derive(Debug, thiserror::Error)]
pub enum ResidenceError {
    /// The tables cannot be read or written.
    #[error("the node's tables: {0}")]
    Kv(#[from] KvError),
    /// A row is damaged, or of a newer release.
    #[error(transparent)]
    Row(#[from] InvalidRow),
    /// A directory cannot be removed.
    #[error("remove a replica's directory: {0}")]
    Disk(#[from] std::io::Error),
    /// The journal has stopped.
    #[error("the journal has stopped")]
    Journal,
    /// The node is going down.
    #[error("the node is stopping")]
    Stopping,
}

/// The notes of one node, and what they are about.
#[derive(Clone)]
pub struct Residence {
    kv: Store,
    journal: Arc<Journal>,
    partitions: PartitionEnv,
    snapshot_dir: PathBuf,
}

impl std::fmt::Debug for Residence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Residence").finish_non_exhaustive()
    }
}

impl Residence {
    /// The notes in a node's tables.
    #[must_use]
    pub const fn new(
        kv: Store,
        journal: Arc<Journal>,
        partitions: PartitionEnv,
        snapshot_dir: PathBuf,
    ) -> Self {
        Self { kv, journal, partitions, snapshot_dir }
    }

    /// Every shard of which there is something, with whose it is.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn residents(&self) -> Result<Vec<(ShardId, ReplicaId)>, ResidenceError> {
        let mut found = Vec::new();
        for (key, bytes) in self.kv.scan(KeyPrefix::ShardReplicas)? {
            let Key::ShardReplica(shard) = key else { return Err(InvalidRow.into()) };
            found.push((shard, decode(&bytes)?));
        }
        Ok(found)
    }

    /// Makes the disk ready for a replica: what another left goes first. Blocks.
    ///
    /// # Errors
    /// [`ResidenceError`]; to be tried again as a whole.
    pub fn claim(&self, shard: ShardId, replica: ReplicaId) -> Result<(), ResidenceError> {
        let known = self.kv.get(&Key::ShardReplica(shard))?;
        match known.map(|bytes| decode(&bytes)).transpose()? {
            Some(known) if known == replica => return Ok(()),
            Some(known) => {
                tracing::info!(%shard, %known, %replica, "another replica's data goes");
                self.evict(shard, &[])?;
            }
            None => {}
        }
        self.note(shard, replica)
    }

    /// Takes away all there is of a shard, and of `partitions` of it that no checkpoint knows yet.
    /// The shard must be closed. Blocks.
    ///
    /// # Errors
    /// [`ResidenceError`]; to be tried again as a whole.
    pub fn evict(&self, shard: ShardId, partitions: &[PartitionId]) -> Result<(), ResidenceError> {
        self.note(shard, NOBODY)?;
        quipu_failpoint::hit("shard.evict.noted");
        self.remove_journal(shard)?;
        quipu_failpoint::hit("shard.evict.journal-removed");
        let mut batch = WriteBatch::new();
        let unknown = partitions.iter().map(|partition| (*partition, 0));
        let mut dirs: Vec<(PartitionId, u32)> = unknown.collect();
        if let Some(bytes) = self.kv.get(&Key::ShardCheckpoint(shard))? {
            dirs.extend(ShardRow::decode(&bytes)?.garbage);
        }
        for (key, bytes) in self.kv.scan(KeyPrefix::PartitionCheckpoint(shard))? {
            let Key::PartitionCheckpoint(_, partition) = key else { return Err(InvalidRow.into()) };
            dirs.push((partition, PartitionRow::decode(&bytes)?.generation));
            batch.delete(&key);
        }
        for (key, _) in self.kv.scan(KeyPrefix::ConsumerGroups(shard))? {
            batch.delete(&key);
        }
        batch.delete(&Key::ShardCheckpoint(shard));
        batch.delete(&Key::ShardReplica(shard));
        snapshot::clear_stages(&*self.partitions.disk, &self.snapshot_dir, shard)?;
        self.remove_dirs(&dirs)?;
        quipu_failpoint::hit("shard.evict.dirs-removed");
        self.kv.write(batch)?;
        self.kv.flush()?;
        Ok(())
    }

    fn note(&self, shard: ShardId, replica: ReplicaId) -> Result<(), ResidenceError> {
        let mut batch = WriteBatch::new();
        let bytes = Bytes::copy_from_slice(&replica.get().to_be_bytes());
        batch.put(&Key::ShardReplica(shard), bytes);
        self.kv.write(batch)?;
        self.kv.flush()?;
        Ok(())
    }

    fn remove_journal(&self, shard: ShardId) -> Result<(), ResidenceError> {
        self.journal.group(shard).remove();
        self.journal.flush().map_err(|_| ResidenceError::Journal)
    }

    fn remove_dirs(&self, dirs: &[(PartitionId, u32)]) -> Result<(), ResidenceError> {
        let (disk, root) = (&self.partitions.disk, &self.partitions.root_dir);
        let mut parents = std::collections::BTreeSet::new();
        for (partition, generation) in dirs {
            let parent = generation_root(root, *generation);
            let dir = parent.join(partition.to_string());
            if disk.exists(&dir) {
                disk.remove_dir_all(&dir)?;
            }
            parents.insert(parent);
        }
        // Also of what is gone already: who removed it may not have come so far.
        parents.insert(self.snapshot_dir.clone());
        for parent in parents.into_iter().filter(|parent| disk.exists(parent)) {
            disk.sync_dir(&parent)?;
        }
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Result<ReplicaId, InvalidRow> {
    let bytes: [u8; 8] = bytes.try_into().map_err(|_| InvalidRow)?;
    Ok(ReplicaId::new(u64::from_be_bytes(bytes)))
}
