//! Batches to append.

use bytes::{BufMut, BytesMut};
use quipu_types::record::{HEADER_BYTES, ValidatedBatch};

/// Nobody's producer.
pub(crate) const NO_PRODUCER: Producer = Producer { id: -1, epoch: -1, sequence: -1 };

/// A producer id, epoch and first sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

/// The rest of what makes a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) records: i32,
    pub(crate) padding: usize,
    pub(crate) timestamp: i64,
    pub(crate) fill: u8,
}

/// A batch. Its records are not real ones: nobody in storage decodes them.
pub(crate) fn batch(producer: Producer, shape: Shape) -> ValidatedBatch {
    let records = usize::try_from(shape.records).expect("a few") * 8 + shape.padding;
    let mut body = BytesMut::new();
    body.put_i16(0);
    body.put_i32(shape.records - 1);
    body.put_i64(shape.timestamp);
    body.put_i64(shape.timestamp);
    body.put_i64(producer.id);
    body.put_i16(producer.epoch);
    body.put_i32(producer.sequence);
    body.put_i32(shape.records);
    body.put_bytes(shape.fill, records);
    let mut bytes = BytesMut::new();
    bytes.put_i64(0);
    bytes.put_i32(i32::try_from(HEADER_BYTES + records - 12).expect("a small batch"));
    bytes.put_i32(-1);
    bytes.put_u8(2);
    bytes.put_u32(crc32c::crc32c(&body));
    bytes.extend_from_slice(&body);
    ValidatedBatch::parse(bytes.freeze()).expect("the layout is the documented one")
}
