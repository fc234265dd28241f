//! The segment that grows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use quipu_types::{Offset, TimestampMs};

use crate::batches::Batches;
use crate::error::{Corruption, FileFailure, ReadError};
use crate::index::{SparseIndex, StoredPlace};
use crate::open_files::SegmentFile;
use crate::scan;
use crate::window::{READ_ON_BYTES, Window, to_usize, widen};

/// Bytes of one log that stay in memory after they were written, at most.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// The segment that grows: a file, and a tail in memory: what is not written yet, and behind that
/// the last of what is, so that those who read along need no disk.
///
/// One writer changes it under the lock, for the time of a push; readers hold the lock while they
/// look something up, never while they read the file.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) base: Offset,
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) interval: u64,
    state: RwLock<State>,
    /// Held by whoever indexes what was in the file at open; the others wait for it.
    scanning: Mutex<()>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) next: Offset,
    /// Bytes of the file and of what waits to be written.
    pub(crate) bytes: u64,
    /// Bytes of the batches that are wholly in the file.
    pub(crate) file_bytes: u64,
    /// Bytes of the file: the last of them may be the beginning of a batch.
    pub(crate) written: u64,
    /// Of everything but `unscanned`.
    pub(crate) index: SparseIndex,
    /// What was in the file at open and is not indexed yet: start costs nothing for partitions
    /// nobody reads.
    unscanned: Option<Unscanned>,
    /// The last batches, in order: those that were written and are kept, then those that wait.
    tail: VecDeque<TailBatch>,
    /// How many at the end of the tail wait to be wholly written.
    waiting: usize,
    /// Bytes of the tail that are kept although they are written.
    kept: usize,
}

/// The beginning of the file, up to where it ended at open.
#[derive(Clone, Copy, Debug)]
struct Unscanned {
    bytes: u64,
    next: Offset,
}

/// A stored batch in memory.
#[derive(Clone, Debug)]
pub(crate) struct TailBatch {
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    pub(crate) bytes: Bytes,
}

/// Where to read in the file, and how far.
pub(crate) struct FileRun {
    pub(crate) position: u64,
    /// The offset that begins there.
    pub(crate) offset: Offset,
    pub(crate) end: u64,
    /// The index without its entries: which epoch stored what.
    pub(crate) epochs: SparseIndex,
}

impl Active {
    /// A segment without a batch.
    pub(crate) fn empty(base: Offset, file: SegmentFile, interval: u64) -> Self {
        Self::recovered(base, file, interval, (0, base))
    }

    /// A segment whose file has `bytes` and ends at `next`.
    pub(crate) fn recovered(
        base: Offset,
        file: SegmentFile,
        interval: u64,
        (bytes, next): (u64, Offset),
    ) -> Self {
        let state = State {
            next,
            bytes,
            file_bytes: bytes,
            written: bytes,
            index: SparseIndex::default(),
            unscanned: (bytes > 0).then_some(Unscanned { bytes, next }),
            tail: VecDeque::new(),
            waiting: 0,
            kept: 0,
        };
        let file = Arc::new(file);
        Self { base, file, interval, state: RwLock::new(state), scanning: Mutex::new(()) }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stored batch to the tail.
    pub(crate) fn push(&self, place: StoredPlace, next: Offset, bytes: Bytes) {
        let mut state = self.write();
        assert_eq!(place.offset, state.next, "batches are appended without a gap");
        assert_eq!(place.position, state.bytes, "batches lie back to back");
        state.index.push(place, self.interval);
        state.next = next;
        state.bytes += widen(bytes.len());
        state.tail.push_back(TailBatch { base: place.offset, next, bytes });
        state.waiting += 1;
    }

    /// What is not written yet, in order, and where it belongs in the file.
    pub(crate) fn waiting(&self) -> (Vec<Bytes>, u64) {
        let state = self.read();
        let waiting = state.tail.range(state.tail.len() - state.waiting..);
        let mut waiting: Vec<Bytes> = waiting.map(|batch| batch.bytes.clone()).collect();
        if let Some(first) = waiting.first_mut() {
            let _ = first.split_to(to_usize(state.written - state.file_bytes));
        }
        (waiting, state.written)
    }

    /// The file is written up to `end`. The last of it is kept in memory, as far as there is room.
    pub(crate) fn is_written(&self, end: u64) {
        let mut state = self.write();
        let files = self.file.files();
        state.written = end;
        while state.waiting > 0 {
            let length = state.tail[state.tail.len() - state.waiting].bytes.len();
            if state.file_bytes + widen(length) > end {
                break;
            }
            state.file_bytes += widen(length);
            state.waiting -= 1;
            state.kept += length;
            files.take_kept(length);
        }
        while state.kept > KEPT_BYTES_MAX || (state.kept > 0 && files.is_keeping_too_much()) {
            let freed = state.tail.pop_front().map_or(0, |batch| batch.bytes.len());
            state.kept -= freed;
            files.give_kept(freed);
        }
    }

    /// Keeps nothing in memory that is in the file.
    pub(crate) fn keep_nothing(&self) {
        let mut state = self.write();
        let kept = state.tail.len() - state.waiting;
        state.tail.drain(..kept);
        self.file.files().give_kept(std::mem::take(&mut state.kept));
    }

    /// Takes batches out of the tail, or says where in the file the next one is. One look under
    /// one lock: the tail moves into the file at any time.
    pub(crate) fn take_tail_or_find(
        &self,
        out: &mut Batches,
    ) -> Result<Option<FileRun>, ReadError> {
        self.index_up_to(out.next)?;
        let state = self.read();
        if out.next < state.tail_start() {
            let entry = state.index.floor(out.next);
            return Ok(entry.map(|entry| state.run(entry.position, entry.offset)));
        }
        state.take_tail(out);
        Ok(None)
    }

    /// Takes batches out of the tail, when the next one is there.
    pub(crate) fn take_tail(&self, out: &mut Batches) {
        let state = self.read();
        if out.next >= state.tail_start() {
            state.take_tail(out);
        }
    }

    /// Makes sure that the index covers an offset.
    pub(crate) fn index_up_to(&self, offset: Offset) -> Result<(), ReadError> {
        let is_covered = |state: &State| state.unscanned.is_none_or(|part| offset >= part.next);
        if is_covered(&self.read()) {
            return Ok(());
        }
        let _guard = self.scanning.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(part) = self.read().unscanned else { return Ok(()) };
        let mut index = self.scan(part)?;
        let mut state = self.write();
        index.extend(&state.index);
        state.index = index;
        state.unscanned = None;
        Ok(())
    }

    fn scan(&self, part: Unscanned) -> Result<SparseIndex, ReadError> {
        let path = self.file.path();
        let open = self.file.open().map_err(|error| FileFailure::new("open", path, error))?;
        let mut window = Window::new(&*open.file, path, part.bytes, READ_ON_BYTES);
        let (index, next) = scan::index_all(&mut window, self.base, self.interval)?;
        if next != part.next {
            let ends = (part.next.get(), next.get());
            return Err(Corruption::new(path, part.bytes, "end offset", ends).into());
        }
        Ok(index)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.file.files().give_kept(self.read().kept);
    }
}

impl State {
    /// The largest timestamp; `None` when nothing is known of what was in the file at open.
    pub(crate) fn max_timestamp(&self) -> Option<TimestampMs> {
        if self.unscanned.is_some() { None } else { self.index.max_timestamp }
    }

    /// The first offset that is in memory.
    pub(crate) fn tail_start(&self) -> Offset {
        self.tail.front().map_or(self.next, |batch| batch.base)
    }

    /// The batches of the tail from the one that holds `from` on.
    pub(crate) fn tail_from(&self, from: Offset) -> impl Iterator<Item = &TailBatch> {
        let start = self.tail.partition_point(|batch| batch.next <= from);
        self.tail.range(start..)
    }

    fn take_tail(&self, out: &mut Batches) {
        for batch in self.tail_from(out.next) {
            if batch.base >= out.until || !out.takes(batch.bytes.len()) {
                break;
            }
            out.push(batch.bytes.clone(), batch.next);
        }
    }

    /// A run of the file from a place of the index on.
    pub(crate) fn run(&self, position: u64, offset: Offset) -> FileRun {
        let epochs = SparseIndex { epochs: self.index.epochs.clone(), ..SparseIndex::default() };
        FileRun { position, offset, end: self.file_bytes, epochs }
    }
}
