//! Any index files beside a whole log: reads give what was written, or refuse.

use quipu_types::Offset;

use super::segment_rig::{look_for_times, open, path, written};
use crate::input::{file_bytes, joined, parts};
use crate::{Seed, Verdict, reseal};

/// Bytes of an index's headers.
const INDEX_HEADER: usize = 64;
const TIME_HEADER: usize = 40;

/// The input: the index of offsets and that of times of the first segment.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let [index, times] = parts(input);
    let verdict = check(index, times);
    let (mut sealed_index, mut sealed_times) = (index.to_vec(), times.to_vec());
    reseal::index_file(&mut sealed_index, INDEX_HEADER);
    reseal::index_file(&mut sealed_times, TIME_HEADER);
    if sealed_index == index && sealed_times == times {
        verdict
    } else {
        verdict.or(check(&sealed_index, &sealed_times))
    }
}

fn check(index: &[u8], times: &[u8]) -> Verdict {
    let written = written();
    written.replace(&path(0, "index"), Some(index));
    written.replace(&path(0, "timeindex"), Some(times));
    let Ok(log) = open(&written.disk, Offset::ZERO, written.end) else { return Verdict::Refused };
    look_for_times(&log, Offset::ZERO);
    let read = written.assert_right_or_refused(&log);
    let is_whole = log.reader().checksum(Offset::ZERO, written.end.next).is_ok();
    Verdict::when(is_whole && read >= written.batches.len())
}

pub(crate) fn seeds() -> Vec<Seed> {
    let written = written();
    let bytes = |extension| file_bytes(&written.disk, &path(0, extension));
    let (index, times) = (bytes("index"), bytes("timeindex"));
    vec![
        ("ok-both", joined(&[&index, &times])),
        ("ok-index-alone", joined(&[&index, &[]])),
        ("ok-times-alone", joined(&[&[], &times])),
        ("ok-swapped", joined(&[&times, &index])),
    ]
}
