//! What waits to be bundled: call order within a partition, fair between partitions.
//!
//! Deficit round robin (Shreedhar & Varghese 1995): each partition in turn may take a quantum of
//! bytes, so that one with large batches does not crowd out one with small ones.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use quipu_types::PartitionId;
use tokio::sync::Notify;

#[cfg(test)]
mod tests;

/// What a partition may take in its turn. Unit: bytes. A sixteenth of a bundle.
const QUANTUM: usize = 64 << 10;

/// A queue that is fair between partitions. No locks, no tasks.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    lanes: HashMap<PartitionId, Lane<T>>,
    /// Partitions with something waiting; the front has its turn.
    ring: VecDeque<PartitionId>,
    bytes: usize,
    len: usize,
}

#[derive(Debug)]
struct Lane<T> {
    items: VecDeque<(usize, T)>,
    credit: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), ring: VecDeque::new(), bytes: 0, len: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Bytes of everything that waits.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an item behind the others of its partition.
    pub(crate) fn push(&mut self, partition: PartitionId, bytes: usize, item: T) {
        let lane = self.lanes.entry(partition).or_insert_with(|| {
            self.ring.push_back(partition);
            Lane { items: VecDeque::new(), credit: QUANTUM }
        });
        lane.items.push_back((bytes, item));
        self.bytes += bytes;
        self.len += 1;
    }

    /// Takes the item whose turn it is, unless it is larger than `room`.
    pub(crate) fn pop(&mut self, room: usize) -> Option<(usize, T)> {
        loop {
            let partition = *self.ring.front()?;
            let lane = self.lanes.get_mut(&partition).expect("the ring names lanes");
            let (bytes, _) = lane.items.front().expect("an empty lane is removed");
            let bytes = *bytes;
            if bytes > lane.credit {
                lane.credit += QUANTUM;
                self.ring.rotate_left(1);
                continue;
            }
            if bytes > room {
                return None;
            }
            lane.credit -= bytes;
            let (_, item) = lane.items.pop_front().expect("looked at just now");
            if lane.items.is_empty() {
                self.lanes.remove(&partition);
                self.ring.pop_front();
            }
            self.bytes -= bytes;
            self.len -= 1;
            return Some((bytes, item));
        }
    }
}

/// The queue between callers and the bundler.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Notify,
}

#[derive(Debug)]
struct State<T> {
    waiting: FairQueue<T>,
    is_closed: bool,
}

/// Why an item was not taken; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Full<T> {
    /// The bundler has ended.
    Closed(T),
    /// `bytes_max` would be passed.
    Bytes(T),
}

impl<T> Queue<T> {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        let state = State { waiting: FairQueue::default(), is_closed: false };
        Self { state: Mutex::new(state), filled: Notify::new() }
    }

    /// Adds an item unless more than `bytes_max` would wait.
    pub(crate) fn push(
        &self,
        partition: PartitionId,
        bytes: usize,
        item: T,
        bytes_max: usize,
    ) -> Result<(), Full<T>> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Full::Closed(item));
        }
        if !state.waiting.is_empty() && state.waiting.bytes() + bytes > bytes_max {
            return Err(Full::Bytes(item));
        }
        state.waiting.push(partition, bytes, item);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes up to `count_max` items that together have at most `bytes_max` bytes; the first is
    /// taken whatever its size.
    pub(crate) fn take(&self, count_max: usize, bytes_max: usize) -> Vec<T> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        let mut room = usize::MAX;
        while taken.len() < count_max {
            let Some((bytes, item)) = state.waiting.pop(room) else { break };
            room = room.min(bytes_max).saturating_sub(bytes);
            taken.push(item);
        }
        taken
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().waiting.bytes()
    }

    /// Ready when something waits. Cancel-safe: takes nothing.
    pub(crate) async fn filled(&self) {
        loop {
            if !self.lock().waiting.is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }

    /// Takes nothing more; what waits comes back.
    pub(crate) fn close(&self) -> Vec<T> {
        self.lock().is_closed = true;
        self.take(usize::MAX, usize::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
