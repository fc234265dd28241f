//! The state machine of one partition.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use quipu_disk::Disk;
use quipu_segment::{Config, LogEnd, OpenError, SegmentLog};
use quipu_types::record::ValidatedBatch;
use quipu_types::{LeaderEpoch, Offset, PartitionId, Progress, TimestampMs};
use tokio::sync::watch;

use crate::checkpoint::PartitionCheckpoint;
use crate::error::{AppendRefused, StorageError};
use crate::metrics;
use crate::producers::{Producers, Verdict};
use crate::reader::PartitionHandle;

/// What a partition stands on.
#[derive(Clone, Debug)]
pub struct PartitionEnv {
    /// Where its files are.
    pub disk: Arc<dyn Disk>,
    /// The folder of all partitions; each has a folder in it once it has a batch on disk.
    pub root_dir: PathBuf,
    /// How logs are cut into files.
    pub segment: Config,
}

/// A batch has its offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record; for a retry, the one it got at first.
    pub base_offset: Offset,
    /// First kept offset.
    pub log_start: Offset,
    /// Next offset to assign.
    pub high_watermark_after: Offset,
    /// Whether it was appended before: then nothing was written now.
    pub is_duplicate: bool,
    /// Largest timestamp of the batch as it is stored.
    pub max_timestamp: TimestampMs,
}

/// One partition, owned by its shard.
///
/// Deterministic: the same calls in the same order give the same answers and the same bytes on
/// every replica. Only the cut into segments is local.
#[derive(Debug)]
pub struct Partition {
    id: PartitionId,
    log: SegmentLog,
    progress: Progress,
    producers: Arc<Producers>,
    published: watch::Sender<Progress>,
    handle: PartitionHandle,
    is_dirty: bool,
    /// The log start of the last checkpoint made; files below go once it is durable.
    checkpointed: Offset,
    /// Where the log ended then.
    checkpointed_end: LogEnd,
}

impl Partition {
    /// Opens a partition as of a checkpoint; the default checkpoint is a new partition, and
    /// whatever lies in its folder is removed.
    ///
    /// # Errors
    /// [`OpenError`] when the files hold less than the checkpoint says.
    pub fn open(
        env: &PartitionEnv,
        id: PartitionId,
        checkpoint: PartitionCheckpoint,
    ) -> Result<Self, OpenError> {
        let PartitionCheckpoint { progress, end, producers } = checkpoint;
        let dir = env.root_dir.join(id.to_string());
        let disk = Arc::clone(&env.disk);
        let log = SegmentLog::open(disk, dir, env.segment.clone(), progress.log_start(), end)?;
        let published = watch::Sender::new(progress);
        let handle = PartitionHandle::new(id, published.subscribe(), log.reader());
        let checkpointed = progress.log_start();
        let is_dirty = false;
        Ok(Self {
            id,
            log,
            progress,
            producers,
            published,
            handle,
            is_dirty,
            checkpointed,
            checkpointed_end: end,
        })
    }

    /// Applies a committed batch: its first offset is the high watermark. A batch that was applied
    /// before gets the offset it got then.
    ///
    /// Readers see it after the next [`Self::publish`].
    ///
    /// # Errors
    /// Outer: [`StorageError`], fatal. Inner: [`AppendRefused`], the same on every replica.
    pub fn apply_append(
        &mut self,
        epoch: LeaderEpoch,
        batch: &ValidatedBatch,
    ) -> Result<Result<Appended, AppendRefused>, StorageError> {
        let header = batch.header();
        match self.producers.check(header) {
            Err(refused) => {
                metrics::count_refused(&refused);
                return Ok(Err(refused));
            }
            Ok(Verdict::Duplicate(before)) => {
                metrics::count_duplicate();
                let mut appended = self.appended(before.base_offset, before.max_timestamp);
                if quipu_failpoint::is_planted("plant.dedupe.new-offset") {
                    appended.base_offset = self.progress.high_watermark();
                }
                return Ok(Ok(Appended { is_duplicate: true, ..appended }));
            }
            Ok(Verdict::Append) => {}
        }
        let base = self.progress.high_watermark();
        self.log.append(base, epoch, batch, header.max_timestamp)?;
        self.take_in(batch, base);
        Ok(Ok(self.appended(base, header.max_timestamp)))
    }

    fn appended(&self, base_offset: Offset, max_timestamp: TimestampMs) -> Appended {
        Appended {
            base_offset,
            log_start: self.progress.log_start(),
            high_watermark_after: self.progress.high_watermark(),
            is_duplicate: false,
            max_timestamp,
        }
    }

    /// A batch is in the log: remember its producer and move the high watermark.
    fn take_in(&mut self, batch: &ValidatedBatch, base: Offset) {
        if batch.header().is_idempotent() {
            Arc::make_mut(&mut self.producers).record(batch.header(), base);
        }
        self.progress.advance_high_watermark_to(base.plus(batch.record_count().into()));
        self.is_dirty = true;
    }

    /// Moves the log start to `to`, at most to the high watermark; never back. Files go after the
    /// next checkpoint ([`Self::checkpoint_is_durable`]).
    ///
    /// # Errors
    /// None today; kept for a log that must be written to.
    pub fn apply_trim(&mut self, to: Offset) -> Result<Progress, StorageError> {
        if quipu_failpoint::is_planted("plant.trim.ignored") {
            return Ok(self.progress);
        }
        self.is_dirty |= self.progress.advance_log_start_to(to);
        Ok(self.progress)
    }

    /// Makes what was applied visible to readers and wakes those who wait. Once per round.
    pub fn publish(&mut self) {
        let progress = self.progress;
        self.published.send_if_modified(|published| {
            let is_changed = *published != progress;
            *published = progress;
            is_changed
        });
    }

    /// Flushes the log and gives the state to store with it. Nothing is removed yet: until the
    /// owner has stored it durably, the checkpoint before is the one that counts.
    ///
    /// # Errors
    /// [`StorageError`]: never to be tried again; the process should end.
    pub fn checkpoint(&mut self) -> Result<PartitionCheckpoint, StorageError> {
        let end = self.log.flush()?;
        self.is_dirty = false;
        self.checkpointed = self.progress.log_start();
        self.checkpointed_end = end;
        let mut producers = Arc::clone(&self.producers);
        if quipu_failpoint::is_planted("plant.dedupe.lost-in-checkpoint") {
            producers = Arc::default();
        }
        Ok(PartitionCheckpoint { progress: self.progress, end, producers })
    }

    /// The state that another owner goes on from, without anything local to this replica.
    #[must_use]
    pub fn handover(&self) -> PartitionCheckpoint {
        let producers = Arc::clone(&self.producers);
        PartitionCheckpoint { producers, ..PartitionCheckpoint::bare(self.progress) }
    }

    /// The owner has stored the last [`Self::checkpoint`] durably: segments below its log start
    /// are removed. Without this call they are removed at the next open. What was sealed by then
    /// may be compacted.
    pub fn checkpoint_is_durable(&mut self) {
        self.log.settle(self.checkpointed_end);
        if let Err(error) = self.log.trim(self.checkpointed) {
            tracing::warn!(partition = %self.id, %error, "trimmed segments are not removed");
        }
    }

    /// Cuts the log into files of another size and age from now on; see
    /// [`SegmentLog::reconfigure`].
    pub fn reconfigure(&mut self, segment: &Config) {
        self.log.reconfigure(segment.segment_bytes, segment.segment_age_max);
    }

    /// Whether something changed since the last checkpoint.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Which partition this is.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// How far apply has come; readers see what was published.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// A reader's handle.
    #[must_use]
    pub fn handle(&self) -> PartitionHandle {
        self.handle.clone()
    }

    /// Forgets what every producer sent: a defect that tests plant.
    pub fn forget_producers(&mut self) {
        self.producers = Arc::default();
    }

    /// Removes the partition with its folder.
    ///
    /// # Errors
    /// [`StorageError`] when a file cannot be removed.
    pub fn delete(self) -> Result<(), StorageError> {
        Ok(self.log.delete()?)
    }

    /// Makes this the partition of a snapshot: `batches` are the stored batches from this
    /// partition's end on, or, when the snapshot begins after it, from the one that holds the
    /// snapshot's log start on.
    ///
    /// A checkpoint must follow; until it is durable, a restart finds the old state. Visible to
    /// readers after the next [`Self::publish`].
    ///
    /// # Errors
    /// [`StorageError::Snapshot`] when the batches do not lead from here to the snapshot's high
    /// watermark.
    pub fn install<E: fmt::Display>(
        &mut self,
        state: PartitionCheckpoint,
        batches: &mut dyn Iterator<Item = Result<ValidatedBatch, E>>,
    ) -> Result<(), StorageError> {
        let target = state.progress;
        if target.high_watermark() < self.progress.high_watermark()
            || target.log_start() < self.progress.log_start()
        {
            return Err(misfit(format!("it ends at {target:?}, here is {:?}", self.progress)));
        }
        let mut must_reset = self.progress.high_watermark() < target.log_start();
        for batch in batches {
            let batch = batch.map_err(|error| misfit(error.to_string()))?;
            if std::mem::take(&mut must_reset) {
                self.reset(batch.header().base_offset, target.log_start())?;
            }
            self.install_batch(&batch)?;
        }
        if must_reset {
            self.reset(target.high_watermark(), target.log_start())?;
        }
        if self.progress.high_watermark() != target.high_watermark() {
            return Err(misfit(format!(
                "batches end at {}, not at {}",
                self.progress.high_watermark(),
                target.high_watermark()
            )));
        }
        self.progress.advance_log_start_to(target.log_start());
        self.producers = state.producers;
        self.is_dirty = true;
        Ok(())
    }

    /// Continues at `base`, behind a hole that is wholly below the new log start.
    fn reset(&mut self, base: Offset, log_start: Offset) -> Result<(), StorageError> {
        if base < self.progress.high_watermark() || base > log_start {
            return Err(misfit(format!("first batch at {base}, log start at {log_start}")));
        }
        self.log.reset(base);
        self.progress.advance_high_watermark_to(base);
        self.progress.advance_log_start_to(base);
        Ok(())
    }

    fn install_batch(&mut self, batch: &ValidatedBatch) -> Result<(), StorageError> {
        let (base, expected) = (batch.header().base_offset, self.progress.high_watermark());
        if base != expected {
            return Err(misfit(format!("batch at {base}, expected {expected}")));
        }
        self.log.append_stored(batch)?;
        self.progress.advance_high_watermark_to(base.plus(batch.record_count().into()));
        self.is_dirty = true;
        Ok(())
    }
}

fn misfit(reason: String) -> StorageError {
    StorageError::Snapshot { reason }
}

#[cfg(test)]
mod tests;
