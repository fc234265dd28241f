//! Applying a committed batch to its partition: deduplication, offset, append, watermark.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quipu_micro::{BATCH_SIZES, batch, records};
use quipu_partition::{Partition, PartitionCheckpoint, PartitionEnv};
use quipu_segment::Config;
use quipu_types::record::ValidatedBatch;
use quipu_types::{
    LeaderEpoch, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TopicId,
};

/// Bytes of a partition before it is given up and another begun.
const LOG_BYTES: usize = 64 << 20;

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    for bytes in BATCH_SIZES {
        let plain = batch(&records(bytes));
        group.throughput(Throughput::Bytes(plain.bytes().len() as u64));
        for is_idempotent in [false, true] {
            let kind = if is_idempotent { "idempotent" } else { "plain" };
            group.bench_function(BenchmarkId::new(kind, bytes), |bencher| {
                bencher.iter_custom(|count| run(count, &plain, is_idempotent));
            });
        }
    }
    group.finish();
}

fn run(count: u64, plain: &ValidatedBatch, is_idempotent: bool) -> Duration {
    let most = (LOG_BYTES / plain.bytes().len()).max(1) as u64;
    let mut spent = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let chunk = left.min(most);
        left -= chunk;
        let dir = tempfile::tempdir().expect("a directory");
        let env = PartitionEnv {
            disk: quipu_disk::real(),
            root_dir: dir.path().into(),
            segment: Config::default(),
        };
        let id = PartitionId::new(TopicId::from_bytes([1; 16]), PartitionIndex::new(0));
        let opened = Partition::open(&env, id, PartitionCheckpoint::default());
        let mut partition = opened.expect("an empty directory");
        let batches: Vec<ValidatedBatch> =
            (0..chunk).map(|number| numbered(plain, number, is_idempotent)).collect();
        let begun = Instant::now();
        for batch in &batches {
            let applied = partition.apply_append(LeaderEpoch::new(1), batch);
            applied.expect("the disk works").expect("the sequence is right");
        }
        partition.publish();
        spent += begun.elapsed();
    }
    spent
}

/// The batch as its producer would send it.
fn numbered(plain: &ValidatedBatch, number: u64, is_idempotent: bool) -> ValidatedBatch {
    let mut batch = plain.clone();
    if is_idempotent {
        let sequence = number * u64::from(plain.record_count());
        let sequence = Sequence::new(i32::try_from(sequence).expect("few batches"));
        let producer = (ProducerId::new(1), ProducerEpoch::new(0));
        batch.set_producer(producer.0, producer.1, sequence).expect("it has no producer yet");
    }
    batch
}

criterion_group!(benches, apply);
criterion_main!(benches);
