//! Wall time for decisions that delete: a jump of the machine's clock does not move it at once.

use std::time::Duration;

use quipu_runtime::Clock;
use quipu_types::TimestampMs;

/// What the wall clock may stray from the monotonic one: slewing and leap seconds stay far below.
const STRAY_MAX: Duration = Duration::from_secs(60);
/// A wall clock that strayed is believed after so long: whoever set it has meant it.
const BELIEVED_AFTER: Duration = Duration::from_secs(3_600);

/// Passes at an interval, each with the time that is believed then.
#[derive(Debug)]
pub(crate) struct Passes {
    clock: Clock,
    interval: Duration,
    steady: SteadyClock,
}

impl Passes {
    /// The time is believed that is now: a jump before the first pass is one already.
    pub(crate) fn from_now(clock: &Clock, interval: Duration) -> Self {
        let mut steady = SteadyClock::default();
        steady.now(clock);
        Self { clock: clock.clone(), interval, steady }
    }

    /// Waits for the next pass.
    ///
    /// Dropping the future begins the wait anew.
    pub(crate) async fn next(&mut self) -> TimestampMs {
        tokio::time::sleep(self.interval).await;
        self.steady.now(&self.clock)
    }
}

/// Goes on with the monotonic clock while the wall clock is somewhere else.
#[derive(Debug, Default)]
struct SteadyClock {
    /// A monotonic moment and the wall time that was believed at it.
    anchor: Option<(Duration, i64)>,
    strayed_since: Option<Duration>,
}

impl SteadyClock {
    /// The time that is believed. The first one ever is.
    fn now(&mut self, clock: &Clock) -> TimestampMs {
        self.believe(clock.monotonic(), clock.wall_ms())
    }

    fn believe(&mut self, monotonic: Duration, wall_ms: i64) -> TimestampMs {
        let (then, believed) = *self.anchor.get_or_insert((monotonic, wall_ms));
        let expected = believed.saturating_add(millis(monotonic.saturating_sub(then)));
        let has_strayed = u128::from(wall_ms.abs_diff(expected)) > STRAY_MAX.as_millis();
        let since = *self.strayed_since.get_or_insert(monotonic);
        if has_strayed && monotonic.saturating_sub(since) < BELIEVED_AFTER {
            if since == monotonic {
                let seconds = (wall_ms - expected) / 1_000;
                tracing::warn!(seconds, "the wall clock jumped; retention does not follow it yet");
            }
            return TimestampMs::new(expected);
        }
        self.strayed_since = None;
        self.anchor = Some((monotonic, wall_ms));
        TimestampMs::new(wall_ms)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_MS: i64 = 365 * 86_400_000;

    fn at(clock: &mut SteadyClock, seconds: u64, wall_ms: i64) -> i64 {
        clock.believe(Duration::from_secs(seconds), wall_ms).get()
    }

    #[test]
    fn a_clock_that_runs_is_followed() {
        let mut clock = SteadyClock::default();
        assert_eq!(at(&mut clock, 0, 1_000_000), 1_000_000);
        assert_eq!(at(&mut clock, 30, 1_030_500), 1_030_500, "half a second off");
        assert_eq!(at(&mut clock, 60, 1_000_500), 1_000_500, "slewed, a minute at most");
    }

    #[test]
    fn a_jump_either_way_is_believed_only_when_it_lasts() {
        for jump in [YEAR_MS, -YEAR_MS] {
            let mut clock = SteadyClock::default();
            at(&mut clock, 0, 1_000_000);
            assert_eq!(at(&mut clock, 30, 1_030_000 + jump), 1_030_000);
            assert_eq!(at(&mut clock, 3_600, 4_600_000 + jump), 4_600_000);
            assert_eq!(at(&mut clock, 3_630, 4_630_000 + jump), 4_630_000 + jump);
            assert_eq!(at(&mut clock, 3_660, 4_660_000 + jump), 4_660_000 + jump);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_before_the_first_pass_is_not_believed() {
        for jump in [YEAR_MS, -YEAR_MS] {
            let clock = Clock::fixed(1_000_000);
            let mut passes = Passes::from_now(&clock, Duration::from_secs(30));
            tokio::time::sleep(Duration::from_secs(10)).await;
            clock.set_wall_ms(1_010_000 + jump);
            assert_eq!(passes.next().await.get(), 1_040_000);
            assert_eq!(passes.next().await.get(), 1_070_000);
        }
    }

    #[test]
    fn a_clock_that_comes_back_begins_anew() {
        let mut clock = SteadyClock::default();
        at(&mut clock, 0, 0);
        at(&mut clock, 100, YEAR_MS);
        assert_eq!(at(&mut clock, 200, 200_000), 200_000);
        assert_eq!(at(&mut clock, 3_650, YEAR_MS), 3_650_000, "the hour begins with this jump");
    }
}
