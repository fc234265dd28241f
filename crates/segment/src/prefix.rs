//! Replacing everything up to an offset by what another replica has: so a damaged log is mended
//! whose replicas were compacted, each by itself (`docs/adr/2026-11-22-compacted-logs-mended.md`).
//!
//! The copy lies beside the segments it is to replace until it is whole. Then readers see all of it
//! at once, and a mark on the disk has the next start go on where a crash cut it off: nobody ever
//! sees some segments of one replica and some of the other, which could bring a key back to life.

mod names;

use std::sync::Arc;

use quipu_types::record::{BatchHeader, ValidatedBatch};
use quipu_types::{LeaderEpoch, Offset};

pub(crate) use self::names::resume;
use crate::compaction::each_batch;
use crate::error::ReadError;
use crate::file_name::{Kind, sibling};
use crate::index_file::remove_if_there;
use crate::mend::MendError;
use crate::metrics;
use crate::reader::SegmentReader;
use crate::rewrite::Rewrite;
use crate::sealed::Sealed;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// Whether what is stored here may be replaced now.
pub enum Prefix {
    /// The copy may come.
    Copy(Box<PrefixCopy>),
    /// Not yet: what holds this offset still grows, or no durable checkpoint covers it.
    Growing(Offset),
}

/// A sound copy of everything up to an offset, as far as it has come.
///
/// Every batch was checked by whoever made a [`ValidatedBatch`] of it. Here it must continue the
/// one before, in offset and leader epoch, and keep to the bounds of the segments it replaces.
/// Dropped before it is finished, it takes its files with it.
pub struct PrefixCopy {
    reader: SegmentReader,
    /// What is to be replaced, oldest first.
    old: Vec<Arc<Sealed>>,
    /// What is whole, flushed, and not there yet.
    staged: Vec<Arc<Sealed>>,
    growing: Option<Rewrite>,
    next: Offset,
    epoch: LeaderEpoch,
}

impl SegmentReader {
    /// Begins to replace every segment up to the last one from which something may be gone, and at
    /// least up to the one that holds `at`. Reads what lies behind.
    ///
    /// Nothing behind the replaced part may have lost a record: a tombstone that is gone from there
    /// may speak of a record that the copy still has. So it is all replaced, or sealed first.
    ///
    /// Not together with compaction, up to the end of the copy, nor twice at a time.
    ///
    /// # Errors
    /// The file that cannot be read or made.
    pub fn copy_prefix(&self, at: Offset) -> Result<Prefix, MendError> {
        names::finish_earlier(self)?;
        let (view, settled) = (self.view(), self.settled());
        let count = view.sealed.partition_point(|sealed| sealed.next <= settled);
        let holds = |it: &Arc<Sealed>| it.base <= at && at < it.next;
        let Some(damaged) = view.sealed[..count].iter().position(holds) else {
            return Ok(Prefix::Growing(at));
        };
        if let Some(touched) = self.first_touched(view.sealed[count - 1].next)? {
            return Ok(Prefix::Growing(touched));
        }
        let mut end = count;
        while end > damaged + 1 && is_untouched(&view.sealed[end - 1])? {
            end -= 1;
        }
        let old = view.sealed[..end].to_vec();
        let (next, epoch) = (old[0].base, LeaderEpoch::new(-1));
        let (reader, staged) = (self.clone(), Vec::new());
        let copy = PrefixCopy { reader, old, staged, growing: None, next, epoch };
        Ok(Prefix::Copy(Box::new(copy)))
    }

    /// The first batch from `from` on that has lost a record, or is damaged.
    fn first_touched(&self, from: Offset) -> Result<Option<Offset>, ReadError> {
        let (mut at, end) = (from, self.view().active.read().next);
        while at < end {
            let batches = match self.read(at, end, READ_BYTES) {
                Ok(batches) => batches,
                Err(ReadError::Corruption(_)) => return Ok(Some(at)),
                Err(error) => return Err(error),
            };
            for bytes in batches {
                let header = BatchHeader::decode(&bytes).expect("a stored batch has a header");
                if header.has_gaps() {
                    return Ok(Some(header.base_offset));
                }
                at = header.base_offset.plus(u64::try_from(header.record_count).expect("checked"));
            }
        }
        Ok(None)
    }
}

/// Whether nothing was ever removed from a segment: what was left a gap.
fn is_untouched(sealed: &Sealed) -> Result<bool, ReadError> {
    let note = sibling(sealed.file.path(), Kind::Cleaned);
    if sealed.file.disk().exists(&note) {
        return Ok(false);
    }
    let mut has_gaps = false;
    let read = each_batch(sealed, |batch| {
        has_gaps |= batch.header().has_gaps();
        Ok(())
    });
    match read {
        Ok(()) => Ok(!has_gaps),
        Err(ReadError::Corruption(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

impl PrefixCopy {
    /// Where it ends, exclusive.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.old.last().map_or(self.next, |last| last.next)
    }

    /// The offsets that are still to come; none once the copy is whole.
    #[must_use]
    pub fn missing(&self) -> Option<(Offset, Offset)> {
        let end = self.end();
        (self.next < end).then_some((self.next, end))
    }

    /// Takes the next batch of the copy. Batches behind its end are left aside.
    ///
    /// # Errors
    /// [`MendError::Gap`] when it is not the next one, or reaches over the end of a segment.
    pub fn put(&mut self, batch: &ValidatedBatch) -> Result<(), MendError> {
        let Some((expected, _)) = self.missing() else { return Ok(()) };
        let place = self.staged.len();
        let (found, epoch) = (batch.header().base_offset, batch.header().leader_epoch);
        let next = found.plus(batch.record_count().into());
        let end = self.old[place].next;
        if found != expected || next > end {
            return Err(MendError::Gap { expected, found });
        }
        if epoch < self.epoch {
            return Err(MendError::Epoch { at: found, before: self.epoch, found: epoch });
        }
        let mut growing = match self.growing.take() {
            Some(growing) => growing,
            None => Rewrite::begin_as(Arc::clone(&self.old[place]), Kind::Copied)?,
        };
        growing.put(batch)?;
        (self.next, self.epoch) = (next, epoch);
        if next == end {
            self.staged.push(Arc::new(growing.stage()?));
        } else {
            self.growing = Some(growing);
        }
        Ok(())
    }

    /// Fills it with what lies here itself, up to an offset where a batch begins: the peer's files
    /// may begin later, if still before the log start.
    ///
    /// # Errors
    /// As [`Self::put`]; and damage there.
    pub fn put_own(&mut self, until: Offset) -> Result<(), MendError> {
        while let Some((from, _)) = self.missing().filter(|(from, _)| *from < until) {
            for bytes in self.reader.read(from, until, READ_BYTES)? {
                let batch = ValidatedBatch::parse(bytes).expect("a stored batch was checked");
                self.put(&batch)?;
            }
        }
        Ok(())
    }

    /// Puts the copy in the place of what was there, as far as that was not trimmed meanwhile.
    ///
    /// # Errors
    /// [`MendError`]; after a crash everything is as it was, or replaced.
    pub fn finish(mut self) -> Result<(), MendError> {
        if let Some((expected, found)) = self.missing() {
            return Err(MendError::Gap { expected, found });
        }
        let staged = std::mem::take(&mut self.staged);
        let old = std::mem::take(&mut self.old);
        let replaced = names::install(&self.reader, old.into_iter().zip(staged).collect())?;
        metrics::count_mended(replaced);
        Ok(())
    }
}

impl Drop for PrefixCopy {
    fn drop(&mut self) {
        let copies = self.old.iter().take(self.staged.len() + 1);
        for old in copies {
            // What cannot be removed now goes with the next copy, or at the next start.
            let path = sibling(old.file.path(), Kind::Copied);
            let _ = remove_if_there(old.file.disk(), &path);
        }
    }
}
