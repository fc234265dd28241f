//! Memory for requests: taken before work begins, given back when it is answered.

use std::sync::Arc;

use quipu_types::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics;

/// A permit counts in units of this many bytes.
const UNIT: usize = 1 << 10;

/// What is left for requests, over all connections.
#[derive(Clone, Debug)]
pub(crate) struct RequestMemory {
    room: Arc<Semaphore>,
    units: usize,
}

/// A request's share. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct RequestPermit {
    /// `None` only while it is dropped.
    room: Option<OwnedSemaphorePermit>,
    memory: RequestMemory,
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        drop(self.room.take());
        self.memory.show();
    }
}

impl RequestMemory {
    /// Room for `bytes`, at least for one request of the largest size.
    pub(crate) fn new(bytes: usize) -> Self {
        let units = bytes.max(limits::GRPC_MESSAGE_BYTES_MAX).div_ceil(UNIT);
        let units = units.min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(units)), units }
    }

    /// Waits for room: a connection whose request waits is read no further.
    ///
    /// Dropping the future takes no room.
    pub(crate) async fn take(&self, bytes: usize) -> RequestPermit {
        let units = bytes.div_ceil(UNIT).clamp(1, self.units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await;
        self.show();
        RequestPermit { room: Some(room.expect("it is never closed")), memory: self.clone() }
    }

    fn show(&self) {
        metrics::memory((self.units - self.room.available_permits()) * UNIT, self.units * UNIT);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_request_waits_until_another_is_answered() {
        let memory = RequestMemory::new(0);
        let first = memory.take(limits::GRPC_MESSAGE_BYTES_MAX).await;
        let mut second = Box::pin(memory.take(1));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_request_above_the_bound_takes_all_and_does_not_wait_for_ever() {
        let memory = RequestMemory::new(0);
        assert!(memory.take(usize::MAX).now_or_never().is_some());
    }
}
