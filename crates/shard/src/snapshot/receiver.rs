//! The follower's side: checks what comes and stages it.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use quipu_consensus::{SnapshotReceiver, StateMachineError};
use quipu_disk::Disk;
use quipu_types::Offset;
use quipu_types::record::ValidatedBatch;

use super::chunk::{InvalidChunk, Section, sections};
use super::{Have, HaveRow, Manifest, Staged, first_missing};
use crate::state_machine::failed;

/// Receives one snapshot. Until it is installed, nothing refers to it; dropping it removes what
/// was staged.
pub(crate) struct Receiver {
    pub(crate) manifest: Manifest,
    pub(crate) staged: Staged,
    have_bytes: Bytes,
    /// The partition whose batches come now, by its place in the manifest.
    place: usize,
    /// Per partition, the offset its next batch must hold.
    next: Vec<Offset>,
}

impl Receiver {
    /// Begins to receive the snapshot of `manifest`.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        manifest: &Bytes,
        have: &[HaveRow],
    ) -> Result<Self, String> {
        let manifest = Manifest::decode(manifest).map_err(|error| error.to_string())?;
        let have_bytes = Have::encode(have);
        let have = Have::open(&have_bytes).expect("encoded just now");
        let next = manifest.rows.iter().map(|row| first_missing(row, &have)).collect();
        let staged = Staged::create(disk, dir).map_err(|error| error.to_string())?;
        Ok(Self { manifest, staged, have_bytes, place: 0, next })
    }

    /// Checks every batch of a section, and that it continues what came before.
    fn check(&mut self, section: Section) -> Result<(), InvalidChunk> {
        let place = usize::try_from(section.place).unwrap_or(usize::MAX);
        if place < self.place || place >= self.manifest.rows.len() {
            return Err(InvalidChunk::new("partitions are out of order"));
        }
        self.check_complete(place)?;
        self.place = place;
        let end_of_view = self.manifest.rows[place].high_watermark;
        let mut batches = section.batches;
        while !batches.is_empty() {
            let batch = ValidatedBatch::split_first(&mut batches)
                .map_err(|error| InvalidChunk::new(error.to_string()))?;
            let base = batch.header().base_offset;
            let end = base.plus(u64::from(batch.record_count()));
            let next = &mut self.next[place];
            if base > *next || end <= *next || end > end_of_view {
                return Err(InvalidChunk::new(format!("batch at {base} is out of order")));
            }
            *next = end;
        }
        Ok(())
    }

    /// Checks that nothing is missing of the partitions before `place`.
    fn check_complete(&self, place: usize) -> Result<(), InvalidChunk> {
        for (row, next) in self.manifest.rows.iter().zip(&self.next).take(place).skip(self.place) {
            if *next < row.high_watermark {
                let (partition, end) = (row.partition, row.high_watermark);
                let reason =
                    format!("offsets {next} to {end} of partition {partition} are missing");
                return Err(InvalidChunk::new(reason));
            }
        }
        Ok(())
    }
}

impl SnapshotReceiver for Receiver {
    fn have(&self) -> Bytes {
        self.have_bytes.clone()
    }

    fn write(&mut self, chunk: Bytes) -> Result<(), StateMachineError> {
        let refuse = |error| failed("receive", "snapshot", error);
        for section in sections(&chunk).map_err(refuse)? {
            self.check(section).map_err(refuse)?;
        }
        self.staged.push(&chunk).map_err(|error| failed("stage", "snapshot", error))
    }

    fn finish(&mut self) -> Result<(), StateMachineError> {
        self.check_complete(self.manifest.rows.len())
            .map_err(|error| failed("receive", "snapshot", error))?;
        self.staged.flush().map_err(|error| failed("flush", "staged snapshot", error))
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
