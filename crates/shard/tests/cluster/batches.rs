//! Batches for tests. The records inside are not real ones: nobody here decodes them.

use bytes::{BufMut, BytesMut};
use quipu_types::record::{HEADER_BYTES, ValidatedBatch};
use quipu_types::{PartitionId, PartitionIndex, TopicId};

pub(crate) fn partition(index: u32) -> PartitionId {
    PartitionId::new(TopicId::from_bytes([0xCD; 16]), PartitionIndex::new(index))
}

/// A batch of `count` records without a producer.
pub(crate) fn batch(count: i32) -> ValidatedBatch {
    build((-1, -1, -1), count, 0)
}

/// A batch of one record and about so many bytes.
pub(crate) fn large(bytes: usize) -> ValidatedBatch {
    build((-1, -1, -1), 1, bytes)
}

/// The batch with a sequence of a producer; or one without a producer.
pub(crate) fn of_producer(producer: i64, sequence: i32, is_plain: bool) -> ValidatedBatch {
    build(if is_plain { (-1, -1, -1) } else { (producer, 0, sequence) }, 1, 0)
}

fn build(producer: (i64, i16, i32), count: i32, padding: usize) -> ValidatedBatch {
    let records = usize::try_from(count).expect("positive") * 8 + padding;
    let mut body = BytesMut::new();
    body.put_i16(0);
    body.put_i32(count - 1);
    body.put_i64(1_700_000_000_000);
    body.put_i64(1_700_000_000_000);
    body.put_i64(producer.0);
    body.put_i16(producer.1);
    body.put_i32(producer.2);
    body.put_i32(count);
    body.put_bytes(0x11, records);
    let mut bytes = BytesMut::new();
    bytes.put_i64(0);
    bytes.put_i32(i32::try_from(HEADER_BYTES + records - 12).expect("small"));
    bytes.put_i32(-1);
    bytes.put_u8(2);
    bytes.put_u32(crc32c::crc32c(&body));
    bytes.extend_from_slice(&body);
    ValidatedBatch::parse(bytes.freeze()).expect("well-formed")
}
