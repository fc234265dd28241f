//! How one input carries several things.

use std::path::Path;

use bytes::Bytes;
use quipu_disk::{Disk, Faults, FaultyDisk, OpenMode};

use crate::Verdict;

/// Bytes of a part's length.
const LENGTH_BYTES: usize = 2;

/// The parts of an input: each behind its length (two bytes, big-endian), the last one without.
/// Lengths that lie are cut; parts that are missing are empty.
pub(crate) fn parts<const N: usize>(mut input: &[u8]) -> [&[u8]; N] {
    let mut parts = [&input[..0]; N];
    let Some((last, before)) = parts.split_last_mut() else { return parts };
    for part in before {
        *part = first_part(&mut input);
    }
    *last = input;
    parts
}

/// All parts of an input, each behind its length; at most `max`.
pub(crate) fn all_parts(mut input: &[u8], max: usize) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while !input.is_empty() && parts.len() < max {
        parts.push(first_part(&mut input));
    }
    parts
}

fn first_part<'a>(input: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, rest)) = input.split_first_chunk::<LENGTH_BYTES>() else {
        *input = &[];
        return &[];
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (part, rest) = rest.split_at(length);
    *input = rest;
    part
}

/// The input of these parts, the last without its length.
pub(crate) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let Some((last, before)) = parts.split_last() else { return Vec::new() };
    let mut input = all_joined(before);
    input.extend_from_slice(last);
    input
}

/// The input of these parts, each with its length.
pub(crate) fn all_joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut input = Vec::new();
    for part in parts {
        let length = u16::try_from(part.len()).expect("inputs of a corpus are small");
        input.extend_from_slice(&length.to_be_bytes());
        input.extend_from_slice(part);
    }
    input
}

/// Tries an input as it is, then with its checksums made right: else hardly any mutation would get
/// beyond them.
pub(crate) fn also_resealed(
    input: &[u8],
    reseal: impl FnOnce(&mut [u8]),
    check: impl Fn(&[u8]) -> Verdict,
) -> Verdict {
    let verdict = check(input);
    let mut resealed = input.to_vec();
    reseal(&mut resealed);
    if resealed == input { verdict } else { verdict.or(check(&resealed)) }
}

/// An input's text; none when it is not UTF-8.
pub(crate) fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

/// Shared bytes of an input.
pub(crate) fn shared(input: &[u8]) -> Bytes {
    Bytes::copy_from_slice(input)
}

/// A disk without faults.
pub(crate) fn disk() -> FaultyDisk {
    FaultyDisk::new(1, Faults::default())
}

/// Makes a file with its folder.
pub(crate) fn put_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    let dir = path.parent().expect("files lie in folders");
    disk.create_dir_all(dir).expect("a disk without faults");
    let file = disk.open(path, OpenMode::CreateNew).expect("no file has the name");
    file.write_all_at(bytes, 0).expect("a disk without faults");
}

/// Reads a whole file; nothing when there is none.
pub(crate) fn file_bytes(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let Ok(file) = disk.open(path, OpenMode::Read) else { return Vec::new() };
    let length = file.len().expect("a disk without faults");
    let mut bytes = vec![0; usize::try_from(length).expect("a file in memory")];
    file.read_exact_at(&mut bytes, 0).expect("a disk without faults");
    bytes
}

/// Sizes are compared as `usize`: we run on 64-bit machines only.
pub(crate) fn size(count: u64) -> usize {
    usize::try_from(count).expect("usize has 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_lengths_that_lie_are_cut() {
        assert_eq!(parts::<3>(&joined(&[b"a", b"", b"rest"])), [&b"a"[..], b"", b"rest"]);
        assert_eq!(all_parts(&all_joined(&[b"a", b"bc"]), 9), [&b"a"[..], b"bc"]);
        assert_eq!(parts::<2>(&[0xFF, 0xFF, 7]), [&[7][..], &[]]);
        let nothing: &[u8] = &[];
        assert_eq!(parts::<3>(&[9]), [nothing; 3]);
    }
}
