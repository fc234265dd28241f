//! Between the task that fetches and the one that reads: bounded by bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use quipu_types::PartitionId;
use quipu_types::record::ValidatedBatch;
use tokio::sync::Notify;

use crate::{Error, Result};

/// Batches of one partition, one after the other.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) id: PartitionId,
    pub(crate) topic: Arc<str>,
    /// Of the plan it was fetched for.
    pub(crate) generation: u64,
    pub(crate) batches: VecDeque<ValidatedBatch>,
    /// Records below stand in the first batch and were not asked for.
    pub(crate) from: u64,
    /// The offset after the last batch.
    pub(crate) next: u64,
    pub(crate) end: Option<u64>,
    /// Who sent them.
    pub(crate) address: Arc<str>,
    /// Gives the room back when the chunk is read.
    pub(crate) room: Option<Room>,
}

/// Bytes taken from the buffer, given back on drop.
#[derive(Debug)]
pub(crate) struct Room {
    output: Arc<Output>,
    id: PartitionId,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.output.buffered.fetch_sub(self.bytes, Ordering::AcqRel);
        let mut shares = self.output.shares();
        let left = shares.get(&self.id).map_or(0, |share| share.saturating_sub(self.bytes));
        if left == 0 {
            shares.remove(&self.id);
        } else {
            shares.insert(self.id, left);
        }
        drop(shares);
        self.output.freed.notify_one();
    }
}

/// What was fetched and not read.
#[derive(Debug)]
pub(crate) struct Output {
    state: Mutex<State>,
    reader: AtomicWaker,
    buffered: AtomicUsize,
    /// Of [`Self::buffered`], by partition.
    shares: Mutex<BTreeMap<PartitionId, usize>>,
    freed: Notify,
}

/// Why one partition is not read any more.
#[derive(Debug)]
struct Failure {
    id: PartitionId,
    error: Error,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Result<Chunk, Failure>>,
    /// Nothing more comes: all is fetched, or why it cannot be.
    end: Option<Result<()>>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            reader: AtomicWaker::new(),
            buffered: AtomicUsize::new(0),
            shares: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Bytes that are fetched and not read.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Acquire)
    }

    /// Bytes of one partition that are fetched and not read.
    pub(crate) fn buffered_of(&self, id: PartitionId) -> usize {
        self.shares().get(&id).copied().unwrap_or(0)
    }

    /// Resolves after something was read.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    pub(crate) fn put(self: &Arc<Self>, mut chunk: Chunk) {
        let bytes = chunk.batches.iter().map(|batch| batch.bytes().len()).sum();
        self.buffered.fetch_add(bytes, Ordering::AcqRel);
        let id = chunk.id;
        *self.shares().entry(id).or_default() += bytes;
        chunk.room = Some(Room { output: self.clone(), id, bytes });
        self.lock().items.push_back(Ok(chunk));
        self.reader.wake();
    }

    /// One partition cannot be read on; others can.
    pub(crate) fn put_failure(&self, id: PartitionId, error: Error) {
        self.lock().items.push_back(Err(Failure { id, error }));
        self.reader.wake();
    }

    /// Something went wrong beside the partitions: said before any record that waits.
    pub(crate) fn interrupt(&self, error: Error) {
        let id = PartitionId::default();
        self.lock().items.push_front(Err(Failure { id, error }));
        self.reader.wake();
    }

    /// Forgets what was fetched of one partition.
    pub(crate) fn discard(&self, id: PartitionId) {
        let mut state = self.lock();
        let of = |item: &Result<Chunk, Failure>| match item {
            Ok(chunk) => chunk.id,
            Err(failure) => failure.id,
        };
        let (discarded, kept) = state.items.drain(..).partition(|item| of(item) == id);
        state.items = kept;
        drop(state);
        // Their room is given back outside of the lock.
        let discarded: VecDeque<Result<Chunk, Failure>> = discarded;
        drop(discarded);
    }

    /// Ends the output; what is in it is still read.
    pub(crate) fn end(&self, end: Result<()>) {
        self.lock().end.get_or_insert(end);
        self.reader.wake();
    }

    /// The next chunk; `None` at the end. After an error, the end.
    pub(crate) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Option<Result<Chunk>>> {
        self.reader.register(context.waker());
        let mut state = self.lock();
        if let Some(item) = state.items.pop_front() {
            return Poll::Ready(Some(item.map_err(|failure| failure.error)));
        }
        match &mut state.end {
            None => Poll::Pending,
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
        }
    }

    fn shares(&self) -> MutexGuard<'_, BTreeMap<PartitionId, usize>> {
        self.shares.lock().expect("nothing panics while it holds this lock")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;
    use quipu_types::{PartitionIndex, TopicId};

    use super::*;

    fn chunk(index: u32) -> Chunk {
        Chunk {
            id: PartitionId::new(TopicId::default(), PartitionIndex::new(index)),
            topic: "fees".into(),
            generation: 0,
            batches: VecDeque::new(),
            from: 0,
            next: 0,
            end: None,
            address: "n1:1".into(),
            room: None,
        }
    }

    #[test]
    fn an_error_comes_after_the_records_before_it_and_then_the_end() {
        let output = Arc::new(Output::new());
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        assert!(output.poll_take(&mut context).is_pending());
        output.put(chunk(3));
        output.end(Err(Error::Closed));
        let first = output.poll_take(&mut context);
        assert!(matches!(first, Poll::Ready(Some(Ok(chunk))) if chunk.id.index.get() == 3));
        assert!(matches!(output.poll_take(&mut context), Poll::Ready(Some(Err(_)))));
        assert!(matches!(output.poll_take(&mut context), Poll::Ready(None)));
    }
    #[test]
    fn what_is_discarded_is_not_read_and_others_are() {
        let output = Arc::new(Output::new());
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        output.put(chunk(3));
        output.put_failure(chunk(3).id, Error::Closed);
        output.put(chunk(4));
        output.discard(chunk(3).id);
        let first = output.poll_take(&mut context);
        assert!(matches!(first, Poll::Ready(Some(Ok(chunk))) if chunk.id.index.get() == 4));
        assert!(output.poll_take(&mut context).is_pending());
    }
}
