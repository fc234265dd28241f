//! The leader's side: a consistent view that apply leaves alone.

use bytes::Bytes;
use quipu_consensus::{SnapshotCursor, SnapshotSource, StateMachineError};
use quipu_partition::PartitionHandle;
use quipu_types::Offset;
use quipu_types::record::BatchHeader;

use super::chunk::ChunkBuilder;
use super::{Have, Manifest, ManifestRow, first_missing};
use crate::state_machine::failed;

/// A chunk is closed when it has this much: a few flushes' worth, small beside the peers' frames.
const CHUNK_BYTES: usize = 1 << 20;

/// Segments only grow, so the readers with fixed ends are a consistent view. A partition that is
/// trimmed or closed meanwhile ends the transfer with an error, and consensus takes a new view.
pub(crate) struct Source {
    partitions: Vec<SourcePartition>,
    groups: Bytes,
}

pub(crate) struct SourcePartition {
    pub(crate) row: ManifestRow,
    pub(crate) handle: PartitionHandle,
}

impl Source {
    pub(crate) const fn new(partitions: Vec<SourcePartition>, groups: Bytes) -> Self {
        Self { partitions, groups }
    }
}

impl SnapshotSource for Source {
    fn manifest(&self) -> Bytes {
        // Only now: many a view is taken and never sent.
        let rows = self.partitions.iter().map(|partition| partition.row.clone()).collect();
        Manifest { rows, groups: self.groups.clone() }.encode()
    }

    /// The cursor: a partition's place, and the next offset to send plus one (0: not begun).
    fn chunk(
        &self,
        have: &Bytes,
        cursor: &mut SnapshotCursor,
    ) -> Result<Option<Bytes>, StateMachineError> {
        let have =
            Have::open(have).map_err(|error| failed("read", "what a follower has", error))?;
        let mut chunk = ChunkBuilder::new();
        while chunk.len() < CHUNK_BYTES {
            let place = usize::try_from(cursor.0).unwrap_or(usize::MAX);
            let Some(partition) = self.partitions.get(place) else { break };
            let from = match cursor.1 {
                0 => first_missing(&partition.row, &have),
                next => Offset::new(next - 1),
            };
            let batches = partition.read(from, CHUNK_BYTES - chunk.len())?;
            match batches.last() {
                Some(last) => {
                    chunk.push(u32::try_from(cursor.0).unwrap_or(u32::MAX), &batches);
                    cursor.1 = end_of(last).get() + 1;
                }
                None => *cursor = SnapshotCursor(cursor.0 + 1, 0),
            }
        }
        Ok((chunk.len() > 0).then(|| chunk.finish()))
    }
}

impl SourcePartition {
    /// Whole batches from `from` up to the end of the view; none at its end.
    fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Bytes>, StateMachineError> {
        let end = self.row.high_watermark;
        if from >= end {
            return Ok(Vec::new());
        }
        let mut batches = self
            .handle
            .read(from, bytes_max)
            .map_err(|error| failed("read partition", self.row.partition, error))?;
        // A batch is applied as a whole, so the end of the view lies between two.
        batches.retain(|batch| end_of(batch) <= end);
        Ok(batches)
    }
}

/// The offset after the last record of a stored batch.
pub(super) fn end_of(batch: &[u8]) -> Offset {
    let header = BatchHeader::decode(batch).expect("a stored batch has a header");
    header.base_offset.plus(u64::try_from(header.record_count).unwrap_or(0))
}
