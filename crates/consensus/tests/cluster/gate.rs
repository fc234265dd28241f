//! The real disk behind a gate: writes can be held back, and then be lost.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use quipu_disk::{DirEntry, Disk, DiskFile, LockGuard, OpenMode, Space};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passage {
    Open,
    Held,
    Lost,
}

/// Decides whether writes reach the disk.
#[derive(Debug)]
pub(crate) struct Gate {
    passage: Mutex<Passage>,
    changed: Condvar,
    /// Whether a write waits.
    is_asked: AtomicBool,
}

impl Gate {
    pub(crate) fn open() -> Arc<Self> {
        Arc::new(Self {
            passage: Mutex::new(Passage::Open),
            changed: Condvar::new(),
            is_asked: AtomicBool::new(false),
        })
    }

    /// Whether a write waits, or has waited.
    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::SeqCst)
    }

    /// Writes that wait go through, and later ones too.
    pub(crate) fn release(&self) {
        *self.passage.lock().unwrap() = Passage::Open;
        self.changed.notify_all();
    }

    /// From now on writes wait.
    pub(crate) fn hold(&self) {
        *self.passage.lock().unwrap() = Passage::Held;
    }

    /// Writes that wait fail without having written, and so do later ones.
    pub(crate) fn lose(&self) {
        *self.passage.lock().unwrap() = Passage::Lost;
        self.changed.notify_all();
    }

    fn pass(&self) -> io::Result<()> {
        let held = self.passage.lock().unwrap();
        self.is_asked.fetch_or(*held == Passage::Held, Ordering::SeqCst);
        let passage = self.changed.wait_while(held, |at| *at == Passage::Held).unwrap();
        if *passage == Passage::Lost {
            return Err(io::Error::other("the power is gone"));
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct GatedDisk {
    disk: Arc<dyn Disk>,
    gate: Arc<Gate>,
}

impl GatedDisk {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { disk: quipu_disk::real(), gate }
    }
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(path, mode)?;
        Ok(Box::new(GatedFile { file, gate: Arc::clone(&self.gate) }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.read_dir(path)
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.disk.rename(source, target)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<Space> {
        self.disk.free_space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.disk.lock(path)
    }
}

struct GatedFile {
    file: Box<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl fmt::Debug for GatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl DiskFile for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buf, at)
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.gate.pass()?;
        self.file.write_all_at(buf, at)
    }

    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        self.gate.pass()?;
        self.file.write_all_vectored_at(bufs, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.gate.pass()?;
        self.file.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass()?;
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.gate.pass()?;
        self.file.sync_all()
    }
}
