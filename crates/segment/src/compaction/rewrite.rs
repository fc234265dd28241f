//! Putting a thinned segment in the place of the whole one.

use std::sync::Arc;

use quipu_types::Offset;
use quipu_types::record::Record;

use super::{CompactionReport, each_batch, records_of};
use crate::error::{Corruption, ReadError};
use crate::metrics;
use crate::reader::SegmentReader;
use crate::rewrite::Rewrite;
use crate::sealed::Sealed;
use crate::window::widen;

impl SegmentReader {
    /// Rewrites a segment without the records that need not be kept, if there are any. Says how
    /// many tombstones are left in it.
    pub(super) fn thin(
        &self,
        sealed: &Arc<Sealed>,
        report: &mut CompactionReport,
        mut is_kept: impl FnMut(Offset, &Record) -> bool,
    ) -> Result<u64, ReadError> {
        // By an earlier pass of this round it may have been replaced, or trimmed away.
        let Some(sealed) = self.current(sealed) else { return Ok(0) };
        let (mut goes, mut tombstones) = (0_u64, 0_u64);
        each_batch(&sealed, |batch| {
            for (offset, record) in records_of(batch, &sealed)? {
                if is_kept(offset, &record) {
                    tombstones += u64::from(is_tombstone(&record));
                } else {
                    goes += 1;
                }
            }
            Ok(())
        })?;
        if goes > 0 {
            let bytes = self.replace(&sealed, is_kept)?;
            report.segments += 1;
            report.records += goes;
            report.bytes += sealed.bytes.saturating_sub(bytes);
            metrics::count_compacted(goes, sealed.bytes.saturating_sub(bytes));
        }
        Ok(tombstones)
    }

    /// The segment that lies where this one lay.
    fn current(&self, sealed: &Arc<Sealed>) -> Option<Arc<Sealed>> {
        let view = self.view();
        view.sealed.iter().find(|it| (it.base, it.next) == (sealed.base, sealed.next)).cloned()
    }

    fn replace(
        &self,
        old: &Arc<Sealed>,
        mut is_kept: impl FnMut(Offset, &Record) -> bool,
    ) -> Result<u64, ReadError> {
        let log = old.file.path();
        let mut thinned = Rewrite::begin(Arc::clone(old))?;
        let mut position = 0;
        each_batch(old, |batch| {
            // A compressed batch stays as it is.
            let with_gaps = match batch.records() {
                Ok(_) => batch
                    .with_gaps(&mut is_kept)
                    .map_err(|_| Corruption::new(log, position, "records", (1, 0)))?,
                Err(_) => None,
            };
            position += widen(batch.bytes().len());
            Ok(thinned.put(with_gaps.as_ref().unwrap_or(batch))?)
        })?;
        let bytes = thinned.bytes();
        thinned.install(self)?;
        Ok(bytes)
    }
}

fn is_tombstone(record: &Record) -> bool {
    record.key.is_some() && record.value.is_none()
}
