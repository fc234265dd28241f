//! How fast a node's journal is flushed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quipu_runtime::Rng;
use tokio::sync::watch;

/// A quick disk. Unit: milliseconds.
const QUICK_MS: u64 = 12;
/// A slow one.
const SLOW_MS: u64 = 1_600;

/// A disk's pace. Clones share it.
#[derive(Clone)]
pub(crate) struct Pace {
    rng: Arc<Mutex<Rng>>,
    is_slow: watch::Sender<bool>,
    /// Reasons why nothing moves.
    held: watch::Sender<u32>,
}

impl Pace {
    pub(crate) fn new(rng: Rng) -> Self {
        let rng = Arc::new(Mutex::new(rng));
        Self { rng, is_slow: watch::Sender::new(false), held: watch::Sender::new(0) }
    }

    /// Whether flushes take long from now on.
    pub(crate) fn slow(&self, is_slow: bool) {
        self.is_slow.send_replace(is_slow);
    }

    /// Nothing moves until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.held.send_modify(|reasons| *reasons += 1);
    }

    pub(crate) fn release(&self) {
        self.held.send_modify(|reasons| *reasons = reasons.saturating_sub(1));
    }

    /// Waits until the next flush is done.
    pub(crate) async fn next(&self) {
        let is_slow = *self.is_slow.borrow();
        let within = if is_slow { SLOW_MS } else { QUICK_MS };
        let drawn = self.rng.lock().unwrap_or_else(PoisonError::into_inner).below(within);
        let mut slowness = self.is_slow.subscribe();
        // A disk that recovers is quick at once.
        let recovered = slowness.wait_for(|now| is_slow && !now);
        let _ = tokio::time::timeout(Duration::from_millis(drawn), recovered).await;
        self.moving().await;
    }

    /// Waits until the machine moves.
    pub(crate) async fn moving(&self) {
        let mut held = self.held.subscribe();
        let _ = held.wait_for(|reasons| *reasons == 0).await;
    }
}
