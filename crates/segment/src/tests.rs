//! The log as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quipu_disk::{Disk, Faults, FaultyDisk};
use quipu_types::{LeaderEpoch, Offset, TimestampMs};

use crate::test_batch::{Model, ModelBatch, batch};
use crate::{Config, LogEnd, OpenError, ReadError, SegmentLog};

mod appends;
mod compaction;
mod compressed;
mod concurrent;
mod damage;
mod extents;
mod large;
mod looks;
mod mends;
mod opening;
mod power_cuts;
mod prefixes;
mod times;

fn dir() -> PathBuf {
    PathBuf::from("/partitions/p-0")
}

fn config(segment_bytes: u64, index_interval_bytes: u32) -> Config {
    Config { segment_bytes, index_interval_bytes, ..Config::default() }
}

fn faulty(seed: u64) -> FaultyDisk {
    FaultyDisk::new(seed, Faults::default())
}

fn open(disk: &FaultyDisk, config: &Config, log_start: u64, end: LogEnd) -> SegmentLog {
    try_open(disk, config, log_start, end).expect("open the log")
}

fn try_open(
    disk: &FaultyDisk,
    config: &Config,
    log_start: u64,
    end: LogEnd,
) -> Result<SegmentLog, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    SegmentLog::open(disk, dir(), config.clone(), Offset::new(log_start), end)
}

fn append(log: &mut SegmentLog, batch: &ModelBatch) -> Result<(), crate::WriteError> {
    log.append(batch.base, batch.epoch, &batch.batch, batch.batch.header().max_timestamp)
}

/// A log of `count` batches of one record, 100 ms apart, in segments of about four.
fn four_per_segment(disk: &FaultyDisk, count: u64) -> (SegmentLog, Model, Config) {
    let config = config(4 * 110, 0);
    let mut log = open(disk, &config, 0, LogEnd::default());
    let mut model = Model::default();
    for n in 0..count {
        let time = i64::try_from(n).unwrap() * 100;
        let epoch = i32::try_from(n / 6).unwrap();
        append(&mut log, model.push(batch(&[time], 30), epoch)).unwrap();
    }
    (log, model, config)
}

/// Everything in `[from, until)`, read in steps.
fn read_all(
    log: &SegmentLog,
    from: Offset,
    until: Offset,
    bytes_max: usize,
) -> Result<Vec<bytes::Bytes>, ReadError> {
    let mut found = Vec::new();
    let mut at = from;
    while at < until {
        let batches = log.reader().read(at, until, bytes_max)?;
        assert!(!batches.is_empty(), "a read makes progress");
        for stored in batches {
            let header = quipu_types::record::BatchHeader::decode(&stored).unwrap();
            at = header.base_offset.plus(u64::try_from(header.record_count).unwrap());
            found.push(stored);
        }
    }
    Ok(found)
}

fn assert_holds(log: &SegmentLog, model: &Model, from: Offset) {
    let until = model.next();
    assert_eq!(log.end().next, until);
    let found = read_all(log, from, until, 700).expect("read");
    let expected: Vec<_> = model.range(from, until).iter().map(|b| b.stored.clone()).collect();
    assert_eq!(found, expected);
    assert_eq!(log.reader().checksum(from, until).unwrap(), model.checksum(from, until));
}

fn files(disk: &FaultyDisk) -> Vec<String> {
    let names = disk.read_dir(&dir()).unwrap_or_default().into_iter().map(|entry| entry.name);
    names.collect()
}

fn log_path(base: u64) -> PathBuf {
    dir().join(format!("{base:020}.log"))
}
