//! Checkpoints, and what the journal may forget after one.

use std::time::Duration;

use quipu_types::LogIndex;

use super::Group;
use crate::error::CheckpointError;
use crate::type_config::LogId;

/// Entries a checkpoint always leaves, so that purging stays clear of what is being applied
/// (openraft #2116).
const ENTRIES_KEPT_MIN: u64 = 256;
/// Telling openraft of a checkpoint takes a few messages between its tasks.
const ANNOUNCE_WAIT: Duration = Duration::from_secs(10);

impl Group {
    /// Makes everything applied durable and lets the journal forget what lies well behind it.
    /// Returns the index covered; none before the first entry.
    ///
    /// Dropping the future does not undo a checkpoint under way.
    ///
    /// # Errors
    /// A failure of the disk also ends the node.
    pub async fn checkpoint(&self) -> Result<Option<LogIndex>, CheckpointError> {
        let _one_at_a_time = self.inner.checkpointing.lock().await;
        let Some(covered) = self.inner.machine.checkpoint(&self.inner.journal).await? else {
            return Ok(None);
        };
        self.purge_behind(covered).await?;
        Ok(Some(covered))
    }

    async fn purge_behind(&self, covered: LogIndex) -> Result<(), CheckpointError> {
        let heavy = {
            let weight = self.inner.weight.lock().expect("no code panics under this lock");
            weight.tail_start(self.inner.config.bytes_kept).map_or(0, LogIndex::get)
        };
        let many = covered.get().saturating_sub(self.inner.config.entries_kept);
        let newest =
            covered.get().saturating_sub(ENTRIES_KEPT_MIN.min(self.inner.config.entries_kept));
        // Entries up to and including this one may go.
        let upto = many.max(heavy.saturating_sub(1)).min(newest);
        let purged = self.positions().purged.map_or(0, |id| id.index.get());
        if upto <= purged {
            return Ok(());
        }
        self.announce_checkpoint(LogIndex::new(upto)).await?;
        self.inner.raft.trigger().purge_log(upto).await.map_err(|_| CheckpointError::Stopped)
    }

    /// openraft purges only behind a snapshot: tell it of the checkpoint, which stands for one.
    async fn announce_checkpoint(&self, upto: LogIndex) -> Result<(), CheckpointError> {
        let mut progress = self.inner.raft.watch_snapshot_progress();
        let covers = |id: &Option<LogId>| id.as_ref().is_some_and(|id| id.index >= upto.get());
        if covers(&progress.get()) {
            return Ok(());
        }
        self.inner.raft.trigger().snapshot().await.map_err(|_| CheckpointError::Stopped)?;
        let announced = tokio::time::timeout(ANNOUNCE_WAIT, progress.wait_until(covers));
        match announced.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(CheckpointError::Stopped),
        }
    }

    /// The last durable checkpoint.
    pub async fn checkpointed(&self) -> Option<LogIndex> {
        self.inner.machine.checkpointed().await
    }
}
