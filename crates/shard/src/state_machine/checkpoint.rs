//! Making what was applied durable, all of it together.

use std::collections::BTreeSet;

use bytes::Bytes;
use quipu_consensus::AppliedState;
use quipu_coordinator::Groups;
use quipu_kv::{Key, WriteBatch};
use quipu_partition::StorageError;
use quipu_types::PartitionId;

use super::{Hosted, ShardStateMachine, generation_root, remove_empty};
use crate::bundler::count_f64;
use crate::row::{PartitionRow, ShardRow};

/// Partitions flushed at a time.
const FLUSH_THREADS: usize = 32;
/// Fewer are not worth a thread.
const FLUSH_SHARE_MIN: usize = 4;

/// Why a checkpoint could not be made: the process ends with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("flush partition {partition}: {reason}")]
    Partition { partition: PartitionId, reason: String },
    #[error(transparent)]
    Kv(#[from] quipu_kv::KvError),
}

impl ShardStateMachine {
    /// Flushes what changed, then writes every row in one batch: after a crash either the old
    /// checkpoint is there or the new one, never a mixture.
    pub(super) fn make_durable(&mut self, state: &AppliedState) -> Result<(), CheckpointError> {
        quipu_failpoint::hit("shard.checkpoint.before");
        self.flush_changed()?;
        quipu_failpoint::hit("shard.checkpoint.segments-flushed");
        let mut batch = WriteBatch::new();
        let mut changed = 0_usize;
        for (partition, hosted) in self.hosted.iter_mut().filter(|(_, hosted)| hosted.is_changed())
        {
            let row = hosted.row().map_err(|error| not_flushed(*partition, &error))?;
            batch.put(&Key::PartitionCheckpoint(self.shard, *partition), row.encode());
            changed += 1;
        }
        for (partition, _) in &self.garbage {
            if !self.hosted.contains_key(partition) {
                batch.delete(&Key::PartitionCheckpoint(self.shard, *partition));
            }
        }
        for (group, row) in self.env.groups.read(Groups::stale_rows) {
            let key = Key::ConsumerGroup(self.shard, group.as_str().into());
            match row {
                Some(row) => batch.put(&key, row),
                None => batch.delete(&key),
            }
        }
        let row = ShardRow::new(state, self.garbage.iter().copied().collect());
        batch.put(&Key::ShardCheckpoint(self.shard), row.encode());
        self.env.kv.write(batch)?;
        quipu_failpoint::hit("shard.checkpoint.rows-written");
        self.env.kv.flush()?;
        quipu_failpoint::hit("shard.checkpoint.rows-flushed");
        self.env.groups.write(Groups::note_durable);
        for hosted in self.hosted.values_mut().filter(|hosted| hosted.is_row_stale) {
            hosted.is_row_stale = false;
            hosted.partition.checkpoint_is_durable();
        }
        self.durable = state.clone();
        self.env.debt.clear();
        self.env.metrics.checkpoint_partitions.record(count_f64(changed));
        self.remove_garbage();
        quipu_failpoint::hit("shard.checkpoint.after");
        Ok(())
    }

    /// Flushes the partitions that changed, several at a time: most of a flush is waiting, and the
    /// file system joins flushes that wait together.
    pub(super) fn flush_changed(&mut self) -> Result<(), CheckpointError> {
        let mut changed: Vec<(PartitionId, &mut Hosted)> = self
            .hosted
            .iter_mut()
            .filter(|(_, hosted)| hosted.is_changed())
            .map(|(partition, hosted)| (*partition, hosted))
            .collect();
        if changed.len() <= FLUSH_SHARE_MIN {
            return flush_share(&mut changed);
        }
        let share = changed.len().div_ceil(FLUSH_THREADS).max(FLUSH_SHARE_MIN);
        std::thread::scope(|scope| {
            let threads: Vec<_> = changed
                .chunks_mut(share)
                .map(|share| scope.spawn(move || flush_share(share)))
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }

    /// Removes the directories that the durable checkpoint has forgotten. One that cannot be
    /// removed stays on the list, for the next checkpoint or the next start.
    pub(super) fn remove_garbage(&mut self) {
        let disk = &self.env.partitions.disk;
        let root = &self.env.partitions.root_dir;
        let mut parents = BTreeSet::new();
        self.garbage.retain(|(partition, generation)| {
            let parent = generation_root(root, self.shard, *generation);
            let dir = parent.join(partition.to_string());
            if !disk.exists(&dir) {
                return false;
            }
            quipu_failpoint::hit("shard.garbage.remove.before");
            let removed = disk.remove_dir_all(&dir);
            quipu_failpoint::hit("shard.garbage.remove.after");
            if let Err(error) = &removed {
                let dir = dir.display();
                tracing::warn!(%dir, %error, "directory of a closed partition is not removed");
            }
            parents.insert(parent);
            removed.is_err()
        });
        for parent in parents {
            // The list is shorter in the next row, so the names must not come back after it.
            if let Err(error) = disk.sync_dir(&parent) {
                tracing::warn!(dir = %parent.display(), %error, "removal is not flushed");
            } else if let Err(error) = remove_empty(&**disk, root, &parent) {
                tracing::warn!(dir = %parent.display(), %error, "an empty folder is not removed");
            }
        }
    }
}

fn flush_share(share: &mut [(PartitionId, &mut Hosted)]) -> Result<(), CheckpointError> {
    for (partition, hosted) in share {
        hosted.state().map_err(|error| not_flushed(*partition, &error))?;
    }
    Ok(())
}

fn not_flushed(partition: PartitionId, error: &StorageError) -> CheckpointError {
    CheckpointError::Partition { partition, reason: error.to_string() }
}

impl Hosted {
    /// Whether its row has to be written again.
    fn is_changed(&self) -> bool {
        self.is_row_stale || self.partition.is_dirty()
    }

    /// The partition's state, with everything it speaks of flushed.
    pub(super) fn state(&mut self) -> Result<Bytes, StorageError> {
        if let Some(state) = self.state.as_ref().filter(|_| !self.partition.is_dirty()) {
            return Ok(state.clone());
        }
        let state = self.partition.checkpoint()?.encode();
        // The partition counts itself clean from now on, but its row is still to be written.
        self.is_row_stale = true;
        self.state = Some(state.clone());
        Ok(state)
    }

    fn row(&mut self) -> Result<PartitionRow, StorageError> {
        Ok(PartitionRow {
            checkpoint: self.state()?,
            opened: self.opened,
            epoch_base: self.epoch_base,
            config: self.config,
            tenure: self.tenure,
            generation: self.generation,
        })
    }
}
