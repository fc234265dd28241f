//! What a partition remembers of its producers: enough to recognise a retry (KIP-98, KAFKA-5494).
//!
//! Part of the replicated state: the same batches in the same order give the same table on every
//! replica, through snapshots and after the segments with the batches are gone.

use std::collections::{BTreeMap, VecDeque};

use quipu_types::record::BatchHeader;
use quipu_types::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, limits};

use crate::error::AppendRefused;
use crate::metrics;

/// Half of the ring of sequences: nearer ahead is a gap, nearer behind was before.
const HALF_RING: i64 = 1 << 30;
const RING: i64 = 1 << 31;

/// The table of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: BTreeMap<ProducerId, Producer>,
    /// By the offset of the last batch, which no two producers share: the first is the one that has
    /// been silent longest.
    by_last_offset: BTreeMap<Offset, ProducerId>,
    kept_max: usize,
}

/// One producer's life and its last batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: ProducerEpoch,
    /// In order, at most [`limits::PRODUCER_BATCHES_KEPT`], never empty.
    pub(crate) batches: VecDeque<KeptBatch>,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptBatch {
    pub(crate) base_sequence: Sequence,
    pub(crate) record_count: u32,
    pub(crate) base_offset: Offset,
    pub(crate) max_timestamp: TimestampMs,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is new.
    Append,
    /// It was appended before, there.
    Duplicate(KeptBatch),
}

impl Default for Producers {
    fn default() -> Self {
        Self::with_max(limits::PARTITION_PRODUCERS_MAX)
    }
}

impl Producers {
    pub(crate) fn with_max(kept_max: usize) -> Self {
        Self { by_id: BTreeMap::new(), by_last_offset: BTreeMap::new(), kept_max }
    }

    /// Judges a batch. Batches without producer are always new.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Verdict, AppendRefused> {
        if !header.is_idempotent() {
            return Ok(Verdict::Append);
        }
        let is_first = header.base_sequence == Sequence::new(0);
        match self.by_id.get(&header.producer_id) {
            None if is_first
                || quipu_failpoint::is_planted("plant.dedupe.lost-at-leader-change") =>
            {
                Ok(Verdict::Append)
            }
            None => Err(AppendRefused::UnknownProducer),
            Some(producer) => producer.check(header),
        }
    }

    /// Remembers a batch that was appended.
    pub(crate) fn record(&mut self, header: &BatchHeader, base_offset: Offset) {
        if !header.is_idempotent() {
            return;
        }
        let batch = KeptBatch {
            base_sequence: header.base_sequence,
            record_count: u32::try_from(header.record_count).expect("checked positive"),
            base_offset,
            max_timestamp: header.max_timestamp,
        };
        let mut producer = self
            .take(header.producer_id)
            .unwrap_or_else(|| Producer { epoch: header.producer_epoch, batches: VecDeque::new() });
        producer.push(header.producer_epoch, batch);
        self.put(header.producer_id, producer);
        self.forget_silent();
    }

    fn take(&mut self, id: ProducerId) -> Option<Producer> {
        let producer = self.by_id.remove(&id)?;
        self.by_last_offset.remove(&producer.last().base_offset);
        Some(producer)
    }

    fn put(&mut self, id: ProducerId, producer: Producer) {
        self.by_last_offset.insert(producer.last().base_offset, id);
        self.by_id.insert(id, producer);
    }

    /// By count alone: a time would need a clock.
    fn forget_silent(&mut self) {
        while self.by_id.len() > self.kept_max {
            let Some((_, id)) = self.by_last_offset.pop_first() else { break };
            self.by_id.remove(&id);
            metrics::count_forgotten();
        }
    }

    /// Every producer, in order of id.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (ProducerId, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    /// Restores a producer; `None` when the row contradicts the law of the table.
    pub(crate) fn restore(&mut self, id: ProducerId, producer: Producer) -> Option<()> {
        let is_after_last = self.by_id.last_key_value().is_none_or(|(last, _)| *last < id);
        let is_free = producer
            .batches
            .back()
            .is_some_and(|last| !self.by_last_offset.contains_key(&last.base_offset));
        if !is_after_last || !is_free || !producer.is_lawful() || self.by_id.len() >= self.kept_max
        {
            return None;
        }
        self.put(id, producer);
        Some(())
    }
}

impl Producer {
    fn check(&self, header: &BatchHeader) -> Result<Verdict, AppendRefused> {
        if header.producer_epoch < self.epoch
            && !quipu_failpoint::is_planted("plant.producer.stale-epoch")
        {
            return Err(AppendRefused::ProducerFenced { current: self.epoch });
        }
        let found = header.base_sequence;
        if header.producer_epoch > self.epoch {
            let expected = Sequence::new(0);
            return if found == expected {
                Ok(Verdict::Append)
            } else {
                Err(AppendRefused::OutOfOrderSequence { expected, found })
            };
        }
        let count = u32::try_from(header.record_count).expect("checked positive");
        let same = |batch: &&KeptBatch| batch.base_sequence == found && batch.record_count == count;
        if let Some(before) = self.batches.iter().find(same) {
            return Ok(Verdict::Duplicate(*before));
        }
        self.check_new(found, count)
    }

    fn check_new(&self, found: Sequence, count: u32) -> Result<Verdict, AppendRefused> {
        let expected = self.next_sequence();
        let behind = distance(found, expected);
        if behind == 0 {
            Ok(Verdict::Append)
        } else if behind < HALF_RING && i64::from(count) <= behind {
            Err(AppendRefused::DuplicateSequence)
        } else {
            // A gap, or a batch of which a part is new: neither may be called stored.
            Err(AppendRefused::OutOfOrderSequence { expected, found })
        }
    }

    fn push(&mut self, epoch: ProducerEpoch, batch: KeptBatch) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
        while self.batches.len() >= limits::PRODUCER_BATCHES_KEPT {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }

    fn last(&self) -> &KeptBatch {
        self.batches.back().expect("a producer is remembered for a batch")
    }

    fn next_sequence(&self) -> Sequence {
        self.last().next_sequence()
    }

    fn is_lawful(&self) -> bool {
        let pairs = self.batches.iter().zip(self.batches.iter().skip(1));
        (1..=limits::PRODUCER_BATCHES_KEPT).contains(&self.batches.len())
            && self.batches.iter().all(|batch| batch.record_count > 0)
            && pairs.into_iter().all(|(earlier, later)| {
                earlier.next_sequence() == later.base_sequence
                    && earlier.base_offset < later.base_offset
            })
    }
}

impl KeptBatch {
    fn next_sequence(&self) -> Sequence {
        self.base_sequence.advance(self.record_count)
    }
}

/// How far `later` is ahead of `earlier` on the ring of sequences.
fn distance(earlier: Sequence, later: Sequence) -> i64 {
    (i64::from(later.get()) - i64::from(earlier.get())).rem_euclid(RING)
}

#[cfg(test)]
mod tests;
