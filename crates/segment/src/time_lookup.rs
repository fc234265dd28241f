//! From a time to the first record that is not older.

use bytes::Bytes;
use quipu_disk::DiskFile;
use quipu_types::record::ValidatedBatch;
use quipu_types::{Offset, TimestampMs};

use crate::active::Active;
use crate::error::{Corruption, FileFailure, ReadError};
use crate::index::{IndexEntry, SparseIndex};
use crate::scan;
use crate::sealed::Sealed;
use crate::window::{READ_ON_BYTES, Window};

type Hit = Option<(Offset, TimestampMs)>;

/// What is looked for.
#[derive(Clone, Copy)]
struct Wanted {
    at: TimestampMs,
    from: Offset,
    until: Offset,
}

/// Looks through a sealed segment.
pub(crate) fn in_sealed(
    sealed: &Sealed,
    at: TimestampMs,
    from: Offset,
    until: Offset,
) -> Result<Hit, ReadError> {
    if sealed.max_timestamp.is_some_and(|max| max < at) {
        return Ok(None);
    }
    let (open, index) = sealed.open()?;
    let Some(start) = start(&index, at, from) else { return Ok(None) };
    let mut window = Window::new(&*open.file, sealed.file.path(), sealed.bytes, READ_ON_BYTES);
    in_file(&mut window, start, &index, Wanted { at, from, until })
}

/// Looks through the file of the active segment, then through its tail.
pub(crate) fn in_active(
    active: &Active,
    at: TimestampMs,
    from: Offset,
    until: Offset,
) -> Result<Hit, ReadError> {
    active.index_up_to(from)?;
    let wanted = Wanted { at, from, until };
    let (run, tail) = {
        let state = active.read();
        if state.index.max_timestamp.is_none_or(|max| max < at) {
            return Ok(None);
        }
        let start = start(&state.index, at, from).filter(|start| start.position < state.file_bytes);
        let run = start.map(|start| (start, state.run(start.position, start.offset)));
        let tail: Vec<Bytes> = state.tail_from(from).map(|batch| batch.bytes.clone()).collect();
        (run, tail)
    };
    if let Some((start, run)) = run {
        let path = active.file.path();
        let open = active.file.open().map_err(|error| FileFailure::new("open", path, error))?;
        let file: &dyn DiskFile = &*open.file;
        let mut window = Window::new(file, path, run.end, READ_ON_BYTES);
        let found = in_file(&mut window, start, &run.epochs, wanted)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    for bytes in tail {
        let found = in_batch(parse(bytes, active.file.path(), 0)?, wanted);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Everything before it is too old or not wanted.
fn start(index: &SparseIndex, at: TimestampMs, from: Offset) -> Option<IndexEntry> {
    let by_time = index.floor_of_time(at);
    by_time.into_iter().chain(index.floor(from)).max_by_key(|entry| entry.position)
}

fn in_file(
    window: &mut Window<'_>,
    start: IndexEntry,
    epochs: &SparseIndex,
    wanted: Wanted,
) -> Result<Hit, ReadError> {
    let (mut position, mut offset) = (start.position, start.offset);
    while position < window.end() && offset < wanted.until {
        let found = scan::find(window, position, offset)?;
        if found.header.max_timestamp >= wanted.at && found.next > wanted.from {
            let bytes = scan::verified(window, &found, epochs)?;
            let hit = in_batch(parse(bytes, window.path(), position)?, wanted);
            if hit.is_some() {
                return Ok(hit);
            }
        }
        (position, offset) = (found.end(), found.next);
    }
    Ok(None)
}

/// The first record of a batch that is wanted. Records that cannot be looked at stand for one.
fn in_batch(batch: ValidatedBatch, wanted: Wanted) -> Hit {
    let header = *batch.header();
    let end = header.base_offset.plus(u64::from(batch.record_count()));
    if header.max_timestamp < wanted.at || end <= wanted.from || header.base_offset >= wanted.until
    {
        return None;
    }
    match batch.records() {
        Err(_) => Some((header.base_offset.max(wanted.from), header.max_timestamp)),
        Ok(records) => records.filter_map(Result::ok).find_map(|(offset, record)| {
            let is_wanted = offset >= wanted.from && record.timestamp >= wanted.at;
            is_wanted.then_some((offset, record.timestamp))
        }),
    }
}

fn parse(bytes: Bytes, path: &std::path::Path, position: u64) -> Result<ValidatedBatch, ReadError> {
    ValidatedBatch::parse(bytes)
        .map_err(|_| Corruption::new(path, position, "batch layout", (1, 0)).into())
}
