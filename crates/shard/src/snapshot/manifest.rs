//! What a snapshot holds.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_types::{LogIndex, Offset, PartitionId};

use crate::bundle::{PartitionConfig, get_partition, put_partition};
use crate::row::{InvalidRow, length, seal, unseal};
use crate::tenure::Tenure;

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
    /// How it came to the shard, and whether it stays.
    pub(crate) tenure: Tenure,
    /// The partition's own part, opaque here.
    pub(crate) state: Bytes,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        let has_moved = self.rows.iter().any(|row| row.tenure != Tenure::default());
        bytes.put_u8(VERSION);
        bytes.put_u8(u8::from(has_moved));
        bytes.put_bytes(0, 2);
        bytes.put_u32(length(self.rows.len()));
        for row in &self.rows {
            if has_moved {
                bytes.put_u8(row.tenure.flags());
                row.tenure.put_moves(&mut bytes);
            }
            put_partition(&mut bytes, row.partition);
            bytes.put_u64(row.opened.get());
            bytes.put_i32(row.epoch_base);
            row.config.encode(&mut bytes);
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
        bytes.advance(1);
        let has_moved = bytes.get_u8() != 0;
        bytes.advance(2);
        let count = usize::try_from(bytes.get_u32()).map_err(|_| InvalidRow)?;
        let mut rows: Vec<ManifestRow> = Vec::with_capacity(count.min(bytes.len() / ROW_BYTES));
        for _ in 0..count {
            let tenure = if has_moved { get_tenure(&mut bytes)? } else { Tenure::default() };
            let row = ManifestRow { tenure, ..ManifestRow::decode(&mut bytes)? };
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
            config: PartitionConfig::decode(bytes),
            log_start: Offset::new(bytes.get_u64()),
            high_watermark: Offset::new(bytes.get_u64()),
            tenure: Tenure::default(),
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

fn get_tenure(bytes: &mut Bytes) -> Result<Tenure, InvalidRow> {
    let flags = bytes.try_get_u8().map_err(|_| InvalidRow)?;
    Tenure::get(flags, bytes)
}
