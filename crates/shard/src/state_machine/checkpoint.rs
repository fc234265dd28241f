//! Making what was applied durable, all of it together.

use quipu_consensus::AppliedState;
use quipu_kv::{Key, WriteBatch};
use quipu_types::PartitionId;

use super::{Hosted, ShardStateMachine, generation_root};
use crate::bundler::count_f64;
use crate::row::{PartitionRow, ShardRow};

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
        let mut batch = WriteBatch::new();
        let mut changed = 0_usize;
        for (partition, hosted) in &mut self.hosted {
            if hosted.partition.is_dirty() || hosted.is_row_stale {
                let row = flush(*partition, hosted)?;
                batch.put(&Key::PartitionCheckpoint(self.shard, *partition), row.encode());
                changed += 1;
            }
        }
        for (partition, _) in &self.garbage {
            if !self.hosted.contains_key(partition) {
                batch.delete(&Key::PartitionCheckpoint(self.shard, *partition));
            }
        }
        let row = ShardRow::new(state, self.garbage.iter().copied().collect());
        batch.put(&Key::ShardCheckpoint(self.shard), row.encode());
        self.env.kv.write(batch)?;
        self.env.kv.flush()?;
        for hosted in self.hosted.values_mut() {
            hosted.is_row_stale = false;
        }
        self.durable = state.clone();
        self.env.debt.clear();
        self.env.metrics.checkpoint_partitions.record(count_f64(changed));
        self.remove_garbage();
        Ok(())
    }

    /// Removes the directories that the durable checkpoint has forgotten. One that cannot be
    /// removed stays on the list, for the next checkpoint or the next start.
    pub(super) fn remove_garbage(&mut self) {
        let disk = &self.env.partitions.disk;
        let root = &self.env.partitions.root_dir;
        self.garbage.retain(|(partition, generation)| {
            let dir = generation_root(root, *generation).join(partition.to_string());
            if !disk.exists(&dir) {
                return false;
            }
            let removed = disk.remove_dir_all(&dir);
            if let Err(error) = &removed {
                let dir = dir.display();
                tracing::warn!(%dir, %error, "directory of a closed partition is not removed");
            }
            removed.is_err()
        });
    }
}

fn flush(partition: PartitionId, hosted: &mut Hosted) -> Result<PartitionRow, CheckpointError> {
    let checkpoint = hosted.partition.checkpoint().map_err(|error| {
        CheckpointError::Partition { partition, reason: error.to_string() }
    })?;
    Ok(PartitionRow {
        epoch_base: hosted.epoch_base,
        config: hosted.config,
        generation: hosted.generation,
        checkpoint: checkpoint.encode(),
    })
}
