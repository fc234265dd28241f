//! What all logs of a process share: open files and memory, both bounded.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use quipu_disk::{Disk, DiskFile, OpenMode, Writeback};

use crate::index::SparseIndex;

/// Files kept open for readers, with their indexes (up to 192 KiB each at the default sizes).
const READ_MAX: usize = 256;
/// Files that writers may keep open, unless said otherwise: with [`READ_MAX`] below the usual limit
/// of 1,024 descriptors.
const WRITE_MAX_DEFAULT: usize = 512;
/// Appended bytes in memory, over all logs; beyond, appends are written at once.
const TAIL_BYTES_MAX: usize = 64 << 20;

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

/// A file with bytes that may not be on disk yet.
#[derive(Debug)]
pub(crate) struct WriteFile {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) path: PathBuf,
    pub(crate) writeback: Writeback,
    files: OpenFiles,
}

impl WriteFile {
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
