//! Record batches with one thing wrong.

use anyhow::Result;
use bytes::Bytes;
use quipu_types::TimestampMs;
use quipu_types::record::{BatchBuilder, BatchHeader, HEADER_BYTES, Record};

/// Where each field of the header starts: docs/formats/record-batch.md.
pub(crate) mod at {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const LENGTH: usize = 8;
    pub(crate) const LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const RECORD_COUNT: usize = 57;
}

/// When the records of the tests happened: 2023-11-14T22:13:20Z.
pub(crate) const TIME: i64 = 1_700_000_000_000;

/// Bytes of a batch under change.
#[derive(Clone, Debug)]
pub(crate) struct Batch(Vec<u8>);

impl Batch {
    /// A good batch of `count` small records.
    pub(crate) fn of(count: u32) -> Self {
        let mut builder = BatchBuilder::new(TimestampMs::new(TIME));
        for number in 0..count {
            let value = Some(Bytes::from(format!("value {number}")));
            let timestamp = TimestampMs::new(TIME + i64::from(number));
            let record = Record { timestamp, value, ..Record::default() };
            builder.push(&record).expect("small records fit");
        }
        Self(builder.finish_plain().bytes().to_vec())
    }

    /// A good batch of one record, `size` bytes in all.
    pub(crate) fn of_size(size: usize) -> Result<Self> {
        let with = |value: usize| -> Result<Vec<u8>> {
            let mut builder = BatchBuilder::new(TimestampMs::new(TIME));
            let value = Some(Bytes::from(vec![b'x'; value]));
            let timestamp = TimestampMs::new(TIME);
            builder.push(&Record { timestamp, value, ..Record::default() })?;
            Ok(builder.finish_plain().bytes().to_vec())
        };
        // The frame around the value takes 67 to 77 bytes.
        for frame in 60..90 {
            let bytes = with(size.saturating_sub(frame))?;
            if bytes.len() == size {
                return Ok(Self(bytes));
            }
        }
        anyhow::bail!("no batch has exactly {size} bytes")
    }

    /// A batch whose records are `section` as it is, with a header that fits otherwise.
    pub(crate) fn with_section(count: i32, section: &[u8]) -> Self {
        let mut bytes = Self::of(1).0;
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(section);
        let batch = Self(bytes).number(at::MAX_TIMESTAMP, TIME + 1000);
        let batch = batch.number(at::RECORD_COUNT, count);
        batch.number(at::LAST_OFFSET_DELTA, count.wrapping_sub(1)).measured().sealed()
    }

    /// Writes a big-endian number.
    pub(crate) fn number(self, at: usize, value: impl BigEndian) -> Self {
        self.bytes(at, &value.big_endian())
    }

    /// Writes bytes.
    pub(crate) fn bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Turns bits of a byte over.
    pub(crate) fn flip(mut self, at: usize, bits: u8) -> Self {
        self.0[at] ^= bits;
        self
    }

    /// Sets the idempotent producer.
    pub(crate) fn producer(self, (id, epoch): (i64, i16), sequence: i32) -> Self {
        let batch = self.number(at::PRODUCER_ID, id).number(at::PRODUCER_EPOCH, epoch);
        batch.number(at::BASE_SEQUENCE, sequence).sealed()
    }

    /// Sets the length field to what is there.
    pub(crate) fn measured(self) -> Self {
        let length = i32::try_from(self.0.len() - 12).expect("batches of tests are small");
        self.number(at::LENGTH, length)
    }

    /// Computes the checksum again.
    pub(crate) fn sealed(mut self) -> Self {
        BatchHeader::seal_checksum(&mut self.0);
        self
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes.
    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Numbers of a header.
pub(crate) trait BigEndian {
    /// The bytes, highest first.
    fn big_endian(self) -> Vec<u8>;
}

macro_rules! big_endian {
    ($($type:ty)+) => {
        $(impl BigEndian for $type {
            fn big_endian(self) -> Vec<u8> {
                self.to_be_bytes().to_vec()
            }
        })+
    };
}

big_endian! { u8 i16 i32 i64 u32 }

/// A zigzag varint, as records are made of.
pub(crate) fn zigzag(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7F).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
    out
}
