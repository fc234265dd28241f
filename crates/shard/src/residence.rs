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
use quipu_types::{MoveId, PartitionId, ReplicaId, ShardId};

use crate::row::{InvalidRow, PartitionRow, ShardRow};
use crate::snapshot;
use crate::state_machine::{generation_root, remove_empty};
use crate::tenure::Tenure;

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
    /// The replica forgot what it promised.
    #[error(
        "replica {replica} of shard {shard} was lost with this node's journal: nothing below \
         replica {first} is opened here; waiting for the metadata to name the one in its place"
    )]
    Forgotten {
        /// The shard.
        shard: ShardId,
        /// Its replica.
        replica: ReplicaId,
        /// The node's own id in the metadata group: what it was given since is above.
        first: ReplicaId,
    },
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
    /// Replicas with lower ids forgot what they promised, if they were ever here.
    first: ReplicaId,
}

impl std::fmt::Debug for Residence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Residence").finish_non_exhaustive()
    }
}

impl Residence {
    /// The notes in a node's tables. Replicas with ids below `first` are not opened.
    #[must_use]
    pub const fn new(
        kv: Store,
        journal: Arc<Journal>,
        partitions: PartitionEnv,
        snapshot_dir: PathBuf,
        first: ReplicaId,
    ) -> Self {
        Self { kv, journal, partitions, snapshot_dir, first }
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
        if replica < self.first {
            return Err(ResidenceError::Forgotten { shard, replica, first: self.first });
        }
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

    /// Takes away all there is of a shard, and of `partitions` of it that no checkpoint knows yet,
    /// each with the move that brought it. The shard must be closed. Blocks.
    ///
    /// # Errors
    /// [`ResidenceError`]; to be tried again as a whole.
    pub fn evict(
        &self,
        shard: ShardId,
        partitions: &[(PartitionId, Option<MoveId>)],
    ) -> Result<(), ResidenceError> {
        self.note(shard, NOBODY)?;
        quipu_failpoint::hit("shard.evict.noted");
        self.remove_journal(shard)?;
        quipu_failpoint::hit("shard.evict.journal-removed");
        let mut batch = WriteBatch::new();
        let first = |(id, by): &(_, _)| (*id, Tenure::first_generation(*by));
        let unknown = partitions.iter().map(first);
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
        self.remove_dirs(shard, &dirs)?;
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

    fn remove_dirs(
        &self,
        shard: ShardId,
        dirs: &[(PartitionId, u32)],
    ) -> Result<(), ResidenceError> {
        let (disk, root) = (&self.partitions.disk, &self.partitions.root_dir);
        let mut parents = std::collections::BTreeSet::new();
        for (partition, generation) in dirs {
            let parent = generation_root(root, shard, *generation);
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
            if parent.starts_with(root) {
                remove_empty(&**disk, root, &parent)?;
            }
        }
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Result<ReplicaId, InvalidRow> {
    let bytes: [u8; 8] = bytes.try_into().map_err(|_| InvalidRow)?;
    Ok(ReplicaId::new(u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image that is behind still names what was lost.
    #[test]
    fn a_replica_that_forgot_what_it_promised_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let disk = quipu_disk::real();
        let (journal, _) = Journal::open(
            Arc::clone(&disk),
            dir.path().join("journal"),
            quipu_journal::Config::default(),
            Arc::new(|reason| panic!("{reason}")),
        )
        .unwrap();
        let partitions = PartitionEnv {
            disk,
            root_dir: dir.path().join("partitions"),
            segment: quipu_segment::Config::default(),
        };
        let kv = Store::open(&dir.path().join("meta")).unwrap();
        let (journal, snapshots) = (Arc::new(journal), dir.path().join("snapshots"));
        let residence = Residence::new(kv, journal, partitions, snapshots, ReplicaId::new(50));
        let shard = ShardId::new(1);
        let refused = residence.claim(shard, ReplicaId::new(49)).unwrap_err();
        assert!(matches!(refused, ResidenceError::Forgotten { .. }), "{refused}");
        assert_eq!(residence.residents().unwrap(), [], "nothing is noted");
        residence.claim(shard, ReplicaId::new(51)).unwrap();
        assert_eq!(residence.residents().unwrap(), [(shard, ReplicaId::new(51))]);
    }
}
