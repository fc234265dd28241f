//! Reading committed batches. Never waits for the writer.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quipu_disk::DiskFile;
use quipu_types::record::BatchHeader;
use quipu_types::{Offset, TimestampMs, limits};

use crate::active::Active;
use crate::batches::Batches;
use crate::error::{FileFailure, ReadError};
use crate::index::SparseIndex;
use crate::scan;
use crate::sealed::Sealed;
use crate::time_lookup;
use crate::view::{Segment, Shared, View};
use crate::window::{Window, to_usize};

/// Bytes read at once for a checksum.
const CHECKSUM_BYTES: usize = 1 << 20;

/// Reads a log. Clones share the view; calls block on the disk, never on the writer.
///
/// A segment may be removed while it is read: what is read already stays good, the rest is
/// [`ReadError::OutOfRange`].
#[derive(Clone, Debug)]
pub struct SegmentReader {
    shared: Arc<Shared>,
}

impl SegmentReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Reads whole stored batches with offsets in `[from, until)`; the first one contains `from`.
    ///
    /// - At least one batch, even above `bytes_max`, when `from < until`; none otherwise.
    /// - The caller may ask only for what was appended: `until` at most the end of the log.
    /// - Every batch was checked against its checksum, its place and its leader epoch.
    ///
    /// # Errors
    /// [`ReadError`]; damage behind the first batch is told by the read that begins there.
    pub fn read(
        &self,
        from: Offset,
        until: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, ReadError> {
        let bytes_max = bytes_max.min(limits::FETCH_RESPONSE_BYTES_MAX);
        let mut out = Batches::new(from, until, bytes_max);
        while !out.is_done() {
            let at = out.next;
            match self.read_segment(&mut out) {
                Ok(()) if out.next > at => {}
                Ok(()) => break,
                Err(_) if !out.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        if out.is_empty() && from < until {
            return Err(self.out_of_range(from));
        }
        Ok(out.finish())
    }

    /// As [`Self::read`], from memory alone: `None` when the disk would be needed. Never blocks.
    #[must_use]
    pub fn read_in_memory(
        &self,
        from: Offset,
        until: Offset,
        bytes_max: usize,
    ) -> Option<Vec<Bytes>> {
        let bytes_max = bytes_max.min(limits::FETCH_RESPONSE_BYTES_MAX);
        let mut out = Batches::new(from, until, bytes_max);
        self.shared.view.load().active.take_tail(&mut out);
        (!out.is_empty()).then(|| out.finish())
    }

    /// Reads from the one segment the next offset is in.
    fn read_segment(&self, out: &mut Batches) -> Result<(), ReadError> {
        let located = self.shared.view.load().locate(out.next);
        match located {
            None => Err(self.out_of_range(out.next)),
            Some(Segment::Active(active)) => read_active(&active, out),
            Some(Segment::Sealed(sealed)) => {
                let read = read_sealed(&sealed, out);
                if out.next == sealed.next
                    && quipu_failpoint::is_planted("plant.fetch.skips-at-boundary")
                {
                    out.forget_last();
                }
                read.map_err(|error| self.explain(error, out.next))
            }
        }
    }

    /// A file that is gone because its segment was removed meanwhile is no failure of the disk.
    fn explain(&self, error: ReadError, from: Offset) -> ReadError {
        match &error {
            ReadError::Io(failure)
                if failure.source.kind() == std::io::ErrorKind::NotFound
                    && from < self.shared.view.load().start() =>
            {
                self.out_of_range(from)
            }
            ReadError::Io(_) | ReadError::Corruption(_) | ReadError::OutOfRange { .. } => error,
        }
    }

    fn out_of_range(&self, from: Offset) -> ReadError {
        let view = self.shared.view.load();
        ReadError::OutOfRange { from, start: view.start(), end: view.active.read().next }
    }

    /// The first record in `[from, until)` with a timestamp of at least `at`, and its timestamp;
    /// `None` when there is none.
    ///
    /// Compressed batches are not opened: of those, the first offset of the batch and its largest
    /// timestamp.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn offset_for_timestamp(
        &self,
        at: TimestampMs,
        from: Offset,
        until: Offset,
    ) -> Result<Option<(Offset, TimestampMs)>, ReadError> {
        let mut from = from;
        while from < until {
            let located = self.shared.view.load().locate(from);
            let (found, next) = match located {
                None => return Err(self.out_of_range(from)),
                Some(Segment::Sealed(sealed)) => {
                    let found = time_lookup::in_sealed(&sealed, at, from, until)
                        .map_err(|error| self.explain(error, from))?;
                    (found, sealed.next)
                }
                Some(Segment::Active(active)) => {
                    (time_lookup::in_active(&active, at, from, until)?, until)
                }
            };
            if found.is_some() {
                return Ok(found);
            }
            from = next;
        }
        Ok(None)
    }

    /// CRC32C over the stored bytes of the batches in `[from, until)`: equal on every replica.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn checksum(&self, from: Offset, until: Offset) -> Result<u32, ReadError> {
        let (mut crc, mut at) = (0, from);
        while at < until {
            let batches = self.read(at, until, CHECKSUM_BYTES)?;
            at = batches.last().map_or(until, |last| end_of(last));
            crc = batches.iter().fold(crc, |crc, batch| crc32c::crc32c_append(crc, batch));
        }
        Ok(crc)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The segments at this moment.
    pub(crate) fn view(&self) -> Arc<View> {
        self.shared.view.load_full()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.shared.size_bytes()
    }
}

/// The offset after the last record of a stored batch.
fn end_of(batch: &[u8]) -> Offset {
    let header = BatchHeader::decode(batch).expect("a stored batch has a header");
    header.base_offset.plus(u64::try_from(header.record_count).expect("checked positive"))
}

/// Where a run of batches begins in a file, and where the file ends.
struct Run<'a> {
    path: &'a Path,
    position: u64,
    offset: Offset,
    end: u64,
    interval: u64,
    epochs: &'a SparseIndex,
}

fn read_sealed(sealed: &Sealed, out: &mut Batches) -> Result<(), ReadError> {
    let (open, index) = sealed.open()?;
    let Some(entry) = index.floor(out.next) else { return Ok(()) };
    let run = Run {
        path: sealed.file.path(),
        position: entry.position,
        offset: entry.offset,
        end: sealed.bytes,
        interval: sealed.interval,
        epochs: &index,
    };
    read_run(&*open.file, &run, out)
}

fn read_active(active: &Active, out: &mut Batches) -> Result<(), ReadError> {
    let Some(found) = active.take_tail_or_find(out)? else { return Ok(()) };
    let path = active.file.path();
    let open = active.file.open().map_err(|error| FileFailure::new("open", path, error))?;
    let run = Run {
        path,
        position: found.position,
        offset: found.offset,
        end: found.end,
        interval: active.interval,
        epochs: &found.epochs,
    };
    read_run(&*open.file, &run, out)
}

/// Takes batches from a file, with one large read where the batches are not larger still.
fn read_run(file: &dyn DiskFile, run: &Run<'_>, out: &mut Batches) -> Result<(), ReadError> {
    let ahead = out.room().saturating_add(run.interval).min(run.end - run.position);
    let mut window = Window::new(file, run.path, run.end, to_usize(ahead));
    let (mut position, mut offset) = (run.position, run.offset);
    while position < run.end && offset < out.until {
        let found = scan::find(&mut window, position, offset)?;
        if found.next > out.next {
            if !out.takes(found.length) {
                break;
            }
            let batch = scan::verified(&mut window, &found, run.epochs)?;
            out.push(batch, found.next);
        }
        (position, offset) = (found.end(), found.next);
    }
    Ok(())
}
