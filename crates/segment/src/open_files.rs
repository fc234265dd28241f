//! What all logs of a process share: open files and memory, both bounded.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use quipu_disk::{Disk, DiskFile, OpenMode, PAGE_BYTES, PageBuffer, Writeback};

use crate::index::SparseIndex;
use crate::window::{to_usize, widen};

/// Files kept open for readers, with their indexes (up to 192 KiB each at the default sizes).
const READ_MAX: usize = 256;
/// Files that writers may keep open, unless said otherwise: with [`READ_MAX`] below the usual limit
/// of 1,024 descriptors.
const WRITE_MAX_DEFAULT: usize = 512;
/// Appended bytes in memory, over all logs; beyond, appends are written at once.
const TAIL_BYTES_MAX: usize = 64 << 20;
/// Written bytes that stay in memory for those who read along, over all logs.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Buffers for direct writes that are kept, and the memory each may keep.
const PAGE_BUFFERS_KEPT: usize = 2;
const PAGE_BUFFER_BYTES: usize = 1 << 20;

/// Fewer are written through the page cache: there a disk's round trip costs more than the copy.
const DIRECT_BYTES_MIN: usize = 64 << 10;
const PAGE: u64 = PAGE_BYTES as u64;

/// Open files and memory that the logs of a process share. Clones share it.
#[derive(Clone)]
pub struct OpenFiles {
    shared: Arc<Shared>,
}

struct Shared {
    reads: Mutex<Reads>,
    writers: AtomicUsize,
    writers_max: usize,
    tail_bytes: AtomicUsize,
    kept_bytes: AtomicUsize,
    /// For whoever writes directly next.
    buffers: Mutex<Vec<PageBuffer>>,
    last_id: AtomicU64,
}

#[derive(Default)]
struct Reads {
    open: HashMap<u64, Entry>,
    uses: u64,
}

struct Entry {
    file: Arc<OpenFile>,
    last_use: u64,
}

/// A file open for reading.
pub(crate) struct OpenFile {
    pub(crate) file: Box<dyn DiskFile>,
    /// Of a sealed segment, once somebody needed it: goes when the file is closed.
    pub(crate) index: OnceLock<Arc<SparseIndex>>,
}

impl OpenFiles {
    /// Room for as many writers as `writers_max` between two flushes; beyond, a file is flushed and
    /// closed after each write, which is slow.
    #[must_use]
    pub fn new(writers_max: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                reads: Mutex::default(),
                writers: AtomicUsize::new(0),
                writers_max,
                tail_bytes: AtomicUsize::new(0),
                kept_bytes: AtomicUsize::new(0),
                buffers: Mutex::default(),
                last_id: AtomicU64::new(0),
            }),
        }
    }

    /// Whether appends must be written at once.
    pub(crate) fn is_memory_full(&self) -> bool {
        self.tail_bytes() > TAIL_BYTES_MAX
    }

    pub(crate) fn tail_bytes(&self) -> usize {
        self.shared.tail_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn take_tail(&self, bytes: usize) {
        self.shared.tail_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_tail(&self, bytes: usize) {
        self.shared.tail_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether what is written must leave memory.
    pub(crate) fn is_keeping_too_much(&self) -> bool {
        self.kept_bytes() > KEPT_BYTES_MAX
    }

    pub(crate) fn kept_bytes(&self) -> usize {
        self.shared.kept_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn take_kept(&self, bytes: usize) {
        self.shared.kept_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_kept(&self, bytes: usize) {
        self.shared.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Does something with an empty buffer.
    pub(crate) fn with_buffer<T>(&self, act: impl FnOnce(&mut PageBuffer) -> T) -> T {
        let buffers = || self.shared.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = buffers().pop().unwrap_or_default();
        let done = act(&mut buffer);
        buffer.clear(PAGE_BUFFER_BYTES);
        let mut kept = buffers();
        if kept.len() < PAGE_BUFFERS_KEPT {
            kept.push(buffer);
        }
        done
    }

    /// Files open for writing.
    pub(crate) fn writers(&self) -> usize {
        self.shared.writers.load(Ordering::Relaxed)
    }

    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.shared.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reads {
    fn find(&mut self, id: u64) -> Option<Arc<OpenFile>> {
        self.uses += 1;
        let entry = self.open.get_mut(&id)?;
        entry.last_use = self.uses;
        Some(Arc::clone(&entry.file))
    }

    fn keep(&mut self, id: u64, file: Arc<OpenFile>) {
        if self.open.len() >= READ_MAX {
            let oldest = self.open.iter().min_by_key(|(_, entry)| entry.last_use);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.open.remove(&oldest);
            }
        }
        self.open.insert(id, Entry { file, last_use: self.uses });
    }
}

impl Default for OpenFiles {
    fn default() -> Self {
        Self::new(WRITE_MAX_DEFAULT)
    }
}

impl fmt::Debug for OpenFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFiles")
            .field("reads", &self.reads().open.len())
            .field("writers", &self.writers())
            .field("tail_bytes", &self.tail_bytes())
            .field("kept_bytes", &self.kept_bytes())
            .finish()
    }
}

/// One segment's log file, opened when somebody needs it.
pub(crate) struct SegmentFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    files: OpenFiles,
    id: u64,
    /// Open for good, since another file took the name.
    pinned: OnceLock<Arc<OpenFile>>,
}

impl SegmentFile {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, files: OpenFiles) -> Self {
        let id = files.shared.last_id.fetch_add(1, Ordering::Relaxed);
        Self { disk, path, files, id, pinned: OnceLock::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(crate) fn files(&self) -> &OpenFiles {
        &self.files
    }

    /// The file, open for reading.
    pub(crate) fn open(&self) -> io::Result<Arc<OpenFile>> {
        if let Some(pinned) = self.pinned.get() {
            return Ok(Arc::clone(pinned));
        }
        if let Some(open) = self.files.reads().find(self.id) {
            return Ok(open);
        }
        // Opened without the lock: two readers may do so at once, and the second one is kept.
        let file = self.disk.open(&self.path, OpenMode::Read)?;
        // What was opened may be the file that took the name meanwhile.
        if let Some(pinned) = self.pinned.get() {
            return Ok(Arc::clone(pinned));
        }
        let open = Arc::new(OpenFile { file, index: OnceLock::new() });
        self.files.reads().keep(self.id, Arc::clone(&open));
        Ok(open)
    }

    /// Opens the file for as long as somebody knows it: before another one takes its name.
    pub(crate) fn pin(&self) -> io::Result<()> {
        let open = self.open()?;
        self.pinned.get_or_init(|| open);
        Ok(())
    }

    /// The file that takes the name.
    pub(crate) fn successor(&self) -> Self {
        self.at(self.path.clone())
    }

    /// A file beside it.
    pub(crate) fn at(&self, path: PathBuf) -> Self {
        Self::new(Arc::clone(&self.disk), path, self.files.clone())
    }

    /// The file, open for writing until the next flush, with the bytes it has.
    pub(crate) fn open_for_writing(&self, mode: OpenMode, bytes: u64) -> io::Result<WriteFile> {
        let file = self.disk.open(&self.path, mode)?;
        let files = self.files.clone();
        files.shared.writers.fetch_add(1, Ordering::Relaxed);
        let writeback = Writeback::behind(bytes);
        Ok(WriteFile { file, path: self.path.clone(), writeback, files })
    }
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        self.files.reads().open.remove(&self.id);
    }
}

impl fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SegmentFile").field(&self.path).finish()
    }
}

/// How much of what waits is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    All,
    /// What can be written at best: the last page, while it is not full, may wait.
    Pages,
}

/// A part of bytes that lie one behind the other in pieces.
fn slices(pieces: &[Bytes], part: Range<usize>) -> Vec<IoSlice<'_>> {
    let mut at = 0;
    let mut slices = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let within = |place: usize| place.clamp(at, at + piece.len()) - at;
        slices.push(IoSlice::new(&piece[within(part.start)..within(part.end)]));
        at += piece.len();
    }
    slices.retain(|slice| !slice.is_empty());
    slices
}

/// A file with bytes that may not be on disk yet.
#[derive(Debug)]
pub(crate) struct WriteFile {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) path: PathBuf,
    pub(crate) writeback: Writeback,
    files: OpenFiles,
}

impl WriteFile {
    /// Writes bytes that begin at `at`, as many of them as `extent` says; gives the place where it
    /// ended. What is large goes past the page cache in whole pages: there it would be copied into
    /// memory that is cold, and push out what others read.
    pub(crate) fn write(&mut self, bytes: &[Bytes], at: u64, extent: Extent) -> io::Result<u64> {
        let length: usize = bytes.iter().map(Bytes::len).sum();
        let head = to_usize(at.next_multiple_of(PAGE) - at).min(length);
        let pages = (length - head) - (length - head) % PAGE_BYTES;
        if pages < DIRECT_BYTES_MIN {
            self.file.write_all_vectored_at(&slices(bytes, 0..length), at)?;
            self.writeback.grown(&*self.file, at + widen(length));
            return Ok(at + widen(length));
        }
        self.file.write_all_vectored_at(&slices(bytes, 0..head), at)?;
        let (from, end) = (at + widen(head), at + widen(head + pages));
        self.files.with_buffer(|buffer| {
            buffer.reserve(pages);
            slices(bytes, head..head + pages).iter().for_each(|it| buffer.extend_from_slice(it));
            self.file.write_pages(buffer, from)
        })?;
        self.writeback = Writeback::behind(end);
        if extent == Extent::Pages {
            return Ok(end);
        }
        self.file.write_all_vectored_at(&slices(bytes, head + pages..length), end)?;
        Ok(at + widen(length))
    }

    /// Whether it must not stay open.
    pub(crate) fn is_one_too_many(&self) -> bool {
        self.files.writers() > self.files.shared.writers_max
    }
}

impl Drop for WriteFile {
    fn drop(&mut self) {
        self.files.shared.writers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use quipu_disk::{Faults, FaultyDisk};

    use super::*;

    #[test]
    fn files_stay_open_up_to_the_bound_and_close_when_dropped() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1, Faults::default()));
        disk.create_dir_all(Path::new("/d")).unwrap();
        let files = OpenFiles::default();
        let mut made: Vec<SegmentFile> = (0..READ_MAX + 50)
            .map(|n| {
                let path = PathBuf::from(format!("/d/{n}"));
                disk.open(&path, OpenMode::CreateNew).unwrap();
                SegmentFile::new(Arc::clone(&disk), path, files.clone())
            })
            .collect();
        for file in &made {
            file.open().unwrap();
            made[0].open().unwrap();
        }
        assert_eq!(files.reads().open.len(), READ_MAX);
        assert!(files.reads().find(made[0].id).is_some(), "used all the time");
        assert!(files.reads().find(made[1].id).is_none(), "the longest unused went first");
        made.clear();
        assert_eq!(files.reads().open.len(), 0);
    }
}
