//! The step in which copies get the names of what they replace.
//!
//! Order: copies are whole and flushed → the mark is durable → what speaks of the old segments
//! (indexes, notes of compaction) is gone for good → each copy is renamed → the mark goes for good.
//! From the mark on there is no way back: whoever finds it goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use quipu_disk::{Disk, OpenMode, write_atomic};
use quipu_types::Offset;

use crate::error::{FileFailure, ReadError};
use crate::file_name::{self, Kind, sibling};
use crate::index_file::{self, remove_if_there};
use crate::reader::SegmentReader;
use crate::sealed::Sealed;
use crate::view::Swap;

/// The mark's name: no segment's, so that none takes it along when it is trimmed.
const MARK: &str = "mending";
const MAGIC: [u8; 4] = *b"QMND";
/// The only layout so far. Persisted; never reuse.
const VERSION: u8 = 1;
const BYTES: usize = 28;

/// Puts copies in the place of old segments; says how many.
pub(super) fn install(
    reader: &SegmentReader,
    pairs: Vec<(Arc<Sealed>, Arc<Sealed>)>,
) -> Result<u64, FileFailure> {
    let (Some((first, _)), Some((last, _))) = (pairs.first(), pairs.last()) else { return Ok(0) };
    let (disk, dir) = (first.file.disk(), reader.shared().dir.as_path());
    sync(disk, dir)?;
    let mark = encode((first.base, last.next));
    write_atomic(disk, &dir.join(MARK), &mark)
        .map_err(|error| FileFailure::new("mark", dir, error))?;
    quipu_failpoint::hit("segment.replace.marked");
    for (old, _) in &pairs {
        forget(disk, old.file.path())?;
    }
    sync(disk, dir)?;
    let replaced = reader.swap_all(&pairs);
    for (old, new) in &pairs {
        rename(reader, new, Some(old))?;
    }
    end(disk, dir)?;
    Ok(replaced)
}

/// What a failure of the disk left half done in this process: readers see the copies already.
pub(super) fn finish_earlier(reader: &SegmentReader) -> Result<(), FileFailure> {
    let view = reader.view();
    let Some(disk) = view.sealed.first().map(|first| first.file.disk()) else { return Ok(()) };
    let dir = reader.shared().dir.as_path();
    if !disk.exists(&dir.join(MARK)) {
        return Ok(());
    }
    for sealed in &view.sealed {
        if sealed.file.path() == sibling(sealed.file.path(), Kind::Copied) {
            rename(reader, sealed, None)?;
        }
    }
    end(disk, dir)
}

/// What a crash left half done, before anything else is looked at.
pub(crate) fn resume(disk: &dyn Disk, dir: &Path) -> Result<(), FileFailure> {
    let Some((from, until)) = read_mark(disk, dir)? else { return Ok(()) };
    tracing::info!(dir = %dir.display(), "a copy of another replica is put in place");
    let copies = copies(disk, dir, (from, until))?;
    for copy in &copies {
        forget(disk, copy)?;
    }
    sync(disk, dir)?;
    for copy in &copies {
        before_rename();
        disk.rename(copy, &sibling(copy, Kind::Log))
            .map_err(|error| FileFailure::new("rename", copy, error))?;
    }
    end(disk, dir)
}

fn copies(
    disk: &dyn Disk,
    dir: &Path,
    (from, until): (Offset, Offset),
) -> Result<Vec<PathBuf>, FileFailure> {
    let entries = disk.read_dir(dir).map_err(|error| FileFailure::new("list", dir, error))?;
    let copies = entries.iter().filter_map(|entry| match file_name::parse(&entry.name)? {
        (base, Kind::Copied) if from <= base && base < until => Some(dir.join(&entry.name)),
        (
            _,
            Kind::Log
            | Kind::Index
            | Kind::TimeIndex
            | Kind::Cleaned
            | Kind::Rewritten
            | Kind::Copied,
        ) => None,
    });
    let mut copies: Vec<PathBuf> = copies.collect();
    copies.sort();
    Ok(copies)
}

/// Removes what speaks of the segment that lay there.
fn forget(disk: &dyn Disk, log: &Path) -> Result<(), FileFailure> {
    for kind in [Kind::Index, Kind::TimeIndex, Kind::Cleaned] {
        let path = sibling(log, kind);
        remove_if_there(disk, &path).map_err(|error| FileFailure::new("remove", &path, error))?;
    }
    Ok(())
}

fn before_rename() {
    quipu_failpoint::hit("segment.replace.rename.before");
}

/// Gives a copy that readers see the name of what it replaced, unless it was trimmed meanwhile.
fn rename(
    reader: &SegmentReader,
    copy: &Arc<Sealed>,
    old: Option<&Arc<Sealed>>,
) -> Result<(), FileFailure> {
    let (path, log) = (copy.file.path(), sibling(copy.file.path(), Kind::Log));
    // Whoever reads one of them goes on reading the file it had.
    for sealed in old.into_iter().chain([copy]) {
        match sealed.file.pin() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FileFailure::new("open", sealed.file.path(), error));
            }
            Err(_) | Ok(()) => {}
        }
    }
    let named = Sealed { file: Arc::new(copy.file.at(log.clone())), ..copy.copy() };
    before_rename();
    let swapped = reader.swap(copy, named, || copy.file.disk().rename(path, &log));
    match swapped.map_err(|error| FileFailure::new("rename", path, error))? {
        Swap::Done(named) => write_index(&named),
        Swap::Gone => Ok(()),
    }
}

/// An index saves a walk over the segment; readers make their own where there is none.
fn write_index(sealed: &Sealed) -> Result<(), FileFailure> {
    let log = sealed.file.path();
    let fail = |doing, error| FileFailure::new(doing, log, error);
    let open = sealed.file.open().map_err(|error| fail("open", error))?;
    let index = match sealed.rebuild_index(&open) {
        Ok(index) => index,
        Err(ReadError::Io(failure)) => return Err(failure),
        Err(error @ (ReadError::Corruption(_) | ReadError::OutOfRange { .. })) => {
            tracing::error!(%error, "a copy is damaged again");
            return Ok(());
        }
    };
    let Some(summary) = sealed.summary() else { return Ok(()) };
    index_file::write(sealed.file.disk(), log, &summary, &index)
        .map(drop)
        .map_err(|error| fail("write the index of", error))
}

/// The names are there for good; nobody needs the mark any more.
fn end(disk: &dyn Disk, dir: &Path) -> Result<(), FileFailure> {
    sync(disk, dir)?;
    quipu_failpoint::hit("segment.replace.renamed");
    let mark = dir.join(MARK);
    remove_if_there(disk, &mark).map_err(|error| FileFailure::new("remove", &mark, error))?;
    sync(disk, dir)
}

fn sync(disk: &dyn Disk, dir: &Path) -> Result<(), FileFailure> {
    disk.sync_dir(dir).map_err(|error| FileFailure::new("flush", dir, error))
}

fn encode((from, until): (Offset, Offset)) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.put_u8(VERSION);
    bytes.put_bytes(0, 3);
    bytes.put_u64(from.get());
    bytes.put_u64(until.get());
    bytes.put_u32(crc32c::crc32c(&bytes));
    bytes
}

fn decode(bytes: &[u8]) -> Option<(Offset, Offset)> {
    let (fields, mut crc) = bytes.split_at_checked(BYTES - 4)?;
    if crc.len() != 4 || crc.get_u32() != crc32c::crc32c(fields) {
        return None;
    }
    let mut fields = fields.strip_prefix(&MAGIC).filter(|rest| rest[0] == VERSION)?;
    fields.advance(4);
    Some((Offset::new(fields.get_u64()), Offset::new(fields.get_u64())))
}

/// The mark, should there be one. It was replaced as a whole: one that cannot be read is damage.
fn read_mark(disk: &dyn Disk, dir: &Path) -> Result<Option<(Offset, Offset)>, FileFailure> {
    let path = dir.join(MARK);
    let fail = |error| FileFailure::new("read", &path, error);
    let file = match disk.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut bytes = [0; BYTES + 1];
    let count = file.read_at(&mut bytes, 0).map_err(fail)?;
    let damage = || fail(io::Error::new(io::ErrorKind::InvalidData, "it is no mark of a copy"));
    decode(&bytes[..count]).map(Some).ok_or_else(damage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_as_it_was_and_nothing_else_is_taken_for_one() {
        let range = (Offset::new(7), Offset::new(900));
        let bytes = encode(range);
        assert_eq!((bytes.len(), decode(&bytes)), (BYTES, Some(range)));
        for at in 0..BYTES {
            let mut bad = bytes.to_vec();
            bad[at] ^= 4;
            assert_eq!(decode(&bad), None, "byte {at}");
        }
        assert_eq!(decode(&bytes[1..]), None);
        assert_eq!(decode(&[&bytes[..], &[0]].concat()), None);
    }
}
