//! The machine's own file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustix::fs::OFlags;

use crate::file::zeros;
use crate::{DirEntry, Disk, DiskFile, LockGuard, OpenMode, PAGE_BYTES, PageBuffer, Space};

/// Buffers one `pwritev` takes (`IOV_MAX` on Linux).
const BUFFERS_PER_WRITE: usize = 1024;

/// The machine's own file system.
#[must_use]
pub fn real() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

#[derive(Debug)]
struct RealDisk;

/// A file, and a second way to it past the page cache, opened when it is first needed; none where
/// the file system has none.
#[derive(Debug)]
struct RealFile(File, OnceLock<Option<File>>);

#[derive(Debug)]
struct RealLock {
    /// The lock lives as long as this handle.
    _file: File,
}

impl LockGuard for RealLock {}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Box::new(RealFile(options.open(path)?, OnceLock::new())))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        self.create_dir_all(parent)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) | Ok(()) => {}
        }
        self.sync_dir(parent)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let attributes = match entry.metadata() {
                Ok(attributes) => attributes,
                // Removed by somebody since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let is_dir = attributes.is_dir();
            entries.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_dir,
                bytes: if is_dir { 0 } else { attributes.len() },
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        fs::rename(source, target)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(path)?.sync_all()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn free_space(&self, path: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(path)?;
        Ok(Space {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl RealFile {
    /// The same file, past the page cache.
    fn direct(&self) -> Option<&File> {
        let open = || {
            let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
            let flags = i32::try_from(OFlags::DIRECT.bits()).ok()?;
            OpenOptions::new().write(true).custom_flags(flags).open(path).ok()
        };
        self.1.get_or_init(open).as_ref()
    }
}

fn write_zeros(file: &File, range: Range<u64>) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let zeros = zeros(range.end - at);
        file.write_all_at(zeros, at)?;
        at += to_u64(zeros.len());
    }
    Ok(())
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], at + to_u64(done)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(buf, at)
    }

    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], mut at: u64) -> io::Result<()> {
        let mut owned = bufs.to_vec();
        let mut rest = &mut owned[..];
        // Leading empty buffers would look like a write that made no progress.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let count = rest.len().min(BUFFERS_PER_WRITE);
            match rustix::io::pwritev(&self.0, &rest[..count], at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += to_u64(written);
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn write_pages(&self, pages: &PageBuffer, at: u64) -> io::Result<()> {
        match self.direct() {
            Some(direct) => match direct.write_all_at(pages.as_slice(), at) {
                // A file system with larger units.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.write_all_at(pages.as_slice(), at)
                }
                written => written,
            },
            None => self.write_all_at(pages.as_slice(), at),
        }
    }

    /// Nobody is going to read these pages, and the page cache has better use for its memory.
    fn fill_zero(&self, from: u64, to: u64) -> io::Result<()> {
        let page = to_u64(PAGE_BYTES);
        let whole = from.next_multiple_of(page)..to - to % page;
        let Some(direct) = self.direct().filter(|_| !whole.is_empty()) else {
            return write_zeros(&self.0, from..to);
        };
        write_zeros(&self.0, from..whole.start)?;
        match write_zeros(direct, whole.clone()) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                write_zeros(&self.0, whole.clone())?;
            }
            written => written?,
        }
        write_zeros(&self.0, whole.end..to)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn begin_writeback(&self, range: Range<u64>) {
        begin_writeback(&self.0, &range);
    }
}

/// Errors are left to the flush: the kernel keeps them for it.
#[cfg(target_os = "linux")]
fn begin_writeback(file: &File, range: &Range<u64>) {
    let (Ok(from), Ok(bytes)) =
        (i64::try_from(range.start), i64::try_from(range.end.saturating_sub(range.start)))
    else {
        return;
    };
    #[expect(unsafe_code, reason = "no crate in use offers this call")]
    // SAFETY: the call takes an open descriptor and numbers; no memory of ours is touched.
    let _ = unsafe {
        libc::sync_file_range(file.as_raw_fd(), from, bytes, libc::SYNC_FILE_RANGE_WRITE)
    };
}

#[cfg(not(target_os = "linux"))]
const fn begin_writeback(_file: &File, _range: &Range<u64>) {}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).expect("a buffer's length fits in 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> tempfile::TempDir {
        tempfile::tempdir().expect("scratch folder")
    }

    #[test]
    fn vectored_writes_of_many_buffers_arrive_in_order() {
        let dir = scratch();
        let disk = real();
        let file = disk.open(&dir.path().join("f"), OpenMode::CreateNew).expect("create");
        let pieces: Vec<Vec<u8>> = (0..3000_u32)
            .map(|n| vec![u8::try_from(n % 251).expect("small"); (n % 7) as usize])
            .collect();
        let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        file.write_all_vectored_at(&slices, 100).expect("write");
        let expected = pieces.concat();
        let mut found = vec![0; expected.len()];
        file.read_exact_at(&mut found, 100).expect("read");
        assert_eq!(found, expected);
        assert_eq!(file.len().expect("length"), 100 + to_u64(expected.len()));
    }

    #[test]
    fn zeros_reach_every_byte_of_a_range_and_none_beside_it() {
        let dir = scratch();
        let file = real().open(&dir.path().join("f"), OpenMode::CreateNew).expect("create");
        let length = 3 << 20;
        for (from, to) in [(0, 0), (5, 5), (7, 9), (0, length), (4096, 8192), (100, (2 << 20) + 9)]
        {
            file.write_all_at(&vec![0xAB; length], 0).expect("fill");
            file.fill_zero(to_u64(from), to_u64(to)).expect("zeros");
            let mut found = vec![1; length];
            file.read_exact_at(&mut found, 0).expect("read");
            let is_right = |(at, byte): (usize, &u8)| *byte == 0 || !(from..to).contains(&at);
            assert!(found.iter().enumerate().all(is_right), "{from}..{to}");
            let kept = found.iter().filter(|byte| **byte == 0xAB).count();
            assert_eq!(kept, length - (to - from), "{from}..{to}");
        }
        assert_eq!(file.len().expect("length"), to_u64(length));
    }

    #[test]
    fn a_lock_is_exclusive_until_its_guard_is_dropped() {
        let dir = scratch();
        let disk = real();
        let path = dir.path().join("LOCK");
        let guard = disk.lock(&path).expect("first lock");
        let refused = disk.lock(&path).expect_err("second lock");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(guard);
        disk.lock(&path).expect("lock after drop");
    }

    #[test]
    fn folders_are_made_listed_and_removed() {
        let dir = scratch();
        let disk = real();
        let deep = dir.path().join("a/b/c");
        disk.create_dir_all(&deep).expect("make");
        disk.create_dir_all(&deep).expect("making again changes nothing");
        disk.open(&deep.join("z"), OpenMode::CreateNew)
            .expect("create")
            .fill_zero(0, 5)
            .expect("zeros");
        let listed = disk.read_dir(&deep).expect("list");
        assert_eq!(listed, [DirEntry { name: "z".to_owned(), is_dir: false, bytes: 5 }]);
        assert!(disk.free_space(&deep).expect("space").free > 0);
        disk.remove_dir_all(&dir.path().join("a")).expect("remove");
        assert!(!disk.exists(&deep));
    }

    #[test]
    fn creating_over_a_file_is_refused() {
        let dir = scratch();
        let disk = real();
        let path = dir.path().join("f");
        assert_eq!(
            disk.open(&path, OpenMode::ReadWrite).expect_err("missing").kind(),
            io::ErrorKind::NotFound
        );
        disk.open(&path, OpenMode::CreateNew).expect("create");
        assert_eq!(
            disk.open(&path, OpenMode::CreateNew).expect_err("exists").kind(),
            io::ErrorKind::AlreadyExists
        );
    }
}
