//! The two clocks: one that never goes back, one that people read.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock to be passed as a parameter.
///
/// Monotonic time follows tokio's clock inside a paused runtime, so that tests do not wait.
#[derive(Clone)]
pub struct Clock {
    origin: tokio::time::Instant,
    wall: Wall,
}

#[derive(Clone)]
enum Wall {
    System,
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self { origin: tokio::time::Instant::now(), wall: Wall::System }
    }

    /// A clock whose wall time stands still until [`Self::set_wall_ms`] moves it: for tests.
    #[must_use]
    pub fn fixed(wall_ms: i64) -> Self {
        let wall = Wall::Fixed(Arc::new(AtomicI64::new(wall_ms)));
        Self { origin: tokio::time::Instant::now(), wall }
    }

    /// Time since this clock was made; never goes back. Unit: as [`Duration`].
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Milliseconds since 1970 UTC. May jump: nothing safe depends on it.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        match &self.wall {
            Wall::System => system_wall_ms(),
            Wall::Fixed(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Moves a fixed clock's wall time; without effect on the machine's.
    pub fn set_wall_ms(&self, to: i64) {
        if let Wall::Fixed(now) = &self.wall {
            now.store(to, Ordering::Relaxed);
        }
    }

    /// Monotonic time for threads outside a runtime.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the door to the machine's clock")]
    pub fn thread_instant() -> Instant {
        Instant::now()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the door to the machine's clock")]
fn system_wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("monotonic", &self.monotonic()).finish_non_exhaustive()
    }
}
