//! Logs on a disk in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quipu_disk::{Disk, FaultyDisk};
use quipu_segment::{Config, LogEnd, OpenError, ReadError, SegmentLog};
use quipu_types::record::{BatchHeader, ValidatedBatch};
use quipu_types::{LeaderEpoch, Offset, TimestampMs};

use crate::input::{disk, put_file};
use crate::samples;

/// Where the leader epoch lies: in an active segment nothing covers it before it is indexed.
const EPOCH: std::ops::Range<usize> = 12..16;
/// Bytes of one read.
const READ_BYTES: usize = 300;
/// Reads of one walk.
const READS_MAX: usize = 200;

/// A log that was written: its files, its end, and its batches as stored.
pub(super) struct Written {
    pub(super) disk: FaultyDisk,
    pub(super) end: LogEnd,
    pub(super) batches: Vec<(Offset, Bytes)>,
}

pub(super) fn dir() -> PathBuf {
    PathBuf::from("/partitions/p-0")
}

pub(super) fn path(base: u64, extension: &str) -> PathBuf {
    dir().join(format!("{base:020}.{extension}"))
}

pub(super) fn open(
    disk: &FaultyDisk,
    log_start: Offset,
    end: LogEnd,
) -> Result<SegmentLog, OpenError> {
    let config = Config { segment_bytes: 400, index_interval_bytes: 100, ..Config::default() };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    SegmentLog::open(disk, dir(), config, log_start, end)
}

/// Seven batches in three segments, the last of them active.
pub(super) fn written() -> Written {
    let disk = disk();
    let mut log = open(&disk, Offset::ZERO, LogEnd::default()).expect("an empty log");
    let mut batches = Vec::new();
    for n in 0..7_u8 {
        let batch = samples::batch(1 + u32::from(n) % 3, &[n; 30]);
        let (base, epoch) = (log.end().next, LeaderEpoch::new(i32::from(n) / 3));
        append(&mut log, base, epoch, &batch);
        let stored = [&batch.stamped_prefix(base, epoch)[..], &batch.bytes()[16..]].concat();
        batches.push((base, Bytes::from(stored)));
    }
    let end = log.flush().expect("a disk without faults");
    drop(log);
    Written { disk, end, batches }
}

pub(super) fn append(
    log: &mut SegmentLog,
    base: Offset,
    epoch: LeaderEpoch,
    batch: &ValidatedBatch,
) {
    log.append(base, epoch, batch, batch.header().max_timestamp).expect("a disk without faults");
}

impl Written {
    /// Puts other bytes into a file, or removes it.
    pub(super) fn replace(&self, path: &Path, bytes: Option<&[u8]>) {
        if self.disk.exists(path) {
            self.disk.remove_file(path).expect("a disk without faults");
        }
        if let Some(bytes) = bytes {
            put_file(&self.disk, path, bytes);
        }
    }

    /// Reads from every batch on: what comes was written, but for epochs nothing covers.
    pub(super) fn assert_right_or_refused(&self, log: &SegmentLog) -> usize {
        let mut read = 0;
        for (place, (base, _)) in self.batches.iter().enumerate() {
            let Ok(found) = log.reader().read(*base, self.end.next, READ_BYTES) else { continue };
            for (found, (_, expected)) in found.iter().zip(&self.batches[place..]) {
                assert_eq!(without_epoch(found), without_epoch(expected), "at {base}");
                read += 1;
            }
        }
        read
    }
}

fn without_epoch(stored: &[u8]) -> Vec<u8> {
    let mut bytes = stored.to_vec();
    bytes[EPOCH].fill(0);
    bytes
}

/// Walks over a log: batches follow one another and are whole; gives how many there were.
pub(super) fn walk(log: &SegmentLog, log_start: Offset) -> Result<usize, ReadError> {
    let end = log.end().next;
    let (mut at, mut count) = (log_start, 0);
    for _ in 0..READS_MAX {
        if at >= end {
            break;
        }
        let read = log.reader().read(at, end, READ_BYTES)?;
        assert!(!read.is_empty(), "a read makes progress");
        for stored in read {
            let header = BatchHeader::decode(&stored).expect("a stored batch has a header");
            assert!(header.base_offset <= at, "no gap");
            let records = u64::try_from(header.record_count).expect("checked");
            at = header.base_offset.plus(records);
            count += 1;
        }
    }
    Ok(count)
}

/// Looks for times in a log; what is found lies in it.
pub(super) fn look_for_times(log: &SegmentLog, log_start: Offset) {
    let end = log.end().next;
    for at in [i64::MIN, samples::NOON, samples::NOON + 1, i64::MAX] {
        let at = TimestampMs::new(at);
        if let Ok(Some((offset, time))) = log.reader().offset_for_timestamp(at, log_start, end) {
            assert!(offset >= log_start && offset < end && time >= at, "{offset} at {time}");
        }
    }
}
