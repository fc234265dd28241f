//! The checksum of batches and journal frames.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quipu_micro::{BATCH_SIZES, noise};

fn crc(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc32c");
    for bytes in BATCH_SIZES {
        let block = noise(bytes, 1);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("crc32c", bytes), |bencher| {
            bencher.iter(|| crc32c::crc32c(black_box(&block)));
        });
    }
    group.finish();
}

criterion_group!(benches, crc);
criterion_main!(benches);
