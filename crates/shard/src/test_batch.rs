//! Batches for tests.

use bytes::{BufMut, Bytes, BytesMut};
use quipu_types::record::{HEADER_BYTES, ValidatedBatch};
use quipu_types::{PartitionId, PartitionIndex, TopicId};

/// A producer id, epoch and first sequence.
pub(crate) type Producer = (i64, i16, i32);

/// A partition of a topic made for tests.
pub(crate) fn partition(index: u32) -> PartitionId {
    PartitionId::new(TopicId::from_bytes([0xAB; 16]), PartitionIndex::new(index))
}

/// A plain batch of `count` records with `fill` in each of them, without a producer.
pub(crate) fn batch(count: i32, fill: u8) -> ValidatedBatch {
    batch_of((-1, -1, -1), count, fill, 0)
}

/// A batch of a producer; `padding` bytes make it larger. The records are not real ones: nobody
/// here decodes them.
pub(crate) fn batch_of(producer: Producer, count: i32, fill: u8, padding: usize) -> ValidatedBatch {
    let records = usize::try_from(count).unwrap() * 8 + padding;
    let mut body = BytesMut::new();
    body.put_i16(0);
    body.put_i32(count - 1);
    body.put_i64(1_700_000_000_000);
    body.put_i64(1_700_000_000_000 + i64::from(fill));
    body.put_i64(producer.0);
    body.put_i16(producer.1);
    body.put_i32(producer.2);
    body.put_i32(count);
    body.put_bytes(fill, records);
    let mut bytes = BytesMut::new();
    bytes.put_i64(0);
    bytes.put_i32(i32::try_from(HEADER_BYTES + records - 12).unwrap());
    bytes.put_i32(-1);
    bytes.put_u8(2);
    bytes.put_u32(crc32c::crc32c(&body));
    bytes.extend_from_slice(&body);
    ValidatedBatch::parse(bytes.freeze()).unwrap()
}

/// The bytes of a hexadecimal text; blanks are skipped.
pub(crate) fn hex(text: &str) -> Bytes {
    let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}
