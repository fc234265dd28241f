//! Putting a thinned segment in the place of the whole one.

use std::sync::Arc;

use bytes::Bytes;
use quipu_types::Offset;
use quipu_types::record::{Record, RecordError, ValidatedBatch};

use super::cleaned::Left;
use super::{CompactionReport, each_batch, each_record};
use crate::contents;
use crate::error::{Corruption, ReadError};
use crate::metrics;
use crate::reader::SegmentReader;
use crate::rewrite::Rewrite;
use crate::sealed::Sealed;
use crate::window::widen;

impl SegmentReader {
    /// Rewrites a segment without the records that need not be kept, if there are any. Says what
    /// is left in it that matters to later rounds.
    pub(super) fn thin(
        &self,
        sealed: &Arc<Sealed>,
        report: &mut CompactionReport,
        mut is_kept: impl FnMut(Offset, &Record) -> bool,
    ) -> Result<Left, ReadError> {
        // By an earlier pass of this round it may have been replaced, or trimmed away.
        let Some(sealed) = self.current(sealed) else { return Ok(Left::default()) };
        let (mut goes, mut left) = (0_u64, Left::default());
        each_batch(&sealed, |batch| {
            let is_open = each_record(batch, &sealed, |offset, record| {
                if is_kept(offset, record) {
                    left.tombstones += u64::from(is_tombstone(record));
                } else {
                    goes += 1;
                }
            })?;
            left.opaque += u64::from(!is_open);
            Ok(())
        })?;
        if goes > 0 {
            let (bytes, opaque) = self.replace(&sealed, is_kept)?;
            left.opaque = left.opaque.max(opaque);
            report.segments += 1;
            report.records += goes;
            report.bytes += sealed.bytes.saturating_sub(bytes);
            metrics::count_compacted(goes, sealed.bytes.saturating_sub(bytes));
        }
        Ok(left)
    }

    /// The segment that lies where this one lay.
    fn current(&self, sealed: &Arc<Sealed>) -> Option<Arc<Sealed>> {
        let view = self.view();
        view.sealed.iter().find(|it| (it.base, it.next) == (sealed.base, sealed.next)).cloned()
    }

    /// Gives the bytes of the new segment, and how many of its batches nobody can look into.
    fn replace(
        &self,
        old: &Arc<Sealed>,
        mut is_kept: impl FnMut(Offset, &Record) -> bool,
    ) -> Result<(u64, u64), ReadError> {
        let log = old.file.path();
        let mut thinned = Rewrite::begin(Arc::clone(old))?;
        let (mut position, mut opaque) = (0, 0);
        each_batch(old, |batch| {
            let rewritten = match contents::plain(batch) {
                Some(section) => without(batch, &section, &mut is_kept)
                    .map_err(|_| Corruption::new(log, position, "records", (1, 0)))?,
                None => {
                    opaque += 1;
                    None
                }
            };
            position += widen(batch.bytes().len());
            Ok(thinned.put(rewritten.as_ref().unwrap_or(batch))?)
        })?;
        let bytes = thinned.bytes();
        thinned.install(self)?;
        Ok((bytes, opaque))
    }
}

/// A batch without the records that need not be kept, with its codec; `None` when all stay.
fn without(
    batch: &ValidatedBatch,
    section: &Bytes,
    is_kept: impl FnMut(Offset, &Record) -> bool,
) -> Result<Option<ValidatedBatch>, RecordError> {
    let plain = batch.with_gaps(section, is_kept)?;
    Ok(plain.map(|plain| contents::compressed(plain, batch.codec())))
}

fn is_tombstone(record: &Record) -> bool {
    record.key.is_some() && record.value.is_none()
}
