//! What handles, writer and journal share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use quipu_disk::DiskFile;
use quipu_types::ShardId;

use crate::group::{Group, TailBytes};
use crate::queue::Queue;
use crate::{JournalFileId, JournalStats};

pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) files: OpenFiles,
    pub(crate) counters: Counters,
    pub(crate) tail_bytes: TailBytes,
    groups: Mutex<BTreeMap<ShardId, Arc<Group>>>,
}

/// Handles of all files that may hold live entries.
#[derive(Default)]
pub(crate) struct OpenFiles(Mutex<BTreeMap<JournalFileId, Arc<dyn DiskFile>>>);

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) flushes: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) files: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(
        tail_bytes: TailBytes,
        groups: BTreeMap<ShardId, Arc<Group>>,
        files: OpenFiles,
    ) -> Self {
        Self {
            queue: Queue::default(),
            files,
            counters: Counters::default(),
            tail_bytes,
            groups: Mutex::new(groups),
        }
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<ShardId, Arc<Group>>> {
        self.groups.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn group(&self, shard: ShardId) -> Arc<Group> {
        let mut groups = self.groups();
        let group = groups
            .entry(shard)
            .or_insert_with(|| Arc::new(Group::new(shard, Arc::clone(&self.tail_bytes))));
        Arc::clone(group)
    }

    pub(crate) fn all_groups(&self) -> Vec<Arc<Group>> {
        self.groups().values().cloned().collect()
    }

    /// Forgets a removed group; another one may have taken its number already.
    pub(crate) fn forget(&self, group: &Arc<Group>) {
        let mut groups = self.groups();
        if groups.get(&group.shard).is_some_and(|known| Arc::ptr_eq(known, group)) {
            groups.remove(&group.shard);
        }
    }

    pub(crate) fn stats(&self) -> JournalStats {
        JournalStats {
            flushes: self.counters.flushes.load(Ordering::Relaxed),
            bytes_written: self.counters.bytes_written.load(Ordering::Relaxed),
            entries: self.counters.entries.load(Ordering::Relaxed),
            files: self.counters.files.load(Ordering::Relaxed),
        }
    }
}

impl OpenFiles {
    fn files(&self) -> MutexGuard<'_, BTreeMap<JournalFileId, Arc<dyn DiskFile>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: JournalFileId) -> Option<Arc<dyn DiskFile>> {
        self.files().get(&id).cloned()
    }

    pub(crate) fn insert(&self, id: JournalFileId, file: Arc<dyn DiskFile>) {
        self.files().insert(id, file);
    }

    pub(crate) fn remove(&self, id: JournalFileId) {
        self.files().remove(&id);
    }
}
