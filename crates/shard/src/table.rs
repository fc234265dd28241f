//! The partitions a shard hosts, as readers see them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use quipu_partition::PartitionHandle;
use quipu_types::{LeaderEpoch, PartitionId, Progress, Term};

use crate::bundle::PartitionConfig;
use crate::tenure::Tenure;

/// Shared between the state machine, which writes it at open and close, and everybody who looks a
/// partition up. The lock is held for a lookup only.
#[derive(Debug, Default)]
pub(crate) struct PartitionTable {
    rows: RwLock<BTreeMap<PartitionId, Hosted>>,
}

/// A partition as a shard hosts it, on the move or not.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// A reader's handle.
    pub handle: PartitionHandle,
    /// Its configuration, as applied.
    pub config: PartitionConfig,
    /// How it came here, and whether it stays.
    pub tenure: Tenure,
    pub(crate) epoch_base: i32,
}

impl PartitionTable {
    /// A reader's handle to an open partition.
    pub(crate) fn handle(&self, partition: PartitionId) -> Option<PartitionHandle> {
        self.open(partition, |row| row.handle.clone())
    }

    /// How far an open partition has come.
    pub(crate) fn progress(&self, partition: PartitionId) -> Option<Progress> {
        self.open(partition, |row| row.handle.progress())
    }

    /// The leader epoch of an open partition in a term.
    pub(crate) fn leader_epoch(&self, partition: PartitionId, term: Term) -> Option<LeaderEpoch> {
        self.open(partition, |row| leader_epoch(row.epoch_base, term))
    }

    /// Every open partition, in order.
    pub(crate) fn partitions(&self) -> Vec<PartitionId> {
        let rows = self.read();
        let open = rows.iter().filter(|(_, row)| row.tenure.is_open());
        open.map(|(partition, _)| *partition).collect()
    }

    /// Every hosted partition, on the move or not.
    pub(crate) fn hosted(&self) -> BTreeMap<PartitionId, Hosted> {
        self.read().clone()
    }

    /// A hosted partition, on the move or not.
    pub(crate) fn row(&self, partition: PartitionId) -> Option<Hosted> {
        self.read().get(&partition).cloned()
    }

    /// How a hosted partition came here, and whether it stays.
    pub(crate) fn tenure(&self, partition: PartitionId) -> Option<Tenure> {
        self.read().get(&partition).map(|row| row.tenure)
    }

    fn open<T>(&self, partition: PartitionId, look: impl FnOnce(&Hosted) -> T) -> Option<T> {
        self.read().get(&partition).filter(|row| row.tenure.is_open()).map(look)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    /// Adds or replaces a partition.
    pub(crate) fn insert(&self, row: Hosted) {
        self.write().insert(row.handle.id(), row);
    }

    /// Removes a partition.
    pub(crate) fn remove(&self, partition: PartitionId) {
        self.write().remove(&partition);
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<PartitionId, Hosted>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<PartitionId, Hosted>> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Base plus term; both only grow, so the epoch does too.
pub(crate) fn leader_epoch(base: i32, term: Term) -> LeaderEpoch {
    let term = i32::try_from(term.get()).unwrap_or(i32::MAX);
    LeaderEpoch::new(base.saturating_add(term))
}

/// What was applied since the last checkpoint: what a restart would apply again.
#[derive(Debug, Default)]
pub(crate) struct Debt {
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl Debt {
    /// Counts an applied entry.
    pub(crate) fn add(&self, bytes: usize) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A checkpoint is durable.
    pub(crate) fn clear(&self) {
        self.entries.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Whether there is anything to checkpoint.
    pub(crate) fn is_dirty(&self) -> bool {
        self.entries.load(Ordering::Relaxed) > 0
    }

    /// Bytes of entries.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
