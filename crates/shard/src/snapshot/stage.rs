//! Where a snapshot waits until it is complete.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quipu_disk::{Disk, DiskFile, OpenMode};
use quipu_types::record::ValidatedBatch;

use super::chunk::{InvalidChunk, Section, sections};

/// The only file of a stage: chunks, each behind its length.
const FILE: &str = "chunks";

/// A directory with the chunks of one snapshot. Nothing refers to it but the receiver in memory:
/// after a crash it is garbage.
#[derive(Debug)]
pub(crate) struct Staged {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file: Box<dyn DiskFile>,
    end: u64,
}

impl Staged {
    /// Makes an empty stage.
    pub(crate) fn create(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        disk.create_dir_all(&dir)?;
        let file = disk.open(&dir.join(FILE), OpenMode::CreateNew)?;
        Ok(Self { disk, dir, file, end: 0 })
    }

    /// Adds a chunk.
    pub(crate) fn push(&mut self, chunk: &Bytes) -> io::Result<()> {
        let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
        self.file.write_all_at(&length.to_be_bytes(), self.end)?;
        self.file.write_all_at(chunk, self.end + 4)?;
        quipu_failpoint::hit("shard.stage.write.after");
        self.end += 4 + u64::from(length);
        Ok(())
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

    /// Reads it from the beginning.
    pub(crate) fn reader(&self) -> StageReader<'_> {
        StageReader { staged: self, at: 0, sections: Vec::new().into_iter(), section: None }
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

/// Reads the batches of a stage in order, partition by partition.
pub(crate) struct StageReader<'a> {
    staged: &'a Staged,
    at: u64,
    sections: std::vec::IntoIter<Section>,
    section: Option<Section>,
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
    /// The next batch, if it belongs to the partition at `place` of the manifest.
    pub(crate) fn next_of(&mut self, place: u32) -> Result<Option<ValidatedBatch>, StageError> {
        self.fill()?;
        let Some(section) = self.section.as_mut().filter(|section| section.place == place) else {
            return Ok(None);
        };
        let batch = ValidatedBatch::split_first(&mut section.batches)
            .map_err(|error| InvalidChunk::new(error.to_string()))?;
        Ok(Some(batch))
    }

    /// Whether every batch was read.
    pub(crate) fn is_at_end(&mut self) -> Result<bool, StageError> {
        self.fill()?;
        Ok(self.section.is_none())
    }

    /// Moves to the next section that has batches left.
    fn fill(&mut self) -> Result<(), StageError> {
        while self.section.as_ref().is_none_or(|section| section.batches.is_empty()) {
            self.section = self.sections.next();
            if self.section.is_none() {
                let Some(chunk) = self.read_chunk()? else { return Ok(()) };
                self.sections = sections(&chunk)?.into_iter();
            }
        }
        Ok(())
    }

    fn read_chunk(&mut self) -> Result<Option<Bytes>, StageError> {
        if self.at >= self.staged.end {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.staged.file.read_exact_at(&mut length, self.at)?;
        let length = u32::from_be_bytes(length);
        if self.at + 4 + u64::from(length) > self.staged.end {
            return Err(InvalidChunk::new("length").into());
        }
        let mut chunk = BytesMut::zeroed(usize::try_from(length).map_err(io::Error::other)?);
        self.staged.file.read_exact_at(&mut chunk, self.at + 4)?;
        self.at += 4 + u64::from(length);
        Ok(Some(chunk.freeze()))
    }
}
