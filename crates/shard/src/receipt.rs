//! How far a snapshot has come that this replica receives.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::Gauge;
use quipu_runtime::Clock;

/// How far a snapshot has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Bytes that came since the transfer began: those of `quipu_snapshot_bytes_total`, too.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// Records still to come: those of `quipu_shard_snapshot_records_missing`, too.
    pub missing: u64,
    /// Since the transfer began.
    pub elapsed: Duration,
}

/// Where it is told. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Receipts {
    missing: Gauge,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Transfers so far: a newer one takes over from an older.
    transfers: u64,
    now: Option<(Instant, Receipt)>,
}

/// One transfer, as whoever receives it tells of it; dropped when it is over.
#[derive(Debug)]
pub(crate) struct Telling {
    receipts: Receipts,
    transfer: u64,
}

impl Receipts {
    pub(crate) fn new(missing: Gauge) -> Self {
        Self { missing, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transfer begins.
    pub(crate) fn begin(&self) -> Telling {
        let mut state = self.state();
        state.transfers += 1;
        state.now = Some((Clock::thread_instant(), Receipt::default()));
        Telling { receipts: self.clone(), transfer: state.transfers }
    }

    /// The transfer under way.
    pub(crate) fn now(&self) -> Option<Receipt> {
        let now = self.state().now;
        now.map(|(begun, receipt)| Receipt { elapsed: begun.elapsed(), ..receipt })
    }
}

impl Telling {
    /// So much has come, so many records are missing.
    pub(crate) fn tell(&self, bytes: usize, missing: u64) {
        let mut state = self.receipts.state();
        if state.transfers != self.transfer {
            return;
        }
        if let Some((_, receipt)) = &mut state.now {
            if bytes > 0 {
                receipt.records += receipt.missing.saturating_sub(missing);
            }
            receipt.bytes += u64::try_from(bytes).expect("a length fits in u64");
            receipt.missing = missing;
        }
        self.receipts.missing.set(float(missing));
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let mut state = self.receipts.state();
        if state.transfers == self.transfer {
            state.now = None;
            self.receipts.missing.set(0.0);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_told_of_the_newest_transfer_alone() {
        let receipts = Receipts::new(metrics::gauge!("test"));
        assert_eq!(receipts.now(), None);
        let first = receipts.begin();
        first.tell(0, 100);
        first.tell(500, 70);
        first.tell(500, 60);
        let now = receipts.now().unwrap();
        assert_eq!((now.bytes, now.records, now.missing), (1_000, 40, 60));
        let second = receipts.begin();
        second.tell(0, 60);
        first.tell(500, 50);
        drop(first);
        let now = receipts.now().unwrap();
        assert_eq!((now.bytes, now.records, now.missing), (0, 0, 60));
        drop(second);
        assert_eq!(receipts.now(), None);
    }
}
