//! What is to be read, as its owner wants it at this moment. The fetcher follows: what is not
//! named any more is not asked for, what has a new generation starts anew.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use quipu_types::PartitionId;
use tokio::sync::Notify;

use super::bounds::Bounds;

/// One partition to read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: Arc<str>,
    /// Grows whenever reading starts anew, so that what was fetched before is told apart.
    pub(crate) generation: u64,
    pub(crate) bounds: Bounds,
}

/// All partitions to read.
#[derive(Debug)]
pub(crate) struct Plan {
    wanted: Mutex<BTreeMap<PartitionId, Wanted>>,
    version: AtomicU64,
    changed: Notify,
    is_fixed: bool,
}

impl Plan {
    /// A plan that never changes: reading ends with its last partition, or its first error.
    pub(crate) fn fixed(wanted: BTreeMap<PartitionId, Wanted>) -> Self {
        Self {
            wanted: Mutex::new(wanted),
            version: AtomicU64::new(1),
            changed: Notify::new(),
            is_fixed: true,
        }
    }

    /// A plan that changes: an error stops only its partition.
    pub(crate) fn changing() -> Self {
        Self { is_fixed: false, ..Self::fixed(BTreeMap::new()) }
    }

    pub(crate) fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    pub(crate) fn set(&self, id: PartitionId, wanted: Wanted) {
        self.lock().insert(id, wanted);
        self.touch();
    }

    pub(crate) fn remove(&self, id: PartitionId) {
        if self.lock().remove(&id).is_some() {
            self.touch();
        }
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
        self.touch();
    }

    /// Grows with every change.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn read(&self) -> BTreeMap<PartitionId, Wanted> {
        self.lock().clone()
    }

    /// Resolves after a change.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn touch(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Wanted>> {
        self.wanted.lock().expect("nothing panics while it holds this lock")
    }
}
