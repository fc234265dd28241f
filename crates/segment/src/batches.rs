//! What one read gathers: whole batches up to a limit, the first one whatever its size.

use bytes::Bytes;
use quipu_types::Offset;

use crate::window::widen;

/// Whole stored batches, in order, without a gap.
#[derive(Debug)]
pub(crate) struct Batches {
    batches: Vec<Bytes>,
    bytes: usize,
    bytes_max: usize,
    /// What to read next.
    pub(crate) next: Offset,
    /// Where to stop, exclusive.
    pub(crate) until: Offset,
    is_full: bool,
}

impl Batches {
    pub(crate) fn new(from: Offset, until: Offset, bytes_max: usize) -> Self {
        Self { batches: Vec::new(), bytes: 0, bytes_max, next: from, until, is_full: false }
    }

    /// Whether another batch of this size may be added. A refusal ends the read.
    pub(crate) fn takes(&mut self, length: usize) -> bool {
        let fits = self.batches.is_empty() || self.bytes + length <= self.bytes_max;
        self.is_full |= !fits;
        fits
    }

    pub(crate) fn push(&mut self, batch: Bytes, next: Offset) {
        self.bytes += batch.len();
        self.batches.push(batch);
        self.next = next;
    }

    /// Drops the last batch as if it had been read: a defect that tests plant.
    pub(crate) fn forget_last(&mut self) {
        self.batches.pop();
    }

    /// How much still fits.
    pub(crate) fn room(&self) -> u64 {
        widen(self.bytes_max.saturating_sub(self.bytes))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_full || self.next >= self.until
    }

    pub(crate) fn finish(self) -> Vec<Bytes> {
        self.batches
    }
}
