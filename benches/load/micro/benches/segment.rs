//! A partition's files: appending batches, reading them from memory and from the page cache.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quipu_micro::{BATCH_SIZES, batch, records};
use quipu_segment::{Config, LogEnd, SegmentLog};
use quipu_types::record::ValidatedBatch;
use quipu_types::{LeaderEpoch, Offset, TimestampMs};

/// Bytes of a log before it is given up and another begun.
const LOG_BYTES: usize = 64 << 20;
const READ_BYTES: usize = 1 << 20;

fn open(dir: &Path) -> SegmentLog {
    let end = LogEnd::default();
    let opened =
        SegmentLog::open(quipu_disk::real(), dir.into(), Config::default(), Offset::new(0), end);
    opened.expect("an empty directory")
}

fn append(log: &mut SegmentLog, batch: &ValidatedBatch) {
    let base = log.end().next;
    log.append(base, LeaderEpoch::new(1), batch, TimestampMs::new(1_000)).expect("the disk works");
}

fn appending(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment");
    for bytes in BATCH_SIZES {
        let batch = batch(&records(bytes));
        let most = (LOG_BYTES / bytes) as u64;
        group.throughput(Throughput::Bytes(batch.bytes().len() as u64));
        group.bench_function(BenchmarkId::new("append", bytes), |bencher| {
            bencher.iter_custom(|count| {
                let mut spent = Duration::ZERO;
                let mut left = count;
                while left > 0 {
                    let dir = tempfile::tempdir().expect("a directory");
                    let mut log = open(&dir.path().join("log"));
                    let begun = Instant::now();
                    for _ in 0..left.min(most) {
                        append(&mut log, black_box(&batch));
                    }
                    spent += begun.elapsed();
                    left -= left.min(most);
                }
                spent
            });
        });
    }
    group.finish();
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment");
    for bytes in BATCH_SIZES {
        let batch = batch(&records(bytes));
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = open(&dir.path().join("log"));
        for _ in 0..LOG_BYTES / bytes {
            append(&mut log, &batch);
        }
        log.flush().expect("the disk works");
        let (reader, until) = (log.reader(), log.end().next);
        let mut from = Offset::new(0);
        group.throughput(Throughput::Bytes(READ_BYTES as u64));
        group.bench_function(BenchmarkId::new("read 1 MiB", bytes), |bencher| {
            bencher.iter(|| {
                let read = reader.read(from, until, READ_BYTES).expect("it is there");
                let records: u64 = read.len() as u64 * u64::from(batch.record_count());
                from = from.plus(records);
                // Around to the start before the end is near.
                if from.plus(2 * records) >= until {
                    from = Offset::new(0);
                }
                read
            });
        });
    }
    group.finish();
}

criterion_group!(benches, appending, reading);
criterion_main!(benches);
