//! A file system, as narrow as we use it.

use std::fmt;
use std::io;
use std::path::Path;

use crate::DiskFile;

/// A file system. All calls block.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Opens a file. Its name is durable only after [`Self::sync_dir`] on its folder.
    ///
    /// # Errors
    /// `NotFound` unless creating; `AlreadyExists` when creating over a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a folder and its parents, durably: the parents of every new folder are flushed.
    ///
    /// # Errors
    /// As the operating system says.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder in one that exists. Its name is durable only after [`Self::sync_dir`] on that
    /// one.
    ///
    /// # Errors
    /// `NotFound` when there is no folder to make it in; `AlreadyExists`.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Lists a folder, sorted by name.
    ///
    /// # Errors
    /// `NotFound` when there is no such folder.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Gives a file or folder another name, replacing a file of that name.
    ///
    /// # Errors
    /// `NotFound` when there is nothing to rename.
    fn rename(&self, source: &Path, target: &Path) -> io::Result<()>;

    /// Removes a file's name; open handles keep working.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with everything in it.
    ///
    /// # Errors
    /// `NotFound` when there is no such folder.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable: files made, renamed or removed in it.
    ///
    /// # Errors
    /// As the operating system says; a failure must not be retried.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Whether a file or folder of this name exists.
    fn exists(&self, path: &Path) -> bool;

    /// Room on the file system that holds `path`.
    ///
    /// # Errors
    /// As the operating system says.
    fn free_space(&self, path: &Path) -> io::Result<Space>;

    /// Takes an exclusive lock on a file, made if missing; held until the guard is dropped or the
    /// process dies.
    ///
    /// # Errors
    /// `WouldBlock` when somebody holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>>;
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A new file, for reading and writing.
    CreateNew,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the folder. Names that are not UTF-8 are shown with replacements.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Its length in bytes; 0 for folders.
    pub bytes: u64,
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this process may still write.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// Holds a lock until dropped.
pub trait LockGuard: Send + Sync + fmt::Debug {}
