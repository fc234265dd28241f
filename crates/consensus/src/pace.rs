//! How fast snapshots leave a node: copies that catch up leave room for live traffic.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::metrics::Gauge;
use quipu_runtime::Clock;

use crate::metrics;

/// The share of the full rate that is left while appends suffer.
const LEAST_SHARE: u64 = 1 << 3;
/// And so many times what appends bring: whoever is behind must come nearer.
const LEAST_TIMES: u64 = 1 << 2;
/// What is won back in a window in which it does not.
const STEP_SHARE: u64 = 20;
/// How long is looked at before the rate changes.
const WINDOW: Duration = Duration::from_millis(200);
/// Without live traffic for so long, nobody suffers.
const ALONE: Duration = Duration::from_secs(1);
/// An append suffers when it takes so many times what it takes in calm times.
const SUFFERS_TIMES: u32 = 2;
/// But not before it takes this.
const SUFFERS_MIN: Duration = Duration::from_millis(10);

/// Lets bytes go, all transfers of the node together: at a bounded rate, and slower while appends
/// on this node take much longer than without transfers. Whoever waits is served in the order of
/// coming; a cancelled wait leaves its time unused.
#[derive(Debug)]
pub(crate) struct Pace {
    state: Mutex<State>,
    shown: Gauge,
}

#[derive(Debug)]
struct State {
    rate_max: u64,
    /// Bytes a second, now.
    rate: u64,
    /// When the next bytes may go.
    next: Duration,
    window: Window,
    /// What an append takes while nothing is transferred, on the whole.
    calm: Option<Duration>,
    /// When an append was felt last.
    felt_at: Option<Duration>,
}

/// What was felt since it began.
#[derive(Debug, Default)]
struct Window {
    began: Duration,
    sum: Duration,
    count: u32,
    bytes: u64,
    has_sent: bool,
}

impl Pace {
    pub(crate) fn new(bytes_per_second_max: u64) -> Self {
        let rate_max = bytes_per_second_max.max(1);
        let (next, window) = (Duration::ZERO, Window::default());
        let state = State { rate_max, rate: rate_max, next, window, calm: None, felt_at: None };
        let shown = metrics::catch_up_rate();
        shown.set(to_f64(rate_max));
        Self { state: Mutex::new(state), shown }
    }

    /// Appends of so many bytes took so long.
    pub(crate) fn felt(&self, clock: &Clock, bytes: usize, took: Duration) {
        let mut state = self.state();
        if state.felt(clock.monotonic(), bytes, took) {
            self.shown.set(to_f64(state.rate));
        }
    }

    /// Waits until `bytes` may go.
    pub(crate) async fn admit(&self, clock: &Clock, bytes: usize) {
        let now = clock.monotonic();
        let (starts, _) = self.book(now, bytes);
        let wait = starts.saturating_sub(now);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes note of bytes that have gone; says after how long more may go.
    pub(crate) fn owe(&self, clock: &Clock, bytes: usize) -> Duration {
        let now = clock.monotonic();
        let (_, ends) = self.book(now, bytes);
        ends.saturating_sub(now)
    }

    /// As [`Self::admit`], unless the wait would be longer than `wait_max`: then false, at once.
    pub(crate) async fn admit_within(
        &self,
        clock: &Clock,
        bytes: usize,
        wait_max: Duration,
    ) -> bool {
        if self.state().next.saturating_sub(clock.monotonic()) > wait_max {
            return false;
        }
        self.admit(clock, bytes).await;
        true
    }

    /// When these bytes may go, and when what comes next.
    fn book(&self, now: Duration, bytes: usize) -> (Duration, Duration) {
        let mut state = self.state();
        let starts = state.book(now, bytes);
        self.shown.set(to_f64(state.rate));
        (starts, state.next)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When these bytes may go; what comes next goes after them.
    fn book(&mut self, now: Duration, bytes: usize) -> Duration {
        if self.felt_at.is_none_or(|at| now.saturating_sub(at) > ALONE) {
            self.rate = self.rate_max;
        }
        self.window.has_sent = true;
        let nanos = u128::from(to_u64(bytes)) * 1_000_000_000 / u128::from(self.rate);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let starts = now.max(self.next);
        self.next = starts.saturating_add(takes);
        starts
    }

    /// True when the rate may have changed.
    fn felt(&mut self, now: Duration, bytes: usize, took: Duration) -> bool {
        self.felt_at = Some(now);
        let has_learned = now.saturating_sub(self.window.began) >= WINDOW;
        if has_learned {
            self.learn(now);
        }
        self.window.sum += took;
        self.window.count += 1;
        self.window.bytes = self.window.bytes.saturating_add(to_u64(bytes));
        has_learned
    }

    /// Ends a window: less when appends suffer, more when they do not.
    fn learn(&mut self, now: Duration) {
        let is_sending = self.next > self.window.began || self.window.has_sent;
        let last = std::mem::replace(&mut self.window, Window { began: now, ..<_>::default() });
        if last.count == 0 {
            return;
        }
        let mean = last.sum / last.count;
        let calm = *self.calm.get_or_insert(mean);
        if !is_sending {
            self.calm = Some((calm * 7 + mean) / 8);
            // A transfer that begins feels its way up.
            self.rate = self.rate_max / 4;
        } else if mean > SUFFERS_MIN.max(calm * SUFFERS_TIMES) {
            self.rate /= 2;
        } else {
            self.rate = self.rate.saturating_add(self.rate_max / STEP_SHARE);
        }
        let millis = now.saturating_sub(last.began).as_millis().max(1);
        let live = u128::from(last.bytes) * 1_000 / millis;
        let live = u64::try_from(live).unwrap_or(u64::MAX).saturating_mul(LEAST_TIMES);
        self.rate = self.rate.max(live).clamp((self.rate_max / LEAST_SHARE).max(1), self.rate_max);
    }
}

fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn to_f64(rate: u64) -> f64 {
    rate as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn state(rate: u64) -> State {
        Pace::new(rate).state.into_inner().unwrap()
    }

    #[test]
    fn bytes_go_at_the_rate_and_unused_time_is_not_saved() {
        let mut pace = state(1_000);
        assert_eq!(pace.book(at(0), 500), at(0));
        assert_eq!(pace.book(at(100), 1_000), at(500), "behind the first");
        assert_eq!(pace.book(at(200), 1), at(1_500), "behind both");
        assert_eq!(pace.book(at(60_000), 2_000), at(60_000));
        assert_eq!(pace.book(at(60_000), 1), at(62_000), "a pause is no credit");
    }

    /// A second of appends of a byte every 10 ms, with a transfer beside them or not.
    fn second(pace: &mut State, from: u64, took: Duration, is_sending: bool) {
        for now in (from..from + 1_000).step_by(10) {
            if is_sending {
                pace.book(at(now), 1);
            }
            pace.felt(at(now), 1, took);
        }
    }

    #[test]
    fn transfers_make_way_for_appends_that_suffer_and_come_back() {
        let mut pace = state(16_000);
        second(&mut pace, 0, at(8), false);
        assert_eq!((pace.calm, pace.rate), (Some(at(8)), 4_000), "it begins gently");
        second(&mut pace, 1_000, at(40), true);
        assert_eq!(pace.rate, 2_000, "not below an eighth");
        second(&mut pace, 2_000, at(15), true);
        let more = pace.rate;
        assert!(more > 4_000 && more < 8_000, "{more}");
        for from in 3..10 {
            second(&mut pace, from * 1_000, at(15), true);
        }
        assert_eq!(pace.rate, 16_000, "never above the bound");
        assert_eq!(pace.calm, Some(at(8)), "what appends take beside a transfer is not calm");
    }

    #[test]
    fn whoever_is_behind_comes_nearer_however_appends_suffer() {
        let mut pace = state(2_000);
        second(&mut pace, 0, at(8), false);
        second(&mut pace, 1_000, at(500), true);
        assert!((390..=410).contains(&pace.rate), "{} for 100 appended", pace.rate);
    }

    #[test]
    fn a_transfer_that_nobody_feels_goes_as_fast_as_it_may() {
        let mut pace = state(16_000);
        second(&mut pace, 0, at(5), false);
        second(&mut pace, 1_000, at(500), true);
        assert_eq!(pace.rate, 2_000);
        pace.book(at(2_500), 1);
        assert_eq!(pace.rate, 2_000, "the last append was just now");
        pace.book(at(3_500), 1);
        assert_eq!(pace.rate, 16_000);
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_told_so_and_takes_nothing() {
        let (pace, clock) = (Pace::new(1_000), Clock::fixed(0));
        let most = Duration::from_secs(5);
        assert!(pace.admit_within(&clock, 6_000, most).await, "it goes at once");
        assert!(!pace.admit_within(&clock, 1, most).await, "in six seconds");
        assert_eq!(pace.state().next, Duration::from_secs(6), "nothing was taken");
    }
}
