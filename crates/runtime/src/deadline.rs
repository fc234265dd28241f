//! A point in time that travels with a request.

use std::future::Future;
use std::time::Duration;

use crate::Clock;

/// When waiting ends; on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Duration,
}

/// The deadline passed before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct DeadlinePassed;

impl Deadline {
    /// The deadline `wait` from now.
    #[must_use]
    pub fn after(clock: &Clock, wait: Duration) -> Self {
        Self { at: clock.monotonic().saturating_add(wait) }
    }

    /// How long there is left; zero when past.
    #[must_use]
    pub fn remaining(self, clock: &Clock) -> Duration {
        self.at.saturating_sub(clock.monotonic())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn is_past(self, clock: &Clock) -> bool {
        self.remaining(clock).is_zero()
    }

    /// The earlier of two.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        self.min(other)
    }

    /// Waits for `future` no longer than until the deadline.
    ///
    /// Dropping the returned future drops `future`.
    ///
    /// # Errors
    /// [`DeadlinePassed`]; `future` is then dropped.
    pub async fn timeout<F: Future>(
        self,
        clock: &Clock,
        future: F,
    ) -> Result<F::Output, DeadlinePassed> {
        tokio::time::timeout(self.remaining(clock), future).await.map_err(|_| DeadlinePassed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_with_the_clock() {
        let clock = Clock::fixed(0);
        let deadline = Deadline::after(&clock, Duration::from_secs(2));
        assert!(!deadline.is_past(&clock));
        let waited = deadline.timeout(&clock, std::future::pending::<()>()).await;
        assert_eq!(waited, Err(DeadlinePassed));
        assert!(deadline.is_past(&clock));
        assert_eq!(deadline.remaining(&clock), Duration::ZERO);
    }
}
