//! One partition as a list of batches.

use bytes::{Bytes, BytesMut};
use quipu_partition::{Appended, PartitionHandle};
use quipu_shard::Outcome;
use quipu_types::record::ValidatedBatch;
use quipu_types::{LeaderEpoch, LogIndex, Offset, Progress, Term};

use super::producers::{KnownBatch, NextSequence, Producers};
use crate::stop::{Step, Stop, check};

/// Bytes in front of a batch that are set when it is applied.
const PREFIX_BYTES: usize = 16;
/// Small, so that a read takes several calls.
const READ_BYTES: usize = 4 << 10;

/// A partition's state.
#[derive(Clone, Debug)]
pub(super) struct PartitionModel {
    opened: LogIndex,
    epoch_base: i32,
    log_start: u64,
    high_watermark: u64,
    /// Stored batches: first offset, end, bytes.
    batches: Vec<(u64, u64, Bytes)>,
    producers: Producers,
}

impl PartitionModel {
    pub(super) fn new(opened: LogIndex, epoch_base: i32) -> Self {
        Self {
            opened,
            epoch_base,
            log_start: 0,
            high_watermark: 0,
            batches: Vec::new(),
            producers: Producers::default(),
        }
    }

    pub(super) fn high_watermark(&self) -> u64 {
        self.high_watermark
    }

    pub(super) fn log_start(&self) -> u64 {
        self.log_start
    }

    pub(super) fn kept_bytes(&self) -> u64 {
        self.batches.iter().map(|(_, _, bytes)| u64::try_from(bytes.len()).expect("small")).sum()
    }

    pub(super) fn next_sequence(&self, producer: i64) -> NextSequence {
        self.producers.next_sequence(producer)
    }

    pub(super) fn raise_epoch_base(&mut self, to: i32) {
        self.epoch_base = self.epoch_base.max(to);
    }

    pub(super) fn trim(&mut self, to: Offset) -> Progress {
        self.log_start = self.log_start.max(to.get().min(self.high_watermark));
        let start = self.log_start;
        self.batches.retain(|(_, end, _)| *end > start);
        self.progress()
    }

    pub(super) fn append(&mut self, term: Term, batch: &ValidatedBatch) -> Outcome {
        match self.producers.check(batch.header()) {
            Err(refused) => Outcome::Refused(refused),
            Ok(Some(known)) => Outcome::Appended(self.appended(known, true)),
            Ok(None) => {
                let base = self.high_watermark;
                let known = KnownBatch::new(batch.header(), base);
                self.producers.record(batch.header(), known);
                self.store(term, batch);
                Outcome::Appended(self.appended(known, false))
            }
        }
    }

    fn store(&mut self, term: Term, batch: &ValidatedBatch) {
        let base = self.high_watermark;
        let term = i32::try_from(term.get()).expect("terms of a run are few");
        let epoch = LeaderEpoch::new(self.epoch_base + term);
        let mut bytes = BytesMut::from(&batch.stamped_prefix(Offset::new(base), epoch)[..]);
        bytes.extend_from_slice(&batch.bytes()[PREFIX_BYTES..]);
        self.high_watermark += u64::from(batch.record_count());
        self.batches.push((base, self.high_watermark, bytes.freeze()));
    }

    fn appended(&self, batch: KnownBatch, is_duplicate: bool) -> Appended {
        Appended {
            base_offset: Offset::new(batch.base_offset),
            log_start: Offset::new(self.log_start),
            high_watermark_after: Offset::new(self.high_watermark),
            is_duplicate,
            max_timestamp: batch.max_timestamp,
        }
    }

    fn progress(&self) -> Progress {
        Progress::new(Offset::new(self.log_start), Offset::new(self.high_watermark))
    }

    pub(super) fn check_follows(&self, before: &Self) -> Result<(), String> {
        let is_same_life = self.opened == before.opened;
        let has_fallen = self.log_start < before.log_start
            || self.high_watermark < before.high_watermark
            || self.epoch_base < before.epoch_base;
        if is_same_life && has_fallen {
            let (now, before) = (self.progress(), before.progress());
            return Err(format!("went back from {before:?} to {now:?}"));
        }
        Ok(())
    }

    pub(super) fn compare(
        &self,
        handle: &PartitionHandle,
        epoch_base: Option<i32>,
        refused: &dyn Fn(String) -> Stop,
    ) -> Step {
        let (found, expected, base) = (handle.progress(), self.progress(), self.epoch_base);
        let id = handle.id();
        check(found == expected && epoch_base == Some(base), || {
            format!(
                "partition {id} is at {found:?}, epoch base {epoch_base:?}; should be at \
                 {expected:?}, {base}"
            )
        })?;
        let mut expected = self.batches.iter();
        let mut next = found.log_start();
        while next < found.high_watermark() {
            let read = handle
                .read(next, READ_BYTES)
                .map_err(|error| refused(format!("partition {id} at {next}: {error}")))?;
            check(!read.is_empty(), || format!("partition {id} reads nothing at {next}"))?;
            for stored in read {
                let Some((base, end, bytes)) = expected.next() else {
                    let extra = format!("partition {id} has a batch at {next} nobody appended");
                    return Err(Stop::Violation(extra));
                };
                check(stored == *bytes, || {
                    format!("partition {id} holds other bytes in the batch {base} to {end}")
                })?;
                next = Offset::new(*end);
            }
        }
        Ok(())
    }
}
