//! How fast snapshots leave a node: copies that catch up leave room for live traffic.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quipu_runtime::Clock;

/// Lets bytes go at a steady rate, all transfers of the node together. Whoever waits is served in
/// the order of coming; a cancelled wait leaves its time unused.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// When the next bytes may go.
    next: Mutex<Duration>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), next: Mutex::default() }
    }

    /// Waits until `bytes` may go.
    pub(crate) async fn admit(&self, clock: &Clock, bytes: usize) {
        let now = clock.monotonic();
        let wait = self.book(now, bytes).saturating_sub(now);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// As [`Self::admit`], unless the wait would be longer than `wait_max`: then false, at once.
    pub(crate) async fn admit_within(
        &self,
        clock: &Clock,
        bytes: usize,
        wait_max: Duration,
    ) -> bool {
        let now = clock.monotonic();
        let next = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.saturating_sub(now) > wait_max {
            return false;
        }
        self.admit(clock, bytes).await;
        true
    }

    /// When these bytes may go; what comes next goes after them.
    fn book(&self, now: Duration, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let starts = now.max(*next);
        *next = starts.saturating_add(takes);
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_at_the_rate_and_unused_time_is_not_saved() {
        let pace = Pace::new(1_000);
        let at = Duration::from_millis;
        assert_eq!(pace.book(at(0), 500), at(0));
        assert_eq!(pace.book(at(100), 1_000), at(500), "behind the first");
        assert_eq!(pace.book(at(200), 1), at(1_500), "behind both");
        assert_eq!(pace.book(at(60_000), 2_000), at(60_000));
        assert_eq!(pace.book(at(60_000), 1), at(62_000), "a pause is no credit");
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_told_so_and_takes_nothing() {
        let (pace, clock) = (Pace::new(1_000), Clock::fixed(0));
        let most = Duration::from_secs(5);
        assert!(pace.admit_within(&clock, 6_000, most).await, "it goes at once");
        assert!(!pace.admit_within(&clock, 1, most).await, "in six seconds");
        assert_eq!(*pace.next.lock().unwrap(), Duration::from_secs(6), "nothing was taken");
    }
}
