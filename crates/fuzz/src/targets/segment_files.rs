//! Opening a log from files and a checkpoint of any bytes.

use quipu_segment::{LogEnd, OpenError};
use quipu_types::{LeaderEpoch, Offset};

use super::segment_rig::{append, look_for_times, open, path, walk, written};
use crate::input::{disk, file_bytes, joined, parts, put_file};
use crate::{Seed, Verdict, reseal, samples};

/// Bytes of an index's headers.
const INDEX_HEADER: usize = 64;
const TIME_HEADER: usize = 40;
/// Offsets above are out of reach: a partition would need centuries.
const OFFSET_MAX: u64 = 1 << 62;

/// The input: log start and log end (four numbers), the first segment with its index files, the
/// active segment.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let parts = parts::<5>(input);
    let verdict = check(&parts);
    let mut resealed = parts.map(<[u8]>::to_vec);
    reseal::batches(&mut resealed[1]);
    reseal::index_file(&mut resealed[2], INDEX_HEADER);
    reseal::index_file(&mut resealed[3], TIME_HEADER);
    reseal::batches(&mut resealed[4]);
    let resealed = resealed.each_ref().map(Vec::as_slice);
    if resealed == parts { verdict } else { verdict.or(check(&resealed)) }
}

fn check(parts: &[&[u8]; 5]) -> Verdict {
    let [places, log, index, times, active] = *parts;
    let Some((log_start, end)) = places_of(places) else { return Verdict::Refused };
    let disk = disk();
    let files = [(0, "log", log), (0, "index", index), (0, "timeindex", times)];
    for (base, extension, bytes) in files {
        if !bytes.is_empty() {
            put_file(&disk, &path(base, extension), bytes);
        }
    }
    if end.segment > Offset::ZERO && !active.is_empty() {
        put_file(&disk, &path(end.segment.get(), "log"), active);
    }
    let Ok(mut opened) = open(&disk, log_start, end) else { return Verdict::Refused };
    assert_eq!(opened.end().next, end.next);
    look_for_times(&opened, log_start);
    let walked = walk(&opened, log_start);
    let _ = opened.reader().checksum(log_start, end.next);
    append(&mut opened, end.next, LeaderEpoch::new(9), &samples::batch(2, b"after"));
    let after = opened.flush().expect("a disk without faults");
    drop(opened);
    // Damage in an active segment shows when it is read, not when it is opened; that it ends
    // before its checkpoint says, when it is opened as a sealed one.
    let again = match open(&disk, log_start, after) {
        Ok(again) => again,
        Err(OpenError::MissingOffsets { .. }) if walked.is_err() => return Verdict::Refused,
        Err(refused) => panic!("what was flushed opens again: {refused}"),
    };
    let read = again.reader().read(end.next, after.next, 1_000);
    if walked.is_ok() {
        assert_eq!(read.expect("appended to a whole log").len(), 1);
    }
    Verdict::when(walked.is_ok_and(|count| count > 0))
}

/// The numbers of a checkpoint, as one that was checked before has them.
fn places_of(bytes: &[u8]) -> Option<(Offset, LogEnd)> {
    let numbers: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|chunk| u64::from_be_bytes(chunk.try_into().expect("eight bytes")))
        .collect();
    let [log_start, segment, bytes, next] = numbers[..] else { return None };
    let is_lawful = segment <= next && (segment == next) == (bytes == 0);
    if !is_lawful || log_start > next || next > OFFSET_MAX {
        return None;
    }
    let end = LogEnd { segment: Offset::new(segment), bytes, next: Offset::new(next) };
    Some((Offset::new(log_start), end))
}

pub(crate) fn seeds() -> Vec<Seed> {
    let written = written();
    let bytes = |base, extension| file_bytes(&written.disk, &path(base, extension));
    let input = |places: [u64; 4], files: [&[u8]; 4]| {
        let places: Vec<u8> = places.iter().flat_map(|number| number.to_be_bytes()).collect();
        joined(&[&places, files[0], files[1], files[2], files[3]])
    };
    let (log, index, times) = (bytes(0, "log"), bytes(0, "index"), bytes(0, "timeindex"));
    let second = written.batches.iter().map(|(base, _)| base.get());
    let second = second.filter(|base| !bytes(*base, "log").is_empty()).nth(1).expect("three");
    let following = bytes(second, "log");
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).expect("small");
    let next = written.batches.iter().map(|(base, _)| base.get()).filter(|base| *base > second);
    // The second segment ends where the third begins.
    let third = next.filter(|base| !bytes(*base, "log").is_empty()).min().expect("three");
    let both = [0, second, length(&following), third];
    vec![
        ("ok-one", input([0, 0, length(&log), second], [&log, &[], &[], &[]])),
        ("ok-two", input(both, [&log, &index, &times, &following])),
        ("ok-unindexed", input(both, [&log, &[], &[], &following])),
        ("ok-trimmed", input([1, both[1], both[2], both[3]], [&log, &index, &times, &following])),
    ]
}
