//! The layer as the kernel sees it.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::attributes::attributes;
use super::trouble::{Class, Operation};
use super::unflushed::GRAVES;
use super::{Shared, State};

/// How long the kernel may believe an answer. It hears of every change, as it makes them all.
const BELIEVED: Duration = Duration::from_secs(1);
/// Nothing is kept by number: numbers are not used again while they are known.
const GENERATION: Generation = Generation(0);
const NO_HANDLE: FileHandle = FileHandle(0);
/// Reads and writes come here one by one, and none from a cache.
const DIRECT: FopenFlags = FopenFlags::FOPEN_DIRECT_IO;

/// Passes everything through, and notes what is not flushed.
#[derive(Debug)]
pub(super) struct Passing {
    shared: Arc<Shared>,
    /// The number that the directory below has there.
    root: u64,
}

impl Passing {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let root = shared.below.metadata().map(|found| found.ino()).unwrap_or_default();
        Self { shared, root }
    }

    fn attributes(&self, found: &Metadata) -> FileAttr {
        let attributes = attributes(found);
        if found.ino() == self.root {
            FileAttr { ino: INodeNo::ROOT, ..attributes }
        } else {
            attributes
        }
    }

    fn entry(&self, found: io::Result<Metadata>, reply: ReplyEntry) {
        match found {
            Ok(found) => reply.entry(&BELIEVED, &self.attributes(&found), GENERATION),
            Err(error) => reply.error(error.into()),
        }
    }

    fn place(state: &State, dir: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        Ok(state.tree.dir(dir.0)?.join(name))
    }

    fn made(
        &self,
        (dir, name): (INodeNo, &OsStr),
        make: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Metadata> {
        let mut state = self.shared.state();
        let path = Self::place(&state, dir, name)?;
        make(&path)?;
        let found = state.tree.learn(&path)?;
        state.unflushed.made(dir.0, path);
        Ok(found)
    }

    fn removed(&self, dir: INodeNo, name: &OsStr) -> io::Result<()> {
        let mut state = self.shared.state();
        let path = Self::place(&state, dir, name)?;
        let is_full = path.is_dir() && path.read_dir()?.next().is_some();
        if is_full {
            return Err(rustix::io::Errno::NOTEMPTY.into());
        }
        state.unflushed.remove(dir.0, path)
    }

    fn meet(&self, operation: Operation, number: INodeNo) -> Result<(Arc<File>, Class), Errno> {
        let found = self.shared.state().tree.file(number.0)?;
        self.shared.troubles.meet(operation, found.1)?;
        Ok(found)
    }

    fn write_at(&self, number: INodeNo, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let (file, _) = self.meet(Operation::Write, number)?;
        let count = u32::try_from(data.len()).map_err(|_| Errno::EINVAL)?;
        let mut state = self.shared.state();
        state.unflushed.before_write(number.0, &file, offset..offset + u64::from(count))?;
        file.write_all_at(data, offset)?;
        Ok(count)
    }

    fn flush_file(&self, number: INodeNo) -> Result<(), Errno> {
        let (file, _) = self.meet(Operation::Flush, number)?;
        // What is written from here on is not part of this flush.
        self.shared.state().unflushed.flushed(number.0);
        Ok(file.sync_all()?)
    }

    fn flush_dir(&self, number: INodeNo) -> Result<(), Errno> {
        let path = self.shared.state().tree.dir(number.0)?;
        self.shared.troubles.meet(Operation::Flush, Class::of(&path))?;
        self.shared.state().unflushed.dir_flushed(number.0)?;
        Ok(File::open(path)?.sync_all()?)
    }

    fn resize(&self, number: INodeNo, length: u64) -> io::Result<()> {
        let mut state = self.shared.state();
        let (file, _) = state.tree.file(number.0)?;
        state.unflushed.before_resize(number.0, &file, length)?;
        file.set_len(length)
    }

    fn reserve(&self, number: INodeNo, offset: u64, length: u64, mode: i32) -> io::Result<()> {
        let flags = FallocateFlags::from_bits_retain(u32::try_from(mode).unwrap_or_default());
        let mut state = self.shared.state();
        let (file, _) = state.tree.file(number.0)?;
        if flags.intersects(FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE) {
            state.unflushed.before_write(number.0, &file, offset..offset + length)?;
        } else if !(flags - FallocateFlags::KEEP_SIZE).is_empty() {
            return Err(rustix::io::Errno::OPNOTSUPP.into());
        }
        state.unflushed.before_resize(number.0, &file, offset + length)?;
        Ok(fallocate(&file, flags, offset, length)?)
    }

    fn list(&self, number: INodeNo, from: u64, reply: &mut ReplyDirectory) -> io::Result<()> {
        let dir = self.shared.state().tree.dir(number.0)?;
        let mut names = vec![(number.0, FileType::Directory, ".".into())];
        names.push((number.0, FileType::Directory, "..".into()));
        for entry in dir.read_dir()? {
            let entry = entry?;
            let is_dir = entry.file_type()?.is_dir();
            let kind = if is_dir { FileType::Directory } else { FileType::RegularFile };
            if entry.file_name() != GRAVES {
                names.push((entry.metadata()?.ino(), kind, entry.file_name()));
            }
        }
        names[2..].sort_by(|one, two| one.2.as_bytes().cmp(two.2.as_bytes()));
        let skipped = usize::try_from(from).unwrap_or(usize::MAX);
        for ((number, kind, name), place) in names.into_iter().zip(1..).skip(skipped) {
            if reply.add(INodeNo(number), place, kind, name) {
                break;
            }
        }
        Ok(())
    }
}

/// Answers a request that has nothing to tell but whether it was done.
fn done(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Passing {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.shared.state();
        let found = Self::place(&state, parent, name).and_then(|path| state.tree.learn(&path));
        self.entry(found, reply);
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.shared.state().tree.forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.shared.state().tree.metadata(number.0) {
            Ok(found) => reply.attr(&BELIEVED, &self.attributes(&found)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match size.map_or(Ok(()), |size| self.resize(number, size)) {
            Ok(()) => self.getattr(request, number, handle, reply),
            Err(error) => reply.error(error.into()),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.entry(self.made((parent, name), |path| std::fs::create_dir(path)), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.removed(parent, name).map_err(Into::into));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.removed(parent, name).map_err(Into::into));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let mut state = self.shared.state();
        let moved = Self::place(&state, parent, name).and_then(|from| {
            let to = Self::place(&state, newparent, newname)?;
            state.unflushed.rename((parent.0, from.clone()), (newparent.0, to.clone()))?;
            state.tree.moved(&from, &to);
            Ok(())
        });
        done(reply, moved.map_err(Into::into));
    }

    fn link(
        &self,
        _: &Request,
        number: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let linked = self.shared.state().tree.file(number.0).and_then(|(file, _)| {
            let open = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&*file));
            let (here, flags) = (rustix::fs::CWD, rustix::fs::AtFlags::SYMLINK_FOLLOW);
            let link = |path: &Path| {
                rustix::fs::linkat(here, &open, here, path, flags).map_err(io::Error::from)
            };
            self.made((newparent, newname), link)
        });
        self.entry(linked, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(NO_HANDLE, DIRECT);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let make = |path: &Path| {
            let mut options = File::options();
            options.write(true).create_new(true).mode(mode).open(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o777))
        };
        match self.made((parent, name), make) {
            Ok(found) => {
                let attributes = self.attributes(&found);
                reply.created(&BELIEVED, &attributes, GENERATION, NO_HANDLE, DIRECT);
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.meet(Operation::Read, number).and_then(|(file, _)| {
            let mut data = vec![0; usize::try_from(size).map_err(|_| Errno::EINVAL)?];
            let count = file.read_at(&mut data, offset)?;
            data.truncate(count);
            Ok(data)
        });
        match read {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.write_at(number, offset, data) {
            Ok(count) => reply.written(count),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(reply, self.flush_file(number));
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(reply, self.flush_dir(number));
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.list(number, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match statvfs(&self.shared.below) {
            Ok(it) => {
                let size = |bytes: u64| u32::try_from(bytes).unwrap_or(4096);
                let (block, fragment) = (size(it.f_bsize), size(it.f_frsize));
                let (free, available) = (it.f_bfree, it.f_bavail);
                let (files, unused) = (it.f_files, it.f_ffree);
                reply.statfs(it.f_blocks, free, available, files, unused, block, 255, fragment);
            }
            Err(error) => reply.error(io::Error::from(error).into()),
        }
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        done(reply, self.reserve(number, offset, length, mode).map_err(Into::into));
    }
}
