//! What a shard keeps in its table between checkpoints. Byte tables: `docs/formats/bundle.md`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_consensus::AppliedState;
use quipu_types::{EntryId, LogIndex, PartitionId, Term};

use crate::bundle::{PartitionConfig, get_partition, put_partition};
use crate::tenure::Tenure;

/// The only layouts so far. Persisted; never reuse.
const VERSION: u8 = 1;
/// CRC32C over everything before it.
const CRC_BYTES: usize = 4;

/// A row is damaged, or written by a newer release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a checkpoint row is damaged or of an unknown version")]
pub struct InvalidRow;

/// One hosted partition, as of its last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionRow {
    /// The entry that opened it: tells its lives apart.
    pub(crate) opened: LogIndex,
    pub(crate) epoch_base: i32,
    pub(crate) config: PartitionConfig,
    /// Which of the partition's directories holds its data.
    pub(crate) generation: u32,
    /// How it came here, and whether it stays.
    pub(crate) tenure: Tenure,
    /// The partition's own part, opaque here.
    pub(crate) checkpoint: Bytes,
}

/// The shard itself, as of its last checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardRow {
    pub(crate) applied: Option<EntryId>,
    pub(crate) membership: Bytes,
    /// Directories the checkpoint forgets: (partition, generation).
    pub(crate) garbage: Vec<(PartitionId, u32)>,
}

impl PartitionRow {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(40 + self.checkpoint.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(self.tenure.flags());
        bytes.put_bytes(0, 2);
        bytes.put_u32(self.generation);
        bytes.put_u64(self.opened.get());
        bytes.put_i32(self.epoch_base);
        self.config.encode(&mut bytes);
        self.tenure.put_moves(&mut bytes);
        bytes.extend_from_slice(&self.checkpoint);
        seal(bytes)
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, InvalidRow> {
        let mut bytes = unseal(bytes, 36)?;
        bytes.advance(1);
        let flags = bytes.get_u8();
        bytes.advance(2);
        Ok(Self {
            generation: bytes.get_u32(),
            opened: LogIndex::new(bytes.get_u64()),
            epoch_base: bytes.get_i32(),
            config: PartitionConfig::decode(&mut bytes),
            tenure: Tenure::get(flags, &mut bytes)?,
            checkpoint: bytes,
        })
    }
}

impl ShardRow {
    /// The row of a checkpoint at `state`.
    pub(crate) fn new(state: &AppliedState, garbage: Vec<(PartitionId, u32)>) -> Self {
        Self { applied: state.applied, membership: state.membership.clone(), garbage }
    }

    /// What consensus reads back.
    pub(crate) fn state(&self) -> AppliedState {
        AppliedState { applied: self.applied, membership: self.membership.clone() }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u8(VERSION);
        bytes.put_u8(u8::from(self.applied.is_some()));
        bytes.put_u16(0);
        let applied = self.applied.unwrap_or_default();
        bytes.put_u64(applied.term.get());
        bytes.put_u64(applied.index.get());
        bytes.put_u32(length(self.garbage.len()));
        for (partition, generation) in &self.garbage {
            put_partition(&mut bytes, *partition);
            bytes.put_u32(*generation);
        }
        bytes.extend_from_slice(&self.membership);
        seal(bytes)
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, InvalidRow> {
        let mut bytes = unseal(bytes, 24)?;
        bytes.advance(1);
        let is_some = bytes.get_u8() != 0;
        bytes.advance(2);
        let applied = EntryId::new(Term::new(bytes.get_u64()), LogIndex::new(bytes.get_u64()));
        let count = usize::try_from(bytes.get_u32()).map_err(|_| InvalidRow)?;
        if bytes.len() / 24 < count {
            return Err(InvalidRow);
        }
        let garbage = (0..count).map(|_| (get_partition(&mut bytes), bytes.get_u32())).collect();
        Ok(Self { applied: is_some.then_some(applied), membership: bytes, garbage })
    }
}

/// A length that was in memory fits a `u32` field.
pub(crate) fn length(length: usize) -> u32 {
    u32::try_from(length).expect("what is in memory here is below 4 GiB")
}

/// Adds the checksum.
pub(crate) fn seal(mut bytes: BytesMut) -> Bytes {
    bytes.put_u32(crc32c::crc32c(&bytes));
    bytes.freeze()
}

/// Checks and removes the checksum; at least `least` bytes of version 1 are left.
pub(crate) fn unseal(bytes: &Bytes, least: usize) -> Result<Bytes, InvalidRow> {
    let body = bytes.len().checked_sub(CRC_BYTES).filter(|body| *body >= least);
    let body = body.ok_or(InvalidRow)?;
    let mut crc = &bytes[body..];
    if crc.get_u32() != crc32c::crc32c(&bytes[..body]) || bytes[0] != VERSION {
        return Err(InvalidRow);
    }
    Ok(bytes.slice(..body))
}

#[cfg(test)]
mod tests {
    use quipu_types::{MoveId, PartitionIndex, TopicId};

    use super::*;
    use crate::tenure::Stage;

    fn partition_row() -> PartitionRow {
        PartitionRow {
            opened: LogIndex::new(77),
            epoch_base: -3,
            config: PartitionConfig { segment_bytes: 1 << 40, segment_age_ms: 7 },
            generation: 2,
            tenure: Tenure {
                arrived_by: Some(MoveId::new(5)),
                stage: Stage::Sealed(MoveId::new(8)),
            },
            checkpoint: Bytes::from_static(b"opaque"),
        }
    }

    fn shard_row() -> ShardRow {
        let partition = PartitionId::new(TopicId::from_bytes([9; 16]), PartitionIndex::new(4));
        ShardRow {
            applied: Some(EntryId::new(Term::new(3), LogIndex::new(99))),
            membership: Bytes::from_static(b"members"),
            garbage: vec![(partition, 0), (partition, 1)],
        }
    }

    #[test]
    fn rows_survive_the_trip() {
        assert_eq!(PartitionRow::decode(&partition_row().encode()), Ok(partition_row()));
        let opened_here = PartitionRow { tenure: Tenure::default(), ..partition_row() };
        assert_eq!(PartitionRow::decode(&opened_here.encode()), Ok(opened_here));
        assert_eq!(ShardRow::decode(&shard_row().encode()), Ok(shard_row()));
        let fresh = ShardRow::default();
        assert_eq!(ShardRow::decode(&fresh.encode()), Ok(fresh));
    }

    #[test]
    fn a_damaged_row_is_refused_wherever_the_damage_is() {
        for row in [partition_row().encode(), shard_row().encode()] {
            for at in 0..row.len() {
                let mut damaged = row.to_vec();
                damaged[at] ^= 0x10;
                let damaged = Bytes::from(damaged);
                assert_eq!(PartitionRow::decode(&damaged), Err(InvalidRow), "byte {at}");
                assert_eq!(ShardRow::decode(&damaged), Err(InvalidRow), "byte {at}");
                let cut = row.slice(..at);
                assert_eq!(PartitionRow::decode(&cut), Err(InvalidRow), "cut to {at}");
                assert_eq!(ShardRow::decode(&cut), Err(InvalidRow), "cut to {at}");
            }
        }
    }
}
