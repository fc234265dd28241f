//! What compaction remembers of a segment: a small file beside it. Byte table:
//! `docs/formats/segment.md`.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use quipu_disk::OpenMode;
use quipu_types::TimestampMs;

use crate::error::FileFailure;
use crate::file_name::{Kind, sibling};
use crate::index_file;
use crate::sealed::Sealed;

const MAGIC: [u8; 4] = *b"QCLN";
/// The layout. 1 is from when compressed batches were not looked into: such a segment is compacted
/// again. Persisted; never reuse.
const VERSION: u8 = 2;
const BYTES: usize = 52;

/// A segment was compacted with all its own keys: it holds no two records of one key, and nothing
/// before it holds an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cleaned {
    /// When that was first so.
    pub(super) at: TimestampMs,
    /// What it still holds.
    pub(super) left: Left,
}

/// What a segment holds that keeps something from going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Tombstones.
    pub(super) tombstones: u64,
    /// Batches that nobody can look into.
    pub(super) opaque: u64,
}

impl Cleaned {
    /// What is noted of a segment; `None` when that is nothing, or cannot be trusted: then it is
    /// compacted again, and its tombstones stay for longer.
    pub(super) fn read(sealed: &Sealed) -> Result<Option<Self>, FileFailure> {
        let path = sibling(sealed.file.path(), Kind::Cleaned);
        let fail = |error| FileFailure::new("read", &path, error);
        let file = match sealed.file.disk().open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let mut bytes = [0; BYTES];
        let count = file.read_at(&mut bytes, 0).map_err(fail)?;
        Ok(Self::decode(&bytes[..count], sealed))
    }

    fn decode(bytes: &[u8], of: &Sealed) -> Option<Self> {
        let (fields, mut crc) = bytes.split_at_checked(BYTES - 4)?;
        if crc.len() != 4 || crc.get_u32() != crc32c::crc32c(fields) {
            return None;
        }
        let mut fields = fields.strip_prefix(&MAGIC).filter(|rest| rest[0] == VERSION)?;
        fields.advance(4);
        let is_same = fields.get_u64() == of.base.get() && fields.get_u64() == of.next.get();
        let at = TimestampMs::new(fields.get_i64());
        let left = Left { tombstones: fields.get_u64(), opaque: fields.get_u64() };
        is_same.then_some(Self { at, left })
    }

    fn encode(self, of: &Sealed) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_bytes(0, 3);
        bytes.put_u64(of.base.get());
        bytes.put_u64(of.next.get());
        bytes.put_i64(self.at.get());
        bytes.put_u64(self.left.tombstones);
        bytes.put_u64(self.left.opaque);
        bytes.put_u32(crc32c::crc32c(&bytes));
        bytes
    }

    /// Writes the note. It is not flushed: one that does not arrive is as one that was never made.
    pub(super) fn write(self, sealed: &Sealed) -> Result<(), FileFailure> {
        let path = sibling(sealed.file.path(), Kind::Cleaned);
        let disk = sealed.file.disk();
        let written = index_file::remove_if_there(disk, &path)
            .and_then(|()| disk.open(&path, OpenMode::CreateNew))
            .and_then(|file| file.write_all_at(&self.encode(sealed), 0));
        written.map_err(|error| FileFailure::new("write", &path, error))
    }
}
