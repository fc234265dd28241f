//! Where a snapshot waits until it is complete, and what a broken transfer left waits for the next.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use quipu_disk::{Disk, DiskFile, OpenMode, Writeback};
use quipu_types::record::ValidatedBatch;
use quipu_types::{LogIndex, Offset, PartitionId};

use super::chunk::InvalidChunk;

/// The only file of a stage: batches, each with its own checksum.
const FILE: &str = "batches";

/// A directory with the batches of one snapshot. Nothing refers to it but memory: after a crash it
/// is garbage.
#[derive(Debug)]
pub(crate) struct Staged {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file: Box<dyn DiskFile>,
    end: u64,
    writeback: Writeback,
    partitions: BTreeMap<PartitionId, StagedPartition>,
}

/// What is staged of a partition: whole batches without a hole.
#[derive(Clone, Debug)]
pub(crate) struct StagedPartition {
    /// The entry that opened it: tells its lives apart.
    pub(crate) opened: LogIndex,
    /// The offset that was missing when its first batch came.
    pub(crate) from: Offset,
    /// The offset after its last batch.
    pub(crate) end: Offset,
    /// Where its batches lie in the file: place and bytes.
    pieces: Vec<(u64, u32)>,
}

impl StagedPartition {
    /// Begins where `from` is missing.
    pub(crate) const fn new(opened: LogIndex, from: Offset) -> Self {
        Self { opened, from, end: from, pieces: Vec::new() }
    }
}

impl Staged {
    /// Makes an empty stage.
    pub(crate) fn create(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        disk.create_dir_all(&dir)?;
        let file = disk.open(&dir.join(FILE), OpenMode::CreateNew)?;
        let (writeback, partitions) = (Writeback::default(), BTreeMap::new());
        Ok(Self { disk, dir, file, end: 0, writeback, partitions })
    }

    /// Adds batches that continue a partition's, up to `end`.
    pub(crate) fn push(
        &mut self,
        partition: PartitionId,
        begin: StagedPartition,
        batches: &Bytes,
        end: Offset,
    ) -> io::Result<()> {
        let length = u32::try_from(batches.len()).map_err(io::Error::other)?;
        self.file.write_all_at(batches, self.end)?;
        quipu_failpoint::hit("shard.stage.write.after");
        let staged = self.partitions.entry(partition).or_insert(begin);
        staged.pieces.push((self.end, length));
        staged.end = end;
        self.end += u64::from(length);
        self.writeback.grown(&*self.file, self.end);
        Ok(())
    }

    /// Bytes it has on the disk.
    pub(crate) const fn bytes(&self) -> u64 {
        self.end
    }

    /// What is staged of a partition.
    pub(crate) fn partition(&self, partition: PartitionId) -> Option<&StagedPartition> {
        self.partitions.get(&partition)
    }

    /// Forgets the partitions that are of no use; their bytes stay until the stage goes.
    pub(crate) fn retain(&mut self, is_of_use: impl Fn(PartitionId, &StagedPartition) -> bool) {
        self.partitions.retain(|partition, staged| is_of_use(*partition, staged));
    }

    /// Makes it durable: what is installed from it may be read back after the page cache gave
    /// it up.
    pub(crate) fn flush(&self) -> io::Result<()> {
        quipu_failpoint::hit("shard.stage.flush.before");
        self.file.sync_all()?;
        quipu_failpoint::hit("shard.stage.sync-dir.before");
        self.disk.sync_dir(&self.dir)?;
        quipu_failpoint::hit("shard.stage.sync-dir.after");
        Ok(())
    }

    /// Reads it, partition by partition.
    pub(crate) fn reader(&self) -> StageReader<'_> {
        StageReader { staged: self, partition: None, next: 0, batches: Bytes::new(), read: 0 }
    }
}

impl Drop for Staged {
    /// Installed or given up: either way it is garbage now. What cannot be removed is removed at
    /// the next start.
    fn drop(&mut self) {
        quipu_failpoint::hit("shard.stage.remove.before");
        if let Err(error) = self.disk.remove_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "staged snapshot is not removed");
        }
    }
}

/// Where the stage of a shard is, from the first batch to the install: what a broken transfer left
/// is there for the one that comes after it, because committed batches are the same, whoever sends
/// them. The newest transfer has it; one that it overtook is refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Berth(Arc<Mutex<Moored>>);

#[derive(Debug, Default)]
struct Moored {
    staged: Option<Staged>,
    /// The number of the newest transfer.
    newest: u64,
    /// Whether that one goes on.
    is_used: bool,
}

/// A transfer's right to the stage, until another comes.
#[derive(Debug)]
pub(crate) struct Ticket {
    berth: Berth,
    number: u64,
}

/// Another transfer has the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a newer transfer took its place")]
pub(crate) struct Overtaken;

impl Berth {
    fn lock(&self) -> MutexGuard<'_, Moored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a transfer, in place of any before it.
    pub(crate) fn begin(&self, create: impl FnOnce() -> io::Result<Staged>) -> io::Result<Ticket> {
        let mut moored = self.lock();
        if moored.staged.is_none() {
            moored.staged = Some(create()?);
        }
        moored.newest += 1;
        moored.is_used = true;
        Ok(Ticket { berth: self.clone(), number: moored.newest })
    }

    /// Removes what a broken transfer left.
    pub(crate) fn clear(&self) {
        let mut moored = self.lock();
        let left = if moored.is_used { None } else { moored.staged.take() };
        drop(moored);
        drop(left);
    }
}

impl Ticket {
    /// Does something with the stage.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Staged) -> T) -> Result<T, Overtaken> {
        let mut moored = self.berth.lock();
        let is_newest = moored.newest == self.number;
        moored.staged.as_mut().filter(|_| is_newest).map(act).ok_or(Overtaken)
    }

    /// Takes the stage away, to be installed.
    pub(crate) fn redeem(&self) -> Result<Staged, Overtaken> {
        let mut moored = self.berth.lock();
        let is_newest = moored.newest == self.number;
        if is_newest { moored.staged.take().ok_or(Overtaken) } else { Err(Overtaken) }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut moored = self.berth.lock();
        if moored.newest == self.number {
            moored.is_used = false;
        }
    }
}

/// Reads the batches of a stage, each partition's in order.
pub(crate) struct StageReader<'a> {
    staged: &'a Staged,
    partition: Option<PartitionId>,
    /// The piece of the partition that comes next.
    next: usize,
    batches: Bytes,
    /// Pieces read, of all partitions.
    read: usize,
}

/// Why a stage cannot be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    #[error("read stage: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Chunk(#[from] InvalidChunk),
}

impl StageReader<'_> {
    /// The next batch of a partition.
    pub(crate) fn next_of(
        &mut self,
        partition: PartitionId,
    ) -> Result<Option<ValidatedBatch>, StageError> {
        if self.partition != Some(partition) {
            assert!(self.batches.is_empty(), "a partition is read to its end");
            (self.partition, self.next) = (Some(partition), 0);
        }
        while self.batches.is_empty() {
            let staged = self.staged.partition(partition);
            let Some(&(at, length)) = staged.and_then(|it| it.pieces.get(self.next)) else {
                return Ok(None);
            };
            let mut bytes = BytesMut::zeroed(usize::try_from(length).map_err(io::Error::other)?);
            self.staged.file.read_exact_at(&mut bytes, at)?;
            self.batches = bytes.freeze();
            self.next += 1;
            self.read += 1;
        }
        let batch = ValidatedBatch::split_first(&mut self.batches)
            .map_err(|error| InvalidChunk::new(error.to_string()))?;
        Ok(Some(batch))
    }

    /// Whether every batch was read.
    pub(crate) fn is_at_end(&self) -> bool {
        let all: usize = self.staged.partitions.values().map(|it| it.pieces.len()).sum();
        self.batches.is_empty() && self.read == all
    }
}
