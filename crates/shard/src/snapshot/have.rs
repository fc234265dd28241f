//! What the follower has already.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_types::{LogIndex, Offset, PartitionId};

use crate::bundle::{get_partition, put_partition};
use crate::row::{InvalidRow, seal, unseal};

/// Layout version; see `row.rs`.
const VERSION: u8 = 1;
/// Bytes before the first row.
const HEADER_BYTES: usize = 4;
/// Bytes of a row.
const ROW_BYTES: usize = 36;

/// How far each partition of a follower has come, in order. Stays encoded: it is looked up in for
/// every chunk, and with thousands of partitions decoding it each time would cost more than the
/// chunk.
#[derive(Clone, Debug)]
pub(crate) struct Have {
    rows: Bytes,
}

/// One partition of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HaveRow {
    pub(crate) partition: PartitionId,
    /// The entry that opened it: tells its lives apart.
    pub(crate) opened: LogIndex,
    pub(crate) high_watermark: Offset,
}

impl Have {
    /// Encodes rows that are in order of partition.
    pub(crate) fn encode(rows: &[HaveRow]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + ROW_BYTES * rows.len() + 4);
        bytes.put_u8(VERSION);
        bytes.put_bytes(0, 3);
        for row in rows {
            put_partition(&mut bytes, row.partition);
            bytes.put_u64(row.opened.get());
            bytes.put_u64(row.high_watermark.get());
        }
        seal(bytes)
    }

    /// Opens what [`Self::encode`] wrote.
    pub(crate) fn open(bytes: &Bytes) -> Result<Self, InvalidRow> {
        let rows = unseal(bytes, HEADER_BYTES)?.slice(HEADER_BYTES..);
        if rows.len() % ROW_BYTES == 0 { Ok(Self { rows }) } else { Err(InvalidRow) }
    }

    /// The row of a partition.
    pub(crate) fn row(&self, partition: PartitionId) -> Option<HaveRow> {
        let (mut start, mut end) = (0, self.rows.len() / ROW_BYTES);
        while start < end {
            let middle = start + (end - start) / 2;
            let row = self.at(middle);
            match row.partition.cmp(&partition) {
                std::cmp::Ordering::Equal => return Some(row),
                std::cmp::Ordering::Less => start = middle + 1,
                std::cmp::Ordering::Greater => end = middle,
            }
        }
        None
    }

    fn at(&self, place: usize) -> HaveRow {
        let mut row = &self.rows[place * ROW_BYTES..(place + 1) * ROW_BYTES];
        HaveRow {
            partition: get_partition(&mut row),
            opened: LogIndex::new(row.get_u64()),
            high_watermark: Offset::new(row.get_u64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn each_row_is_found_and_others_are_not() {
        let id = |n| PartitionId::new(TopicId::from_bytes([5; 16]), PartitionIndex::new(n));
        let rows: Vec<HaveRow> = (0..100)
            .map(|n| HaveRow {
                partition: id(2 * n),
                opened: LogIndex::new(u64::from(n)),
                high_watermark: Offset::new(u64::from(n) * 10),
            })
            .collect();
        let have = Have::open(&Have::encode(&rows)).unwrap();
        for (n, row) in (0..).zip(&rows) {
            assert_eq!(have.row(id(2 * n)), Some(*row));
            assert_eq!(have.row(id(2 * n + 1)), None);
        }
        let empty = Have::open(&Have::encode(&[])).unwrap();
        assert_eq!(empty.row(id(0)), None);
    }
}
