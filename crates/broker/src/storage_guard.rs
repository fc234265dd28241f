//! Whether this node takes writes, as far as its disk goes (CAPABILITIES §1.39).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Set by whoever measures the disk, asked before every append. Clones share the state.
///
/// Reads, deletes and administration go on while it is full.
#[derive(Clone, Debug, Default)]
pub struct StorageGuard {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    free: AtomicU64,
    /// Bytes that must stay free; 0 while the disk is fine.
    required: AtomicU64,
    /// Bytes beyond those that must stay free, when it was measured.
    room: AtomicU64,
}

impl Default for State {
    /// Whoever does not measure has room.
    fn default() -> Self {
        let (free, required) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { free, required, room: AtomicU64::new(u64::MAX) }
    }
}

/// The disk is too full to take writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Bytes free when it was measured.
    pub free: u64,
    /// Bytes that must be free.
    pub required: u64,
}

impl StorageGuard {
    /// A guard that lets everything pass until told otherwise.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses writes from now on.
    pub fn close(&self, full: Full) {
        self.state.free.store(full.free, Ordering::Relaxed);
        self.state.required.store(full.required.max(1), Ordering::Relaxed);
    }

    /// Takes writes again.
    pub fn open(&self) {
        self.state.required.store(0, Ordering::Relaxed);
    }

    /// The disk was measured.
    pub fn measured(&self, free: u64, required: u64) {
        self.state.room.store(free.saturating_sub(required), Ordering::Relaxed);
    }

    /// Bytes that may be written before writes are refused, as of the last measurement.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.state.room.load(Ordering::Relaxed)
    }

    /// Why writes are refused, if they are.
    #[must_use]
    pub fn full(&self) -> Option<Full> {
        let required = self.state.required.load(Ordering::Relaxed);
        let free = self.state.free.load(Ordering::Relaxed);
        (required > 0).then_some(Full { free, required })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_guard_says_why_until_it_opens() {
        let guard = StorageGuard::new();
        let seen_elsewhere = guard.clone();
        assert_eq!(seen_elsewhere.full(), None);
        let full = Full { free: 7, required: 100 };
        guard.close(full);
        assert_eq!(seen_elsewhere.full(), Some(full));
        guard.open();
        assert_eq!(seen_elsewhere.full(), None);
        assert_eq!(guard.room(), u64::MAX);
        guard.measured(100, 30);
        assert_eq!(seen_elsewhere.room(), 70);
        guard.measured(10, 30);
        assert_eq!(seen_elsewhere.room(), 0);
    }
}
