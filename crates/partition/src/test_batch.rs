//! Batches and seeds for tests.

use bytes::Bytes;
use quipu_types::record::{BatchBuilder, Record, ValidatedBatch};
use quipu_types::{ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// A batch of plain records with these timestamps.
pub(crate) fn batch(timestamps: &[i64], value_bytes: usize) -> ValidatedBatch {
    let mut builder = BatchBuilder::new(TimestampMs::new(timestamps[0]));
    for (n, timestamp) in (0_u8..).zip(timestamps) {
        let value = Some(Bytes::from(vec![n; value_bytes]));
        let timestamp = TimestampMs::new(*timestamp);
        builder.push(&Record { timestamp, value, ..Record::default() }).unwrap();
    }
    builder.finish_plain()
}

/// The batch of an idempotent producer.
pub(crate) fn from_producer(
    mut batch: ValidatedBatch,
    (id, epoch, sequence): (i64, i16, i32),
) -> ValidatedBatch {
    let (id, epoch) = (ProducerId::new(id), ProducerEpoch::new(epoch));
    batch.set_producer(id, epoch, Sequence::new(sequence)).unwrap();
    batch
}

/// Runs a test for seeds from 0 on, or for the one in `QUIPU_SEED`; a failing seed is named.
/// `QUIPU_SEEDS` runs more or fewer than CI does.
pub(crate) fn for_seeds(count: u64, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("QUIPU_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QUIPU_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("seed {seed} failed; replay it alone with QUIPU_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
