//! Memory for answers: taken before reading, given back when the answer is written.

use std::sync::Arc;

use quipu_types::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A permit counts in units of this many bytes.
const UNIT: usize = 1 << 10;
/// Bytes of answers a node holds at once: as much as of requests.
const BYTES_MAX: usize = limits::NODE_REQUEST_BYTES_MAX;

const _: () = assert!(limits::FETCH_RESPONSE_BYTES_MAX <= BYTES_MAX);

/// What is left for answers.
#[derive(Clone, Debug)]
pub(crate) struct FetchMemory {
    room: Arc<Semaphore>,
}

impl Default for FetchMemory {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(BYTES_MAX / UNIT)) }
    }
}

impl FetchMemory {
    /// Takes room for `bytes`. Who holds none yet waits for it; who holds some gets it at once or
    /// not at all, so that fetches never wait for each other.
    pub(crate) async fn take(&self, bytes: usize, may_wait: bool) -> Option<OwnedSemaphorePermit> {
        let units = units(bytes.max(1));
        let room = Arc::clone(&self.room);
        if may_wait {
            Some(room.acquire_many_owned(units).await.expect("it is never closed"))
        } else {
            room.try_acquire_many_owned(units).ok()
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.min(BYTES_MAX).div_ceil(UNIT)).expect("the node's bound in KiB fits")
}

/// An answer's share of memory. Dropping it gives it back.
#[derive(Debug, Default)]
pub struct FetchPermit {
    room: Option<OwnedSemaphorePermit>,
}

impl FetchPermit {
    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.room.is_none()
    }

    /// Adds room, then gives back what is above `bytes`.
    pub(super) fn grow(&mut self, more: OwnedSemaphorePermit, bytes: usize) {
        let mut room = match self.room.take() {
            Some(mut held) => {
                held.merge(more);
                held
            }
            None => more,
        };
        let needed = usize::try_from(units(bytes)).unwrap_or(usize::MAX);
        let surplus = room.num_permits().saturating_sub(needed);
        drop(room.split(surplus));
        self.room = Some(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_keeps_only_what_it_needs_and_returns_it() {
        let memory = FetchMemory::default();
        let all = memory.room.available_permits();
        let mut permit = FetchPermit::default();
        permit.grow(memory.take(1 << 20, true).await.expect("there is room"), 10_000);
        assert_eq!(memory.room.available_permits(), all - 10);
        permit.grow(memory.take(1 << 20, false).await.expect("there is room"), 20_000);
        assert_eq!(memory.room.available_permits(), all - 20);
        drop(permit);
        assert_eq!(memory.room.available_permits(), all);
    }

    #[tokio::test]
    async fn who_holds_memory_does_not_wait_for_more() {
        let memory = FetchMemory::default();
        let everything = memory.take(BYTES_MAX, true).await;
        assert!(memory.take(1, false).await.is_none());
        drop(everything);
        assert!(memory.take(1, false).await.is_some());
    }
}
