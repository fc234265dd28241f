//! Pauses of a partition's acknowledgements: what a failover costs, seen from outside.

use serde::Serialize;

use crate::latency::milliseconds;

/// Enough for any sensible run; more would be a system that does not answer at all.
const KEPT_MAX: usize = 100_000;

/// No acknowledgement of a partition between two moments.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Gap {
    pub(crate) partition: u32,
    /// Milliseconds after the run began.
    pub(crate) from_ms: f64,
    pub(crate) ms: f64,
}

/// Watches every partition.
#[derive(Debug)]
pub(crate) struct Gaps {
    longer_than: u64,
    last: Vec<Option<u64>>,
    found: Vec<Gap>,
}

impl Gaps {
    pub(crate) fn new(partitions: u32, longer_than_ms: u64) -> Self {
        let last = (0..partitions).map(|_| None).collect();
        Self { longer_than: longer_than_ms * 1_000_000, last, found: Vec::new() }
    }

    pub(crate) fn acked(&mut self, partition: u32, now: u64) {
        let at = usize::try_from(partition).expect("u32 fits in usize");
        let before = self.last[at].replace(now);
        let Some(from) = before else { return };
        let pause = now.saturating_sub(from);
        if pause > self.longer_than && self.found.len() < KEPT_MAX {
            let (from_ms, ms) = (milliseconds(from), milliseconds(pause));
            self.found.push(Gap { partition, from_ms, ms });
        }
    }

    pub(crate) fn finish(self) -> Vec<Gap> {
        self.found
    }
}
