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

#[derive(Debug, Default)]
struct State {
    free: AtomicU64,
    /// Bytes that must stay free; 0 while the disk is fine.
    required: AtomicU64,
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
    }
}
