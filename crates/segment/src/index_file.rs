//! A sealed segment's index on disk: two files, derived, checked, rebuilt when in doubt. Byte
//! tables: `docs/formats/segment.md`.

use std::io;
use std::path::Path;

use bytes::{Buf, BufMut, BytesMut};
use quipu_disk::{Disk, DiskFile, OpenMode};
use quipu_types::{LeaderEpoch, Offset, TimestampMs};

use crate::file_name::{Kind, sibling};
use crate::index::{EpochStart, IndexEntry, SparseIndex};
use crate::window::to_usize;

const INDEX_MAGIC: [u8; 4] = *b"QIDX";
const TIME_MAGIC: [u8; 4] = *b"QTIX";
/// The only layouts so far. Persisted; never reuse.
const VERSION: u8 = 1;
const INDEX_HEADER_BYTES: usize = 64;
const TIME_HEADER_BYTES: usize = 40;
const EPOCH_BYTES: usize = 12;
const ENTRY_BYTES: usize = 16;
/// Larger than the index of any segment of 1 GiB; what a damaged length may make us read.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What a sealed segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    /// Bytes of the log file.
    pub(crate) bytes: u64,
    pub(crate) max_timestamp: TimestampMs,
}

/// The two files, and the sizes that tie them together.
pub(crate) fn encode(summary: &Summary, index: &SparseIndex) -> (Vec<u8>, Vec<u8>) {
    (encode_index(summary, index), encode_times(summary, index))
}

fn encode_index(summary: &Summary, index: &SparseIndex) -> Vec<u8> {
    let mut body = BytesMut::new();
    for EpochStart { start, epoch } in &index.epochs {
        body.put_u64(start.get());
        body.put_i32(epoch.get());
    }
    for entry in &index.entries {
        body.put_u64(entry.offset.get());
        body.put_u64(entry.position);
    }
    let mut file = BytesMut::with_capacity(INDEX_HEADER_BYTES + body.len());
    file.extend_from_slice(&INDEX_MAGIC);
    file.put_u8(VERSION);
    file.put_bytes(0, 3);
    file.put_u64(summary.base.get());
    file.put_u64(summary.next.get());
    file.put_u64(summary.bytes);
    file.put_i64(summary.max_timestamp.get());
    file.put_bytes(0, 8);
    file.put_u32(count(index.epochs.len()));
    file.put_u32(count(index.entries.len()));
    seal(file, &body)
}

fn encode_times(summary: &Summary, index: &SparseIndex) -> Vec<u8> {
    let mut body = BytesMut::new();
    for entry in &index.entries {
        body.put_i64(entry.max_before.get());
        body.put_u64(entry.offset.get());
    }
    let mut file = BytesMut::with_capacity(TIME_HEADER_BYTES + body.len());
    file.extend_from_slice(&TIME_MAGIC);
    file.put_u8(VERSION);
    file.put_bytes(0, 3);
    file.put_u64(summary.base.get());
    file.put_u64(summary.next.get());
    file.put_u32(count(index.entries.len()));
    file.put_bytes(0, 4);
    seal(file, &body)
}

/// Ends the header with the body's checksum and its own, and adds the body.
fn seal(mut file: BytesMut, body: &[u8]) -> Vec<u8> {
    file.put_u32(crc32c::crc32c(body));
    file.put_u32(crc32c::crc32c(&file));
    file.extend_from_slice(body);
    file.to_vec()
}

/// The summary of an index file's header; `None` when it is damaged or of another version.
pub(crate) fn decode_summary(header: &[u8]) -> Option<Summary> {
    let mut fields = unseal(header.get(..INDEX_HEADER_BYTES)?, INDEX_MAGIC)?;
    Some(Summary {
        base: Offset::new(fields.get_u64()),
        next: Offset::new(fields.get_u64()),
        bytes: fields.get_u64(),
        max_timestamp: TimestampMs::new(fields.get_i64()),
    })
}

/// The index of both files; `None` when either is damaged or they belong to another segment.
pub(crate) fn decode(summary: &Summary, index: &[u8], times: &[u8]) -> Option<SparseIndex> {
    if decode_summary(index)? != *summary {
        return None;
    }
    let (header, mut body) = index.split_at_checked(INDEX_HEADER_BYTES)?;
    check_body(header, body)?;
    let mut counts = &header[48..];
    let (epochs, entries) = (size(counts.get_u32()), size(counts.get_u32()));
    if body.len() != epochs.checked_mul(EPOCH_BYTES)? + entries.checked_mul(ENTRY_BYTES)? {
        return None;
    }
    let epochs = (0..epochs)
        .map(|_| EpochStart {
            start: Offset::new(body.get_u64()),
            epoch: LeaderEpoch::new(body.get_i32()),
        })
        .collect();
    let places: Vec<(Offset, u64)> =
        (0..entries).map(|_| (Offset::new(body.get_u64()), body.get_u64())).collect();
    if !leads_through(summary, &places) {
        return None;
    }
    let entries = join_times(summary, &places, times)?;
    Some(SparseIndex { entries, epochs, max_timestamp: Some(summary.max_timestamp) })
}

/// Whether places lead from the beginning of a segment to somewhere in it: a whole file may still
/// be another release's mistake, and a read begins where it points.
fn leads_through(summary: &Summary, places: &[(Offset, u64)]) -> bool {
    let (first, last) = (places.first(), places.last());
    let is_ascending = places.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
    is_ascending
        && first.is_none_or(|first| *first == (summary.base, 0))
        && last.is_none_or(|last| last.0 < summary.next && last.1 < summary.bytes)
}

fn join_times(
    summary: &Summary,
    places: &[(Offset, u64)],
    times: &[u8],
) -> Option<Vec<IndexEntry>> {
    let (header, mut body) = times.split_at_checked(TIME_HEADER_BYTES)?;
    let mut fields = unseal(header, TIME_MAGIC)?;
    check_body(header, body)?;
    let (base, next) = (Offset::new(fields.get_u64()), Offset::new(fields.get_u64()));
    let is_same = base == summary.base
        && next == summary.next
        && size(fields.get_u32()) == places.len()
        && body.len() == places.len().checked_mul(ENTRY_BYTES)?;
    if !is_same {
        return None;
    }
    let entries = places.iter().map(|(offset, position)| {
        let max_before = TimestampMs::new(body.get_i64());
        let is_same = body.get_u64() == offset.get();
        is_same.then_some(IndexEntry { offset: *offset, position: *position, max_before })
    });
    entries.collect()
}

/// The fields of a header after magic and version, when its checksum is right.
fn unseal(header: &[u8], magic: [u8; 4]) -> Option<&[u8]> {
    let (fields, mut crc) = header.split_at_checked(header.len().checked_sub(4)?)?;
    let is_right = crc.get_u32() == crc32c::crc32c(fields)
        && fields.starts_with(&magic)
        && fields.get(4) == Some(&VERSION);
    if is_right { fields.get(8..) } else { None }
}

fn check_body(header: &[u8], body: &[u8]) -> Option<()> {
    let mut crc = &header[header.len() - 8..];
    (crc.get_u32() == crc32c::crc32c(body)).then_some(())
}

/// Writes both files, replacing older ones. They are not flushed: what does not arrive is rebuilt.
pub(crate) fn write(
    disk: &dyn Disk,
    log: &Path,
    summary: &Summary,
    index: &SparseIndex,
) -> io::Result<Vec<Box<dyn DiskFile>>> {
    let (offsets, times) = encode(summary, index);
    let mut written = Vec::with_capacity(2);
    for (kind, bytes) in [(Kind::Index, offsets), (Kind::TimeIndex, times)] {
        let path = sibling(log, kind);
        remove_if_there(disk, &path)?;
        let file = disk.open(&path, OpenMode::CreateNew)?;
        quipu_failpoint::hit("segment.index.write.before");
        file.write_all_at(&bytes, 0)?;
        quipu_failpoint::hit("segment.index.write.after");
        written.push(file);
    }
    Ok(written)
}

/// Removes a file that need not exist.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Reads the summary beside a log; `None` when there is none that can be trusted.
pub(crate) fn read_summary(disk: &dyn Disk, log: &Path) -> io::Result<Option<Summary>> {
    let Some(file) = open_if_there(disk, &sibling(log, Kind::Index))? else { return Ok(None) };
    let mut header = [0; INDEX_HEADER_BYTES];
    let count = file.read_at(&mut header, 0)?;
    Ok(decode_summary(&header[..count]))
}

/// Reads the index beside a log; `None` when there is none that can be trusted.
pub(crate) fn read(
    disk: &dyn Disk,
    log: &Path,
    summary: &Summary,
) -> io::Result<Option<SparseIndex>> {
    let index = read_whole(disk, &sibling(log, Kind::Index))?;
    let times = read_whole(disk, &sibling(log, Kind::TimeIndex))?;
    Ok(index.zip(times).and_then(|(index, times)| decode(summary, &index, &times)))
}

fn read_whole(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open_if_there(disk, path)? else { return Ok(None) };
    let length = file.len()?;
    if length > FILE_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; to_usize(length)];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(Some(bytes))
}

fn open_if_there(disk: &dyn Disk, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
    match disk.open(path, OpenMode::Read) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a segment of 1 GiB has fewer batches")
}

fn size(count: u32) -> usize {
    to_usize(count.into())
}

const _: () = assert!(FILE_BYTES_MAX < u32::MAX as u64);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> (Summary, SparseIndex) {
        let summary = Summary {
            base: Offset::new(7),
            next: Offset::new(40),
            bytes: 5000,
            max_timestamp: TimestampMs::new(1_700_000_000_000),
        };
        let entry = |offset, position, max_before| IndexEntry {
            offset: Offset::new(offset),
            position,
            max_before: TimestampMs::new(max_before),
        };
        let epoch =
            |start, epoch| EpochStart { start: Offset::new(start), epoch: LeaderEpoch::new(epoch) };
        let index = SparseIndex {
            entries: vec![entry(7, 0, i64::MIN), entry(20, 3000, 1_699_999_999_999)],
            epochs: vec![epoch(7, 3), epoch(20, 5)],
            max_timestamp: Some(summary.max_timestamp),
        };
        (summary, index)
    }

    #[test]
    fn an_index_survives_the_trip() {
        let (summary, index) = sample();
        let (offsets, times) = encode(&summary, &index);
        assert_eq!(decode_summary(&offsets), Some(summary));
        assert_eq!(decode(&summary, &offsets, &times), Some(index));
        let other = Summary { bytes: 5001, ..summary };
        assert_eq!(decode(&other, &offsets, &times), None);
    }

    #[test]
    fn an_index_that_leads_nowhere_is_none_though_its_checksum_is_right() {
        let (summary, sound) = sample();
        let with = |change: fn(&mut Vec<IndexEntry>)| {
            let mut index = sound.clone();
            change(&mut index.entries);
            let (offsets, times) = encode(&summary, &index);
            decode(&summary, &offsets, &times)
        };
        assert_eq!(with(|_| ()), Some(sound.clone()));
        assert_eq!(with(|entries| entries[1].position = 5000), None, "behind the end");
        assert_eq!(with(|entries| entries[1].offset = Offset::new(40)), None, "behind the end");
        assert_eq!(with(|entries| entries[1].position = 0), None, "back to the beginning");
        assert_eq!(with(|entries| entries[0].position = 1), None, "not from the beginning");
        assert_eq!(with(|entries| entries.swap(0, 1)), None, "backwards");
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let (summary, index) = sample();
        let (offsets, times) = encode(&summary, &index);
        for at in 0..offsets.len() {
            let mut damaged = offsets.clone();
            damaged[at] ^= 4;
            assert_eq!(decode(&summary, &damaged, &times), None, "byte {at}");
            assert_eq!(decode(&summary, &offsets[..at], &times), None, "cut to {at}");
        }
        for at in 0..times.len() {
            let mut damaged = times.clone();
            damaged[at] ^= 4;
            assert_eq!(decode(&summary, &offsets, &damaged), None, "byte {at}");
            assert_eq!(decode(&summary, &offsets, &times[..at]), None, "cut to {at}");
        }
    }

    #[test]
    fn the_files_are_those_of_the_documentation() {
        let page = include_str!("../../../docs/formats/segment.md");
        let (summary, index) = sample();
        let (offsets, times) = encode(&summary, &index);
        assert_eq!(example(page, "## Example: index"), offsets);
        assert_eq!(example(page, "## Example: time index"), times);
    }

    /// The hexadecimal bytes of the first code block after a heading; `#` begins a remark.
    fn example(page: &str, heading: &str) -> Vec<u8> {
        let (_, rest) = page.split_once(heading).expect("the heading");
        let block = rest.split("```").nth(1).expect("a code block");
        let digits =
            block.lines().flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace());
        digits.map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect()
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_without_panic(index: Vec<u8>, times: Vec<u8>) {
            let (summary, _) = sample();
            prop_assert_eq!(decode(&summary, &index, &times), None);
        }
    }
}
