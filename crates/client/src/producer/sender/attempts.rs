//! When a partition is tried again.

use std::time::Duration;

use crate::backoff;

/// So often a partition that is about to be ready is asked again without longer pauses.
const AWAITED_MAX: u32 = 50;
/// So many redirects are followed at once.
const FOLLOWED_MAX: u32 = 2;

/// What came of the attempts since the last success.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Those that failed.
    pub(super) failures: u32,
    /// Those that came before it was ready.
    awaited: u32,
    /// No attempt before this.
    pub(super) not_before: Duration,
}

impl Attempts {
    /// One failed: a pause before the next, at least as long as the server asked for. What was
    /// sent with it fails too, and is the same attempt.
    pub(super) fn failed(&mut self, now: Duration, at_least: Duration) {
        if now < self.not_before {
            self.not_before = self.not_before.max(now + at_least);
            return;
        }
        self.failures += 1;
        self.not_before = now + backoff::pause(self.failures, at_least);
    }

    /// The partition is about to be ready, where it was asked for or elsewhere: for a while,
    /// pauses are as short as the server asks for.
    pub(super) fn awaits(&mut self, now: Duration, pause: Duration) {
        if self.awaited >= AWAITED_MAX {
            self.failed(now, pause);
        } else if now >= self.not_before {
            self.awaited += 1;
            self.not_before = now + backoff::spread(pause);
        }
    }

    /// The server named another: the first redirects are followed at once.
    pub(super) fn follows(&mut self, now: Duration) {
        if self.failures < FOLLOWED_MAX {
            self.failures += 1;
        } else {
            self.failed(now, Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_is_refused_together_is_one_failure() {
        let mut attempts = Attempts::default();
        for _ in 0..5 {
            attempts.failed(at(1_000), Duration::ZERO);
        }
        assert_eq!(attempts.failures, 1);
        assert!(attempts.not_before <= at(1_024), "{attempts:?}");
        attempts.failed(at(1_010), at(100));
        assert_eq!((attempts.failures, attempts.not_before), (1, at(1_110)));
        attempts.failed(at(1_110), Duration::ZERO);
        assert_eq!(attempts.failures, 2, "another attempt");
    }

    #[test]
    fn what_is_about_to_be_ready_is_asked_for_at_the_servers_pace_and_not_for_ever() {
        let mut attempts = Attempts::default();
        let mut now = Duration::ZERO;
        for _ in 0..AWAITED_MAX {
            attempts.awaits(now, at(20));
            attempts.awaits(now, at(20));
            let pause = attempts.not_before.saturating_sub(now);
            assert!((16..=24).contains(&pause.as_millis()), "{pause:?}");
            now = attempts.not_before;
        }
        assert_eq!(attempts.failures, 0);
        for _ in 0..6 {
            attempts.awaits(now, at(20));
            now = attempts.not_before;
        }
        assert_eq!(attempts.failures, 6);
        attempts.awaits(now, at(20));
        assert!(attempts.not_before - now >= at(400), "pauses grow in the end");
    }

    #[test]
    fn the_first_redirects_are_followed_at_once() {
        let mut attempts = Attempts::default();
        attempts.follows(at(5));
        attempts.follows(at(5));
        assert_eq!(attempts.not_before, Duration::ZERO);
        attempts.follows(at(5));
        assert!(attempts.not_before > at(5), "they go round in circles");
    }
}
