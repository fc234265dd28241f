//! The faulty disk with a witness in front of it, who may also lie.

mod file;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io};

use quipu_disk::{DirEntry, Disk, DiskFile, FaultyDisk, LockGuard, OpenMode, Space};

use self::file::SimFile;
use crate::plant::Plant;
use crate::stop::Stop;
use crate::trace::Trace;

/// A faulty disk whose calls are traced, for one life of the process.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk {
    disk: FaultyDisk,
    witness: Arc<Witness>,
}

/// What all files of a disk share.
#[derive(Debug)]
pub(super) struct Witness {
    trace: Trace,
    plant: Option<Plant>,
    /// Whether a planned fault struck.
    has_failed: AtomicBool,
    segment_writes: AtomicU64,
    /// Flushes that [`Plant::CheckpointBeforeFlush`] put off.
    put_off: Mutex<Vec<Arc<dyn DiskFile>>>,
}

/// What a file is for, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    Journal,
    Segment,
    Index,
    Partitions,
    Other,
}

impl Area {
    fn of(path: &Path) -> Self {
        let has = |name: &str| path.components().any(|part| part.as_os_str() == name);
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            _ if has("journal") => Self::Journal,
            Some("log") if has("partitions") => Self::Segment,
            Some("index" | "timeindex") => Self::Index,
            _ if has("partitions") => Self::Partitions,
            Some(_) | None => Self::Other,
        }
    }
}

impl Witness {
    /// Notes a call, and whether a planned fault struck.
    fn seen<T>(
        &self,
        call: fmt::Arguments<'_>,
        path: &Path,
        result: io::Result<T>,
    ) -> io::Result<T> {
        match &result {
            Ok(_) => self.trace.note(format_args!("  disk {call} {}", path.display())),
            Err(error) => {
                self.trace.note(format_args!("  disk {call} {}: {error}", path.display()));
                if is_fault(error) {
                    self.has_failed.store(true, Ordering::Relaxed);
                }
            }
        }
        result
    }
}

/// Whether an error is a planned one; the others answer questions.
fn is_fault(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
        || matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::Other)
}

impl SimDisk {
    pub(crate) fn new(disk: FaultyDisk, trace: Trace, plant: Option<Plant>) -> Self {
        let witness = Witness {
            trace,
            plant,
            has_failed: AtomicBool::new(false),
            segment_writes: AtomicU64::new(0),
            put_off: Mutex::default(),
        };
        Self { disk, witness: Arc::new(witness) }
    }

    /// Whether a planned fault struck: from then on the process may end at any time.
    pub(crate) fn has_failed(&self) -> bool {
        self.witness.has_failed.load(Ordering::Relaxed)
    }

    /// Whether the power is gone.
    pub(crate) fn is_dead(&self) -> bool {
        self.disk.is_dead()
    }

    /// Why a call was refused: by a planned fault, or for no good reason.
    pub(crate) fn stop(&self, what: impl ToString) -> Stop {
        if self.has_failed() {
            Stop::Fault
        } else {
            Stop::Violation(format!("refused without a fault: {}", what.to_string()))
        }
    }

    /// Does the flushes that were put off.
    pub(crate) fn flush_put_off(&self) -> io::Result<()> {
        let mut put_off = self.witness.put_off.lock().unwrap_or_else(PoisonError::into_inner);
        put_off.drain(..).try_for_each(|file| {
            let flushed = file.sync_data();
            self.witness.seen(format_args!("flush late"), Path::new(""), flushed)
        })
    }

    fn is_lying_about(&self, folder: &Path) -> bool {
        match (self.witness.plant, Area::of(folder)) {
            (Some(Plant::JournalFolderFlushLies), Area::Journal)
            | (Some(Plant::PartitionFolderFlushLies), Area::Partitions) => true,
            (Some(_) | None, _) => false,
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let call = match mode {
            OpenMode::Read => "open",
            OpenMode::ReadWrite => "open to write",
            OpenMode::CreateNew => "create",
        };
        let file = self.witness.seen(format_args!("{call}"), path, self.disk.open(path, mode))?;
        Ok(Box::new(SimFile::new(file.into(), path.to_owned(), Arc::clone(&self.witness))))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.witness.seen(format_args!("make folders"), path, self.disk.create_dir_all(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.witness.seen(format_args!("make folder"), path, self.disk.create_dir(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.witness.seen(format_args!("list"), path, self.disk.read_dir(path))
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.witness.seen(format_args!("rename to"), target, self.disk.rename(source, target))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.witness.seen(format_args!("remove"), path, self.disk.remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.witness.seen(format_args!("remove folder"), path, self.disk.remove_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let flushed = if self.is_lying_about(path) { Ok(()) } else { self.disk.sync_dir(path) };
        self.witness.seen(format_args!("flush folder"), path, flushed)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<Space> {
        self.disk.free_space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.witness.seen(format_args!("lock"), path, self.disk.lock(path))
    }
}
