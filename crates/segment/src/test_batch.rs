//! Batches and a model of a log, for tests.

use bytes::Bytes;
use quipu_runtime::Rng;
use quipu_types::record::{BatchBuilder, Codec, Record, ValidatedBatch};
use quipu_types::{LeaderEpoch, Offset, TimestampMs};

/// A batch of plain records with these timestamps, each with a value of `value_bytes`.
pub(crate) fn batch(timestamps: &[i64], value_bytes: usize) -> ValidatedBatch {
    builder(timestamps, value_bytes).finish_plain()
}

/// A batch that says it is compressed; what is in it does not matter to a log.
pub(crate) fn compressed(timestamps: &[i64], bytes: usize) -> ValidatedBatch {
    let body = Bytes::from(vec![0xC0; bytes]);
    let built = builder(timestamps, bytes * 2);
    built.finish(Codec::Zstd, |_| Ok::<_, std::convert::Infallible>(body)).unwrap()
}

fn builder(timestamps: &[i64], value_bytes: usize) -> BatchBuilder {
    let mut builder = BatchBuilder::new(TimestampMs::new(timestamps[0]));
    for (n, timestamp) in (0_u8..).zip(timestamps) {
        let value = Bytes::from(vec![n; value_bytes]);
        let timestamp = TimestampMs::new(*timestamp);
        builder.push(&Record { timestamp, value: Some(value), ..Record::default() }).unwrap();
    }
    builder
}

/// One to four records around a time that moves on slowly, sometimes compressed.
pub(crate) fn random_batch(rng: &mut Rng, time: i64) -> ValidatedBatch {
    let count = 1 + rng.below(4);
    let timestamps: Vec<i64> =
        (0..count).map(|_| time + i64::try_from(rng.below(50)).unwrap()).collect();
    let bytes = usize::try_from(rng.below(90)).unwrap();
    if rng.below(5) == 0 { compressed(&timestamps, bytes + 1) } else { batch(&timestamps, bytes) }
}

/// What a log must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) batches: Vec<ModelBatch>,
}

#[derive(Clone, Debug)]
pub(crate) struct ModelBatch {
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) batch: ValidatedBatch,
    pub(crate) stored: Bytes,
}

impl Model {
    pub(crate) fn next(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |last| last.next)
    }

    /// Adds a batch; the epoch rises now and then.
    pub(crate) fn push(&mut self, batch: ValidatedBatch, epoch: i32) -> &ModelBatch {
        let (base, epoch) = (self.next(), LeaderEpoch::new(epoch));
        let stored = [&batch.stamped_prefix(base, epoch)[..], &batch.bytes()[16..]].concat();
        let next = base.plus(batch.record_count().into());
        self.batches.push(ModelBatch { base, next, epoch, batch, stored: stored.into() });
        self.batches.last().unwrap()
    }

    /// Batches with an offset in `[from, until)`.
    pub(crate) fn range(&self, from: Offset, until: Offset) -> &[ModelBatch] {
        let start = self.batches.partition_point(|batch| batch.next <= from);
        let end = self.batches.partition_point(|batch| batch.base < until);
        &self.batches[start.min(end)..end]
    }

    pub(crate) fn checksum(&self, from: Offset, until: Offset) -> u32 {
        let stored = self.range(from, until).iter();
        stored.fold(0, |crc, batch| crc32c::crc32c_append(crc, &batch.stored))
    }

    /// The rule of time lookups, record by record.
    pub(crate) fn offset_for_timestamp(
        &self,
        at: i64,
        from: Offset,
        until: Offset,
    ) -> Option<(Offset, TimestampMs)> {
        self.range(from, until).iter().find_map(|batch| {
            let max = batch.batch.header().max_timestamp;
            match batch.batch.records() {
                Err(_) => (max.get() >= at).then(|| (batch.base.max(from), max)),
                Ok(records) => records.map(Result::unwrap).find_map(|(delta, record)| {
                    let offset = batch.base.plus(delta.get());
                    let is_hit = offset >= from && record.timestamp.get() >= at;
                    is_hit.then_some((offset, record.timestamp))
                }),
            }
        })
    }
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
