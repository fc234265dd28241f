//! Between the task that fetches and the one that reads: bounded by bytes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use quipu_types::record::ValidatedBatch;
use tokio::sync::Notify;

use crate::Result;

/// Batches of one partition, one after the other.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) partition: u32,
    pub(super) batches: VecDeque<ValidatedBatch>,
    /// Records below stand in the first batch and were not asked for.
    pub(super) from: u64,
    pub(super) end: Option<u64>,
    /// Who sent them.
    pub(super) address: Arc<str>,
    /// Gives the room back when the chunk is read.
    pub(super) room: Option<Room>,
}

/// Bytes taken from the buffer, given back on drop.
#[derive(Debug)]
pub(super) struct Room {
    output: Arc<Output>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.output.buffered.fetch_sub(self.bytes, Ordering::AcqRel);
        self.output.freed.notify_one();
    }
}

/// What was fetched and not read.
#[derive(Debug)]
pub(super) struct Output {
    state: Mutex<State>,
    reader: AtomicWaker,
    buffered: AtomicUsize,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    /// Nothing more comes: all is fetched, or why it cannot be.
    end: Option<Result<()>>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            reader: AtomicWaker::new(),
            buffered: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// Bytes that are fetched and not read.
    pub(super) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Acquire)
    }

    /// Resolves after something was read.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    pub(super) fn put(self: &Arc<Self>, mut chunk: Chunk) {
        let bytes = chunk.batches.iter().map(|batch| batch.bytes().len()).sum();
        self.buffered.fetch_add(bytes, Ordering::AcqRel);
        chunk.room = Some(Room { output: self.clone(), bytes });
        self.lock().chunks.push_back(chunk);
        self.reader.wake();
    }

    /// Ends the output; what is in it is still read.
    pub(super) fn end(&self, end: Result<()>) {
        self.lock().end.get_or_insert(end);
        self.reader.wake();
    }

    /// The next chunk; `None` at the end. After an error, the end.
    pub(super) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Option<Result<Chunk>>> {
        self.reader.register(context.waker());
        let mut state = self.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        match &mut state.end {
            None => Poll::Pending,
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;

    use super::*;
    use crate::Error;

    #[test]
    fn an_error_comes_after_the_records_before_it_and_then_the_end() {
        let output = Arc::new(Output::new());
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        assert!(output.poll_take(&mut context).is_pending());
        let address = "n1:1".into();
        output.put(Chunk {
            partition: 3,
            batches: VecDeque::new(),
            from: 0,
            end: None,
            address,
            room: None,
        });
        output.end(Err(Error::Closed));
        let first = output.poll_take(&mut context);
        assert!(matches!(first, Poll::Ready(Some(Ok(chunk))) if chunk.partition == 3));
        assert!(matches!(output.poll_take(&mut context), Poll::Ready(Some(Err(_)))));
        assert!(matches!(output.poll_take(&mut context), Poll::Ready(None)));
    }
}
