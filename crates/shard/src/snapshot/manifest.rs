//! What a snapshot holds.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_types::{LogIndex, Offset, PartitionId};

use crate::bundle::{PartitionConfig, get_partition, put_partition};
use crate::row::{InvalidRow, length, seal, unseal};

/// Layout version; see `row.rs`.
const VERSION: u8 = 1;
/// Bytes of a row before its state.
const ROW_BYTES: usize = 68;

/// Every partition of a shard at one applied index, in order, and its consumer groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) rows: Vec<ManifestRow>,
    /// The shard's consumer groups, opaque here.
    pub(crate) groups: Bytes,
}

/// One partition of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestRow {
    pub(crate) partition: PartitionId,
    /// The entry that opened it: tells its lives apart.
    pub(crate) opened: LogIndex,
    pub(crate) epoch_base: i32,
    pub(crate) config: PartitionConfig,
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    /// The partition's own part, opaque here.
    pub(crate) state: Bytes,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u8(VERSION);
        bytes.put_bytes(0, 3);
        bytes.put_u32(length(self.rows.len()));
        for row in &self.rows {
            put_partition(&mut bytes, row.partition);
            bytes.put_u64(row.opened.get());
            bytes.put_i32(row.epoch_base);
            bytes.put_u64(row.config.segment_bytes);
            bytes.put_u64(row.config.segment_age_ms);
            bytes.put_u64(row.log_start.get());
            bytes.put_u64(row.high_watermark.get());
            bytes.put_u32(length(row.state.len()));
            bytes.extend_from_slice(&row.state);
        }
        bytes.extend_from_slice(&self.groups);
        seal(bytes)
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, InvalidRow> {
        let mut bytes = unseal(bytes, 8)?;
        bytes.advance(4);
        let count = usize::try_from(bytes.get_u32()).map_err(|_| InvalidRow)?;
        let mut rows: Vec<ManifestRow> = Vec::with_capacity(count.min(bytes.len() / ROW_BYTES));
        for _ in 0..count {
            let row = ManifestRow::decode(&mut bytes)?;
            if rows.last().is_some_and(|last| last.partition >= row.partition) {
                return Err(InvalidRow);
            }
            rows.push(row);
        }
        Ok(Self { rows, groups: bytes })
    }

    /// The row of a partition.
    pub(crate) fn row(&self, partition: PartitionId) -> Option<&ManifestRow> {
        let place = self.rows.binary_search_by_key(&partition, |row| row.partition);
        place.ok().and_then(|place| self.rows.get(place))
    }
}

impl ManifestRow {
    fn decode(bytes: &mut Bytes) -> Result<Self, InvalidRow> {
        if bytes.len() < ROW_BYTES {
            return Err(InvalidRow);
        }
        let mut row = Self {
            partition: get_partition(bytes),
            opened: LogIndex::new(bytes.get_u64()),
            epoch_base: bytes.get_i32(),
            config: PartitionConfig {
                segment_bytes: bytes.get_u64(),
                segment_age_ms: bytes.get_u64(),
            },
            log_start: Offset::new(bytes.get_u64()),
            high_watermark: Offset::new(bytes.get_u64()),
            state: Bytes::new(),
        };
        let state = usize::try_from(bytes.get_u32()).map_err(|_| InvalidRow)?;
        if bytes.len() < state || row.log_start > row.high_watermark {
            return Err(InvalidRow);
        }
        row.state = bytes.split_to(state);
        Ok(row)
    }
}
