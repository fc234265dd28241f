//! When records are due, and waiting for it more finely than a runtime's timer does.

use std::time::Instant;

use anyhow::Result;
use rustix::fs::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::payload::Rng;
use crate::plan::Arrivals;

/// Shorter waits are not worth a system call: what is due by then is sent together.
const SHORTEST_WAIT_NS: u64 = 50_000;

/// The same point in time for everything a process measures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin(Instant);

impl Origin {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since then.
    pub(crate) fn elapsed(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("584 years have not passed")
    }
}

/// The due times of one producer.
#[derive(Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    mean_ns: f64,
    next: f64,
    rng: Rng,
}

impl Schedule {
    /// One of `producers` that together make `rate`; their beats are spread.
    pub(crate) fn new(arrivals: Arrivals, rate: f64, (number, producers): (u32, u32)) -> Self {
        let mean_ns = 1e9 * f64::from(producers) / rate;
        let next = mean_ns * f64::from(number) / f64::from(producers);
        Self { arrivals, mean_ns, next, rng: Rng::new(u64::from(number) * 7_919 + 17) }
    }

    /// Nanoseconds after the start.
    #[expect(clippy::cast_possible_truncation, reason = "a run's nanoseconds fit")]
    #[expect(clippy::cast_sign_loss, reason = "sums of gaps that are not negative")]
    pub(crate) fn next(&mut self) -> u64 {
        let due = self.next;
        self.next += match self.arrivals {
            Arrivals::Constant => self.mean_ns,
            Arrivals::Poisson => -self.mean_ns * (1.0 - self.rng.unit()).ln(),
        };
        due as u64
    }
}

/// Waits until a due time.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: AsyncFd<rustix::fd::OwnedFd>,
    origin: Origin,
}

impl Alarm {
    #[expect(
        deprecated,
        reason = "an owned descriptor stays open; the other way needs unsafe code"
    )]
    pub(crate) fn new(origin: Origin) -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer: AsyncFd::with_interest(timer, Interest::READABLE)?, origin })
    }

    /// Returns at `due`, or up to [`SHORTEST_WAIT_NS`] before.
    pub(crate) async fn wait(&self, due: u64) -> Result<()> {
        let now = self.origin.elapsed();
        if due <= now + SHORTEST_WAIT_NS {
            return Ok(());
        }
        let wait = i64::try_from(due - now)?;
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: wait / 1_000_000_000, tv_nsec: wait % 1_000_000_000 },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?)) {
                Ok(read) => return Ok(read.map(drop)?),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_share_the_rate_and_do_not_beat_together() {
        let mut first = Schedule::new(Arrivals::Constant, 1_000.0, (0, 2));
        let mut second = Schedule::new(Arrivals::Constant, 1_000.0, (1, 2));
        assert_eq!([first.next(), first.next()], [0, 2_000_000]);
        assert_eq!([second.next(), second.next()], [1_000_000, 3_000_000]);
    }

    #[test]
    fn independent_arrivals_keep_the_rate() {
        let mut schedule = Schedule::new(Arrivals::Poisson, 1_000.0, (0, 1));
        let last = (0..100_000).map(|_| schedule.next()).last().expect("there are some");
        assert!((99_000_000_000..101_000_000_000).contains(&last), "{last}");
    }

    #[tokio::test]
    async fn an_alarm_is_finer_than_a_millisecond() {
        let origin = Origin::now();
        let alarm = Alarm::new(origin).expect("timers exist");
        let due = origin.elapsed() + 300_000;
        alarm.wait(due).await.expect("it rings");
        assert!(origin.elapsed() + SHORTEST_WAIT_NS >= due);
    }
}
