//! Places without a record: what compaction leaves, so that offsets stay dense.
//!
//! A record that a later one of its key replaced becomes a *gap*: a record of seven to nine bytes
//! with attribute bit 0 set, without key, value and headers. The batch has bit 7 set. Batch
//! boundaries, counts and offsets stay what they were, so that nobody between the disk and the
//! reader need know; [`RecordsIter`](super::RecordsIter) passes over gaps. No producer may send
//! either bit.

use bytes::{Bytes, BytesMut};

use super::decode::next_layout;
use super::header::{BatchHeader, Codec, HEADER_BYTES};
use super::{Record, RecordError, ValidatedBatch, varint};
use crate::Offset;

/// Attribute bit of a batch that may have gaps. Persisted; never reuse.
pub(super) const BATCH_HAS_GAPS: i16 = 0x80;
/// Attribute bits of the codec.
const CODEC_BITS: i16 = 0x07;
/// Attribute bit of a record that is a gap. Persisted; never reuse.
pub(super) const RECORD_IS_GAP: u8 = 0x01;

impl ValidatedBatch {
    /// The plain batch with gaps in place of the records that need not be kept; `None` when all
    /// are kept. `section`: its records, decompressed. What is kept stays byte by byte what it was.
    ///
    /// # Errors
    /// [`RecordError`] for records that cannot be looked at.
    pub fn with_gaps(
        &self,
        section: &Bytes,
        mut is_kept: impl FnMut(Offset, &Record) -> bool,
    ) -> Result<Option<Self>, RecordError> {
        let mut kept = vec![false; usize::try_from(self.record_count()).unwrap_or(0)];
        let mut records = 0;
        for record in self.records_of(section.clone()) {
            let (offset, record) = record?;
            let at = offset.get() - self.header().base_offset.get();
            kept[usize::try_from(at).expect("below the record count")] = is_kept(offset, &record);
            records += 1;
        }
        if kept.iter().filter(|is_kept| **is_kept).count() == records {
            return Ok(None);
        }
        let mut position = 0;
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + section.len());
        bytes.resize(HEADER_BYTES, 0);
        for (index, is_kept) in (0..).zip(kept) {
            let layout = next_layout(self.header(), section, position, index)?;
            let (_, end) = layout.expect("as many records as the header says");
            if is_kept {
                bytes.extend_from_slice(&section[position..end]);
            } else {
                put_gap(&mut bytes, index);
            }
            position = end;
        }
        let attributes = (self.header().attributes & !CODEC_BITS) | BATCH_HAS_GAPS;
        Ok(Some(Self::sealed(BatchHeader { attributes, ..*self.header() }, bytes)))
    }

    /// This plain batch with its records put through `compress`; itself where that does not make it
    /// smaller.
    ///
    /// # Errors
    /// Whatever `compress` returns.
    pub fn compressed<E>(
        &self,
        codec: Codec,
        compress: impl FnOnce(&[u8]) -> Result<Bytes, E>,
    ) -> Result<Self, E> {
        assert_eq!(self.codec(), Codec::None, "what is compressed is not compressed again");
        let plain = self.section();
        let stream = if codec == Codec::None { plain.clone() } else { compress(&plain)? };
        if stream.len() >= plain.len() {
            return Ok(self.clone());
        }
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + stream.len());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(&stream);
        let attributes = self.header().attributes | codec.bits();
        Ok(Self::sealed(BatchHeader { attributes, ..*self.header() }, bytes))
    }

    /// A batch of these records, with this header but for length and checksum.
    fn sealed(header: BatchHeader, mut bytes: BytesMut) -> Self {
        let length = bytes.len() - BatchHeader::LENGTH_PREFIX_BYTES;
        let batch_length = i32::try_from(length).expect("a gap is not larger than a record");
        let mut header = BatchHeader { batch_length, ..header };
        header.encode_into(&mut bytes);
        header.crc = BatchHeader::seal_checksum(&mut bytes);
        Self::built(bytes.freeze(), header)
    }
}

/// A gap: the smallest record there is.
fn put_gap(out: &mut BytesMut, index: i32) {
    let mut body = vec![RECORD_IS_GAP];
    varint::put(&mut body, 0);
    varint::put(&mut body, i64::from(index));
    varint::put(&mut body, -1);
    varint::put(&mut body, -1);
    varint::put(&mut body, 0);
    let mut length = Vec::new();
    varint::put(&mut length, i64::try_from(body.len()).expect("nine at most"));
    out.extend_from_slice(&length);
    out.extend_from_slice(&body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, InvalidBatch};
    use crate::{LeaderEpoch, TimestampMs};

    fn batch(count: u8) -> ValidatedBatch {
        let mut builder = BatchBuilder::new(TimestampMs::new(1000));
        for n in 0..count {
            let timestamp = TimestampMs::new(1000 + i64::from(n));
            let (key, value) = (Some(Bytes::from(vec![n; 5])), Some(Bytes::from(vec![n; 100])));
            builder.push(&Record { timestamp, key, value, ..Record::default() }).unwrap();
        }
        let built = builder.finish_plain();
        let prefix = built.stamped_prefix(Offset::new(70), LeaderEpoch::new(3));
        let stored = [&prefix[..], &built.bytes()[16..]].concat();
        ValidatedBatch::parse(stored.into()).unwrap()
    }

    fn gaps(
        batch: &ValidatedBatch,
        is_kept: impl FnMut(Offset, &Record) -> bool,
    ) -> Option<ValidatedBatch> {
        batch.with_gaps(&batch.section(), is_kept).unwrap()
    }

    fn records(batch: &ValidatedBatch) -> Vec<(Offset, Record)> {
        batch.records().unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn what_is_kept_stays_in_its_place_and_the_rest_is_passed_over() {
        let whole = batch(200);
        let is_kept = |offset: Offset, _: &Record| offset.get().is_multiple_of(3);
        let thinned = gaps(&whole, is_kept).unwrap();
        let expected: Vec<_> =
            records(&whole).into_iter().filter(|(offset, it)| is_kept(*offset, it)).collect();
        assert_eq!(records(&thinned), expected);
        assert_eq!(thinned.record_count(), 200);
        assert_eq!(thinned.header().base_offset, whole.header().base_offset);
        assert_eq!(thinned.header().leader_epoch, whole.header().leader_epoch);
        assert_eq!(thinned.header().max_timestamp, whole.header().max_timestamp);
        assert!(thinned.bytes().len() < whole.bytes().len() / 2);
        thinned.check_records().unwrap();
        let again = ValidatedBatch::parse(thinned.bytes().clone()).unwrap();
        assert_eq!(records(&again), expected);
    }

    #[test]
    fn thinning_twice_is_as_thinning_once_and_nothing_is_left_of_nothing() {
        let once = gaps(&batch(20), |offset, _| offset.get() >= 80).unwrap();
        assert!(gaps(&once, |offset, _| offset.get() >= 80).is_none());
        let twice = gaps(&once, |offset, _| offset.get() >= 85).unwrap();
        let directly = gaps(&batch(20), |offset, _| offset.get() >= 85).unwrap();
        assert_eq!(twice.bytes(), directly.bytes());
        let empty = gaps(&twice, |_, _| false).unwrap();
        assert_eq!((records(&empty).len(), empty.record_count()), (0, 20));
        assert!(gaps(&batch(20), |_, _| true).is_none());
    }

    /// The codec here is none of those that exist: bytes that are not looked at serve.
    #[test]
    fn a_compressed_batch_is_thinned_by_what_is_in_it_and_stays_plain_where_that_is_smaller() {
        let whole = batch(50);
        let zipped = |bytes: usize| {
            whole.compressed::<()>(Codec::Lz4, |_| Ok(Bytes::from(vec![9; bytes]))).unwrap()
        };
        let small = zipped(100);
        assert_eq!((small.codec(), small.bytes().len()), (Codec::Lz4, HEADER_BYTES + 100));
        assert_eq!(zipped(whole.section().len()).bytes(), whole.bytes());
        let is_kept = |offset: Offset, _: &Record| offset.get() == 90;
        let thinned = small.with_gaps(&whole.section(), is_kept).unwrap().unwrap();
        assert_eq!(thinned.bytes(), gaps(&whole, is_kept).unwrap().bytes());
        let again = thinned.compressed::<()>(Codec::Zstd, |_| Ok(Bytes::from_static(b"z")));
        let again = ValidatedBatch::parse(again.unwrap().bytes().clone()).unwrap();
        assert_eq!((again.codec(), again.header().has_gaps()), (Codec::Zstd, true));
        assert_eq!(again.header().base_offset, whole.header().base_offset);
        again.check_records_of(&thinned.section()).unwrap();
        assert!(small.with_gaps(&Bytes::from_static(b"none"), is_kept).is_err());
        assert!(small.check_records_of(b"none").is_err());
    }

    #[test]
    fn no_producer_may_send_gaps() {
        let thinned = gaps(&batch(3), |_, _| false).unwrap();
        let now = TimestampMs::new(2000);
        assert_eq!(thinned.check_from_producer(now), Err(InvalidBatch::NotAllowed));
        // Nor a gap in a batch that does not say it has any.
        let header = BatchHeader { attributes: 0, ..*thinned.header() };
        let mut bytes = thinned.bytes().to_vec();
        header.encode_into(&mut bytes);
        BatchHeader::seal_checksum(&mut bytes);
        let unmarked = ValidatedBatch::parse(bytes.into()).unwrap();
        assert!(matches!(unmarked.check_records(), Err(RecordError::Attributes { .. })));
    }
}
