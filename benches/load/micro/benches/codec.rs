//! Batches: building, checking, decoding, compressing.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quipu_micro::{BATCH_SIZES, batch, records};
use quipu_types::record::{Codec, ValidatedBatch};

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for bytes in BATCH_SIZES {
        let records = records(bytes);
        let built = batch(&records);
        group.throughput(Throughput::Bytes(built.bytes().len() as u64));
        group.bench_function(BenchmarkId::new("encode", bytes), |bencher| {
            bencher.iter(|| batch(black_box(&records)));
        });
        group.bench_function(BenchmarkId::new("validate", bytes), |bencher| {
            bencher.iter(|| ValidatedBatch::parse(black_box(built.bytes().clone())));
        });
        group.bench_function(BenchmarkId::new("decode", bytes), |bencher| {
            bencher.iter(|| black_box(&built).records().expect("not compressed").count());
        });
        for codec in [Codec::Lz4, Codec::Zstd] {
            let name = BenchmarkId::new(format!("compress {codec:?}"), bytes);
            group.bench_function(name, |bencher| {
                bencher.iter(|| quipu_compression::compress(codec, black_box(built.bytes())));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
