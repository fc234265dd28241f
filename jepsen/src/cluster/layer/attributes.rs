//! What the kernel is told about a file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

/// What is told of a file that was found below.
pub(super) fn attributes(found: &Metadata) -> FileAttr {
    let kind = if found.is_dir() { FileType::Directory } else { FileType::RegularFile };
    FileAttr {
        ino: INodeNo(found.ino()),
        size: found.len(),
        blocks: found.blocks(),
        atime: at(found.atime()),
        mtime: at(found.mtime()),
        ctime: at(found.ctime()),
        crtime: UNIX_EPOCH,
        kind,
        perm: u16::try_from(found.mode() & 0o7777).expect("twelve bits"),
        nlink: u32::try_from(found.nlink()).unwrap_or(u32::MAX),
        uid: found.uid(),
        gid: found.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn at(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
