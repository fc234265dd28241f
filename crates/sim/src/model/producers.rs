//! What a partition must remember of its producers.

use std::collections::{BTreeMap, VecDeque};

use quipu_partition::AppendRefused;
use quipu_types::record::BatchHeader;
use quipu_types::{ProducerEpoch, Sequence, TimestampMs};

/// Batches remembered of each producer.
const KEPT: usize = 5;

/// Where a batch went.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownBatch {
    sequence: i32,
    count: i32,
    pub(super) base_offset: u64,
    pub(super) max_timestamp: TimestampMs,
}

/// What a producer would send next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NextSequence {
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

/// Every producer's epoch and last batches. Runs are short: sequences never wrap.
#[derive(Clone, Debug, Default)]
pub(super) struct Producers {
    known: BTreeMap<i64, (i16, VecDeque<KnownBatch>)>,
}

impl KnownBatch {
    pub(super) fn new(header: &BatchHeader, base_offset: u64) -> Self {
        let (sequence, count) = (header.base_sequence.get(), header.record_count);
        Self { sequence, count, base_offset, max_timestamp: header.max_timestamp }
    }
}

impl Producers {
    pub(super) fn next_sequence(&self, producer: i64) -> NextSequence {
        self.known.get(&producer).map_or_else(NextSequence::default, |(epoch, batches)| {
            NextSequence { epoch: *epoch, sequence: next(batches) }
        })
    }

    /// The batch it repeats, none for a new one, or the refusal.
    pub(super) fn check(&self, header: &BatchHeader) -> Result<Option<KnownBatch>, AppendRefused> {
        let (id, found) = (header.producer_id.get(), header.base_sequence.get());
        if id < 0 {
            return Ok(None);
        }
        let Some((epoch, batches)) = self.known.get(&id) else {
            return if found == 0 { Ok(None) } else { Err(AppendRefused::UnknownProducer) };
        };
        if header.producer_epoch.get() < *epoch {
            return Err(AppendRefused::ProducerFenced { current: ProducerEpoch::new(*epoch) });
        }
        let is_new_life = header.producer_epoch.get() > *epoch;
        let expected = if is_new_life { 0 } else { next(batches) };
        if found == expected {
            return Ok(None);
        }
        let same =
            |known: &&KnownBatch| known.sequence == found && known.count == header.record_count;
        if !is_new_life {
            if let Some(known) = batches.iter().find(same) {
                return Ok(Some(*known));
            }
            if found + header.record_count <= expected {
                return Err(AppendRefused::DuplicateSequence);
            }
        }
        let (expected, found) = (Sequence::new(expected), Sequence::new(found));
        Err(AppendRefused::OutOfOrderSequence { expected, found })
    }

    pub(super) fn record(&mut self, header: &BatchHeader, batch: KnownBatch) {
        if header.producer_id.get() < 0 {
            return;
        }
        let epoch = header.producer_epoch.get();
        let known = self.known.entry(header.producer_id.get());
        let (known_epoch, batches) = known.or_insert_with(|| (epoch, VecDeque::new()));
        if *known_epoch != epoch {
            *known_epoch = epoch;
            batches.clear();
        }
        if batches.len() == KEPT {
            batches.pop_front();
        }
        batches.push_back(batch);
    }
}

fn next(batches: &VecDeque<KnownBatch>) -> i32 {
    batches.back().map_or(0, |last| last.sequence + last.count)
}
