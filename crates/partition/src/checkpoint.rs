//! A partition's state as bytes. Byte tables: `docs/formats/partition-checkpoint.md`.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_segment::LogEnd;
use quipu_types::{Offset, ProducerEpoch, ProducerId, Progress, Sequence, TimestampMs};

use crate::producers::{KeptBatch, Producer, Producers};

/// The only layout so far. Persisted; never reuse.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 48;
const PRODUCER_BYTES: usize = 12;
const BATCH_BYTES: usize = 24;
const CRC_BYTES: usize = 4;

/// A partition's state: what a restart continues from, and, without the end of the log, what a
/// snapshot carries. The default is a new partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionCheckpoint {
    pub(crate) progress: Progress,
    /// Where the log ends on this replica; segments are cut locally.
    pub(crate) end: LogEnd,
    pub(crate) producers: Arc<Producers>,
}

/// Bytes that are not a checkpoint, or of a newer release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// Fewer bytes than the fixed part.
    #[error("checkpoint has {found} bytes, at least {needed} are needed")]
    Short {
        /// Bytes that came.
        found: usize,
        /// Bytes of the smallest checkpoint.
        needed: usize,
    },
    /// Written by a newer release.
    #[error("checkpoint version {found} is not supported")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// The checksum does not match.
    #[error("checkpoint checksum is {found:#010x}, the bytes give {expected:#010x}")]
    Checksum {
        /// Computed here.
        expected: u32,
        /// In the last four bytes.
        found: u32,
    },
    /// Fields contradict each other.
    #[error("checkpoint contradicts itself: {field}")]
    Law {
        /// Where.
        field: &'static str,
    },
}

impl PartitionCheckpoint {
    /// A state without producers, of a log that has no file: what is known of a partition while it
    /// is filled from elsewhere.
    #[must_use]
    pub fn bare(progress: Progress) -> Self {
        Self { progress, end: fileless(progress), producers: Arc::default() }
    }

    /// How far the partition had come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Where the log ended.
    #[must_use]
    pub fn log_end(&self) -> LogEnd {
        self.end
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.producers.iter().len()
    }

    /// The bytes of the state.
    ///
    /// # Panics
    /// Never: the table is bounded.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let count = u32::try_from(self.producer_count()).expect("PARTITION_PRODUCERS_MAX fits");
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + CRC_BYTES);
        bytes.put_u8(VERSION);
        bytes.put_bytes(0, 3);
        bytes.put_u32(count);
        bytes.put_u64(self.progress.log_start().get());
        bytes.put_u64(self.progress.high_watermark().get());
        bytes.put_u64(self.end.segment.get());
        bytes.put_u64(self.end.bytes);
        bytes.put_u64(self.end.next.get());
        for (id, producer) in self.producers.iter() {
            put_producer(&mut bytes, id, producer);
        }
        bytes.put_u32(crc32c::crc32c(&bytes));
        bytes.freeze()
    }

    /// Reads a state back.
    ///
    /// # Errors
    /// [`InvalidCheckpoint`]; bytes of any kind are refused without panic.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidCheckpoint> {
        let mut fields = unseal(bytes)?;
        fields.advance(4);
        let count = fields.get_u32();
        let (log_start, high_watermark) = (fields.get_u64(), fields.get_u64());
        let end = LogEnd {
            segment: Offset::new(fields.get_u64()),
            bytes: fields.get_u64(),
            next: Offset::new(fields.get_u64()),
        };
        check_end(&end)?;
        if log_start > high_watermark || high_watermark != end.next.get() {
            return Err(law("progress"));
        }
        let progress = Progress::new(Offset::new(log_start), Offset::new(high_watermark));
        let mut producers = Producers::default();
        for _ in 0..count {
            let (id, producer) = get_producer(&mut fields).ok_or_else(|| law("producer row"))?;
            let is_below = producer.batches.iter().all(|batch| {
                batch.base_offset.plus(batch.record_count.into()) <= progress.high_watermark()
            });
            let restored = if is_below { producers.restore(id, producer) } else { None };
            restored.ok_or_else(|| law("producer table"))?;
        }
        if fields.has_remaining() {
            return Err(law("length"));
        }
        Ok(Self { progress, end, producers: Arc::new(producers) })
    }
}

fn fileless(progress: Progress) -> LogEnd {
    let next = progress.high_watermark();
    LogEnd { segment: next, bytes: 0, next }
}

fn unseal(bytes: &[u8]) -> Result<&[u8], InvalidCheckpoint> {
    let needed = HEADER_BYTES + CRC_BYTES;
    if bytes.len() < needed {
        return Err(InvalidCheckpoint::Short { found: bytes.len(), needed });
    }
    let (fields, mut crc) = bytes.split_at(bytes.len() - CRC_BYTES);
    let (expected, found) = (crc32c::crc32c(fields), crc.get_u32());
    if expected != found {
        return Err(InvalidCheckpoint::Checksum { expected, found });
    }
    if fields[0] != VERSION {
        return Err(InvalidCheckpoint::Version { found: fields[0] });
    }
    Ok(fields)
}

fn check_end(end: &LogEnd) -> Result<(), InvalidCheckpoint> {
    let is_empty = end.segment == end.next;
    if end.segment <= end.next && is_empty == (end.bytes == 0) {
        Ok(())
    } else {
        Err(law("log end"))
    }
}

fn law(field: &'static str) -> InvalidCheckpoint {
    InvalidCheckpoint::Law { field }
}

fn put_producer(bytes: &mut BytesMut, id: ProducerId, producer: &Producer) {
    bytes.put_i64(id.get());
    bytes.put_i16(producer.epoch.get());
    bytes.put_u16(u16::try_from(producer.batches.len()).expect("at most five"));
    for batch in &producer.batches {
        bytes.put_i32(batch.base_sequence.get());
        bytes.put_u32(batch.record_count);
        bytes.put_u64(batch.base_offset.get());
        bytes.put_i64(batch.max_timestamp.get());
    }
}

fn get_producer(bytes: &mut &[u8]) -> Option<(ProducerId, Producer)> {
    if bytes.len() < PRODUCER_BYTES {
        return None;
    }
    let id = ProducerId::new(bytes.get_i64());
    let epoch = ProducerEpoch::new(bytes.get_i16());
    let count = usize::from(bytes.get_u16());
    if bytes.len() < count * BATCH_BYTES {
        return None;
    }
    let batches: VecDeque<KeptBatch> = (0..count).map(|_| get_batch(bytes)).collect();
    let is_set = id.get() >= 0
        && epoch.get() >= 0
        && batches.iter().all(|batch| batch.base_sequence.get() >= 0);
    is_set.then_some((id, Producer { epoch, batches }))
}

fn get_batch(bytes: &mut &[u8]) -> KeptBatch {
    KeptBatch {
        base_sequence: Sequence::new(bytes.get_i32()),
        record_count: bytes.get_u32(),
        base_offset: Offset::new(bytes.get_u64()),
        max_timestamp: TimestampMs::new(bytes.get_i64()),
    }
}

#[cfg(test)]
mod tests;
