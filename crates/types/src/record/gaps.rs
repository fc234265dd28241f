//! Places without a record: what compaction leaves, so that offsets stay dense.
//!
//! A record that a later one of its key replaced becomes a *gap*: a record of seven to nine bytes
//! with attribute bit 0 set, without key, value and headers. The batch has bit 7 set. Batch
//! boundaries, counts and offsets stay what they were, so that nobody between the disk and the
//! reader need know; [`RecordsIter`](super::RecordsIter) passes over gaps. No producer may send
//! either bit.

use bytes::BytesMut;

use super::decode::next_layout;
use super::header::{BatchHeader, HEADER_BYTES};
use super::{Record, RecordError, ValidatedBatch, varint};
use crate::Offset;

/// Attribute bit of a batch that may have gaps. Persisted; never reuse.
pub(super) const BATCH_HAS_GAPS: i16 = 0x80;
/// Attribute bit of a record that is a gap. Persisted; never reuse.
pub(super) const RECORD_IS_GAP: u8 = 0x01;

impl ValidatedBatch {
    /// The batch with gaps in place of the records that need not be kept; `None` when all are
    /// kept. What is kept stays byte by byte what it was.
    ///
    /// # Errors
    /// [`RecordError`] for records that cannot be looked at, compressed ones among them.
    pub fn with_gaps(
        &self,
        mut is_kept: impl FnMut(Offset, &Record) -> bool,
    ) -> Result<Option<Self>, RecordError> {
        let mut kept = vec![false; usize::try_from(self.record_count()).unwrap_or(0)];
        let mut records = 0;
        for record in self.records()? {
            let (offset, record) = record?;
            let at = offset.get() - self.header().base_offset.get();
            kept[usize::try_from(at).expect("below the record count")] = is_kept(offset, &record);
            records += 1;
        }
        if kept.iter().filter(|is_kept| **is_kept).count() == records {
            return Ok(None);
        }
        let (section, mut position) = (self.section(), 0);
        let mut bytes = BytesMut::with_capacity(self.bytes().len());
        bytes.resize(HEADER_BYTES, 0);
        for (index, is_kept) in (0..).zip(kept) {
            let layout = next_layout(self.header(), &section, position, index)?;
            let (_, end) = layout.expect("as many records as the header says");
            if is_kept {
                bytes.extend_from_slice(&section[position..end]);
            } else {
                put_gap(&mut bytes, index);
            }
            position = end;
        }
        Ok(Some(Self::sealed(*self.header(), bytes)))
    }

    /// A batch of these records, with this header but for length, checksum and the mark of gaps.
    fn sealed(header: BatchHeader, mut bytes: BytesMut) -> Self {
        let length = bytes.len() - BatchHeader::LENGTH_PREFIX_BYTES;
        let batch_length = i32::try_from(length).expect("a gap is not larger than a record");
        let attributes = header.attributes | BATCH_HAS_GAPS;
        let mut header = BatchHeader { batch_length, attributes, ..header };
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
    use bytes::Bytes;

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

    fn records(batch: &ValidatedBatch) -> Vec<(Offset, Record)> {
        batch.records().unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn what_is_kept_stays_in_its_place_and_the_rest_is_passed_over() {
        let whole = batch(200);
        let is_kept = |offset: Offset, _: &Record| offset.get().is_multiple_of(3);
        let thinned = whole.with_gaps(is_kept).unwrap().unwrap();
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
        let once = batch(20).with_gaps(|offset, _| offset.get() >= 80).unwrap().unwrap();
        assert!(once.with_gaps(|offset, _| offset.get() >= 80).unwrap().is_none());
        let twice = once.with_gaps(|offset, _| offset.get() >= 85).unwrap().unwrap();
        let directly = batch(20).with_gaps(|offset, _| offset.get() >= 85).unwrap().unwrap();
        assert_eq!(twice.bytes(), directly.bytes());
        let empty = twice.with_gaps(|_, _| false).unwrap().unwrap();
        assert_eq!((records(&empty).len(), empty.record_count()), (0, 20));
        assert!(batch(20).with_gaps(|_, _| true).unwrap().is_none());
    }

    #[test]
    fn no_producer_may_send_gaps() {
        let thinned = batch(3).with_gaps(|_, _| false).unwrap().unwrap();
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
