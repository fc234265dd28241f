//! The only door to files.
//!
//! Everything durable goes through a [`Disk`] passed as a parameter: the machine's own file system
//! ([`real()`]) or one in memory that loses, tears and refuses on purpose ([`FaultyDisk`]), so that
//! the same code is tried under power cuts.
//!
//! - Must not know: what the bytes mean. No formats, no checksums.
//! - Calls block; who must not block calls from a thread of its own.
//! - Durability is explicit: bytes after [`DiskFile::sync_data`], names after [`Disk::sync_dir`].
//!   After a failed flush the pages count as clean although they never arrived (Rebello et al.,
//!   "Can Applications Recover from fsync Failures?", ATC 2020): callers stop, they do not retry.
//! - Start reading at [`Disk`].

mod atomic;
mod disk;
mod faulty;
mod file;
mod page_buffer;
mod real;
mod writeback;

pub use atomic::write_atomic;
pub use disk::{DirEntry, Disk, LockGuard, OpenMode, Space};
pub use faulty::{Faults, FaultyDisk};
pub use file::DiskFile;
pub use page_buffer::{PAGE_BYTES, PageBuffer};
pub use real::real;
pub use writeback::Writeback;
