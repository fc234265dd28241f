//! An open file with a witness in front of it.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use quipu_disk::DiskFile;

use super::{Area, Witness};
use crate::plant::Plant;

/// Of so many writes to segments one is lost by [`Plant::SegmentWriteIsLost`].
const LOST_ONE_IN: u64 = 20;

pub(super) struct SimFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    area: Area,
    witness: Arc<Witness>,
}

impl SimFile {
    pub(super) fn new(file: Arc<dyn DiskFile>, path: PathBuf, witness: Arc<Witness>) -> Self {
        let area = Area::of(&path);
        Self { file, path, area, witness }
    }

    fn seen<T>(&self, call: fmt::Arguments<'_>, result: io::Result<T>) -> io::Result<T> {
        self.witness.seen(call, &self.path, result)
    }

    fn sync(&self) -> io::Result<()> {
        let flushed = match (self.witness.plant, self.area) {
            (Some(Plant::JournalFlushLies), Area::Journal)
            | (Some(Plant::SegmentFlushLies), Area::Segment)
            | (Some(Plant::IndexFlushLies), Area::Index) => Ok(()),
            (Some(Plant::JournalFlushErrorIsHidden), Area::Journal) => {
                let _ = self.file.sync_data();
                Ok(())
            }
            (Some(Plant::CheckpointBeforeFlush), Area::Segment) => {
                let put_off = &self.witness.put_off;
                let mut put_off = put_off.lock().unwrap_or_else(PoisonError::into_inner);
                put_off.push(Arc::clone(&self.file));
                Ok(())
            }
            (Some(_) | None, _) => self.file.sync_data(),
        };
        self.seen(format_args!("flush"), flushed)
    }

    /// What stands for bytes in the trace.
    fn digest(&self, bytes: &[u8]) -> u32 {
        if self.witness.trace.is_silent() { 0 } else { crc32c::crc32c(bytes) }
    }

    fn is_write_lost(&self) -> bool {
        self.witness.plant == Some(Plant::SegmentWriteIsLost)
            && self.area == Area::Segment
            && self.witness.segment_writes.fetch_add(1, Ordering::Relaxed) % LOST_ONE_IN
                == LOST_ONE_IN - 1
    }

    fn write(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let written = if self.is_write_lost() {
            // Of the right length, with nothing in it.
            self.file.write_all_at(&vec![0; buf.len()], at)
        } else {
            self.file.write_all_at(buf, at)
        };
        let digest = self.digest(buf);
        self.seen(format_args!("write {at}+{} {digest:08x}", buf.len()), written)
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let read = self.file.read_at(buf, at);
        let found = read.as_ref().map_or(0, |count| self.digest(&buf[..*count]));
        self.seen(format_args!("read {at}+{} {found:08x}", buf.len()), read)
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.write(buf, at)
    }

    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let whole: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.write(&whole, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.seen(format_args!("cut to {bytes}"), self.file.set_len(bytes))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimFile").field(&self.path).finish()
    }
}
